"""Lightning's Trainer for a run: precision, strategy, loggers and the order of images."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segnet.errors import ConfigError, DataError, MissingPackageError
from segnet.training.distributed import count_processes
from segnet.training.lightning import Callback, DDPStrategy, FSDPStrategy, TorchCheckpointIO, Trainer, loggers
from segnet.training.loaders import Order
from segnet.training.resume import Position
from segnet.training.settings import TrainConfig

__all__ = ["make_loggers", "make_order", "make_trainer"]

_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "float16": "16-mixed"}
_STEPS_BETWEEN_LOGS = 10


def make_trainer(
    out: Path, config: TrainConfig, device: torch.device, callbacks: list[Callback], loggers: list[Any]
) -> Trainer:
    """Lightning's Trainer with the settings of a run.

    Args:
        out: Folder of the run.
        config: Settings of the run, with precision and batch resolved.
        device: Device of the network.
        callbacks: In the order in which they run.
        loggers: From ``make_loggers``.
    """
    devices, nodes = count_processes(config)
    return Trainer(
        accelerator=device.type,
        devices=devices if device.index is None else [device.index],
        num_nodes=nodes,
        strategy=_make_strategy(config, devices * nodes),
        max_epochs=config.epochs,
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip or None,
        check_val_every_n_epoch=config.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=_STEPS_BETWEEN_LOGS,
        use_distributed_sampler=False,
        logger=loggers or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
        callbacks=callbacks,
        plugins=[_DirectWriting()],
    )


def make_loggers(out: Path, config: TrainConfig) -> list[Any]:
    """Lightning's loggers of a run. Nothing is written yet.

    Raises:
        MissingPackageError: The package of a logger is not installed.
    """
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
            raise MissingPackageError.of(name, name) from error
    return made


def make_order(trainer: Trainer, config: TrainConfig, images: int, position: Position) -> Order:
    """Order in which this process reads its part of every batch.

    Args:
        trainer: Knows the rank and the number of processes.
        config: Settings of the run.
        images: Number of training images.
        position: Where the run starts or continues.

    Raises:
        ConfigError: The batch is not a multiple of the number of processes.
        DataError: There are fewer images than one batch.
    """
    count = trainer.world_size
    if config.images % count:
        raise ConfigError(
            f"a batch of {config.batch} cannot be divided among {count} processes; give a multiple of {count}"
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
        done=position.batches,
    )


class _DirectWriting(TorchCheckpointIO):
    """Writes a checkpoint to its path. Lightning's own writing leaves a copy in the system's temporary folder if the
    process is killed; ``ResumeCheckpoint`` gives a temporary name anyway.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()  # PyTorch reports a full disk by an error that does not say so
        torch.save(checkpoint, buffer)
        Path(path).write_bytes(buffer.getbuffer())


def _make_strategy(config: TrainConfig, processes: int) -> Any:
    if processes == 1:
        return "auto"
    if config.strategy == "fsdp":
        return FSDPStrategy(state_dict_type="full")
    # Synced statistics are the same everywhere already; frozen stages have no gradients to wait for.
    return DDPStrategy(broadcast_buffers=config.batch_norm == "local", find_unused_parameters=bool(config.unfreeze_at))
