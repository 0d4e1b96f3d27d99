"""What each choice of the boundary F1 does to its value, and what it costs, on the predictions of a model.

    python benchmarks/bench_boundary.py CamVid [--split val] [--model segnet_basic]
        [--out benchmarks/results/boundary.json]

CPU time of one thread, the smallest of 3 rounds for the baselines, so that other programs on the machine matter little.
The baseline is one exact Euclidean distance transform of SciPy's per class, image and side, of the outlines that the
package traces; that both count the same is asserted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from segnet.data.layouts import open_source
from segnet.inference.evaluation import evaluate
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.metrics.boundary.counts import BoundaryConfig, boundary_counts
from segnet.metrics.boundary.outlines import Bits, Mask, bits_of, outlines, spread
from segnet.metrics.boundary.scores import BoundaryMeter, BoundaryScores
from segnet.system.files import write_json
from segnet.system.hardware import about

TOLERANCE = BoundaryConfig().tolerance
CHOICES = {
    "as the package does": BoundaryConfig(),
    "one to one": BoundaryConfig(one_to_one=True),
    "points that touch ignored regions left out": BoundaryConfig(ignored_regions="ignored"),
    "tolerance 0.50 %": BoundaryConfig(tolerance=0.005),
    "tolerance 0.25 %": BoundaryConfig(tolerance=0.0025),
}
NEIGHBORS = {4: ((0, 1), (1, 0), (1, 2), (2, 1)), 8: tuple((i, j) for i in range(3) for j in range(3))}

Image = tuple[str, Mask, Mask]
Counter = Callable[[Mask, Mask, int], NDArray[np.int64]]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    images, labels = predictions(arguments.model, arguments.data, arguments.split)
    default = scores_by(images, labels, counter(BoundaryConfig()))
    report = {
        "machine": about("numpy", "scipy", "segnet"),
        "model": arguments.model,
        "split": arguments.split,
        "images": len(images),
        "choices": {
            name: describe_scores(scores_by(images, labels, count), default) for name, count in counters().items()
        },
        "trimap": meter_of(images, labels).scores.to_dict()["trimap"],
        "cpu_ms_per_image": times(images, labels),
    }
    write_json(arguments.out, report)
    print(json.dumps(report, indent=1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="segnet_basic")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "boundary.json")
    return parser.parse_args()


def predictions(model: str, data: str, split: str) -> tuple[list[Image], ClassTable]:
    predictor = Predictor.load(model, device="cpu", threads=1, max_size=None, tiles=None)
    dataset = open_source(data).dataset(split)
    images: list[Image] = []
    evaluate(predictor, dataset, observe=lambda *image: images.append(image))
    return images, dataset.labels


def counters() -> dict[str, Counter]:
    found = {name: counter(config) for name, config in CHOICES.items()}
    return found | {f"pixels with another of their {many} neighbors": inner_counter(many) for many in NEIGHBORS}


def counter(config: BoundaryConfig) -> Counter:
    return lambda predicted, truth, classes: boundary_counts(predicted, truth, classes, config)


def inner_counter(many: int) -> Counter:
    """With pixels of the class in place of corners between pixels."""

    def count(predicted: Mask, truth: Mask, classes: int) -> NDArray[np.int64]:
        found, true = (inner(bits_of(mask, range(classes)), many) for mask in (predicted, truth))
        radius = TOLERANCE * float(np.hypot(*truth.shape))
        sides = (found & spread(true, radius), found, true & spread(found, radius), true)
        return np.array([[np.count_nonzero((side >> index) & 1) for side in sides] for index in range(classes)])

    return count


def inner(bits: Bits, many: int) -> Bits:
    height, width = bits.shape
    padded = np.pad(bits, 1, mode="edge")
    everywhere = bits.copy()
    for down, right in NEIGHBORS[many]:
        everywhere &= padded[down : down + height, right : right + width]
    return bits & ~everywhere


def by_distance_transforms(predicted: Mask, truth: Mask, classes: int) -> NDArray[np.int64]:
    found, true = (outlines(bits_of(mask, range(classes))) for mask in (predicted, truth))
    radius = TOLERANCE * float(np.hypot(*truth.shape))
    rows = []
    for index in range(classes):
        ours, theirs = (found >> index) & 1 == 1, (true >> index) & 1 == 1
        rows.append([hits(ours, theirs, radius), ours.sum(), hits(theirs, ours, radius), theirs.sum()])
    return np.array(rows)


def hits(points: NDArray[np.bool_], others: NDArray[np.bool_], radius: float) -> int:
    if not others.any():
        return 0
    return int(np.count_nonzero(distance_transform_edt(~others)[points] <= radius))


def scores_by(images: list[Image], labels: ClassTable, count: Counter) -> BoundaryScores:
    counts = np.array([count(predicted, truth, labels.classes) for _, predicted, truth in images])
    none = np.zeros((0, labels.classes, labels.classes), dtype=np.int64)
    return BoundaryScores(labels, BoundaryConfig(radii=()), tuple(name for name, _, _ in images), counts, none)


def describe_scores(scores: BoundaryScores, default: BoundaryScores) -> dict[str, Any]:
    """The two figures, and how far the images and classes lie from the default's, by the paper's convention."""
    images = scores.image_bf() - default.image_bf()
    classes = scores.class_bf() - default.class_bf()
    return {
        "bf_paper": round(scores.bf("paper"), 4),
        "bf_script": round(scores.bf("script"), 4),
        "difference_mean": round(float(np.nanmean(images)), 4),
        "difference_largest": round(float(images[np.nanargmax(np.abs(images))]), 4),
        "difference_largest_of_a_class": round(float(classes[np.nanargmax(np.abs(classes))]), 4),
    }


def meter_of(images: list[Image], labels: ClassTable) -> BoundaryMeter:
    meter = BoundaryMeter(labels)
    for image in images:
        meter.add(*image)
    return meter


def times(images: list[Image], labels: ClassTable) -> dict[str, float]:
    masks = [(predicted, truth, labels.classes) for _, predicted, truth in images]
    assert all((boundary_counts(*each) == by_distance_transforms(*each)).all() for each in masks[:10])
    taken = {
        "boundary F1": cpu_ms(lambda: [boundary_counts(*each) for each in masks]),
        "boundary F1 by distance transforms": cpu_ms(lambda: [by_distance_transforms(*each) for each in masks]),
        "boundary F1, one to one": cpu_ms(lambda: [counter(CHOICES["one to one"])(*each) for each in masks]),
        "boundary F1 and trimap mIoU": cpu_ms(lambda: meter_of(images, labels)),
    }
    return {name: round(value / len(images), 2) for name, value in taken.items()}


def cpu_ms(work: Callable[[], object]) -> float:
    rounds = []
    for _ in range(3):
        before = time.process_time()
        work()
        rounds.append(time.process_time() - before)
    return 1e3 * min(rounds)


if __name__ == "__main__":
    main()
