"""One line for each image or frame, for programs: class shares and confidence as JSON lines or CSV.

The file grows while images are labeled: a line is there, whole, as soon as its image is done, and stays there
whatever comes after it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, OutputError
from segnet.inference.prediction import SegmentedFrame
from segnet.labels import ClassTable
from segnet.system.files import explained
from segnet.visualization.overlay import class_shares

__all__ = ["SUFFIXES", "RecordFile", "record", "require_record_file"]

SUFFIXES = (".jsonl", ".csv")
"""JSON lines, and comma-separated values below a line of names."""

_DIGITS = 6


class RecordFile:
    """A file that gets a line for each image or frame, at once.

        with RecordFile("shares.jsonl", predictor.labels) as records:
            for labeled in predictor.stream("drive.mp4"):
                records.add(labeled)

    An earlier file of this name is replaced when the first line is written, not before. Missing folders are made.

    Args:
        path: ending in .jsonl (one JSON object a line) or .csv.
        labels: the classes.

    Raises:
        ConfigError, OutputError: see ``require_record_file``.
    """

    def __init__(self, path: str | Path, labels: ClassTable) -> None:
        self.path = Path(path)
        require_record_file(self.path)
        self._labels = labels
        self._file: io.FileIO | None = None
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, labeled: SegmentedFrame) -> None:
        """Write the line of one image or frame, so that whoever reads the file sees it at once.

        Raises:
            OutputError: the file cannot be written, or the disk is full; the lines before stay, and no part of this
                one.
        """
        found = record(labeled, self._labels)
        with explained(self.path):
            if self.path.suffix.lower() == ".jsonl":
                self._append(json.dumps(found, ensure_ascii=False) + "\n")
            else:
                row = _flat(found)
                self._append(("" if self._file else _csv_line(row)) + _csv_line(row.values()))

    def _append(self, text: str) -> None:
        """All of the text or, of a file that can be shortened again, nothing."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        line = text.encode()
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            with suppress(OSError):  # a pipe or a device
                self._file.truncate(self._end)
            raise
        self._end += len(line)


def require_record_file(path: Path) -> None:
    """Fail before anything is labeled, not after.

    Raises:
        ConfigError: it ends in none of ``SUFFIXES``.
        OutputError: it is a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"records={path} has no known ending; give a name that ends in {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder and cannot be written as a file; give the name of a file")


def record(labeled: SegmentedFrame, labels: ClassTable) -> dict[str, Any]:
    """What a line says of an image or frame.

    ``source``, ``name``, ``time`` and ``latency_ms`` are those of ``SegmentedFrame``, ``frame`` is its number.
    ``confidence`` and ``uncertainty`` are means over the pixels, None if they were not asked for; ``shares`` has the
    share of each class by its name, and ``confidences`` the mean confidence of the pixels that were given to it, None
    of a class that does not occur.
    """
    height, width = labeled.mask.shape
    return {
        "source": labeled.source,
        "name": labeled.name,
        "frame": labeled.number,
        "time": _rounded(labeled.time),
        "width": width,
        "height": height,
        "confidence": _mean(labeled.confidence),
        "uncertainty": _mean(labeled.uncertainty),
        "latency_ms": _rounded(labeled.latency_ms),
        "shares": _by_name(labels, class_shares(labeled.mask, labels)),
        "confidences": _by_name(labels, _class_means(labeled.mask, labeled.confidence, labels.classes)),
    }


def _mean(values: NDArray[np.float32] | None) -> float | None:
    return None if values is None else _rounded(float(values.mean(dtype=np.float64)))


def _rounded(value: float | Fraction | None) -> float | None:
    return None if value is None else round(float(value), _DIGITS)


def _class_means(mask: NDArray[np.uint8], values: NDArray[np.float32] | None, classes: int) -> NDArray[np.float64]:
    """NaN of a class that does not occur, and of all without values."""
    if values is None:
        return np.full(classes, np.nan)
    counts = np.bincount(mask.ravel(), minlength=classes)[:classes]
    sums = np.bincount(mask.ravel(), weights=values.ravel(), minlength=classes)[:classes]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _by_name(labels: ClassTable, values: NDArray[np.float64]) -> dict[str, float | None]:
    rounded = [_rounded(None if np.isnan(value) else value) for value in values.tolist()]
    return dict(zip(labels.names, rounded, strict=True))


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """``{"shares": {"Road": 0.3}}`` becomes ``{"share_Road": 0.3}``."""
    row = {key: value for key, value in found.items() if not isinstance(value, dict)}
    for table in ("shares", "confidences"):
        row |= {f"{table.removesuffix('s')}_{name}": value for name, value in found[table].items()}
    return row


def _csv_line(values: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
