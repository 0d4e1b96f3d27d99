"""The mean of the weights of two second stages, as segnet_light is bundled, on drives that it has not seen.

    python benchmarks/bench_mean_of_weights.py CAMVID [--runs DIR DIR] [--out FILE]

The runs are those of two rows of benchmarks/ablation.py that began with the same weights. Of the bundled weights one
second stage had a prior correction of 0.5, so their mean has one of 0.25; here it is subtracted from the logits, as in
bench_prior_correction.py. benchmarks/results/mean_of_weights.json has the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablation import DRIVES
from bench_prior_correction import correct
from segnet.data.layouts import open_source
from segnet.models import checkpoint
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.averaging import mean_weights
from study import WEIGHTS, arguments_of_runs, leave_out, pixel_and_boundary_scores

RESULT = Path(__file__).parent / "results" / "mean_of_weights.json"
RUNS = [Path("runs/ablation/light_whole"), Path("runs/ablation/light_whole_colors")]
SHARE = 0.25


def main() -> None:
    given = arguments_of_runs(__doc__, runs=RUNS, out=RESULT)
    drives: dict[str, Any] = {drive: measure(given.data, drive, given.runs) for drive in DRIVES}
    mean = sum(drive["miou"] for drive in drives.values()) / len(DRIVES)
    print(f"mean mIoU {mean:.3f}")
    machine = about("segnet", "torch")
    write_json(given.out, {"machine": machine, "prior_correction": SHARE, "mean_miou": mean, "drives": drives})


def measure(data: str, drive: str, runs: list[Path]) -> dict[str, Any]:
    """The scores of the mean of the weights on one drive."""
    seen, held = leave_out(open_source(data), drive)
    model, other = (checkpoint.load(run / drive / WEIGHTS).model for run in runs)
    model.load_state_dict(mean_weights([model, other]))
    correct(model, seen, SHARE)
    scores = pixel_and_boundary_scores(model.folded(), held)
    print(drive, f"mIoU {scores['miou']:.3f}", flush=True)
    return scores


if __name__ == "__main__":
    main()
