"""Training: the settings of a run, and ``train`` that carries it out on Lightning's Trainer."""

from __future__ import annotations

import logging
import math
import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader, DistributedSampler

from segnet.data.balance import Balance, ClassCounts, class_weights, count_classes
from segnet.data.dataset import SegmentationDataset, collate, worker_error
from segnet.data.transforms import AugmentConfig
from segnet.devices import Precision, pick_device, pick_precision
from segnet.errors import ConfigError, DataError, MissingPackageError, ModelError, OutputError, SegNetError
from segnet.files import replacing
from segnet.metrics import Scores
from segnet.models.segnet import SegNet

if TYPE_CHECKING:
    import lightning

__all__ = ["TrainConfig", "train"]

log = logging.getLogger("segnet")

Optimizer = Literal["muon", "adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
Monitor = Literal["miou", "global_accuracy", "class_average"]

_CHOICES = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "monitor": Monitor,
    "balance": Balance,
}


# What a resumed run may change: none of these alters what a step does.
_MAY_CHANGE = frozenset({"data", "epochs", "precision", "save_memory", "validate_every", "workers"})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run. The defaults suit most data; ``recipes/`` holds those of the published runs.

    Attributes:
        epochs: passes over the training pictures.
        batch: pictures per step.
        lr: highest learning rate; with muon that of the filters, everything else learning at a 25th of it.
        optimizer: muon (see ``optimizers``), adamw, or sgd (momentum 0.9, as published).
        weight_decay: on filters; norms and biases are spared.
        schedule: cosine (down to zero) or constant (as published).
        warmup: share of the run in which the learning rate rises from zero.
        ema: decay per step of the averaged weights that are scored and kept, less in the first steps; 0 turns averaging
            off.
        clip: longest gradient, as a Euclidean norm; 0 turns clipping off.
        balance: loss weights of the classes: none, median, sqrt_median or published.
        label_smoothing: share of the target spread over all classes.
        monitor: the validation score that decides which weights are best: miou, global_accuracy (as published) or
            class_average.
        validate_every: epochs between validations; the last epoch is always validated.
        precision: auto (bf16 where a short timing on this machine shows it to be faster), bf16 or float32.
        save_memory: keep less for the backward pass and compute it again: less memory, more time, the same result.
        workers: processes that read pictures; -1 takes one on small machines, up to four on larger ones.
        seed: of initial weights, order and augmentation.
        augment: see ``AugmentConfig``.
    """

    epochs: int = 100
    batch: int = 8
    lr: float = 0.05
    optimizer: Optimizer = "muon"
    weight_decay: float = 1e-2
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    ema: float = 0.99
    clip: float = 5.0
    balance: Balance = "sqrt_median"
    label_smoothing: float = 0.0
    monitor: Monitor = "miou"
    validate_every: int = 1
    precision: Precision = "auto"
    save_memory: bool = False
    workers: int = -1
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in (choices := get_args(kind)):
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}")
        for name in ("epochs", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give 1 or more")
        for name, low, high in (("warmup", 0, 1), ("ema", 0, 1), ("label_smoothing", 0, 1)):
            if not low <= getattr(self, name) < high:
                raise ConfigError(f"{name}={getattr(self, name)} is not possible; give {low} to below {high}")
        for name in ("lr", "weight_decay", "clip"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name == "lr" and value == 0):
                raise ConfigError(f"{name}={value} is not possible; give a number above 0 (0 is possible but for lr)")
        if self.workers < -1:
            raise ConfigError(f"workers={self.workers} is not possible; give -1 (as many as fit), 0 or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is not possible; give 0 to {2**32 - 1}")

    def to_dict(self) -> dict[str, Any]:
        """All settings under the names of their flags, in a form that YAML and JSON can hold."""
        table = asdict(self)
        table |= table.pop("augment")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}


def train(
    model: SegNet,
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    *,
    out: str | Path,
    config: TrainConfig | None = None,
    resume: bool = False,
    device: str = "auto",
    provenance: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Scores:
    """Train a network and keep its best weights.

    Writes into ``out``: ``best.safetensors`` (the model file), ``last.ckpt`` (to resume), ``metrics.csv`` and
    ``config.yaml``; nothing as long as the settings or the masks cannot be used. A run that was stopped and resumed
    ends with the weights it would have had anyway.

    Args:
        model: the network; it is trained in place and ends with the best weights.
        train_set, val_set: with the same class table as the network.
        out: the run's folder.
        config: see ``TrainConfig``.
        resume: go on from ``out/last.ckpt``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        provenance: kept in the model file.
        settings: what else the run was started with; written to ``config.yaml`` before those of ``config``, and kept in
            the model file.

    Returns:
        The best weights' validation scores.

    Raises:
        ConfigError: ``out`` holds another run, or there is nothing to resume, or it belongs to another network.
        DataError: a picture or mask cannot be used.
        ModelError: the network has another number of classes than the data.
        OutputError: ``out`` cannot be written.
        TrainingError: the loss is not finite.
        MissingPackageError: Lightning or Kornia is not installed.
    """
    config = config or TrainConfig()
    out = Path(out)
    _check_folder(out, resume=resume)
    _check_sets(model, train_set, val_set, config)
    place = pick_device(device)
    lightning = _import_lightning()
    before = _settings_of(out) if resume else {}
    config = replace(config, precision=_precision(config, before, place))
    from segnet import training_loop

    lightning.seed_everything(config.seed, workers=True, verbose=False)
    weights = torch.from_numpy(class_weights(_count(train_set, need_two=True), config.balance, train_set.labels))
    _count(val_set)  # A bad mask is to be told now, not after the first epoch.
    task = training_loop.Task(model, weights, config)
    all_settings = {**(settings or {}), **config.to_dict()}
    epoch = 0
    if resume:
        epoch = _next_epoch(out / "last.ckpt", task)
        _check_unchanged(out / "config.yaml", before, all_settings)
    _start_folder(out, all_settings)
    about = {**(provenance or {}), "settings": all_settings}
    keeper = training_loop.Keeper(out, train_set.labels, config.monitor, about)
    trainer = _trainer(out, config, place, training_loop.callbacks(keeper, config))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        loaders = _loaders(train_set, val_set, config, epoch)
        _fit(trainer, task, *loaders, checkpoint=out / "last.ckpt" if resume else None)
    return keeper.restore_best(model)


def _trainer(out: Path, config: TrainConfig, device: torch.device, callbacks: list[Any]) -> lightning.Trainer:
    trainer: lightning.Trainer = _import_lightning().Trainer(
        accelerator=device.type,
        devices=1 if device.index is None else [device.index],
        max_epochs=config.epochs,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        gradient_clip_val=config.clip or None,
        check_val_every_n_epoch=config.validate_every,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
        callbacks=callbacks,
    )
    return trainer


def _loaders(
    train_set: SegmentationDataset, val_set: SegmentationDataset, config: TrainConfig, epoch: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    workers = config.workers if config.workers >= 0 else min(4, max(1, (os.cpu_count() or 1) // 2))
    # A loader draws a number whenever it begins; from a generator of its own, that leaves augmentation's numbers alone.
    own = torch.Generator()
    loader = partial(DataLoader, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate, generator=own)
    # This sampler's order depends on nothing but seed and epoch, so that a resumed run sees the same batches. Workers
    # fetch the first ones before Lightning tells the sampler its epoch.
    order: DistributedSampler[Any]
    order = DistributedSampler(train_set, num_replicas=1, rank=0, shuffle=True, seed=config.seed)
    order.set_epoch(epoch)
    train_loader = loader(train_set, batch_size=config.batch, sampler=order, drop_last=True)
    return train_loader, loader(val_set, batch_size=1)


def _fit(
    trainer: lightning.Trainer,
    task: lightning.LightningModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    *,
    checkpoint: Path | None,
) -> None:
    try:
        trainer.fit(task, train_loader, val_loader, ckpt_path=checkpoint, weights_only=True)
    except SegNetError as error:
        raise worker_error(error) from None
    except SystemExit:
        if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own.
            raise KeyboardInterrupt from None
        raise


def _check_folder(out: Path, *, resume: bool) -> None:
    last = out / "last.ckpt"
    if resume and not last.is_file():
        raise ConfigError(f"{out}: there is no last.ckpt to resume from; leave --resume out to start this run")
    if not resume and last.exists():
        raise ConfigError(f"{out}: holds a run already; add --resume to go on with it, or give another --out")


def _check_sets(
    model: SegNet, train_set: SegmentationDataset, val_set: SegmentationDataset, config: TrainConfig
) -> None:
    for data in (train_set, val_set):
        if data.labels.classes != model.config.classes:
            raise ModelError(
                f"the network has {model.config.classes} classes but the data {data.labels.classes}; "
                "create it with the data's number of classes"
            )
    if train_set.samples == val_set.samples:
        log.warning("there is no split of its own for validation: the same %d pictures are used for both", len(val_set))
    if len(train_set) < config.batch:
        raise DataError(
            f"{len(train_set)} training pictures are fewer than one batch of {config.batch}; "
            f"give --batch {len(train_set)} or less"
        )


def _count(dataset: SegmentationDataset, *, need_two: bool = False) -> ClassCounts:
    """Pixels by class; every mask is read or was before."""
    counts = count_classes(dataset)
    if not counts.pixels.any():
        raise DataError(
            f"all masks, such as {dataset.samples[0].mask}, are void everywhere; there is nothing to learn or to score"
        )
    present = np.flatnonzero(counts.pixels)
    if len(present) == 1 < dataset.labels.classes and need_two:
        raise DataError(
            f"all {len(dataset)} training masks, such as {dataset.samples[0].mask}, hold nothing but void and class "
            f"{present[0]} ({dataset.labels.names[present[0]]}); if they are black-and-white masks of 0 and 255, save "
            "them as 0 and 1"
        )
    return counts


def _next_epoch(last: Path, task: lightning.LightningModule) -> int:
    """The epoch to go on with; a damaged file, or one of another network, is refused before Lightning fails on it."""
    try:
        state = torch.load(last, map_location="cpu", weights_only=True)
        kept, done = state["state_dict"], int(state["epoch"])
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{last}: is damaged and cannot be resumed; start anew with another --out") from error
    if {name: value.shape for name, value in kept.items()} != {n: v.shape for n, v in task.state_dict().items()}:
        raise ConfigError(
            f"{last}: belongs to another network than the one asked for; "
            f"give the flags of that run: --config {last.with_name('config.yaml')}"
        )
    return done + 1


def _settings_of(out: Path) -> dict[str, Any]:
    file = out / "config.yaml"
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.is_file() else {}
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: is damaged; put it right, or remove it to resume with the flags given") from error


def _precision(config: TrainConfig, before: Mapping[str, Any], device: torch.device) -> Precision:
    """``auto`` is decided once, when a run begins, since a resumed run must compute as before."""
    if config.precision != "auto":
        return config.precision
    if before.get("precision") in {"bf16", "float32"}:
        kept: Precision = before["precision"]
        return kept
    return "bf16" if pick_precision("auto", device) == torch.bfloat16 else "float32"


def _check_unchanged(file: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """The optimiser's state and the best score so far belong to the old settings."""
    for name, value in settings.items():
        if name not in before or before[name] == value:
            continue
        if name not in _MAY_CHANGE:
            raise ConfigError(
                f"{file}: this run was started with {name} {before[name]}, not {value}; "
                f"resume with --config {file}, or start anew with another --out"
            )
        log.warning("resuming with %s %s instead of %s", name, value, before[name])


def _start_folder(out: Path, settings: Mapping[str, Any]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the run's folder cannot be made ({error.strerror}); give another --out") from error
    with replacing(out / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")


def _import_lightning() -> Any:
    try:
        import lightning
    except ImportError as error:
        raise MissingPackageError("lightning", "train") from error
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return lightning
