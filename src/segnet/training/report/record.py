"""``Record``: the content of a training report, except the images."""

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
"""Score columns of ``metrics.csv``, and their names on the page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """Content of the report, except the images.

    Attributes:
        title: Title of the page, such as the name of the model.
        rows: Rows of ``metrics.csv``; none before the first validation. Scores are in [0, 1], NaN where undefined.
        labels: Class table.
        monitor: Score that selects the best row: miou, global_accuracy or class_average.
        confusion: Confusion matrix of the best weights on the validation images, int64 (classes, classes), rows true;
            None before the first validation.
        settings: Content of ``config.yaml``.
        environment: Hardware and versions.
        data: Splits by name.
        warnings: Warnings of the run, in sentences.
        commands: Commands that reproduce the run.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    labels: ClassTable
    monitor: str
    confusion: NDArray[np.int64] | None
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    data: Mapping[str, Split]
    warnings: Sequence[str] = ()
    commands: Sequence[str] = ()

    @property
    def best(self) -> int:
        """Index of the best row; the first of equal ones."""
        values = [-math.inf if math.isnan(value) else value for value in self.column(self.monitor)]
        return values.index(max(values))

    @property
    def epochs(self) -> list[int]:
        """Epoch of each row."""
        return [int(row["epoch"]) for row in self.rows]

    def column(self, name: str) -> list[float]:
        """One value per row; NaN where the row has none."""
        return [float(row.get(name, math.nan)) for row in self.rows]
