"""``train``: a run from its settings to its best weights, on Lightning's Trainer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from segnet.data.class_weights import class_weights
from segnet.data.dataset import SegmentationDataset, worker_error
from segnet.errors import ConfigError, DataError, MissingPackageError, SegNetError, TrainingError
from segnet.metrics.confusion import Scores
from segnet.models.segnet import SegNet
from segnet.system.devices import pick_device
from segnet.training.batch_norm import sync
from segnet.training.distributed import is_first_process, processes, strategy
from segnet.training.folder import check_unchanged, check_unused, settings_of, start_folder
from segnet.training.loaders import Order, make_loaders
from segnet.training.losses import check_loss
from segnet.training.preparing import check_possible, check_sets, count_pixels, decided, longest_side
from segnet.training.settings import TrainConfig

if TYPE_CHECKING:
    import lightning

    from segnet.training.keeping import Keeper
    from segnet.training.network import RunInputs
    from segnet.training.reporting import Reporter
    from segnet.training.resuming import Position
    from segnet.training.task import Task
    from segnet.training.watching import Collapse

__all__ = ["train"]

log = logging.getLogger("segnet")

_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "float16": "16-mixed"}
# What Gloo and NCCL say of a process that is gone.
_GONE = ("closed by peer", "reset by peer", "NCCL", "Broken pipe", "Timed out waiting")


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
    inputs: RunInputs | None = None,
) -> Scores:
    """Train a network and keep its best weights.

    Writes into ``out``: ``best.safetensors`` (the model file), ``last.ckpt`` and ``previous.ckpt`` (to resume),
    ``metrics.csv``, ``config.yaml`` and ``report.html``; nothing as long as the settings or the masks cannot be used. A
    run that was stopped and resumed ends with the weights it would have had anyway.

    Args:
        model: the network; it is trained in place and ends with the best weights.
        train_set, val_set: with the same class table as the network.
        out: the run's folder.
        config: see ``TrainConfig``.
        resume: go on from ``out/last.ckpt``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        provenance: kept in the model file.
        inputs: what else the run starts from; written to ``config.yaml`` before ``config``, and kept in the model file.

    Returns:
        The best weights' validation scores.

    Raises:
        ConfigError: ``out`` holds another run, or there is nothing to resume, or it belongs to another network.
        DataError: an image or mask cannot be used.
        ModelError: the network has another number of classes than the data.
        OutputError: ``out`` cannot be written.
        TrainingError: the loss is not finite, the memory is not enough, or another process of the run is gone.
        MissingPackageError: Lightning, Kornia or a logger is not installed.
    """
    config, out = config or TrainConfig(), Path(out)
    if not is_first_process():
        log.setLevel(logging.ERROR)  # one speaks for all
    lightning = _import_lightning()
    loggers = _loggers(out, config)
    from segnet.training import keeping, reporting, resuming, task, watching

    if not resume:
        check_unused(out, (resuming.LAST, resuming.PREVIOUS))
    checkpoint, state = resuming.newest_checkpoint(out) if resume else (None, {})
    check_loss(config.loss)
    place = pick_device(device)
    check_possible(config, model, place)
    check_sets(model, train_set, val_set)
    before = settings_of(out) if resume else {}
    config = decided(config, before, place, model, train_set)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    counts = count_pixels(train_set, need_two=True)
    weights = torch.from_numpy(class_weights(counts, config.class_weights, train_set.labels))
    count_pixels(val_set)  # A bad mask is to be told now, not after the first epoch.
    network = task.Task(model, weights, config)
    all_settings = {**(inputs.to_dict() if inputs else {}), **config.to_dict()}
    if checkpoint is not None:
        resuming.check_fits(checkpoint, state, network)
        check_unchanged(out / "config.yaml", before, all_settings)
        if resuming.position(state).epoch >= config.epochs:
            log.warning("all %d epochs of this run are done; give more --epochs to go on", config.epochs)
    told = {**(provenance or {}), "longest": longest_side(train_set), "settings": all_settings}
    keeper = keeping.Keeper(out, train_set.labels, config.monitor, told)
    collapse = watching.Collapse(keeper)
    reporter = reporting.Reporter(keeper, collapse, train_set, val_set, title=model.config.name, settings=all_settings)
    trainer = _trainer(out, config, place, _callbacks(config, keeper, collapse, reporter), loggers)
    order = _order(trainer, config, len(train_set), resuming.position(state))
    if trainer.is_global_zero:
        start_folder(out, all_settings)
    if trainer.world_size > 1 and config.batch_norm == "synced":
        sync(model)
    with warnings.catch_warnings(), _told(config, trainer.world_size):
        warnings.filterwarnings("ignore", module="lightning")
        loaders = make_loaders(train_set, val_set, order, workers=config.workers)
        _fit(trainer, network, *loaders, checkpoint=checkpoint)
    scores = keeper.restore_best(model)
    if trainer.is_global_zero:
        reporter.finish(model, place)
    return scores


def _trainer(
    out: Path, config: TrainConfig, device: torch.device, callbacks: list[Any], loggers: list[Any]
) -> lightning.Trainer:
    devices, nodes = processes(config)
    trainer: lightning.Trainer = _import_lightning().Trainer(
        accelerator=device.type,
        devices=devices if device.index is None else [device.index],
        num_nodes=nodes,
        strategy=strategy(config, devices * nodes),
        max_epochs=config.epochs,
        precision=_PRECISIONS[config.precision],
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip or None,
        check_val_every_n_epoch=config.validate_every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=loggers or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
        callbacks=callbacks,
    )
    return trainer


def _order(trainer: lightning.Trainer, config: TrainConfig, images: int, position: Position) -> Order:
    """This process's part of every batch."""
    count = trainer.world_size
    if config.images % count:
        raise ConfigError(
            f"a batch of {config.batch} cannot be shared out to {count} processes; give a multiple of {count}"
        )
    if images < config.images:
        raise DataError(
            f"{images} training images are fewer than one batch of {config.batch}; give --batch {images} or less"
        )
    return Order(
        images,
        config.images,
        seed=config.seed,
        rank=trainer.global_rank,
        processes=count,
        epoch=position.epoch,
        done=position.done,
    )


def _loggers(out: Path, config: TrainConfig) -> list[Any]:
    if not config.loggers:
        return []
    from lightning.pytorch import loggers

    makers: dict[str, Callable[[], Any]] = {
        "tensorboard": partial(loggers.TensorBoardLogger, out, name="", version="events"),
        "wandb": partial(loggers.WandbLogger, save_dir=out, name=out.name, config=config.to_dict()),
        "mlflow": partial(loggers.MLFlowLogger, run_name=out.name, save_dir=str(out / "mlruns")),
    }
    made = []
    for name in config.loggers:
        try:
            made.append(makers[name]())
        except ModuleNotFoundError as error:
            raise MissingPackageError(name, name) from error
    return made


def _callbacks(config: TrainConfig, keeper: Keeper, collapse: Collapse, reporter: Reporter) -> list[Any]:
    """In the order they must run: the keeper scores and writes while the averaged weights are in place."""
    from segnet.training import keeping, resuming, watching

    return [
        keeper,
        *([keeping.Averaging(config.ema)] if config.ema else []),
        watching.Watch(keeper),
        collapse,
        *([watching.Patience(keeper, config.patience)] if config.patience else []),
        *([watching.Log(keeper)] if config.loggers else []),
        reporter,
        resuming.Resumable(keeper.out, config.save_every),
    ]


def _fit(
    trainer: lightning.Trainer,
    task: Task,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    *,
    checkpoint: Path | None,
) -> None:
    try:
        trainer.fit(task, train_loader, val_loader, ckpt_path=checkpoint, weights_only=True)
    except SegNetError as error:
        raise worker_error(error) from None
    except SystemExit as exit_:
        if trainer.interrupted and exit_.code == 1:  # Lightning turns Ctrl-C into an exit of its own.
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _told(config: TrainConfig, count: int) -> Iterator[None]:
    """What a user can mend of what PyTorch raises, in one sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, SegNetError):
            raise
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
            raise TrainingError(
                f"the memory is not enough for a batch of {config.batch}: halve --batch and double --accumulate, give "
                "a smaller --crop, or add --save-memory"
            ) from error
        if "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text):
            raise TrainingError(
                "a process that reads images was killed, often for want of memory: give fewer --workers, and go on "
                "with --resume"
            ) from error
        if count > 1 and any(words in text for words in _GONE):
            raise TrainingError(
                "another process of this run is gone, so it ends here; look at what that one said, and go on with "
                "--resume, also with another number of processes"
            ) from error
        raise


def _import_lightning() -> Any:
    try:
        import lightning
    except ImportError as error:
        raise MissingPackageError("lightning", "train") from error
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lightning
