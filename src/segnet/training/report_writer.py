"""Keeps ``report.html`` of a run up to date."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from segnet.data.dataset import SegmentationDataset
from segnet.data.source_config import SourceConfig
from segnet.data.tensors import Batch
from segnet.inference.working_size import ResizePolicy
from segnet.models.segnet import SegNet
from segnet.system.hardware import about
from segnet.training.best_weights import BestWeights
from segnet.training.collapse import CollapseDetector
from segnet.training.lightning import Callback, LightningModule, Trainer
from segnet.training.report.images import choose_examples
from segnet.training.report.page import write_report
from segnet.training.report.record import Record
from segnet.training.report.splits import Split, describe_split
from segnet.training.report.training_images import TrainingExample, choose_training_examples
from segnet.training.score_log import ScoreLog
from segnet.training.step_times import StepTimes

__all__ = ["ReportWriter"]

_MAX_IMAGES = {"cpu": 40, "cuda": 200}
_TRAINING_IMAGES = 4


class ReportWriter(Callback):
    """Writes the report at the start, with training images and their masks, and after each validation; at the end with
    validation images too.

    Args:
        score_log: Scores of the validations.
        best: Best weights of the run.
        collapse: Its warnings are shown.
        times: Images per second, and the parts of a step.
        sets: Data sets by split name, such as train and val.
        title: Title of the page, such as the name of the model.
        settings: Content of ``config.yaml``.
    """

    def __init__(
        self,
        score_log: ScoreLog,
        best: BestWeights,
        collapse: CollapseDetector,
        times: StepTimes,
        sets: Mapping[str, SegmentationDataset],
        *,
        title: str,
        settings: Mapping[str, Any],
    ) -> None:
        self.score_log = score_log
        self.best = best
        self.collapse = collapse
        self.times = times
        self.sets = sets
        self.title = title
        self.settings = settings
        self.path = score_log.out / "report.html"
        self._training: list[TrainingExample] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, index: int) -> None:
        """Write the report with images of the first batches, so that wrong masks are seen at once."""
        if trainer.is_global_zero and (missing := _TRAINING_IMAGES - len(self._training)) > 0:
            self._training += choose_training_examples(batch, self.sets["train"], pl_module.augment, most=missing)
            write_report(self.path, self._make_record(), training=self._training)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report if there are new scores."""
        if trainer.is_global_zero and self.score_log.new_row(trainer):
            write_report(self.path, self._make_record(), training=self._training)

    def finish(self, model: SegNet, device: torch.device, resize: ResizePolicy) -> None:
        """Write the report with the best and the worst images of the best weights.

        Args:
            model: Network with these weights; it is left on the CPU.
            device: Where the network runs.
            resize: Working sizes of the images.
        """
        most = _MAX_IMAGES.get(device.type, _MAX_IMAGES["cpu"])
        examples = choose_examples(model, self.sets["val"], resize=resize, device=device, most=most)
        model.cpu()
        write_report(self.path, self._make_record(), examples, training=self._training)

    @cached_property
    def _splits(self) -> dict[str, Split]:
        return {name: describe_split(data) for name, data in self.sets.items()}

    @cached_property
    def _environment(self) -> dict[str, str]:
        hardware = about("segnet", "torch", "lightning", "kornia", "numpy")
        versions = hardware.pop("versions")
        assert isinstance(versions, dict)
        return {name: str(value) for name, value in {**hardware, **versions}.items() if value is not None}

    def _make_record(self) -> Record:
        return Record(
            title=self.title,
            rows=self.score_log.rows,
            labels=self.score_log.labels,
            monitor=self.best.monitor,
            confusion=self.best.counts,
            settings=self.settings,
            environment={**self._environment, **self.times.shares()},
            data=self._splits,
            warnings=self.collapse.warnings,
            commands=_list_commands(self.settings, self.path.parent),
        )


def _list_commands(settings: Mapping[str, Any], out: Path) -> list[str]:
    """Commands that repeat the run and score its weights; none for a run that a program started."""
    if settings.get("data") is None:
        return []
    source = SourceConfig(layout=settings["layout"], map=settings["map"], only=tuple(settings["only"]))
    train = ["segnet", "train", "--config", str(out / "config.yaml"), "--out", f"{out}-again"]
    evaluate = ["segnet", "evaluate", settings["data"], "--model", str(out / "best.safetensors"), *source.flags()]
    return [shlex.join(train), shlex.join(evaluate)]
