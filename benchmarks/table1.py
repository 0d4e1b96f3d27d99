"""Table 1 of the paper again: eight decoders on one encoder, with both balancings, all trained alike.

python benchmarks/table1.py CAMVID [--recipe quick] [--out runs/table1] [--fraction 0.5] [--models ...] [--balances ...]
python benchmarks/table1.py CAMVID --time                     (latencies; wants a quiet machine)
python benchmarks/table1.py CAMVID --figure table1.png        (one image through all of them; or of "synthetic")

Each network and balancing is a run in a folder of its own, by recipes/table1. A stopped program goes on when it is
started again, and several processes may share the work: what one is at, the others leave to it. Whatever is done is
printed beside the paper's figures, and stands in table1.json beside the runs; what is missing is named. Runs of
different budgets or settings are never put into one table.

Scores are in percent, by segnet's own evaluation against the truth at its full size; a network that was trained on
smaller images sees them so, and its logits are enlarged. BF pairs boundary points one to one, as segnet evaluate
--one-to-one does, over the classes that have a boundary in the truth; "near" is BF as segnet evaluate gives it unasked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.benchmark.measure import Candidate, measure
from segnet.cli.commands import train as command
from segnet.cli.parser import parse
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source, open_source
from segnet.inference.evaluation import evaluate
from segnet.media.images.reading import read_image
from segnet.media.images.writing import write_image
from segnet.metrics.boundary.counts import BoundaryConfig
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.models import checkpoint
from segnet.models.cost import cost_of
from segnet.models.segnet import SegNet
from segnet.models.zoo import MODELS, create_model
from segnet.system.allocator import keep_freed_memory
from segnet.system.devices import pick_device
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.run_config import NetworkConfig, RunInputs
from segnet.training.run_folder import read_settings
from segnet.training.settings import MAY_CHANGE, TrainConfig
from segnet.visualization.legends import add_legend, panels
from segnet.visualization.overlay import class_shares, colorize
from study import SCORES, WEIGHTS, Row, learn_and_score
from table1_paper import BALANCES, PAPER, Measured, table_of, verdict_table, verdicts

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes" / "table1"
TABLE = "table1.json"
TIMES = "times.json"
FIGURES = (".png", ".jpg", ".webp")

Size = tuple[int, int]
Table = dict[str, Any]


class AtSize(nn.Module):
    """A network that sees images at the size it was trained at, and gives logits at theirs."""

    def __init__(self, network: nn.Module, size: Size) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes, H, W)."""
        small = F.interpolate(image, self.size, mode="bilinear", antialias=True).clamp(0, 1)
        return F.interpolate(self.network(small), image.shape[2:], mode="bilinear")


def main(arguments: Sequence[str] | None = None) -> None:
    given = flags().parse_args(arguments)
    if not given.fraction > 0:
        raise SystemExit(f"--fraction {given.fraction:g} is not possible; give a number above 0")
    if given.figure and given.figure.suffix.lower() not in FIGURES:
        raise SystemExit(f"{given.figure} is no name for a figure; give one that ends in {' or '.join(FIGURES)}")
    keep_freed_memory()
    source = open_source(given.data)
    if given.figure:
        draw(source.dataset(given.split), given.out / given.balances[0], given.image, given.figure)
        return
    if given.time:
        write_json(given.out / TIMES, timed(given.threads))
        if not list(finished(given.out)):
            print(f"the times stand in {given.out / TIMES}; no run is done yet, so there is no table")
            return
    else:
        learn(source, given)
    report(given.out, given.json or given.out / TABLE)


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="CamVid's folder")
    parser.add_argument("--out", type=Path, default=Path("runs/table1"), help="folder of the runs")
    parser.add_argument("--recipe", choices=("paper", "quick"), default="paper")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the recipe's epochs")
    parser.add_argument("--size", type=int, nargs=2, help="height and width to train at; the recipe's if not given")
    parser.add_argument("--models", nargs="+", choices=tuple(PAPER), default=tuple(PAPER))
    parser.add_argument("--balances", nargs="+", choices=BALANCES, default=BALANCES)
    parser.add_argument("--split", choices=("val", "test"), default="val", help="what is scored")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--time", action="store_true", help="time the networks, and train none")
    parser.add_argument("--threads", type=int, default=0, help="for --time")
    parser.add_argument("--figure", type=Path, help="draw an image's labels by all networks, and train none")
    parser.add_argument("--image", help="its name; the first of the split if not given")
    parser.add_argument("--json", type=Path, help="table1.json in --out if not given")
    return parser


def learn(source: Source, given: argparse.Namespace) -> None:
    """All runs that are asked for, done by others, or done before."""
    for balance in given.balances:
        for name in given.models:
            config, size = recipe(given, balance)
            train_set, val_set = (source.dataset(split, size=size) for split in ("train", "val"))
            budget = budget_of(given, config, size, len(train_set))
            print(f"{balance} {name}", flush=True)
            check_one_budget([budget, *(run["budget"] for *_, run in finished(given.out))])
            learn_and_score(
                Row(
                    about=f"{name}, {balance}",
                    network=partial(create_model, name, classes=source.labels.classes),
                    config=config,
                ),
                (train_set, val_set),
                given.out / balance / name,
                score=partial(scores_of, dataset=source.dataset(given.split), budget=budget, device=given.device),
                device=given.device,
                inputs=RunInputs(data=given.data, resize=size, network=NetworkConfig(model=name)),
            )


def recipe(given: argparse.Namespace, balance: str) -> tuple[TrainConfig, Size | None]:
    """The settings of a row, and the size of its images (None: their own)."""
    file = RECIPES / f"{given.recipe}.yaml"
    weights = {"median": "median", "natural": "none"}[balance]
    _, found = parse("train", command.run, [given.data, "--config", str(file), "--class-weights", weights])
    config: TrainConfig = found["training"]
    config = replace(config, epochs=max(1, round(given.fraction * config.epochs)))
    if given.split == "val":  # then no epoch may be chosen by what is scored
        config = replace(config, validate_every=config.epochs)
    return config, tuple(given.size) if given.size else found["resize"]


def budget_of(given: argparse.Namespace, config: TrainConfig, size: Size | None, images: int) -> Table:
    """What all rows of a table must have in common."""
    return {
        "recipe": given.recipe,
        "fraction": given.fraction,
        "size": size and list(size),
        "images": images,
        "epochs": config.epochs,
        "steps": config.epochs * (images // config.images),
        "batch": config.images,
        "optimizer": config.optimizer,
        "precision": config.precision,
        "device": pick_device(given.device).type,
        "split": given.split,
    }


def check_one_budget(budgets: Sequence[Table]) -> None:
    """Refuse to compare networks that were not trained alike."""
    for budget in budgets[1:]:
        for key, value in budget.items():
            if value != budgets[0][key]:
                raise SystemExit(
                    f"runs of {key} {budgets[0][key]} and {value} cannot stand in one table; give another --out"
                )


def check_one_recipe(settings: Sequence[Table]) -> None:
    """Refuse to compare networks whose training differed in more than what the table compares."""
    for found in settings[1:]:
        for key in sorted({*found, *settings[0]} - {"model", "class_weights", *MAY_CHANGE}):
            if found.get(key) != settings[0].get(key):
                raise SystemExit(
                    f"runs with {key} {settings[0].get(key)} and {found.get(key)} cannot stand in one table; "
                    "give another --out"
                )


def seeing(network: SegNet, budget: Table) -> nn.Module:
    """The network, taking images at their own size."""
    return AtSize(network, tuple(budget["size"])) if budget["size"] else network


def scores_of(network: SegNet, *, dataset: SegmentationDataset, budget: Table, device: str) -> Table:
    """Of a network with batch norm folded, in float32, on images at their own size."""
    near = BoundaryMeter(dataset.labels)
    paired = BoundaryMeter(dataset.labels, config=BoundaryConfig(one_to_one=True, radii=()))

    def observe(*image: Any) -> None:
        near.add(*image)
        paired.add(*image)

    scores = evaluate(seeing(network, budget), dataset, device=device, observe=observe).to_dict()
    boundary = {"boundary": near.scores.to_dict(), "boundary_one_to_one": paired.scores.to_dict()}
    machine = about("segnet", "torch", "lightning", "kornia")
    return {"budget": budget, "machine": machine, "scored": len(dataset), **scores, **boundary}


def finished(out: Path) -> Iterator[tuple[str, str, Table]]:
    """Balancing, network and scores.json of every run that is done."""
    for balance in BALANCES:
        for name in PAPER:
            if (out / balance / name / SCORES).is_file():
                yield balance, name, read(out / balance / name / SCORES)


def read(path: Path) -> Table:
    table: Table = json.loads(path.read_text(encoding="utf-8"))
    return table


def timed(threads: int) -> Table:
    """Median milliseconds of one image of 360x480, of 50 each as in the paper, by turns."""
    rows = measure([Candidate(model=name) for name in PAPER], rounds=5, images=10, threads=threads, limit=120.0)
    times = {row.candidate.model: round(row.p50_ms, 2) for row in rows}
    return {"machine": about("segnet", "torch"), "device": pick_device("auto").type, "threads": threads, "ms": times}


def report(out: Path, result: Path) -> None:
    """Print the table, and write it."""
    runs = list(finished(out))
    if not runs:
        raise SystemExit(f"{out}: no run is done yet, so there is no table")
    check_one_budget([run["budget"] for *_, run in runs])
    check_one_recipe([read_settings(out / balance / name) for balance, name, _ in runs])
    times = read(out / TIMES) if (out / TIMES).is_file() else None
    rows = {name: row_of(name, runs, times) for name in PAPER}
    done = [f"{balance} {name}" for balance, name, _ in runs]
    missing = [row for balance in BALANCES for name in PAPER if (row := f"{balance} {name}") not in done]
    found = verdicts(rows)
    print(f"{heading(runs[0][2])}\n\n{table_of(rows)}\n")
    if missing:
        print(f"missing: {', '.join(missing)}\n")
    print(verdict_table(found))
    machines = [run["machine"] for *_, run in runs]
    table = {
        "budget": runs[0][2]["budget"],
        "scored": runs[0][2]["scored"],
        "machines": [machine for place, machine in enumerate(machines) if machine not in machines[:place]],
        "timed": times and {key: value for key, value in times.items() if key != "ms"},
        "rows": {name: asdict(row) for name, row in rows.items()},
        "missing": missing,
        "orderings": found,
    }
    write_json(result, table)


def heading(run: Table) -> str:
    """How ours were trained and scored, in a sentence that stands above the table."""
    budget = run["budget"]
    size = "x".join(map(str, budget["size"])) if budget["size"] else "the images' own size"
    return (
        f"Ours: recipe {budget['recipe']}, {budget['epochs']} epochs ({budget['steps']} steps of {budget['batch']}) at "
        f"{size}, {budget['precision']} on {budget['device']}, fraction {budget['fraction']:g}, scored on "
        f"{run['scored']} {budget['split']} images, BF over the classes with a true boundary. The paper's: at "
        "360x480, batches of 12, on 233 test images."
    )


def row_of(name: str, runs: Sequence[tuple[str, str, Table]], times: Table | None) -> Measured:
    cost = cost_of(MODELS[name])
    return Measured(
        parameters=cost.parameters / 1e6,
        storage=(cost.code_bytes + cost.kept_bytes) / cost_of(MODELS["segnet_basic"]).code_bytes,
        ms=times["ms"].get(name) if times else None,
        scores={balance: in_percent(run) for balance, other, run in runs if other == name},
    )


def in_percent(run: Table) -> dict[str, float]:
    paired = run["boundary_one_to_one"]
    boundaries = {"bf": paired["bf_paper"], "bf_near": run["boundary"]["bf_paper"], "bf_script": paired["bf_script"]}
    scores = {key: run[key] for key in ("global_accuracy", "class_average", "miou")} | boundaries
    return {key: 100 * value for key, value in scores.items()}


@torch.inference_mode()
def draw(dataset: SegmentationDataset, runs: Path, rendered: str | None, file: Path) -> None:
    """Image, truth, and the labels of every network that is trained, with a legend."""
    trained = [name for name in PAPER if (runs / name / SCORES).is_file()]
    if not trained:
        raise SystemExit(f"{runs}: no run is done yet, so there is nothing to draw")
    names = [sample.name for sample in dataset.samples]
    if rendered is not None and rendered not in names:
        raise SystemExit(f"there is no image {rendered}; there are {names[0]} to {names[-1]}")
    index = names.index(rendered) if rendered else 0
    image, truth = read_image(dataset.samples[index].image), dataset.read_classes(index)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    drawn = [("image", image), ("truth", colorize(truth, dataset.labels))]
    for name in trained:
        network = checkpoint.load(runs / name / WEIGHTS).model.folded()
        seen = seeing(network, read(runs / name / SCORES)["budget"])
        mask = seen(whole).argmax(dim=1)[0].numpy()
        drawn.append((PAPER[name].name, colorize(mask, dataset.labels)))
    write_image(file, add_legend(panels(drawn, columns=5), dataset.labels, class_shares(truth, dataset.labels)))
    if missing := [name for name in PAPER if name not in trained]:
        print(f"missing in {file}: {', '.join(missing)}")


if __name__ == "__main__":
    main()
