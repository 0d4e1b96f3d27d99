"""Exact resume: ``last.ckpt`` and ``previous.ckpt``, written whole, and where a run continues from them."""

from __future__ import annotations

import logging
import pickle
import signal
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from segnet.errors import ConfigError
from segnet.system.files import ZIP_ERRORS, replacing
from segnet.system.signals import TERMINATED
from segnet.training.best_weights import BestWeights
from segnet.training.lightning import Callback, LightningModule, Trainer
from segnet.training.module import SegmentationModule
from segnet.training.run_folder import CHECKPOINTS, LAST, PREVIOUS
from segnet.training.score_log import ScoreLog

__all__ = [
    "Checkpoint",
    "Position",
    "ResumeCheckpoint",
    "check_fits",
    "earlier_data",
    "earlier_settings",
    "find_position",
    "newest_checkpoint",
]

log = logging.getLogger("segnet")

_FIRST_MINUTES = 1.0  # until the first checkpoint of a process, so that a run killed early keeps something


class Checkpoint(NamedTuple):
    """A checkpoint file and its content."""

    path: Path
    state: dict[str, Any]


class Position(NamedTuple):
    """Where a run continues: the epoch, counted from 0, and the batches of that epoch that are done."""

    epoch: int
    batches: int


class ResumeCheckpoint(Callback):
    """Writes ``last.ckpt`` and keeps the one before as ``previous.ckpt``.

    It writes after a minute, at the end of every epoch, every ``minutes`` within an epoch, and before SIGTERM or Ctrl-C
    end the run, each time whole or not at all, which Lightning's ``ModelCheckpoint`` does not. It must be the last
    callback.

    Args:
        out: Folder of the run.
        minutes: Minutes between two checkpoints within an epoch.
        data: Description of the data (``describe_data``), written into the checkpoint.
        settings: Of the run by name, written there too, since ``config.yaml`` can be edited or lost.
    """

    def __init__(self, out: Path, minutes: float, data: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self.out = out
        self.minutes = minutes
        self._wait = min(minutes, _FIRST_MINUTES)
        self.data, self.settings = dict(data), dict(settings)
        self._signal = 0
        self._written = time.monotonic()
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers: a signal is handled at the end of a step."""
        self._written = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._handlers[number] = signal.signal(number, self._receive)
            except ValueError:  # only the main thread receives signals
                return

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Write if the time has come. After an epoch's last batch, the end of the epoch does it."""
        whole_step = (index + 1) % trainer.accumulate_grad_batches == 0
        if not whole_step or index + 1 >= trainer.num_training_batches:
            return
        signaled = self._is_signaled(trainer)
        if signaled or trainer.strategy.reduce_boolean_decision(self._is_time(), all=False):
            self._write(trainer)
        self._exit_if(signaled, trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write in any case."""
        self._write(trainer)
        self._exit_if(self._is_signaled(trainer), trainer)

    def state_dict(self) -> dict[str, Any]:
        """Data and settings of the run."""
        return {"data": self.data, "settings": self.settings}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore Lightning's signal handlers, which restores those of the program after this hook."""
        self._restore_handlers()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Restore the signal handlers after an error."""
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self._signal = number

    def _is_signaled(self, trainer: Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False)

    def _is_time(self) -> bool:
        return time.monotonic() - self._written > 60 * self._wait

    def _write(self, trainer: Trainer) -> None:
        """Write under a temporary name, then rename; the checkpoint before becomes ``previous.ckpt``."""
        self._written, self._wait = time.monotonic(), self.minutes
        last = self.out / LAST
        if not trainer.is_global_zero:
            trainer.save_checkpoint(last)  # takes part in the collective calls, and writes nothing
            return
        with replacing(last) as temporary:
            trainer.save_checkpoint(temporary)
            if last.exists():
                last.replace(self.out / PREVIOUS)

    def _exit_if(self, signaled: bool, trainer: Trainer) -> None:
        if not signaled:
            return
        if trainer.is_global_zero:
            log.warning("stopped at step %d, which is saved; continue with --resume", trainer.global_step)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)


def newest_checkpoint(out: Path) -> Checkpoint:
    """Read the newest undamaged checkpoint of a run.

    Raises:
        ConfigError: There is none.
    """
    damaged: list[Path] = []
    for path in (out / name for name in CHECKPOINTS):
        if not path.is_file():
            continue
        if (found := _read(path)) is not None:
            if damaged:
                step = found.state["global_step"]
                log.warning("%s is damaged; resuming from %s, step %d", damaged[0], path.name, step)
            return found
        damaged.append(path)
    if damaged:
        raise ConfigError(f"{damaged[0]} is damaged and cannot be resumed; start a new run with another --out")
    raise ConfigError(f"{out}: there is no {LAST} to resume from; leave --resume out to start this run")


def check_fits(checkpoint: Checkpoint, module: SegmentationModule) -> None:
    """Refuse a checkpoint of another version or another network, before Lightning fails on it.

    Raises:
        ConfigError: The checkpoint does not fit.
    """
    path, state = checkpoint
    if not {ScoreLog.__qualname__, BestWeights.__qualname__} <= set(state["callbacks"]):
        raise ConfigError(
            f"{path} was written by another version of segnet and cannot be resumed; finish the run with that "
            f"version, or start a new run from its weights: --model {path.with_name('best.safetensors')}"
        )
    if {name: value.shape for name, value in state["state_dict"].items()} != {
        name: value.shape for name, value in module.state_dict().items()
    }:
        raise ConfigError(
            f"{path} belongs to another network than the one given; "
            f"give the flags of that run: --config {path.with_name('config.yaml')}"
        )


def earlier_data(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Description of the data of a run so far; empty if another version wrote the checkpoint."""
    return _written(checkpoint, "data")


def earlier_settings(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Settings of a run so far by name; empty if another version wrote the checkpoint."""
    return _written(checkpoint, "settings")


def find_position(checkpoint: Checkpoint | None) -> Position:
    """Where a run continues from a checkpoint; without one, at the start."""
    if checkpoint is None:
        return Position(epoch=0, batches=0)
    state: Mapping[str, Any] = checkpoint.state
    progress = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if progress["is_last_batch"]:
        return Position(epoch=state["epoch"] + 1, batches=0)
    return Position(epoch=state["epoch"], batches=progress["current"]["ready"])


def _written(checkpoint: Checkpoint, what: str) -> Mapping[str, Any]:
    written: Mapping[str, Any] = checkpoint.state["callbacks"].get(ResumeCheckpoint.__qualname__, {}).get(what, {})
    return written


def _read(path: Path) -> Checkpoint | None:
    """A checkpoint, or None if it is damaged. PyTorch itself ignores the checksums of the zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                return None
        found = Checkpoint(path, torch.load(path, map_location="cpu", weights_only=True))
        find_position(found)  # which may be of another form
        earlier_data(found)
        return found if {"state_dict", "epoch", "global_step", "loops", "callbacks"} <= set(found.state) else None
    except (*ZIP_ERRORS, LookupError, TypeError, AttributeError, pickle.UnpicklingError):
        return None
