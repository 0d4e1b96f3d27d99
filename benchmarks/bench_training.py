"""Training on the CPU, in images a second: `segnet train` against a plain PyTorch training loop.

    python benchmarks/bench_training.py [--models segnet,segnet_basic] [--explain segnet_basic] [--changes sgd,bare]

`ours` is the real path: `segnet.training.run.train` with the settings of recipes/segnet_basic.yaml (Muon, averaged
weights, clipping, augmentation) but for its crop, so that whole images are trained on. `reference` has the same
layers as `nn.MaxPool2d(return_indices=True)` and `nn.MaxUnpool2d`, NCHW and float32, `F.cross_entropy` with weights,
plain SGD, a plain `DataLoader`, and no augmentation. Both read the same drawn 360x480 PNG files with as many workers.

Of one model the gain is taken apart by changing one thing of `ours` at a time:

    float32       instead of the precision that `auto` takes
    other_layout  NCHW where ours is channels_last, and the other way round
    small_pages   pages of 4 KiB instead of huge ones
    returning     glibc as it comes: it returns freed memory, and has small pages
    sgd           plain SGD: no Muon, no averaged weights, no clipping
    bare          the same, and no augmentation: the work of the reference
    processes     `--devices 2` with half the threads each, the same batch shared out
    local         the same, but each process with batch norm of its own images

Every run is a process of its own that ends after its last measured step; the candidates take turns. A step's time
is that from the end of one batch to the end of the next, the loader's wait the part of it before the next batch begins;
the first steps do not count. Ratios are medians of those within one turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from segnet.benchmark.baselines import ReferenceSegNet
from segnet.cli.commands import train as command
from segnet.cli.parser import parse
from segnet.data.augment_config import AugmentConfig
from segnet.data.class_weights import class_weights, count_classes
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_source
from segnet.data.synthetic.scenes import write_scenes
from segnet.data.tensors import collate
from segnet.labels import IGNORE_INDEX
from segnet.models.zoo import MODELS, create_model
from segnet.system import allocator
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training import run
from segnet.training.lightning import Callback
from segnet.training.settings import TrainConfig

HERE = Path(__file__).parent
RESULT = HERE / "results" / "training.json"
RECIPE = HERE.parent / "recipes" / "segnet_basic.yaml"
SIZE = (360, 480)
AHEAD = 3  # batches beyond the measured, so that workers read on to the end
SGD = {"optimizer": "sgd", "lr": 0.1, "ema": 0.0, "clip": 0.0}


@dataclass(frozen=True, kw_only=True)
class Ours:
    """How one of our candidates differs from ``segnet train``.

    Attributes:
        settings: changed fields of ``TrainConfig``.
        other_layout: whether images and filters have the layout that `segnet train` does not take here.
        keeping: whether freed memory is kept.
        huge_pages: whether what is kept is in huge pages, where Linux has them.
    """

    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    other_layout: bool = False
    keeping: bool = True
    huge_pages: bool = True

    @property
    def processes(self) -> int:
        return int(self.settings.get("devices", 1))


OURS = {
    "ours": Ours(),
    "float32": Ours(settings={"precision": "float32"}),
    "other_layout": Ours(other_layout=True),
    "small_pages": Ours(huge_pages=False),
    "returning": Ours(keeping=False),
    "sgd": Ours(settings=SGD),
    "bare": Ours(settings={**SGD, "augment": AugmentConfig(flip=0.0)}),
    "processes": Ours(settings={"devices": 2}),
    "local": Ours(settings={"devices": 2, "batch_norm": "local"}),
}


def main() -> None:
    arguments = parse_arguments()
    if arguments.case:
        run_case(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    write_json(arguments.out, figures)
    print(table(figures))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default=["segnet", "segnet_basic"])
    parser.add_argument("--explain", default="segnet_basic", help="the model whose gain is taken apart, or none")
    parser.add_argument(
        "--changes", type=lambda text: text.split(","), default=[name for name in OURS if name != "ours"]
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3, help="measured ones of each run")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them, one at least")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.warm_up < 1 or arguments.steps < 1:
        parser.error("give 1 or more steps, after 1 or more of warm-up")
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings = {
        name: getattr(arguments, name) for name in ("batch", "steps", "warm_up", "repetitions", "threads", "workers")
    }
    figures = {
        **about("segnet", "torch", "lightning", "kornia"),
        "load_before": round(os.getloadavg()[0], 2),
        "size": SIZE,
        **settings,
    }
    # A few images that come again and again: a file that was read before is as fast as any other.
    write_scenes(folder / "data", train=2 * arguments.batch, val=1, size=SIZE)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    cases = [(model, name) for model in arguments.models for name in ("reference", "ours")]
    if arguments.explain in arguments.models:
        cases += [(arguments.explain, name) for name in arguments.changes]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(arguments.repetitions):
        for case, done in runs.items():
            done.append(in_child(case, folder, arguments.threads, words))
    return {**figures, "rows": [row(case, runs, arguments.batch) for case in cases]}


def in_child(case: tuple[str, str], folder: Path, threads: int, words: list[str]) -> dict[str, Any]:
    """The times of one run."""
    each = threads // OURS[case[1]].processes if case[1] in OURS else threads
    # Lightning starts a second process by the same command, so that threads must come by the environment.
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, each)), "GLIBC_TUNABLES": ""}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        command = [sys.executable, __file__, "--case", *case, "--folder", own, *words]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    times: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    print(*case, times, f"{time.perf_counter() - start:.0f} s in all", file=sys.stderr)
    return times


def row(case: tuple[str, str], runs: Mapping[tuple[str, str], list[dict[str, Any]]], batch: int) -> dict[str, Any]:
    rates = {other: [batch / median(times["step_s"]) for times in done] for other, done in runs.items()}
    waits, steps = (sum(sum(times[name]) for times in runs[case]) for name in ("wait_s", "step_s"))
    return {
        "model": case[0],
        "candidate": case[1],
        "images_per_s": round(median(rates[case]), 3),
        "against_reference": ratio(rates[case], rates[case[0], "reference"]),
        "against_ours": ratio(rates[case], rates[case[0], "ours"]),
        "loader_share": round(waits / steps, 4),
        "runs": runs[case],
    }


def ratio(rates: list[float], baseline: list[float]) -> float:
    return round(median(mine / other for mine, other in zip(rates, baseline, strict=True)), 3)


def table(figures: Mapping[str, Any]) -> str:
    lines = ["| model | candidate | images/s | against reference | against ours | loader's wait |", "|---" * 6 + "|"]
    for line in figures["rows"]:
        numbers = f"{line['images_per_s']:.2f} | {line['against_reference']:.2f} | {line['against_ours']:.2f}"
        precisions = ", ".join(sorted({times["precision"] for times in line["runs"]}))
        share = f"{line['loader_share']:.1%}"
        lines.append(f"| `{line['model']}` | {line['candidate']}, {precisions} | {numbers} | {share} |")
    return "\n".join(lines)


# One run, in a process of its own


class Clock(Callback):
    """Notes when batches begin and end; after the last that counts it tells the times and ends the process."""

    def __init__(self, warm_up: int, steps: int) -> None:
        self.warm_up = warm_up
        self.steps = steps
        self.precision = "float32"
        self.begun: list[float] = []
        self.ended: list[float] = []

    def begin(self) -> None:
        self.begun.append(time.perf_counter())

    def end(self) -> None:
        self.ended.append(time.perf_counter())
        if len(self.ended) < self.warm_up + self.steps:
            return
        counted = range(self.warm_up, len(self.ended))
        times = {
            "precision": self.precision,
            "step_s": [round(self.ended[step] - self.ended[step - 1], 4) for step in counted],
            "wait_s": [round(self.begun[step] - self.ended[step - 1], 4) for step in counted],
        }
        if run.is_first_process():
            print(json.dumps(times), flush=True)
        sys.exit()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.precision = pl_module.config.precision

    def on_train_batch_start(self, *_: object) -> None:
        self.begin()

    def on_train_batch_end(self, *_: object) -> None:
        self.end()


def run_case(arguments: argparse.Namespace) -> None:
    model, name = arguments.case
    clock = Clock(arguments.warm_up, arguments.steps)
    source = open_source(arguments.folder.parent / "data")
    images = source.dataset("train")
    needed = arguments.batch * (arguments.warm_up + arguments.steps + AHEAD)
    data = images.only(index % len(images) for index in range(needed))
    if name == "reference":
        train_reference(model, data, clock, batch=arguments.batch, workers=arguments.workers)
    config = replace(recipe(), batch=arguments.batch, workers=arguments.workers, **OURS[name].settings)
    train_ours(model, OURS[name], data, clock, config=config, val=source.dataset("val"), out=arguments.folder)


def recipe() -> TrainConfig:
    """As the command reads it, but for whole images in one epoch."""
    training: TrainConfig = parse("train", command.run, ["data", "--config", str(RECIPE)])[1]["training"]
    return replace(training, epochs=1, augment=replace(training.augment, crop=None))


def train_ours(
    model: str,
    ours: Ours,
    data: SegmentationDataset,
    clock: Clock,
    *,
    config: TrainConfig,
    val: SegmentationDataset,
    out: Path,
) -> None:
    if not ours.huge_pages:
        allocator._may_reserve = lambda: False
    if ours.keeping:
        allocator.keep_freed_memory()
    network = create_model(model, classes=data.labels.classes)
    if ours.other_layout:
        clock.on_fit_start = lambda trainer, task: change_layout(task)  # type: ignore[method-assign]
    callbacks = run._callbacks
    run._callbacks = lambda *parts: [*callbacks(*parts), clock]  # a run takes none from outside; ours comes last
    run.train(network, data, val, out=out / "run", config=config, device="cpu")


def change_layout(task: Any) -> None:
    is_last = task.memory_format == torch.channels_last
    task.memory_format = torch.contiguous_format if is_last else torch.channels_last
    task.model.to(memory_format=task.memory_format)


def train_reference(name: str, data: SegmentationDataset, clock: Clock, *, batch: int, workers: int) -> None:
    config = replace(MODELS[name], classes=data.labels.classes)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    model = ReferenceSegNet(config).train()
    weight = torch.from_numpy(class_weights(count_classes(data), "median", data.labels))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for batch_ in DataLoader(data, batch, shuffle=True, num_workers=workers, collate_fn=collate):
        clock.begin()
        optimizer.zero_grad()
        logits = model((batch_["image"] - mean) / std)
        loss = F.cross_entropy(logits, batch_["mask"], weight=weight, ignore_index=IGNORE_INDEX)
        loss.backward()
        optimizer.step()
        clock.end()


if __name__ == "__main__":
    main()
