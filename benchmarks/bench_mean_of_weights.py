"""The mean of the weights of later stages, as segnet_light is bundled, on drives that it has not seen.

    python benchmarks/bench_mean_of_weights.py CAMVID [--runs DIR DIR ...] [--prior-correction SHARE] [--out FILE]

The runs are those of rows of benchmarks/ablation.py that began with the same weights. Of the bundled weights one
second stage had a prior correction of 0.5, so their mean has one of 0.25; here it is subtracted from the logits, as in
bench_prior_correction.py. Give 0 for rows that were trained with one. benchmarks/results/mean_of_weights.json has the
figures of the default, mean_long_*.json those of the rows light_long_*.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablation import DRIVES
from bench_prior_correction import correct
from segnet.data.layouts import open_source
from segnet.system.files import write_json
from segnet.system.hardware import about
from study import leave_out, mean_of_runs, parser_of_runs, pixel_and_boundary_scores

RESULT = Path(__file__).parent / "results" / "mean_of_weights.json"
RUNS = [Path("runs/ablation/light_whole"), Path("runs/ablation/light_whole_colors")]


def main() -> None:
    parser = parser_of_runs(__doc__, runs=RUNS, out=RESULT)
    parser.add_argument("--prior-correction", type=float, default=0.25, help="share that the runs were trained without")
    given = parser.parse_args()
    share = given.prior_correction
    drives: dict[str, Any] = {drive: measure(given.data, drive, given.runs, share) for drive in DRIVES}
    mean = sum(drive["miou"] for drive in drives.values()) / len(DRIVES)
    print(f"mean mIoU {mean:.3f}")
    machine = about("segnet", "torch")
    runs = [run.name for run in given.runs]
    write_json(
        given.out,
        {"machine": machine, "runs": runs, "prior_correction": share, "mean_miou": mean, "drives": drives},
    )


def measure(data: str, drive: str, runs: list[Path], share: float) -> dict[str, Any]:
    """The scores of the mean of the weights on one drive."""
    seen, held = leave_out(open_source(data), drive)
    model = mean_of_runs(runs, drive)
    correct(model, seen, share)
    scores = pixel_and_boundary_scores(model.folded(), held)
    print(drive, f"mIoU {scores['miou']:.3f}", flush=True)
    return scores


if __name__ == "__main__":
    main()
