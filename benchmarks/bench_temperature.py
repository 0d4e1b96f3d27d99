"""The temperature of a model for drives that it has not seen, by the runs of benchmarks/ablation.py.

    python benchmarks/bench_temperature.py CAMVID [--runs DIR DIR ...] [--out FILE]

A temperature is fitted to each network on the drive that it was not trained on; of several runs, to the mean of their
weights. A drive is then scored with the geometric mean of the temperatures of the two other drives, so none is scored
with its own. The mean of all three is the one for a model of all drives. benchmarks/results/temperature.json has the
figures of the default, temperature_long.json those of the rows light_long and light_long_mix.
"""

from __future__ import annotations

from pathlib import Path
from statistics import geometric_mean
from typing import Any

from ablation import DRIVES
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_source
from segnet.inference.evaluation import evaluate
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.models.segnet import SegNet
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.temperature import fit_temperature, scale_logits
from study import leave_out, mean_of_runs, parser_of_runs

RUNS = [Path("runs/ablation/light_whole")]
RESULT = Path(__file__).parent / "results" / "temperature.json"


def main() -> None:
    given = parser_of_runs(__doc__, runs=RUNS, out=RESULT).parse_args()
    held = {drive: leave_out(open_source(given.data), drive)[1] for drive in DRIVES}
    models = {drive: mean_of_runs(given.runs, drive) for drive in DRIVES}
    fitted = {drive: fit_temperature(models[drive], held[drive]).value for drive in DRIVES}
    rows: dict[str, Any] = {}
    for drive in DRIVES:
        others = geometric_mean(fitted[other] for other in DRIVES if other != drive)
        before = _calibration(models[drive], held[drive])
        scale_logits(models[drive], others)
        after = _calibration(models[drive], held[drive])
        rows[drive] = {"fitted": fitted[drive], "of_the_others": others, "before": before, "after": after}
        print(drive, rows[drive], flush=True)
    temperature = geometric_mean(fitted.values())
    print(f"temperature {temperature:.3f}")
    runs = [run.name for run in given.runs]
    machine = about("segnet", "torch")
    write_json(given.out, {"machine": machine, "runs": runs, "temperature": temperature, "drives": rows})


def _calibration(model: SegNet, data: SegmentationDataset) -> dict[str, float]:
    meter = CalibrationMeter()
    evaluate(model, data, calibration=meter)
    scores = meter.scores
    return {"ece": scores.ece, "nll": scores.nll, "brier": scores.brier}


if __name__ == "__main__":
    main()
