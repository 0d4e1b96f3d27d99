"""``TrainConfig``: the settings of a run."""

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
"""Settings that a resumed run may change: they do not alter the computation of a step, except for rounding."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run. The defaults suit most data; ``recipes/`` holds those of the published runs.

    Attributes:
        epochs: Passes over the training images.
        batch: Images per step, over all processes. auto takes as many as should fit the memory.
        accumulate: Batches whose gradients are summed before each step.
        lr: Highest learning rate. With muon it applies to the filters, and all other parameters have 1/25 of it.
        encoder_lr: Encoder learning-rate multiplier. Lower it to fine-tune a pretrained encoder.
        optimizer: Optimizer: muon (Muon for filters, AdamW for the rest), adamw, or sgd (momentum 0.9, as published).
        weight_decay: Weight decay of filters. Norms and biases have none.
        schedule: Learning-rate schedule after warm-up. cosine and poly (power 0.9) decay to zero. one_cycle rises for
            30 % of the run, then decays to zero. constant does not decay (as published).
        warmup: Share of the run in which the learning rate rises from zero. one_cycle ignores it.
        ema: Decay per step of the exponential moving average of the weights, which is scored and saved. The decay
            starts lower. 0 turns averaging off.
        clip: Maximum gradient norm (L2). 0 turns clipping off.
        loss: Loss function: cross_entropy, focal, dice, lovasz, ohem, boundary, or a weighted sum such as
            cross_entropy+0.5*lovasz.
        loss_divisor: Divisor of the summed loss: pixels (number of pixels that are not ignored, as published) or
            weights (sum of their class weights, as PyTorch does).
        balance: Class weights of the loss: none, median (median-frequency balancing), sqrt_median (its square root) or
            published (CamVid only).
        label_smoothing: Label smoothing, 0 to below 1: the share of the target that is spread over all classes.
        thaw: Gradual unfreezing schedule, in rising epochs. The deepest encoder stage stays frozen until the first
            epoch given, the stage above until the second, and so on; all others until the last. By default nothing
            is frozen.
        batch_norm: Batch-norm statistics: synced (over the images of all processes), local (of each process by
            itself) or frozen (not updated).
        monitor: Validation score that selects the best weights: miou, global_accuracy (as published) or
            class_average.
        validate_every: Epochs between validations. The last epoch is always validated.
        patience: Early stopping: validations without a better score after which the run ends. 0 turns it off.
        save_every: Minutes between checkpoints (last.ckpt) within an epoch. Every epoch ends with one.
        precision: Precision of computation: float32, bf16, float16 (on CUDA, with a scaled loss) or auto. auto takes
            bf16 on CUDA, and on CPUs that have bfloat16 arithmetic where a short timing shows that it is faster.
        compile: Compile the network with torch.compile.
        save_memory: Recompute activations in the backward pass (gradient checkpointing): less memory, more time, the
            same result.
        workers: Processes that read images. -1 takes half the cores, 1 to 4.
        devices: Processes on this node, each with its own device. torchrun and SLURM override it.
        nodes: Number of nodes. torchrun and SLURM override it.
        strategy: Parallel strategy of several processes: ddp (each holds the whole network), fsdp (each holds a part)
            or auto (ddp).
        loggers: Loggers beside metrics.csv: tensorboard, wandb, mlflow.
        seed: Random seed of initial weights, image order, augmentation and dropout.
        augment: Augmentation of the training images; see ``AugmentConfig``.

    Raises:
        ConfigError: A value is unknown or out of range.
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
        self._check_choices()
        self._check_ranges()
        if list(self.thaw) != sorted(set(self.thaw)) or (self.thaw and self.thaw[0] < 1):
            raise ConfigError(f"thaw={list(self.thaw)} is not possible; give rising epochs, 1 or more")
        if self.strategy == "fsdp" and (self.optimizer == "muon" or self.ema):
            raise ConfigError(
                "fsdp splits filters among processes, which muon and averaging do not support; use adamw and ema 0"
            )

    @property
    def images(self) -> int:
        """Images per step over all processes, once ``batch`` is a number."""
        assert self.batch != "auto"
        return self.batch

    def _check_choices(self) -> None:
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in (choices := get_args(kind)):
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")
        for logger in self.loggers:
            if logger not in get_args(Logger):
                raise ConfigError(f"logger {logger!r} is unknown; choose from {', '.join(get_args(Logger))}")

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
                    f"{name}={value} is not possible; give a number above 0 (or 0, except for lr and save_every)"
                )
        if self.workers < -1:
            raise ConfigError(f"workers={self.workers} is not possible; give -1 (half the cores, 1 to 4), 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is not possible; give 0 to {2**32 - 1}")

    def to_dict(self) -> dict[str, Any]:
        """All settings by the names of their flags, with values that YAML and JSON can hold."""
        table = asdict(self)
        table |= table.pop("augment")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}
