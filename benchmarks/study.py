"""Many trainings that differ in one thing each, and the scores of what they learned.

Every run has a folder of its own, is resumed where it was cut off, and is left alone once it has its scores.json, or
while another process is at it; so a study may be stopped at any time, and several processes may share it. The weights
scored are the last ones if the run is validated once, at its end: choosing an epoch by the images that are scored
would flatter every row.
"""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.inference.evaluation import evaluate
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.system.files import write_json
from segnet.training.averaging import mean_weights
from segnet.training.run import train
from segnet.training.run_config import RunInputs
from segnet.training.run_folder import read_settings
from segnet.training.settings import TrainConfig

__all__ = [
    "SCORES", "WEIGHTS", "Row", "Sets", "claimed", "learn_and_score", "leave_out", "markdown", "mean_of_runs",
    "parser_of_runs", "pixel_and_boundary_scores",
]  # fmt: skip

SCORES, WEIGHTS = "scores.json", "best.safetensors"

Sets = tuple[SegmentationDataset, SegmentationDataset]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: a network and how it is trained.

    Attributes:
        about: what is different from the first line.
        network: makes the network, in training mode.
        config: how it is trained; validated once, at the end.
    """

    about: str
    network: Callable[[], SegNet]
    config: TrainConfig


def leave_out(source: Source, drive: str) -> Sets:
    """The training images of all other drives, and the training and validation images of this one.

    Args:
        drive: what the names of its images begin with.

    Raises:
        SystemExit: no image, or every one, is from this drive.
    """
    train_set, val_set = source.dataset("train"), source.dataset("val")
    others = [index for index, sample in enumerate(train_set.samples) if not sample.name.startswith(drive)]
    held = [sample for sample in (*train_set.samples, *val_set.samples) if sample.name.startswith(drive)]
    if not others or not held:
        raise SystemExit(f"no training image, or every one, has a name that begins with {drive}")
    return train_set.only(others), SegmentationDataset(held, source.labels, ignore_index=source.ignore_index)


def learn_and_score(
    row: Row,
    sets: Sets,
    out: Path,
    *,
    score: Callable[[SegNet], dict[str, Any]] | None = None,
    device: str = "auto",
    inputs: RunInputs | None = None,
) -> None:
    """Train, or go on, and write scores.json; nothing if that is done, or another process is at it.

    Args:
        sets: to train on, and to validate on.
        out: the run's folder.
        score: what is to stand in scores.json, of the weights with batch norm folded; None: pixel and boundary scores
            on the second set.
        device: to train on.
        inputs: see ``train``.

    Raises:
        SystemExit: the run in this folder was begun with another number of epochs.
    """
    with claimed(out) as mine:
        if not mine or (out / SCORES).is_file():
            return
        _check_length(out, row.config.epochs)
        _learn(row, sets, out, device, inputs)
        model = checkpoint.load(out / WEIGHTS).model.folded()
        write_json(out / SCORES, (score or partial(pixel_and_boundary_scores, dataset=sets[1]))(model))


@contextmanager
def claimed(out: Path) -> Iterator[bool]:
    """Whether the folder is this process's until the block is left; a process that dies lets go of it."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            # Not flock, which the processes that read images would inherit, and keep when this one is killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def pixel_and_boundary_scores(model: SegNet, dataset: SegmentationDataset) -> dict[str, Any]:
    """Pixel and boundary scores of a data set, in float32."""
    meter = BoundaryMeter(dataset.labels)
    scores = evaluate(model, dataset, observe=meter.add)
    return {**scores.to_dict(), "images": len(dataset), "boundary": meter.scores.to_dict()}


def parser_of_runs(about: str, *, runs: Path | Sequence[Path], out: Path) -> argparse.ArgumentParser:
    """The command line of a program that scores the runs of benchmarks/ablation.py: ``data``, ``runs`` and ``out``.

    Args:
        about: the program's docstring.
        runs: the default folder of runs, or several folders.
        out: the default file of results.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, nargs=None if isinstance(runs, Path) else "+", default=runs)
    parser.add_argument("--out", type=Path, default=out)
    return parser


def mean_of_runs(runs: Sequence[Path], drive: str) -> SegNet:
    """The network whose weights are the mean of those of the runs without the drive; of one run, its own."""
    models = [checkpoint.load(run / drive / WEIGHTS).model for run in runs]
    model = models[0]
    model.load_state_dict(mean_weights(models))
    return model


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as the documentation has it; the first column is text."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _learn(row: Row, sets: Sets, out: Path, device: str, inputs: RunInputs | None) -> None:
    torch.manual_seed(row.config.seed)
    begun = any((out / name).is_file() for name in ("last.ckpt", "previous.ckpt"))
    train(
        row.network(),
        *sets,
        out=out,
        config=row.config,
        resume=begun,
        device=device,
        provenance={"study": row.about},
        inputs=inputs,
    )


def _check_length(out: Path, epochs: int) -> None:
    """A resumed run may have other epochs; the rows of one table may not."""
    begun = read_settings(out).get("epochs", epochs)
    if begun != epochs:
        raise SystemExit(f"{out}: was begun with {begun} epochs and not {epochs}; give another --out")
