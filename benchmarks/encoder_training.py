"""VGG16 SegNet from ImageNet weights with its encoder frozen and trained, on val and on drives that were never seen.

    python benchmarks/encoder_training.py CAMVID --encoder-weights FILE [--out runs/encoder] [--rows NAME ...]
        [--drives val 0001TP ...] [--epochs 4] [--figure curves.svg]

Of each row one network learns from CamVid's training images and is validated after every epoch: these are the learning
curves. Three more learn from the training images of two of CamVid's three drives and are scored, once, on all training
and validation images of the third. The rows differ in one thing: whether the encoder's filters and batch norms learn.
Its new batch norms are fitted to the training images in both, so a frozen encoder has exactly its ImageNet features.

A stopped study goes on when it is started again. What is done stands in benchmarks/results/encoder_training.json.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_source
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.system.allocator import keep_freed_memory
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.fitted_norms import fit_batch_norms
from segnet.training.settings import TrainConfig
from study import SCORES, Row, learn_and_score, leave_out, markdown

RESULT = Path(__file__).parent / "results" / "encoder_training.json"
VAL = "val"
DRIVES = (VAL, "0001TP", "0006R0", "0016E5")
ROWS = {"frozen": "encoder frozen", "trained": "encoder trained"}
CURVE = ("epoch", "step", "seconds", "train_loss", "global_accuracy", "class_average", "miou")
# As recipes/segnet.yaml, but for fewer and smaller crops, in which a crop_area of 0.25 is the images' own scale.
RECIPE = TrainConfig(
    epochs=4,
    batch=4,
    lr=0.02,
    encoder_lr=0.3,
    optimizer="muon",
    warmup=0.03,
    ema=0.98,
    class_weights="sqrt_median",
    prior_correction=0.5,
    loss="cross_entropy+0.5*lovasz",
    augment=AugmentConfig(
        crop=(180, 240), crop_area=(0.15, 0.6), crop_stretch=1.15, flip=0.5, color=0.3, gray=0.1, blur=0.1, noise=0.1
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--encoder-weights", required=True, help="VGG16's thirteen convolutions")
    parser.add_argument("--out", type=Path, default=Path("runs/encoder"))
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--drives", nargs="*", default=DRIVES, choices=DRIVES)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--figure", type=Path, help="SVG of the learning curves")
    arguments = parser.parse_args()
    keep_freed_memory()
    source = open_source(arguments.data)
    for drive in arguments.drives:
        sets = (source.dataset("train"), source.dataset("val")) if drive == VAL else leave_out(source, drive)
        every = 1 if drive == VAL else arguments.epochs  # the weights of a drive's run are its last ones
        config = replace(RECIPE, epochs=arguments.epochs, validate_every=every)
        for name in arguments.rows:
            make = partial(network, arguments.encoder_weights, name, sets[0])
            learn_and_score(Row(about=ROWS[name], network=make, config=config), sets, arguments.out / name / drive)
    found = {name: figures(arguments.out / name) for name in ROWS}
    machine = about("segnet", "torch", "lightning", "kornia")
    document = {"machine": machine, "epochs": arguments.epochs, "rows": found}
    write_json(RESULT, document)
    print(table_of(found))
    if arguments.figure:
        draw(found, arguments.figure)


def network(weights: str, name: str, train_set: SegmentationDataset) -> SegNet:
    made = create_model("segnet", classes=train_set.labels, encoder_weights=weights)
    fit_batch_norms(made, train_set)
    if name == "frozen":
        made.freeze_encoder()
    return made


def figures(folder: Path) -> dict[str, Any]:
    """Scores of each drive whose run is done, and the learning curve of the validation images."""
    done = {drive: folder / drive / SCORES for drive in DRIVES if (folder / drive / SCORES).is_file()}
    return {
        "drives": {drive: json.loads(path.read_text(encoding="utf-8")) for drive, path in done.items()},
        "curve": curve(folder / VAL / "metrics.csv") if VAL in done else [],
    }


def curve(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(row[name]) for name in CURVE} for row in csv.DictReader(file)]


def table_of(found: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, row in found.items():
        cells = [row["drives"].get(drive) for drive in DRIVES]
        scores = [(cell["miou"], cell["boundary"]["bf_paper"]) if cell else None for cell in cells]
        unseen = [score for score in scores[1:] if score]
        mean = tuple(sum(values) / len(values) for values in zip(*unseen, strict=True)) if all(scores[1:]) else None
        lines.append([ROWS[name], *("-" if s is None else f"{s[0]:.3f}, {s[1]:.3f}" for s in (*scores, mean))])
    return markdown(["mIoU, boundary F1", *DRIVES, "mean of the drives"], lines)


def draw(found: dict[str, dict[str, Any]], out: Path) -> None:
    """Training loss and validation mIoU by epoch, side by side; needs the extra ``plot``."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "segnet"  # the same file for the same figures
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    loss, miou = figure.subplots(1, 2)
    for color, (name, row) in zip(("#0072b2", "#d55e00"), found.items(), strict=True):
        epochs = [point["epoch"] for point in row["curve"]]
        for axes, value in ((loss, "train_loss"), (miou, "miou")):
            axes.plot(epochs, [point[value] for point in row["curve"]], color=color, marker="o", label=ROWS[name])
    loss.set(title="training loss", xlabel="epoch")
    miou.set(title="mIoU on the validation images", xlabel="epoch", ylim=(0, None))
    for axes in (loss, miou):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    miou.legend(frameon=False, loc="lower right")
    figure.savefig(out, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
