"""How fast training images are read, cropped and augmented, against how fast a network trains on them.

    python benchmarks/bench_loader.py [--model segnet_basic] [--size 1024 2048] [--crop 360 480] [--batch 4]

The images are drawn PNG files of --size. `loader` is what training reads with: one worker that decodes the whole
image and its mask and takes a random crop, then the augmentation of the batch in this process. `training` is the same
network's step on a batch that is already in memory. The loader is timed before and after the training steps, never
beside them, and its first batches do not count, since a worker reads ahead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from segnet.data.augment_config import AugmentConfig
from segnet.data.layouts import open_source
from segnet.data.synthetic.scenes import write_scenes
from segnet.models.zoo import create_model
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.loaders import Order, make_loaders, training_resize
from segnet.training.module import SegmentationModule, compute_gradients
from segnet.training.optimizers import make_optimizer
from segnet.training.settings import TrainConfig

RESULT = Path(__file__).parent / "results" / "loader.json"
READ_AHEAD = 3  # batches that a worker may have ready
AUGMENT = AugmentConfig(flip=0.5, color=0.3, gray=0.1, blur=0.1, noise=0.1)


def main() -> None:
    given = parse_arguments()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), train=2 * given.batch, val=1, size=tuple(given.size))
        figures = measure(Path(folder), given)
    settings = {name: getattr(given, name) for name in ("model", "size", "crop", "batch", "steps", "threads")}
    report = {**about("segnet", "torch"), "load_before": round(os.getloadavg()[0], 2), **settings, **figures}
    write_json(given.out, report)
    print(json.dumps(figures, indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segnet_basic")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--crop", type=int, nargs=2, default=(360, 480), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="measured ones, after one of warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Images per second of the loader and of training, and their ratio."""
    data = open_source(folder)
    train_set, val_set = data.dataset("train"), data.dataset("val")
    config = TrainConfig(batch=given.batch, augment=replace(AUGMENT, crop=tuple(given.crop)), precision="float32")
    model = create_model(given.model, classes=train_set.labels.classes)
    module = SegmentationModule(model, torch.ones(train_set.labels.classes), config).train()
    optimizer = make_optimizer(module.model, config)
    order = Order(len(train_set), given.batch, seed=0)
    resize = training_resize(train_set, None)
    loader, _ = make_loaders(train_set, val_set, order, model=model, config=config, resize=resize, workers=1)
    batches = (batch for epoch in itertools.count() for batch in loader)

    def read() -> Any:
        batch = next(batches)
        module.augment(batch["image"], batch["mask"])
        return batch

    def learn() -> None:
        compute_gradients(module, optimizer, batch)
        optimizer.step()

    loading = timed(read, given.steps, skipped=READ_AHEAD)
    batch = next(batches)
    training = timed(learn, given.steps, skipped=1)
    loading += timed(read, given.steps, skipped=READ_AHEAD)
    rates = {name: given.batch / mean(times) for name, times in (("loader", loading), ("training", training))}
    ratio = rates["loader"] / rates["training"]
    return {**{f"{name}_images_per_s": round(rate, 2) for name, rate in rates.items()}, "ratio": round(ratio, 2)}


def timed(work: Callable[[], Any], times: int, *, skipped: int) -> list[float]:
    """Seconds of each call, without the first ones."""
    seconds = []
    for _ in range(times + skipped):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds[skipped:]


if __name__ == "__main__":
    main()
