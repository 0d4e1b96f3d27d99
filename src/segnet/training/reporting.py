"""Keeps ``report.html`` of a run up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from segnet.data.dataset import SegmentationDataset
from segnet.labels import Labels
from segnet.machine import about
from segnet.models.segnet import SegNet
from segnet.training.keeping import Keeper
from segnet.training.report.page import write_report
from segnet.training.report.pictures import choose_examples
from segnet.training.report.record import Record
from segnet.training.report.splits import describe_split
from segnet.training.watching import Collapse

__all__ = ["Reporter", "Subject"]

_MOST_PICTURES = {"cpu": 40, "cuda": 200}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a report is about.

    Attributes:
        out: the run's folder.
        title: such as the model's name.
        labels: the class table.
        monitor: the score that decides.
        settings: what ``config.yaml`` holds.
    """

    out: Path
    title: str
    labels: Labels
    monitor: str
    settings: Mapping[str, Any]


class Reporter(Callback):
    """Writes the report after each validation, and once more, with pictures, at the end.

    Args:
        subject: what it is about.
        keeper: whose rows it tells.
        collapse: whose notes it tells.
        train_set, val_set: described in it.
    """

    def __init__(
        self,
        subject: Subject,
        keeper: Keeper,
        collapse: Collapse,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
    ) -> None:
        self.subject = subject
        self.keeper = keeper
        self.collapse = collapse
        self.val_set = val_set
        self._data = {"train": describe_split(train_set), "val": describe_split(val_set)}
        self._environment = _environment()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write, if there are new scores."""
        rows = self.keeper.rows
        if trainer.is_global_zero and rows and rows[-1]["epoch"] == trainer.current_epoch + 1:
            write_report(self._path, self._record())

    def finish(self, model: SegNet, device: torch.device) -> None:
        """Write with the best and the worst pictures of the best weights.

        Args:
            model: with these weights; it is left on the CPU.
            device: where to compute.
        """
        most = _MOST_PICTURES.get(device.type, _MOST_PICTURES["cpu"])
        examples = choose_examples(model, self.val_set, device=device, most=most)
        model.cpu()
        write_report(self._path, self._record(), examples)

    @property
    def _path(self) -> Path:
        return self.subject.out / "report.html"

    def _record(self) -> Record:
        assert self.keeper.best_counts is not None
        return Record(
            title=self.subject.title,
            rows=self.keeper.rows,
            labels=self.subject.labels,
            monitor=self.subject.monitor,
            confusion=self.keeper.best_counts,
            settings=self.subject.settings,
            environment=self._environment,
            data=self._data,
            notes=self.collapse.notes,
            commands=_commands(self.subject),
        )


def _environment() -> dict[str, str]:
    told = about("segnet", "torch", "lightning", "kornia", "numpy")
    versions = told.pop("versions")
    assert isinstance(versions, dict)
    return {name: str(value) for name, value in {**told, **versions}.items() if value is not None}


def _commands(subject: Subject) -> list[str]:
    data, out = subject.settings.get("data"), subject.out
    if data is None:  # a run of a program of its own
        return []
    return [
        f"segnet train --config {out / 'config.yaml'} --out {out}-again",
        f"segnet evaluate {data} --model {out / 'best.safetensors'}",
    ]
