"""Whether memory, open files and threads grow: many images are predicted, and many tiny epochs trained.

    python benchmarks/bench_soak.py [--images 20000] [--epochs 500] [--out benchmarks/results/soak.json]

Each command runs in a process of its own. Its resident memory, open files and threads are read from /proc (Linux) once
a second. Slopes are least squares over 40 to 80 % of the run: caches are full, and the report is not yet written.
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
from typing import Any

import numpy as np
import torch
from PIL import Image

from segnet.data.synthetic.scenes import write_scenes
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.system.files import write_json
from segnet.system.hardware import about

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((8,), (12,))), decoder=DecoderConfig(widths=((8,), (8,))), classes=11
)
_DIFFERENT = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soak.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SEGNET_CACHE"] = str(folder / "cache")
        torch.manual_seed(0)
        model = checkpoint.save(SegNet(TOY), CAMVID, folder / "toy.safetensors")
        rows = [soak_predict(folder, model, arguments.images), soak_train(folder, model, arguments.epochs)]
    report = {"machine": about("torch", "lightning", "pillow", "segnet"), "runs": rows}
    write_json(arguments.out, report)
    print(json.dumps(report, indent=1))


def soak_predict(folder: Path, model: Path, count: int) -> dict[str, Any]:
    images, out = folder / "images", folder / "out"
    images.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        path = images / f"{number:06}.png"
        if number < _DIFFERENT:
            Image.fromarray(generator.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(path)
        else:
            path.hardlink_to(images / f"{number % _DIFFERENT:06}.png")
    words = ["predict", images, "--model", model, "--out", out, "--save", "mask", "--records", out / "r.jsonl"]
    row = watch([*words, "--device", "cpu"], units=count, unit="image")
    masks, records = len(list((out / "mask").iterdir())), len((out / "r.jsonl").read_text().splitlines())
    return {"run": f"predict {count} images of 96 x 128", "masks": masks, "records": records, **row}


def soak_train(folder: Path, model: Path, epochs: int) -> dict[str, Any]:
    data = write_scenes(folder / "data", train=4, val=2, size=(32, 48))
    words = ["train", data, "--model", model, "--out", folder / "run", "--epochs", epochs, "--batch", 2, "--workers", 1]
    row = watch([*words, "--precision", "float32", "--device", "cpu"], units=epochs, unit="epoch")
    return {"run": f"train {epochs} epochs of 4 images", **row}


def watch(words: list[Any], *, units: int, unit: str) -> dict[str, Any]:
    """Run a command, and read its figures once a second; memory counts its child processes as well."""
    began = time.monotonic()
    command = [sys.executable, "-m", "segnet", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples: list[tuple[float, float, int, int, int]] = []
    while running.poll() is None:
        if sample := figures(running.pid):
            samples.append((time.monotonic() - began, *sample))
        time.sleep(1)
    table = np.array(samples[2 * len(samples) // 5 : 4 * len(samples) // 5], dtype=np.float64)
    seconds = time.monotonic() - began
    names = ("memory_mb", "open_files", "threads", "processes")
    slopes = {name: np.polyfit(table[:, 0], table[:, index], 1)[0] for index, name in enumerate(names, 1)}
    per_thousand = {name: round(float(slope) * seconds / units * 1000, 4) for name, slope in slopes.items()}
    return {
        "exit_code": running.returncode,
        "seconds": round(seconds),
        f"growth_per_1000_{unit}s": per_thousand,
        "at_40_percent": {name: round(float(table[0, index])) for index, name in enumerate(names, 1)},
        "at_80_percent": {name: round(float(table[-1, index])) for index, name in enumerate(names, 1)},
        "memory_mb": [round(float(sample[1])) for sample in samples[:: max(1, len(samples) // 40)]],
    }


def figures(pid: int) -> tuple[float, int, int, int] | None:
    """Megabytes, open files, threads and processes; None if the process has just ended."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        memory = sum(resident_mb(each) for each in (pid, *children))
        return memory, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), 1 + len(children)  # noqa: PTH208
    except OSError:
        return None


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
