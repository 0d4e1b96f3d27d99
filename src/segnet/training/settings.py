"""The settings of a run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from segnet.data.augmentation import AugmentConfig
from segnet.data.class_weights import Balance
from segnet.errors import ConfigError
from segnet.training.losses import Divisor

__all__ = ["MAY_CHANGE", "TrainConfig"]

Batch = int | Literal["auto"]
Optimizer = Literal["muon", "adamw", "sgd"]
Schedule = Literal["cosine", "poly", "one_cycle", "constant"]
Monitor = Literal["miou", "global_accuracy", "class_average"]
Precision = Literal["auto", "float32", "bf16", "float16"]
BatchNorm = Literal["synced", "local", "frozen"]
Strategy = Literal["auto", "ddp", "fsdp"]
Logger = Literal["tensorboard", "wandb", "mlflow"]

_CHOICES = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "monitor": Monitor,
    "balance": Balance,
    "loss_divisor": Divisor,
    "batch_norm": BatchNorm,
    "strategy": Strategy,
}

MAY_CHANGE = frozenset({
    "data", "devices", "epochs", "loggers", "nodes", "patience", "precision", "save_every", "save_memory", "strategy",
    "validate_every", "workers",
})  # fmt: skip
"""What a resumed run may change: none of these alters what a step does, but for rounding."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run. The defaults suit most data; ``recipes/`` holds those of the published runs.

    Attributes:
        epochs: passes over the training images.
        batch: images per step, over all processes; auto takes as many as should fit the memory.
        accumulate: batches whose gradients are added up for one step.
        lr: highest learning rate; with muon that of the filters, everything else learning at a 25th of it.
        encoder_lr: share of the learning rate that the encoder gets.
        optimizer: muon (see ``optimizers``), adamw, or sgd (momentum 0.9, as published).
        weight_decay: on filters; norms and biases are spared.
        schedule: cosine or poly (power 0.9), both down to zero; one_cycle (up for 30 % of the run, then down to zero);
            constant (as published).
        warmup: share of the run in which the learning rate rises from zero; one_cycle has its own.
        ema: decay per step of the averaged weights that are scored and kept, less in the first steps; 0 turns averaging
            off.
        clip: longest gradient, as a Euclidean norm; 0 turns clipping off.
        loss: cross_entropy, focal, dice, lovasz, ohem, boundary, or a sum such as cross_entropy+0.5*lovasz.
        loss_divisor: whether the loss is divided by the number of counted pixels (as published) or by the sum of their
            weights.
        balance: loss weights of the classes: none, median, sqrt_median or published.
        label_smoothing: share of the target spread over all classes.
        thaw: epochs, rising, before which encoder stages stay as they are: the deepest until the first, the one above
            until the second, and so on, all others until the last. Left out, all learn from the start.
        batch_norm: statistics over the images of all processes (synced), of each by itself (local), or kept as they
            are (frozen).
        monitor: the validation score that decides which weights are best: miou, global_accuracy (as published) or
            class_average.
        validate_every: epochs between validations; the last epoch is always validated.
        patience: validations without a better score after which the run ends; 0: never.
        save_every: minutes between two writings of last.ckpt within an epoch; each epoch ends with one.
        precision: auto (bf16 on CUDA, and on a CPU that has it and in a short timing is faster with it), bf16, float16
            (on CUDA, with a scaled loss) or float32.
        compile: have torch.compile build the network's kernels.
        save_memory: keep less for the backward pass and compute it again: less memory, more time, the same result.
        workers: processes that read images; -1 takes one on small machines, up to four on larger ones.
        devices: processes on this machine, each with a device of its own; under torchrun or SLURM as many as they
            start.
        nodes: machines.
        strategy: of several processes: ddp (each holds the network) or fsdp (it is shared out); auto takes ddp.
        loggers: tensorboard, wandb, mlflow, beside metrics.csv.
        seed: of initial weights, order and augmentation.
        augment: see ``AugmentConfig``.

    Raises:
        ConfigError: a value is not possible.
    """

    epochs: int = 100
    batch: Batch = 8
    accumulate: int = 1
    lr: float = 0.05
    encoder_lr: float = 1.0
    optimizer: Optimizer = "muon"
    weight_decay: float = 1e-2
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    ema: float = 0.99
    clip: float = 5.0
    loss: str = "cross_entropy"
    loss_divisor: Divisor = "pixels"
    balance: Balance = "sqrt_median"
    label_smoothing: float = 0.0
    thaw: tuple[int, ...] = ()
    batch_norm: BatchNorm = "synced"
    monitor: Monitor = "miou"
    validate_every: int = 1
    patience: int = 0
    save_every: float = 10.0
    precision: Precision = "auto"
    compile: bool = False
    save_memory: bool = False
    workers: int = -1
    devices: int = 1
    nodes: int = 1
    strategy: Strategy = "auto"
    loggers: tuple[Logger, ...] = ()
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in (choices := get_args(kind)):
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")
        for logger in self.loggers:
            if logger not in get_args(Logger):
                raise ConfigError(f"logger {logger!r} is unknown; choose from {', '.join(get_args(Logger))}")
        self._check_ranges()
        if list(self.thaw) != sorted(set(self.thaw)) or (self.thaw and self.thaw[0] < 1):
            raise ConfigError(f"thaw={list(self.thaw)} is not possible; give rising numbers of epochs, 1 or more")
        if self.strategy == "fsdp" and (self.optimizer == "muon" or self.ema):
            raise ConfigError("fsdp shares filters out, which neither muon nor averaging can; take adamw and ema 0")

    @property
    def images(self) -> int:
        """Of a step over all processes, once that is decided."""
        assert self.batch != "auto"
        return self.batch

    def _check_ranges(self) -> None:
        for name, least in (
            ("epochs", 1), ("validate_every", 1), ("accumulate", 1), ("devices", 1), ("nodes", 1), ("batch", 1),
            ("patience", 0),
        ):  # fmt: skip
            if getattr(self, name) != "auto" and getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give {least} or more")
        for name, low, high in (("warmup", 0, 1), ("ema", 0, 1), ("label_smoothing", 0, 1)):
            if not low <= getattr(self, name) < high:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give {low} to below {high}")
        for name in ("lr", "weight_decay", "clip", "encoder_lr", "save_every"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name in {"lr", "save_every"} and value == 0):
                raise ConfigError(
                    f"{name}={value} is not possible; give a number above 0 (0 is possible but for lr and save_every)"
                )
        if self.workers < -1:
            raise ConfigError(f"workers={self.workers} is not possible; give -1 (as many as fit), 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is not possible; give 0 to {2**32 - 1}")

    def to_dict(self) -> dict[str, Any]:
        """All settings under the names of their flags, in a form that YAML and JSON can hold."""
        table = asdict(self)
        table |= table.pop("augment")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}
