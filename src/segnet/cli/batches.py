"""The flags of ``segnet predict --engine ray`` as a run of many processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.flags import PredictorFlags

if TYPE_CHECKING:
    from segnet.batch.settings import EngineConfig
    from segnet.visualization.style import OverlayStyle

__all__ = ["predict_in_processes"]


def predict_in_processes(
    source: Sequence[str],
    flags: PredictorFlags,
    engine: EngineConfig,
    style: OverlayStyle,
    *,
    kinds: tuple[str, ...],
    out: Path,
    force: bool,
) -> int:
    """Predict with ``--engine ray``; returns the exit code.

    Raises:
        SegNetError: see ``predict_batches``.
    """
    from segnet.batch.run import BatchRun, predict_batches

    if here := _own_file(flags.model.model):  # the processes of a cluster work in other folders
        flags = replace(flags, model=replace(flags.model, model=str(here.absolute())))
    model = replace(flags.model, threads=flags.model.threads or 1)
    rows = bool({"parquet", "webdataset"} & set(kinds))
    here_only = replace(flags, model=replace(model, device="cpu", verify=False))
    predictor = here_only.open(kinds, rows=rows)  # what is wrong with the model is said once, and here
    style.require_known_classes(predictor.labels)
    outcome = predict_batches(
        BatchRun(
            words=source, out=out, kinds=kinds, style=style, labels=predictor.labels,
            load=partial(replace(flags, model=model).open, kinds, rows=rows),
            settings=_describe(flags, kinds, style), engine=engine, threads=model.threads, device=model.device,
            force=force,
        )
    )  # fmt: skip
    return 2 if outcome.failed else 0


def _describe(flags: PredictorFlags, kinds: tuple[str, ...], style: OverlayStyle) -> str:
    """All that decides what the results are, the content of the model file included."""
    model = replace(flags.model, model="", device="", threads=0, verify=False)
    return repr((replace(flags, model=model), kinds, style, _model_digest(flags.model.model)))


def _own_file(source: str) -> Path | None:
    """The path of a model of the user's; a folder may have the name of a bundled model, and only a package is one."""
    path = Path(source)
    return path if path.is_file() or path.suffix == ".mlpackage" else None


def _model_digest(source: str) -> str:
    """SHA-256 of the model file, of the weights beside it or of all files of a package."""
    from segnet.models.bundled import find

    path = _own_file(source) or find(source)
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    digest = hashlib.sha256()
    for file in (path, *weights, *sorted(path.rglob("*"))):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
