"""The optimizer's share of a training step on the CPU: Muon, AdamW and SGD at small crops.

    python benchmarks/bench_optimizers.py [--models segnet_light,segnet_basic,segnet] [--size 96 128] [--batch 8]

A step is forward, cross entropy, backward and the optimizer's step, in float32 and channels_last, without loading and
augmentation, which would make the share smaller. The optimizers take turns; medians of the measured steps. `source` is
Muon with the iteration as its source has it, on the whole matrix in bfloat16, as this package had it before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training import optimizers
from segnet.training.settings import TrainConfig

RESULT = Path(__file__).parent / "results" / "optimizers.json"
CLASSES = 11


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    rows = [row for name in arguments.models for row in measure(name, arguments)]
    settings = {name: getattr(arguments, name) for name in ("size", "batch", "steps", "threads")}
    write_json(arguments.out, {**about("segnet", "torch"), **settings, "rows": rows})
    print("| model | optimizer | step, ms | optimizer, ms | share |\n|---|---|---|---|---|")
    for row in rows:
        print("| {model} | {optimizer} | {step_ms} | {optimizer_ms} | {share:.1%} |".format(**row))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["segnet_light", "segnet_basic", "segnet"]
    parser.add_argument("--models", type=lambda text: text.split(","), default=names)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="measured ones of each optimizer, after one of warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def measure(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per optimizer."""
    step = {kind: prepare(name, kind, arguments) for kind in ("muon", "source", "adamw", "sgd")}
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in step}
    for _ in range(arguments.steps + 1):
        for kind, run in step.items():
            times[kind].append(run())
    rows = []
    for kind, measured in times.items():
        whole, own = (1000 * median(values) for values in zip(*measured[1:], strict=True))
        figures = {"step_ms": round(whole, 1), "optimizer_ms": round(own, 1), "share": round(own / whole, 4)}
        rows.append({"model": name, "optimizer": kind, **figures})
    return rows


def prepare(name: str, kind: str, arguments: argparse.Namespace) -> Callable[[], tuple[float, float]]:
    """A function that makes one step and returns its seconds, and those of the optimizer alone."""
    torch.manual_seed(0)
    model: SegNet = create_model(name, classes=CLASSES).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = replace(TrainConfig(), optimizer="muon" if kind == "source" else kind, lr=1e-3)  # type: ignore[arg-type]
    optimizer = optimizers.make_optimizer(model, config)
    image = torch.rand(arguments.batch, 3, *arguments.size).contiguous(memory_format=torch.channels_last)
    mask = torch.randint(CLASSES, (arguments.batch, *arguments.size))
    iteration = iterate_whole_matrix if kind == "source" else optimizers.orthogonalize

    def step() -> tuple[float, float]:
        start = time.perf_counter()
        F.cross_entropy(model(image), mask).backward()
        before = time.perf_counter()
        optimizers.orthogonalize = iteration
        optimizer.step()
        optimizer.zero_grad()
        end = time.perf_counter()
        return end - start, end - before

    return step


def iterate_whole_matrix(matrix: Tensor) -> Tensor:
    """Newton-Schulz on the matrix, as in Muon's source."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result


if __name__ == "__main__":
    main()
