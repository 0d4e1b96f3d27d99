"""Records: one line per image or frame with class shares and confidence, as JSON lines or CSV.

The file grows during prediction: the line of an image is complete as soon as the image is, and stays after an error.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, OutputError
from segnet.inference.prediction import SegmentedFrame
from segnet.labels import ClassTable, require_table
from segnet.system.files import explained
from segnet.system.locks import lock, release
from segnet.visualization.overlay import class_means, class_shares

__all__ = ["SUFFIXES", "RecordFile", "make_record", "require_record_file", "require_unicode"]

SUFFIXES = (".jsonl", ".csv")
"""JSON lines, and comma-separated values below a header line."""

_DIGITS = 6


class RecordFile:
    """A file that gets a line per image or frame, without buffering.

        with RecordFile("shares.jsonl", predictor.labels) as records:
            for frame in segnet.stream(predictor, "drive.mp4"):
                records.add(frame)

    An earlier file of this name is replaced when the first line is written, not before; if another run is still writing
    it, that is an error. Missing folders are created.

    Args:
        path: ending in .jsonl (one JSON object per line) or .csv.
        labels: the classes.
        before_line: called before each line with the size in bytes that the file will then have.

    Raises:
        ConfigError, OutputError: see ``require_record_file``.
    """

    def __init__(
        self, path: str | Path, labels: ClassTable, *, before_line: Callable[[int], object] | None = None
    ) -> None:
        self.path = Path(path)
        self._before_line = before_line
        require_record_file(self.path)
        require_table(labels)
        self._labels = labels
        self._file: io.FileIO | None = None
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            release(self._file.fileno())

    def add(self, frame: SegmentedFrame) -> None:
        """Write the line of one image or frame; readers of the file see it immediately.

        Raises:
            DataError: see ``require_unicode``.
            OutputError: the file cannot be written, or the disk is full; earlier lines stay, and no part of this one.
        """
        values = make_record(frame, self._labels)
        with explained(self.path):
            if self.path.suffix.lower() == ".jsonl":
                self._append(json.dumps(values, ensure_ascii=False) + "\n")
            else:
                row = _flatten(values)
                self._append(("" if self._end else _csv_line(row)) + _csv_line(row.values()))

    def _append(self, text: str) -> None:
        """Write all of the text or, if the file can be truncated, nothing."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_alone(self.path)
        line = text.encode()
        if self._before_line is not None:
            self._before_line(self._end + len(line))
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            with suppress(OSError):  # a pipe or a device
                self._file.truncate(self._end)
            raise
        self._end += len(line)


def _open_alone(path: Path) -> io.FileIO:
    """The empty file, locked: the lines of two runs would overwrite each other.

    Raises:
        OutputError: another run writes it.
    """
    file = io.FileIO(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666), "wb", closefd=False)
    if not lock(file.fileno()):
        release(file.fileno())
        raise OutputError(f"{path}: another run writes this file at the moment; give another --records")
    with suppress(OSError):  # a pipe or a device
        file.truncate(0)
    return file


def require_record_file(path: Path) -> None:
    """Check the name of a record file before the model runs.

    Raises:
        ConfigError: the name ends in none of ``SUFFIXES``.
        OutputError: the path is a folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"records={path} has no known ending; give a name that ends in {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder and cannot be written as a file; give the name of a file")


def require_unicode(frame: SegmentedFrame) -> None:
    """Refuse a frame of a file whose name neither JSON nor CSV can hold.

    Raises:
        DataError: its name or source is not UTF-8.
    """
    for name in (frame.source, frame.name):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{name!a} is a name that is not UTF-8, which records and COCO files cannot hold; rename the file"
            ) from error


def make_record(frame: SegmentedFrame, labels: ClassTable) -> dict[str, Any]:
    """The values of a line.

    ``source``, ``name``, ``time`` and ``latency_ms`` are those of ``SegmentedFrame``, ``frame`` is its number.
    ``confidence`` and ``uncertainty`` are means over the pixels, None if they were not requested. ``shares`` has the
    share of each class by its name, ``confidences`` the mean confidence of the pixels that were predicted as it, None
    if there is no such pixel. A mean over values of a model that are not finite is None, since JSON has no NaN.

    Raises:
        DataError: see ``require_unicode``.
    """
    require_unicode(frame)
    height, width = frame.mask.shape
    means = np.full(labels.classes, np.nan)
    if frame.confidence is not None:
        means = class_means(frame.mask, frame.confidence, labels)
    return {
        "source": frame.source,
        "name": frame.name,
        "frame": frame.number,
        "time": _rounded(frame.time),
        "width": width,
        "height": height,
        "confidence": _mean(frame.confidence),
        "uncertainty": _mean(frame.uncertainty),
        "latency_ms": _rounded(frame.latency_ms),
        "shares": _by_name(labels, class_shares(frame.mask, labels)),
        "confidences": _by_name(labels, means),
    }


def _mean(values: NDArray[np.float32] | None) -> float | None:
    return None if values is None else _rounded(float(values.mean(dtype=np.float64)))


def _rounded(value: float | Fraction | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), _DIGITS)


def _by_name(labels: ClassTable, values: NDArray[np.float64]) -> dict[str, float | None]:
    return dict(zip(labels.names, map(_rounded, values.tolist()), strict=True))


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"shares": {"Road": 0.3}}`` becomes ``{"share_Road": 0.3}``."""
    row = {key: value for key, value in values.items() if not isinstance(value, dict)}
    for table in ("shares", "confidences"):
        row |= {f"{table.removesuffix('s')}_{name}": value for name, value in values[table].items()}
    return row


def _csv_line(values: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
