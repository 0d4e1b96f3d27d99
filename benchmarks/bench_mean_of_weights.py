"""The mean of the weights of two second stages, as segnet_light is bundled, on drives that it has not seen.

    python benchmarks/bench_mean_of_weights.py CAMVID [--runs DIR DIR] [--out FILE]

The runs are those of two rows of benchmarks/ablation.py that began with the same weights. Of the bundled weights one
second stage had a prior correction of 0.5, so their mean has one of 0.25; here it is subtracted from the logits, as in
bench_prior_correction.py. benchmarks/results/mean_of_weights.json has the figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ablation import DRIVES
from bench_prior_correction import correct
from segnet.data.layouts import open_source
from segnet.inference.evaluation import evaluate
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.models import checkpoint
from segnet.system.files import write_json
from segnet.system.hardware import about
from study import WEIGHTS, leave_out

RESULT = Path(__file__).parent / "results" / "mean_of_weights.json"
RUNS = [Path("runs/ablation/light_whole"), Path("runs/ablation/light_whole_colors")]
SHARE = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, nargs=2, default=RUNS)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    drives: dict[str, Any] = {drive: measure(given.data, drive, given.runs) for drive in DRIVES}
    mean = sum(drive["miou"] for drive in drives.values()) / len(DRIVES)
    print(f"mean mIoU {mean:.3f}")
    machine = about("segnet", "torch")
    write_json(given.out, {"machine": machine, "prior_correction": SHARE, "mean_miou": mean, "drives": drives})


def measure(data: str, drive: str, runs: list[Path]) -> dict[str, Any]:
    """The scores of the mean of the weights on one drive."""
    seen, held = leave_out(open_source(data), drive)
    model, other = (checkpoint.load(run / drive / WEIGHTS).model for run in runs)
    with torch.no_grad():
        for mine, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
            mine.copy_((mine + theirs) / 2 if mine.is_floating_point() else mine)
    correct(model, seen, SHARE)
    boundaries = BoundaryMeter(held.labels)
    scores = evaluate(model.folded(), held, observe=boundaries.add)
    print(drive, f"mIoU {scores.miou:.3f}", flush=True)
    return {**scores.to_dict(), "images": len(held), "boundary": boundaries.scores.to_dict()}


if __name__ == "__main__":
    main()
