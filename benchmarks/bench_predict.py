"""What `segnet predict` costs: help, one picture from a cold start, and a folder against the bare model.

python benchmarks/bench_predict.py [--pictures 50] [--rounds 3]

The folder run reads, labels and writes masks and overlays of drawn 480x360 scenes. The rival runs the same model, in
the same process and with the same settings, over the same pictures already in memory. Both take turns; the best round
of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from segnet.allocator import keep_freed_memory
from segnet.data.pictures import read_image
from segnet.data.synthetic import draw_scene
from segnet.data.writing import write_image
from segnet.inference import Predictor
from segnet.labelling.jobs import find_jobs
from segnet.labelling.output import Output
from segnet.labelling.pictures import Tally, label_all
from segnet.look import Look
from segnet.machine import about

RESULT = Path(__file__).parent / "results" / "predict.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures = {**about("segnet", "torch", "numpy", "pillow"), "help_s": help_seconds(), "cold_start": cold_start()}
    figures["folder"] = folder(arguments.pictures, arguments.rounds)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def help_seconds() -> float:
    return round(min(_seconds(["--help"]) for _ in range(5)), 3)


def cold_start() -> dict[str, object]:
    """One picture, everything included, and what the command itself says of its parts."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "segnet", "predict", "--out", out, "--timing"]
        start = time.perf_counter()
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {"total_s": round(time.perf_counter() - start, 2), "parts": told.strip().splitlines()[-1]}


def folder(pictures: int, rounds: int) -> dict[str, object]:
    keep_freed_memory()
    predictor = Predictor.load("segnet_basic")
    with tempfile.TemporaryDirectory() as root:
        source, out = Path(root) / "in", Path(root) / "out"
        for seed in range(pictures):
            write_image(source / f"{seed:03}.png", draw_scene(seed)[0])
        jobs = find_jobs([str(source)])
        images = [read_image(job.picture) for job in jobs]
        output = Output(out, ("mask", "overlay"), Look(), predictor.labels)
        predictor(images[0])
        bare, whole = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            for image in images:
                predictor(image)
            bare.append(pictures / (time.perf_counter() - start))
            start = time.perf_counter()
            label_all(predictor, jobs, output, Tally(), each=lambda _: None)
            whole.append(pictures / (time.perf_counter() - start))
    return {
        "pictures": pictures,
        "model": "segnet_basic",
        "bare_model_per_s": [round(value, 3) for value in bare],
        "predict_per_s": [round(value, 3) for value in whole],
        "ratio": round(max(whole) / max(bare), 3),
    }


def _seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "segnet", *arguments], stdout=subprocess.DEVNULL, check=True, env=os.environ)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
