"""Where a run was: checkpoints that are written whole, kept twice, and gone on from."""

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

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from segnet.errors import ConfigError
from segnet.system.files import replacing
from segnet.training.task import Task

__all__ = ["LAST", "PREVIOUS", "Position", "Resumable", "check_fits", "newest_checkpoint", "position"]

log = logging.getLogger("segnet")

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"

_TERMINATED = 128 + signal.SIGTERM


class Position(NamedTuple):
    """Where a run goes on: the epoch, counted from 0, and how many of its batches are done."""

    epoch: int
    done: int


class Resumable(Callback):
    """Writes ``last.ckpt``, and keeps the one before; must run after all callbacks that have a state.

    That is at the end of every epoch, within one every ``minutes``, and before the run ends by SIGTERM or Ctrl-C.

    Args:
        out: the run's folder.
        minutes: between two writings.
    """

    def __init__(self, out: Path, minutes: float) -> None:
        self.out = out
        self.minutes = minutes
        self._signal = 0
        self._written = time.monotonic()
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """From now on a signal is heard at the end of a step, in place of what Lightning does with it."""
        self._written = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._handlers[number] = signal.signal(number, self._hear)
            except ValueError:  # not in the main thread, where alone signals are heard
                return

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Write when it is time; after an epoch's last batch its end does."""
        whole_step = (index + 1) % trainer.accumulate_grad_batches == 0
        if not whole_step or index + 1 >= trainer.num_training_batches:
            return
        heard = self._heard(trainer)
        if heard or trainer.strategy.reduce_boolean_decision(self._is_time(), all=False):
            self._write(trainer)
        self._leave(trainer, heard)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write, also when it is not time."""
        self._write(trainer)
        self._leave(trainer, self._heard(trainer))

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Signals mean again what they meant before."""
        self._stop_hearing()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """The same after an error."""
        self._stop_hearing()

    def _stop_hearing(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:  # impatient
            raise KeyboardInterrupt
        self._signal = number

    def _heard(self, trainer: lightning.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False)

    def _is_time(self) -> bool:
        return time.monotonic() - self._written > 60 * self.minutes

    def _write(self, trainer: lightning.Trainer) -> None:
        """To a temporary name, then rename; the one before keeps its place behind it."""
        self._written = time.monotonic()
        last = self.out / LAST
        if not trainer.is_global_zero:
            trainer.save_checkpoint(last)  # takes part, and writes nothing
            return
        with replacing(last) as temporary:
            trainer.save_checkpoint(temporary)
            if last.exists():
                last.replace(self.out / PREVIOUS)

    def _leave(self, trainer: lightning.Trainer, heard: bool) -> None:
        if not heard:
            return
        if trainer.is_global_zero:
            log.warning("stopped at step %d, which is kept; go on with --resume", trainer.global_step)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(_TERMINATED)


def newest_checkpoint(out: Path) -> tuple[Path, dict[str, Any]]:
    """The newest of a run's checkpoints that is whole, and what it holds.

    Raises:
        ConfigError: there is none.
    """
    damaged: list[Path] = []
    for path in (out / LAST, out / PREVIOUS):
        if not path.is_file():
            continue
        if state := _read(path):
            if damaged:
                log.warning("%s: is damaged; going on from %s, of step %d", damaged[0], path.name, state["global_step"])
            return path, state
        damaged.append(path)
    if damaged:
        raise ConfigError(f"{damaged[0]}: is damaged and cannot be resumed; start anew with another --out")
    raise ConfigError(f"{out}: there is no {LAST} to resume from; leave --resume out to start this run")


def check_fits(path: Path, state: Mapping[str, Any], task: Task) -> None:
    """Refuse a checkpoint of another network, before Lightning fails on it.

    Raises:
        ConfigError: it is one.
    """
    if {name: value.shape for name, value in state["state_dict"].items()} != {
        name: value.shape for name, value in task.state_dict().items()
    }:
        raise ConfigError(
            f"{path}: belongs to another network than the one asked for; "
            f"give the flags of that run: --config {path.with_name('config.yaml')}"
        )


def position(state: Mapping[str, Any]) -> Position:
    """Where a checkpoint goes on; without one, at the beginning."""
    if not state:
        return Position(epoch=0, done=0)
    progress = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if progress["is_last_batch"]:
        return Position(epoch=state["epoch"] + 1, done=0)
    return Position(epoch=state["epoch"], done=progress["current"]["ready"])


def _read(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; None if it is damaged. Its parts carry checksums, which PyTorch does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if {"state_dict", "epoch", "global_step", "loops", "callbacks"} <= set(state) else None
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None
