"""Whether images run faster together: time per image of the bundled model by size and batch.

python benchmarks/bench_batches.py [--threads 2] [--rounds 5]

The batch sizes take turns, and the best round of each counts. ``Predictor`` chooses its batches from the result.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from segnet.inference.inferer import as_batch
from segnet.runtimes.base import ImageBatch, Runtime
from segnet.runtimes.load import open_runtime
from segnet.system.files import write_json
from segnet.system.hardware import about

RESULT = Path(__file__).parent / "results" / "batches.json"
MODEL = "segnet_light"
SIZES = ((48, 64), (96, 128), (180, 240), (360, 480))
BATCHES = (1, 2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    runtime = open_runtime(MODEL, device="cpu", threads=arguments.threads)
    figures = {**about("segnet", "torch", "numpy"), "model": MODEL, "threads": torch.get_num_threads()}
    figures["ms_per_image"] = {f"{h}x{w}": measure(runtime, (h, w), arguments.rounds) for h, w in SIZES}
    write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def measure(runtime: Runtime, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Best time per image of each batch size, in milliseconds."""
    pixels = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *size, 3), dtype=np.uint8)
    batch = np.concatenate([as_batch(image) for image in pixels])
    best = dict.fromkeys(BATCHES, float("inf"))
    for turn in range(rounds + 1):
        for count in BATCHES:
            seconds = _seconds(runtime, batch, count)
            best[count] = min(best[count], seconds) if turn else best[count]  # the first turn warms up
    return {str(count): round(1000 * seconds / len(batch), 2) for count, seconds in best.items()}


def _seconds(runtime: Runtime, batch: ImageBatch, count: int) -> float:
    start = time.perf_counter()
    for first in range(0, len(batch), count):
        runtime.run(batch[first : first + count])
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
