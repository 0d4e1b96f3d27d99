"""What is told of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.labels import ClassTable
from segnet.training.report.splits import Split

__all__ = ["SCORES", "Record"]

SCORES = {"global_accuracy": "global accuracy", "class_average": "class average", "miou": "mIoU"}
"""Columns of scores, and their names on the page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """All that the page tells, but the images.

    Attributes:
        title: such as the model's name.
        rows: those of ``metrics.csv``, at least one; scores are in [0, 1], NaN where there is none.
        labels: the class table.
        monitor: the score that decides which row is the best: miou, global_accuracy or class_average.
        confusion: int64 (classes, classes), of the best weights on the validation images, rows true.
        settings: what ``config.yaml`` holds.
        environment: machine and versions, in words.
        data: the splits by name.
        notes: what to beware of, in sentences.
        commands: such as reproduce the run.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    labels: ClassTable
    monitor: str
    confusion: NDArray[np.int64]
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    data: Mapping[str, Split]
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()

    @property
    def best(self) -> int:
        """Which row is the best; the first of equals."""
        values = [-math.inf if math.isnan(value) else value for value in self.column(self.monitor)]
        return values.index(max(values))

    @property
    def epochs(self) -> list[int]:
        """The epoch of each row."""
        return [int(row["epoch"]) for row in self.rows]

    def column(self, name: str) -> list[float]:
        """One number per row; NaN where the row has none."""
        return [float(row.get(name, math.nan)) for row in self.rows]
