"""Keeps ``report.html`` of a run up to date."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from segnet.data.dataset import SegmentationDataset
from segnet.models.segnet import SegNet
from segnet.system.hardware import about
from segnet.training.keeping import Keeper
from segnet.training.report.images import choose_examples
from segnet.training.report.page import write_report
from segnet.training.report.record import Record
from segnet.training.report.splits import Split, describe_split
from segnet.training.watching import Collapse

__all__ = ["Reporter"]

_MOST_IMAGES = {"cpu": 40, "cuda": 200}


class Reporter(Callback):
    """Writes the report after each validation, and once more, with images, at the end.

    Args:
        keeper: whose rows it tells, and where to.
        collapse: whose notes it tells.
        train_set, val_set: described in it.
        title: such as the model's name.
        settings: what ``config.yaml`` holds.
    """

    def __init__(
        self,
        keeper: Keeper,
        collapse: Collapse,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        *,
        title: str,
        settings: Mapping[str, Any],
    ) -> None:
        self.keeper = keeper
        self.collapse = collapse
        self.train_set, self.val_set = train_set, val_set
        self.title = title
        self.settings = settings

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write, if there are new scores."""
        if trainer.is_global_zero and self.keeper.new_row(trainer):
            write_report(self._path, self._record())

    def finish(self, model: SegNet, device: torch.device) -> None:
        """Write with the best and the worst images of the best weights.

        Args:
            model: with these weights; it is left on the CPU.
            device: where to compute.
        """
        most = _MOST_IMAGES.get(device.type, _MOST_IMAGES["cpu"])
        examples = choose_examples(model, self.val_set, device=device, most=most)
        model.cpu()
        write_report(self._path, self._record(), examples)

    @property
    def _path(self) -> Path:
        return self.keeper.out / "report.html"

    @cached_property
    def _data(self) -> dict[str, Split]:
        return {"train": describe_split(self.train_set), "val": describe_split(self.val_set)}

    @cached_property
    def _environment(self) -> dict[str, str]:
        told = about("segnet", "torch", "lightning", "kornia", "numpy")
        versions = told.pop("versions")
        assert isinstance(versions, dict)
        return {name: str(value) for name, value in {**told, **versions}.items() if value is not None}

    def _record(self) -> Record:
        assert self.keeper.best_counts is not None
        return Record(
            title=self.title,
            rows=self.keeper.rows,
            labels=self.keeper.labels,
            monitor=self.keeper.monitor,
            confusion=self.keeper.best_counts,
            settings=self.settings,
            environment=self._environment,
            data=self._data,
            notes=self.collapse.notes,
            commands=_commands(self.settings.get("data"), self.keeper.out),
        )


def _commands(data: str | None, out: Path) -> list[str]:
    if data is None:  # a run of a program of its own
        return []
    return [
        f"segnet train --config {out / 'config.yaml'} --out {out}-again",
        f"segnet evaluate {data} --model {out / 'best.safetensors'}",
    ]
