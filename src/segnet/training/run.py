"""``train``: a run from its settings to its best weights, on Lightning's Trainer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from segnet.data.class_weights import class_weights
from segnet.data.dataset import SegmentationDataset
from segnet.data.tensors import worker_error
from segnet.data.unlabeled import UnlabeledImages
from segnet.errors import ConfigError, SegNetError, TrainingError
from segnet.metrics.confusion import Scores
from segnet.models.segnet import SegNet
from segnet.system.clock import now
from segnet.system.devices import pick_device
from segnet.system.signals import TERMINATED
from segnet.training.averaging import ExponentialMovingAverage
from segnet.training.batch_norm import synced_batch_norm
from segnet.training.best_weights import BestWeights
from segnet.training.collapse import CollapseDetector
from segnet.training.distillation import Teacher
from segnet.training.distributed import is_first_process
from segnet.training.early_stopping import ResumableEarlyStopping
from segnet.training.lightning import Callback, LearningRateMonitor, Trainer, seed_everything
from segnet.training.loaders import ValidationImages, make_loaders, training_resize
from segnet.training.losses import check_loss
from segnet.training.memory_format import pick_memory_format
from segnet.training.module import SegmentationModule
from segnet.training.pace import PaceAdvice
from segnet.training.progress import TrainingProgress
from segnet.training.report_writer import ReportWriter
from segnet.training.resume import (
    Checkpoint,
    ResumeCheckpoint,
    check_fits,
    earlier_data,
    earlier_settings,
    find_position,
    newest_checkpoint,
)
from segnet.training.run_config import RunInputs
from segnet.training.run_data import check_same_data, describe_data, describe_size
from segnet.training.run_folder import (
    check_settings_file,
    check_unchanged,
    check_unused,
    prepare_folder,
    read_settings,
    removing_failed_start,
)
from segnet.training.score_log import ScoreLog
from segnet.training.settings import TrainConfig
from segnet.training.setup import check_config, check_sets, count_pixels, median_longest_side, resolve_config
from segnet.training.step_times import StepTimes
from segnet.training.time_limit import TimeLimit
from segnet.training.trainer import make_loggers, make_order, make_trainer

__all__ = ["train"]

log = logging.getLogger("segnet")

# Phrases in the errors of Gloo and NCCL when another process has ended.
_PROCESS_ENDED = ("closed by peer", "reset by peer", "NCCL", "Broken pipe", "Timed out waiting")


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
    started: float | None = None,
) -> Scores:
    """Train a network and save its best weights.

    Writes into ``out``: ``best.safetensors`` (the model file), ``last.ckpt`` and ``previous.ckpt`` (to resume),
    ``metrics.csv``, ``config.yaml`` and ``report.html``. Settings and masks are checked before anything is written.
    A run that was stopped and resumed ends with exactly the weights of a run that was not.

    Args:
        model: The network. It is trained in place and ends with the best weights.
        train_set, val_set: Data sets with the classes of the network.
        out: Folder of the run.
        config: Settings of the run; the defaults of ``TrainConfig`` if None.
        resume: Continue from ``out/last.ckpt``.
        device: auto, cpu, cuda, cuda:1 or mps.
        provenance: Written into the model file.
        inputs: Data and network that the run starts from, for the record: written into ``config.yaml`` before the
            settings of ``config``, into the model file and the report, and compared on resume.
        started: When a run with ``config.time`` began, by ``segnet.system.clock.now``; None: now.

    Returns:
        Validation scores of the best weights.

    Raises:
        ConfigError: Settings contradict each other or the size of the images, ``out`` already holds a run or a
            ``config.yaml`` of the user's, there is no run to resume, the data is not that of the resumed run, or the
            time is too short for a step.
        DataError: An image or mask cannot be used.
        ModelError: The network has another number of classes than the data.
        OutputError: ``out`` cannot be written.
        TrainingError: The loss is not finite, memory ran out, or another process of the run ended.
        MissingPackageError: Lightning, Kornia or the package of a logger is not installed.
    """
    config, out, started = config or TrainConfig(), Path(out), now() if started is None else started
    if not is_first_process():
        log.setLevel(logging.ERROR)
    loggers = make_loggers(out, config)
    if not resume:
        check_unused(out)
    checkpoint = newest_checkpoint(out) if resume else None
    target = pick_device(device)
    check_loss(config.loss)
    check_config(config, model, target)
    check_sets(config, model, train_set, val_set)
    unlabeled = _find_unlabeled(config, train_set)
    data = _describe_data(train_set, val_set, unlabeled, checkpoint)
    earlier = {**read_settings(out), **earlier_settings(checkpoint)} if checkpoint else {}
    config = resolve_config(config, earlier, target, model, train_set)
    settings = {**(inputs.to_dict() if inputs else {}), **config.to_dict()}
    module = _make_module(model, train_set, val_set, config, target)
    _check_settings(checkpoint, module, out, earlier, settings)
    score_log = ScoreLog(out, train_set.labels)
    longest = median_longest_side(train_set)
    resize = training_resize(train_set, longest)
    details = {**(provenance or {}), "longest": longest, **describe_size(train_set), "settings": settings}
    best = BestWeights(score_log, config.monitor, details)
    collapse, sets = CollapseDetector(score_log), {"train": train_set, "val": val_set}
    report = ReportWriter(score_log, best, collapse, StepTimes(), sets, title=model.config.name, settings=settings)
    clock = _clock(config, module, ValidationImages(val_set, resize), started)
    callbacks = _callbacks(config, score_log, best, collapse, report, data, settings, clock)
    trainer = make_trainer(out, config, target, callbacks, loggers)
    order = make_order(trainer, config, len(train_set) + len(unlabeled), find_position(checkpoint))
    with removing_failed_start(out):
        if trainer.is_global_zero:
            prepare_folder(out, settings)
        loaders = make_loaders(
            train_set, val_set, order, model=model, config=config, resize=resize, unlabeled=unlabeled
        )
        _fit(trainer, module, *loaders, checkpoint=checkpoint)
    scores = best.restore(model)
    if trainer.is_global_zero:
        report.finish(model, target, resize)
    return scores


def _find_unlabeled(config: TrainConfig, train_set: SegmentationDataset) -> UnlabeledImages:
    found = UnlabeledImages.find(config.unlabeled, train_set)
    if found:
        log.info("teachers alone teach %d images without masks, besides %d with", len(found), len(train_set))
    return found


def _describe_data(
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    unlabeled: UnlabeledImages,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:
    data = describe_data(train_set, val_set, unlabeled)
    if checkpoint is not None:
        check_same_data(earlier_data(checkpoint), data, run=checkpoint.path.parent)
    return data


def _make_module(
    model: SegNet,
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    config: TrainConfig,
    device: torch.device,
) -> SegmentationModule:
    """Seed everything, read all masks, and wrap the network."""
    seed_everything(config.seed, workers=True, verbose=False)
    counts = count_pixels(train_set, need_two=True)
    count_pixels(val_set)  # refuses a bad mask now, not after the first epoch
    weights = torch.from_numpy(class_weights(counts, config.class_weights, train_set.labels))
    teacher = Teacher.load(
        config.teacher, train_set.labels, scales=config.teacher_scales, channels=model.config.image_channels
    )
    return SegmentationModule(model, weights, config, teacher, memory_format=pick_memory_format(model, device))


def _clock(
    config: TrainConfig, module: SegmentationModule, images: ValidationImages, started: float
) -> TimeLimit | PaceAdvice:
    """Ends the run on time, or advises on one that would take days."""
    if config.seconds is None:
        return PaceAdvice(module.model.config.name)
    limit = TimeLimit(config.seconds, started, images)
    module.time_share = limit.share
    return limit


def _check_settings(
    checkpoint: Checkpoint | None,
    module: SegmentationModule,
    out: Path,
    earlier: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    epochs, unfreeze_at = module.config.epochs, module.config.unfreeze_at
    if unfreeze_at and unfreeze_at[-1] >= epochs:
        log.warning(
            "some encoder stages stay frozen, since unfreeze_at %d comes after all %d epochs; give earlier ones, or "
            "more --epochs",
            unfreeze_at[-1], epochs,
        )  # fmt: skip
    if checkpoint is None:
        check_settings_file(out, settings)
        return
    check_fits(checkpoint, module)
    check_unchanged(checkpoint.path.with_name("config.yaml"), earlier, settings)
    _check_epochs(checkpoint, epochs)


def _check_epochs(checkpoint: Checkpoint, epochs: int) -> None:
    """Refuse to go back, and report a run of which nothing is left."""
    done = find_position(checkpoint).epoch
    if done > epochs:
        raise ConfigError(
            f"{checkpoint.path.parent}: {done} epochs of this run are done, and --epochs is {epochs}; give more than "
            f"{done} to continue"
        )
    if done == epochs:
        log.warning("all %d epochs of this run are done; give more --epochs to continue", epochs)


def _callbacks(
    config: TrainConfig,
    score_log: ScoreLog,
    best: BestWeights,
    collapse: CollapseDetector,
    report: ReportWriter,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    pace: TimeLimit | PaceAdvice,
) -> list[Callback]:
    """In the order in which they must run: scores and best weights while the averaged weights are in place."""
    return [
        report.times,
        score_log,
        best,
        *([ExponentialMovingAverage(config.ema)] if config.ema else []),
        pace,
        TrainingProgress(score_log, best, report.times, pace if isinstance(pace, TimeLimit) else None),
        collapse,
        ResumableEarlyStopping(best, config.patience),
        *([LearningRateMonitor()] if config.loggers else []),
        report,
        ResumeCheckpoint(score_log.out, config.save_every, data, settings),
    ]


def _fit(
    trainer: Trainer,
    module: SegmentationModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    *,
    checkpoint: Checkpoint | None,
) -> None:
    path = checkpoint and checkpoint.path
    synced = trainer.world_size > 1 and module.config.batch_norm == "synced"
    with (
        warnings.catch_warnings(),
        _clear_errors(module.config, trainer.world_size),
        synced_batch_norm(module.model) if synced else nullcontext(),
    ):
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, train_loader, val_loader, ckpt_path=path, weights_only=True)
        except SegNetError as error:
            raise worker_error(error) from None
        except SystemExit as exit_:
            if trainer.interrupted and exit_.code == 1:  # Lightning turns Ctrl-C into an exit of its own
                raise KeyboardInterrupt from None
            if exit_.code is None:  # and SIGTERM before the first step into one that reads as success
                raise SystemExit(TERMINATED) from None
            raise


@contextmanager
def _clear_errors(config: TrainConfig, processes: int) -> Iterator[None]:
    """Turn PyTorch's errors that a user can fix into one sentence."""
    try:
        yield
    except SegNetError:
        raise
    except (RuntimeError, MemoryError, ConnectionError, EOFError) as error:
        if remedy := _find_remedy(error, config, processes):
            raise TrainingError(remedy) from error
        raise


def _find_remedy(error: Exception, config: TrainConfig, processes: int) -> str:
    """What happened and what to do, or nothing for an error of another kind."""
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return (
            f"memory ran out with a batch of {config.batch}: halve --batch and double --accumulate, give a smaller "
            "--crop, or add --save-memory"
        )
    # A process that dies while it hands over a batch closes the connection, before PyTorch notices its death.
    cut_off = isinstance(error, ConnectionError | EOFError) and processes == 1
    if cut_off or ("DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text)):
        return (
            "a worker process that reads images was killed, often because memory ran out: give fewer --workers, and "
            "continue with --resume"
        )
    if processes > 1 and any(phrase in text for phrase in _PROCESS_ENDED):
        return (
            "another process of this run ended, so this one ends too; see the message of that process, and continue "
            "with --resume, with any number of processes"
        )
    return ""
