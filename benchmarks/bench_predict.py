"""What `segnet predict` costs: help, one image from a cold start, and a folder against the bare model.

python benchmarks/bench_predict.py [--images 50] [--rounds 3]

The folder run segments synthetic 480x360 scenes and writes masks and overlays. The baseline runs the same model in the
same process and with the same settings, over the same images in memory. Both take turns; the best round
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

from segnet.data.synthetic.scenes import render_scene
from segnet.inference.predictor import Predictor
from segnet.media.images.reading import read_image
from segnet.media.images.writing import write_image
from segnet.media.sources import find_images
from segnet.results.images import ImageReport, find_jobs, segment_images
from segnet.results.writer import ResultWriter
from segnet.system.allocator import keep_freed_memory
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.visualization.style import OverlayStyle

RESULT = Path(__file__).parent / "results" / "predict.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures = {**about("segnet", "torch", "numpy", "pillow"), "help_s": help_seconds(), "cold_start": cold_start()}
    figures["folder"] = folder(arguments.images, arguments.rounds)
    write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def help_seconds() -> float:
    return round(min(_seconds(["--help"]) for _ in range(5)), 3)


def cold_start() -> dict[str, object]:
    """One image, everything included, and what the command itself says of its parts."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "segnet", "predict", "--out", out, "--timing"]
        start = time.perf_counter()
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {"total_s": round(time.perf_counter() - start, 2), "parts": output.strip().splitlines()[-1]}


def folder(images: int, rounds: int) -> dict[str, object]:
    keep_freed_memory()
    predictor = Predictor.load("segnet_basic")
    with tempfile.TemporaryDirectory() as root:
        source, out = Path(root) / "in", Path(root) / "out"
        for seed in range(images):
            write_image(source / f"{seed:03}.png", render_scene(seed)[0])
        jobs = find_jobs(find_images(source))
        arrays = [read_image(job.image) for job in jobs]
        writer = ResultWriter(out, ("mask", "overlay"), OverlayStyle(), predictor.labels)
        predictor(arrays[0])
        bare, whole = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            for image in arrays:
                predictor(image)
            bare.append(images / (time.perf_counter() - start))
            start = time.perf_counter()
            segment_images(predictor, jobs, writer, ImageReport())
            whole.append(images / (time.perf_counter() - start))
    return {
        "images": images,
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
