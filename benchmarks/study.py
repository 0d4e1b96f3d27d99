"""Many trainings that differ in one thing each, and the scores of what they learnt.

Every run has a folder of its own, is resumed where it was cut off, and is left alone once it has its scores.json; so a
study may be stopped at any time, and several processes may share it, each with other rows or other drives. The weights
scored are the last ones: choosing an epoch by the pictures that are scored would flatter every row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segnet import checkpoint
from segnet.boundary.scores import BoundaryMeter
from segnet.data.dataset import SegmentationDataset
from segnet.data.sources import Source
from segnet.evaluation import evaluate
from segnet.files import replacing
from segnet.models.segnet import SegNet
from segnet.training.run import train
from segnet.training.settings import TrainConfig

__all__ = ["Row", "learn_and_score", "leave_out", "markdown"]


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


def leave_out(source: Source, drive: str) -> tuple[SegmentationDataset, SegmentationDataset]:
    """The training pictures of all other drives, and the training and validation pictures of this one.

    Args:
        drive: what the names of its pictures begin with.

    Raises:
        SystemExit: no picture, or every one, is from this drive.
    """
    train_set, val_set = source.dataset("train"), source.dataset("val")
    others = [index for index, sample in enumerate(train_set.samples) if not sample.name.startswith(drive)]
    held = [sample for sample in (*train_set.samples, *val_set.samples) if sample.name.startswith(drive)]
    if not others or not held:
        raise SystemExit(f"no training picture, or every one, has a name that begins with {drive}")
    return train_set.only(others), SegmentationDataset(held, source.labels, void=source.void)


def learn_and_score(row: Row, sets: tuple[SegmentationDataset, SegmentationDataset], out: Path) -> dict[str, Any]:
    """Train, or go on, or do nothing if it is done; and the scores of the last weights.

    Args:
        sets: to train on, and to score.
        out: the run's folder.
    """
    scored = out / "scores.json"
    if not scored.is_file():
        torch.manual_seed(row.config.seed)
        resume = (out / "last.ckpt").is_file()
        network = row.network()
        train(network, *sets, out=out, config=row.config, resume=resume, provenance={"study": row.about})
        figures = _scores(out / "best.safetensors", sets[1])
        with replacing(scored) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(scored.read_text(encoding="utf-8"))
    return found


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as the documentation has it; the first column is text."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _scores(weights: Path, dataset: SegmentationDataset) -> dict[str, Any]:
    """In float32, boundaries too."""
    meter = BoundaryMeter(dataset.labels)
    model = checkpoint.load(weights).model.folded()
    scores = evaluate(model, dataset, observe=meter.add)
    return {**scores.to_dict(), "pictures": len(dataset), "boundary": meter.scores.to_dict()}
