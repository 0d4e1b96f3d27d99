"""``TrainConfig``: the settings of a run."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from segnet.data.augment_config import AugmentConfig
from segnet.data.class_weights import Balance
from segnet.errors import ConfigError
from segnet.media.images.resizing import check_scales

__all__ = ["MAY_CHANGE", "TrainConfig"]

Divisor = Literal["pixels", "weights"]
"""What a loss is divided by; see ``loss_divisor``."""

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
    "class_weights": Balance,
    "loss_divisor": Divisor,
    "batch_norm": BatchNorm,
    "strategy": Strategy,
}

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smh])")

MAY_CHANGE = frozenset({
    "add", "data", "devices", "epochs", "loggers", "nodes", "patience", "precision", "save_every", "save_memory",
    "strategy", "time", "unlabeled", "validate_every", "workers",
})  # fmt: skip
"""Settings that a resumed run may change: they do not alter the computation of a step, except for rounding."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run. The defaults suit random weights; ``segnet train`` chooses others from the data.

    Attributes:
        epochs: Number of passes over the training images. Default: chosen from the number of images; 100 with --recipe
            scratch.
        time: Wall time of the run, validations and report included, such as 90s, 10m or 1.5h. Some steps are measured
            first, then epochs, crop, batch and validations are chosen to fit. The run ends when the first of time and
            epochs is over, with the learning-rate schedule finished. A resumed run has the time that was left. Default:
            none, the epochs alone count.
        batch: Batch size in images per step, over all processes. auto takes the largest that should fit into memory.
            Default: chosen from the machine and the number of images; 8 with --recipe scratch.
        accumulate: Number of batches whose gradients are accumulated for one step. Raise it if a larger batch does not
            fit into memory.
        lr: Peak learning rate. With muon it is that of the filters, and all else learns at a 25th of it. --find-lr
            proposes one. Default: that of the optimizer and the first weights; 0.05 with --recipe scratch.
        encoder_lr: Learning-rate multiplier of the encoder. Lower it, to 0.1 for instance, to keep pretrained weights.
        optimizer: Optimizer. sgd has momentum 0.9, as published; muon is explained in segnet.training.optimizers.
            Default: adamw for pretrained weights, muon for random ones and with --recipe scratch.
        weight_decay: Weight decay of the filters; norms and biases have none.
        schedule: Learning-rate schedule. cosine and poly (power 0.9) fall to zero; one_cycle rises for 30 % of the
            run, then falls to zero; constant is as published.
        warmup: Share of the run in which the learning rate rises from zero; one_cycle has its own.
        ema: Decay per step of the exponential moving average of the weights, which is scored and kept. It is less in
            the first steps. Set 0 to turn averaging off. Default: an average over a twentieth of the run; 0.99 with
            --recipe scratch.
        clip: Maximum gradient norm. Set 0 to turn clipping off.
        loss: Loss: cross_entropy, focal, dice, lovasz, ohem, boundary, or a sum. Default: cross_entropy+0.5*lovasz;
            cross_entropy with --recipe scratch.
        loss_divisor: Divisor of the loss: the number of counted pixels, as published, or the sum of their class
            weights.
        class_weights: Loss weights of the classes. median balances rare classes as in the paper, inverse more, enet and
            effective by other formulas, sqrt_median does so less, and published is the authors' list for CamVid.
        label_smoothing: Label smoothing: share of the target that is spread over all classes, from 0 to below 1.
        prior_correction: Share of the effect of the class weights on predictions that is undone, from 0 to 1. Class
            weights make a network learn rare classes, and predict them too often. With 0.5 mIoU rises, with 1
            global accuracy; class average falls.
        teacher: Model files, or names of bundled models, whose mean probabilities are learned besides the masks
            (distillation). Default: none. Give better networks that were trained on the same classes.
        teacher_scales: Factors at which teachers see each image; their probabilities are averaged. Add sizes,
            0.75,1,1.25 for instance, for better probabilities and longer steps.
        distillation: Factor of the distillation loss.
        unlabeled: Images without masks, such as frames of a drive, on which the predictions of --teacher are learned
            too: files, folders or globs. Default: none.
        unfreeze_at: Gradual unfreezing schedule: rising epochs at which encoder stages start to train, the deepest
            stage at the first, all others at the last. Default: all stages train from the start.
        batch_norm: Batch-norm statistics: over all processes (synced), of each process (local), or fixed (frozen).
            Take frozen for very small batches.
        monitor: Validation score by which the best weights are chosen. global_accuracy is as published.
        validate_every: Number of epochs between validations; the last epoch is always validated. Default: for ten
            validations in the run; 1 with --recipe scratch.
        patience: Early stopping: number of validations without a better score after which training ends. Default: 0,
            never.
        save_every: Time in minutes between two writes of last.ckpt within an epoch; each epoch ends with one, and the
            first comes after a minute at the latest.
        precision: Precision of computation. auto takes bf16 on CUDA, and on CPUs with bfloat16 arithmetic where a short
            timing shows it to be faster; float16 needs CUDA and scales the loss.
        compile: Compile the network with torch.compile (PyTorch 2.12). The start takes longer, each step less time.
        save_memory: Recompute activations in the backward pass (activation checkpointing): less memory, more time, the
            same result.
        workers: Number of processes that read images. Default: -1, one to four by the number of cores. Raise it if
            training waits for images.
        devices: Number of processes on each node, each with a device of its own. torchrun and SLURM decide it
            themselves.
        nodes: Number of nodes.
        strategy: Strategy of several processes: ddp copies the network to each, fsdp shards it. auto takes ddp.
        loggers: Loggers besides metrics.csv. Default: none.
        seed: Random seed of initial weights, order and augmentation. Change it to repeat a run with other chances.
        augment: Augmentation, see ``AugmentConfig``.

    Raises:
        ConfigError: A value is unknown or out of range.
    """

    epochs: int = 100
    time: str | None = None
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
    class_weights: Balance = "sqrt_median"
    label_smoothing: float = 0.0
    prior_correction: float = 0.0
    teacher: tuple[str, ...] = ()
    teacher_scales: tuple[float, ...] = (1.0,)
    distillation: float = 1.0
    unlabeled: tuple[str, ...] = ()
    unfreeze_at: tuple[int, ...] = ()
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
        _ = self.seconds  # refuses what is no time
        if list(self.unfreeze_at) != sorted(set(self.unfreeze_at)) or (self.unfreeze_at and self.unfreeze_at[0] < 1):
            raise ConfigError(f"unfreeze_at={list(self.unfreeze_at)} is not possible; give rising epochs, 1 or more")
        self._check_teaching()
        if self.strategy == "fsdp" and (self.optimizer == "muon" or self.ema):
            raise ConfigError(
                "fsdp splits filters among processes, which muon and averaging do not support; use adamw and ema 0"
            )

    @property
    def images(self) -> int:
        """Images per step over all processes, once ``batch`` is a number."""
        assert self.batch != "auto"
        return self.batch

    @property
    def seconds(self) -> float | None:
        """``time`` in seconds."""
        return None if self.time is None else _read_duration(self.time)

    def _check_choices(self) -> None:
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in (choices := get_args(kind)):
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")
        for logger in self.loggers:
            if logger not in get_args(Logger):
                raise ConfigError(f"logger {logger!r} is unknown; choose from {', '.join(get_args(Logger))}")

    def _check_ranges(self) -> None:
        if self.batch != "auto" and not isinstance(self.batch, int):
            raise ConfigError(f"batch={self.batch!r} is not possible; give a number of images, or auto")
        for name, least in (
            ("epochs", 1), ("validate_every", 1), ("accumulate", 1), ("devices", 1), ("nodes", 1), ("batch", 1),
            ("patience", 0),
        ):  # fmt: skip
            if getattr(self, name) != "auto" and getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give {least} or more")
        for name, low, high in (("warmup", 0, 1), ("ema", 0, 1), ("label_smoothing", 0, 1)):
            if not low <= getattr(self, name) < high:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give {low} to below {high}")
        if not 0 <= self.prior_correction <= 1:
            raise ConfigError(f"prior_correction={self.prior_correction} is not possible; give 0 to 1")
        for name in ("lr", "weight_decay", "clip", "encoder_lr", "save_every", "distillation"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name in {"lr", "save_every"} and value == 0):
                raise ConfigError(
                    f"{name}={value} is not possible; give a number above 0 (or 0, except for lr and save_every)"
                )
        if self.workers < -1:
            raise ConfigError(f"workers={self.workers} is not possible; give -1 (half the cores, 1 to 4), 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is not possible; give 0 to {2**32 - 1}")

    def _check_teaching(self) -> None:
        check_scales("teacher_scales", self.teacher_scales)
        if self.unlabeled and not self.teacher:
            raise ConfigError("unlabeled images need a teacher; give --teacher a model of the same classes")

    def to_dict(self) -> dict[str, Any]:
        """All settings by the names of their flags, with values that YAML and JSON can hold."""
        table = asdict(self)
        table |= table.pop("augment")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}


def _read_duration(text: str) -> float:
    """Seconds of a time such as ``90s``, ``10m`` or ``1.5h``.

    Raises:
        ConfigError: It is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"time={text!r} is not possible; give a number with s, m or h, such as 90s, 10m or 1.5h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
