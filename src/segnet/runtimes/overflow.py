"""Warning about INT8 files of older versions, which can overflow on some CPUs; see ``exporting.int8.saturation``."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from segnet.runtimes.model_info import PAIR_LIMIT, ModelInfo

__all__ = ["may_overflow", "warn_of_overflow"]

log = logging.getLogger("segnet")


def may_overflow(info: ModelInfo) -> bool:
    """Whether a file for ONNX Runtime or OpenVINO is INT8 without a pair limit that rules out overflow."""
    return info.precision == "int8" and (info.pair_limit is None or info.pair_limit > PAIR_LIMIT)


@cache  # one warning per file and process
def warn_of_overflow(path: Path) -> None:
    """Log a warning once per file and process, on any CPU, since the file may be used on another."""
    log.warning(
        "%s: is INT8 of an older version of segnet and may predict other classes on CPUs without VNNI; "
        "export it anew with 'segnet export --int8'",
        path,
    )
