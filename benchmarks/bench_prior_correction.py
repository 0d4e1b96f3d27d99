"""What prior correction is worth on drives that a network has not seen, by the runs of benchmarks/ablation.py.

    python benchmarks/bench_prior_correction.py CAMVID [--runs runs/ablation/light_whole] [--out FILE]

Class weights make a network learn rare classes, and predict them too often. A share of the logarithms of these weights
is subtracted from the logits of each network, trained without the correction, and the drive that it was not trained on
is scored. ``segnet train --prior-correction SHARE`` has the same effect during training.
benchmarks/results/prior_correction.json has the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ablation import DRIVES, WHOLE
from segnet.data.class_weights import class_weights, count_classes
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_source
from segnet.inference.evaluation import evaluate
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.system.files import write_json
from segnet.system.hardware import about
from study import WEIGHTS, leave_out, markdown, parser_of_runs

RESULT = Path(__file__).parent / "results" / "prior_correction.json"
SHARES = (0.0, 0.5, 1.0)
SCORES = ("miou", "global_accuracy", "class_average", "bf", "ece")


def main() -> None:
    given = parser_of_runs(__doc__, runs=Path("runs/ablation/light_whole"), out=RESULT).parse_args()
    drives: dict[str, Any] = {drive: measure(given.data, drive, given.runs / drive / WEIGHTS) for drive in DRIVES}
    means = {
        share: {name: sum(drives[drive][share][name] for drive in DRIVES) / len(DRIVES) for name in SCORES}
        for share in SHARES
    }
    print(markdown(["share", *SCORES], [[f"{s}", *(f"{means[s][name]:.3f}" for name in SCORES)] for s in SHARES]))
    write_json(given.out, {"machine": about("segnet", "torch"), "means": means, "drives": drives})


def measure(data: str, drive: str, weights: Path) -> dict[float, dict[str, float]]:
    """The scores of one drive for each share."""
    seen, held = leave_out(open_source(data), drive)
    found = {}
    for share in SHARES:
        model = checkpoint.load(weights).model
        correct(model, seen, share)
        boundaries, calibration = BoundaryMeter(held.labels), CalibrationMeter()
        scores = evaluate(model, held, observe=boundaries.add, calibration=calibration)
        found[share] = {
            "miou": scores.miou,
            "global_accuracy": scores.global_accuracy,
            "class_average": scores.class_average,
            "bf": boundaries.scores.to_dict()["bf_paper"],
            "ece": calibration.scores.ece,
        }
        print(drive, share, found[share], flush=True)
    return found


@torch.no_grad()
def correct(model: SegNet, seen: SegmentationDataset, share: float) -> None:
    """Subtract a share of the logarithms of the class weights from the logits, in place.

    Args:
        model: trained with these class weights.
        seen: the images that it was trained on.
        share: 0 to 1.
    """
    weights = class_weights(count_classes(seen), WHOLE.class_weights, seen.labels)
    model.classifier.bias.sub_(share * torch.from_numpy(weights).log())


if __name__ == "__main__":
    main()
