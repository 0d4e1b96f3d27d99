"""Upsampling a prediction to the size of a larger image: what it costs, and what it changes.

python benchmarks/bench_enlarge.py CAMVID

Cost: milliseconds to upsample the probabilities of a validation image, segmented by segnet_light at 480 pixels, to the
sizes of video frames and of a photograph: by segnet, by PyTorch's `interpolate` and `argmax`, and by nearest neighbor
of the classes as Pillow does it. Change: validation images are segmented with a longer side of 360, 320 and 240 pixels,
and the prediction is upsampled to the 480x360 of the truth by segnet and by nearest neighbor.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_dataset
from segnet.inference.evaluation import evaluate
from segnet.inference.inferer import as_batch
from segnet.inference.prediction import concatenate_rows
from segnet.inference.predictor import Predictor
from segnet.inference.upsampling import Upsampler
from segnet.media.images.reading import read_image
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import Output, Runtime, argmax
from segnet.runtimes.load import open_runtime
from segnet.system.files import write_json
from segnet.system.hardware import about

RESULT = Path(__file__).parent / "results" / "enlarge.json"
SIZES = ((540, 960), (1080, 1920), (3024, 4032))
LONGEST = (360, 320, 240)

Mask = np.ndarray
Size = tuple[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid")
    data = open_dataset(parser.parse_args().camvid, split="val")
    image = read_image(data.samples[len(data) // 2].image)
    probabilities = probabilities_of(open_runtime("segnet_light"), as_batch(image))
    figures = {
        **about("segnet", "torch", "numpy", "pillow"),
        "threads": torch.get_num_threads(),
        "cost": [cost(probabilities, size) for size in SIZES],
        "change": [change(data, longest) for longest in LONGEST],
    }
    write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def probabilities_of(runtime: Runtime, batch: np.ndarray) -> np.ndarray:
    """Of the only image of a batch, (classes, H, W)."""
    probabilities = runtime.run(batch, probabilities=True).probabilities
    assert probabilities is not None
    return probabilities[0]


def ours(probabilities: np.ndarray, size: Size) -> Mask:
    working_size = (probabilities.shape[1], probabilities.shape[2])
    upsampler = Upsampler(working_size, size, classes=len(probabilities), confidence=False)
    return concatenate_rows(list(upsampler.add(probabilities))).mask


def everywhere(probabilities: np.ndarray, size: Size) -> Mask:
    logits = F.interpolate(torch.from_numpy(probabilities)[None], size, mode="bilinear")
    return logits.argmax(dim=1)[0].to(torch.uint8).numpy()


def nearest(probabilities: np.ndarray, size: Size) -> Mask:
    mask = Image.fromarray(argmax(probabilities[None])[0])
    return np.asarray(mask.resize((size[1], size[0]), Image.Resampling.NEAREST))


def cost(probabilities: np.ndarray, size: Size) -> dict[str, object]:
    masks = [way(probabilities, size) for way in (ours, everywhere, nearest)]
    return {
        "size": size,
        "ms": round(milliseconds(lambda: ours(probabilities, size)), 1),
        "ms_torch_everywhere": round(milliseconds(lambda: everywhere(probabilities, size)), 1),
        "ms_nearest": round(milliseconds(lambda: nearest(probabilities, size)), 1),
        "other_than_torch": float((masks[0] != masks[1]).mean()),
        "other_than_nearest": round(float((masks[0] != masks[2]).mean()), 4),
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Median of eleven."""
    times = []
    for _ in range(11):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


class Reduced(Runtime):
    """A runtime that downscales images, and upsamples its prediction."""

    def __init__(self, runtime: Runtime, longest: int, way: Callable[[np.ndarray, Size], Mask]) -> None:
        self.info, self.runtime, self.longest, self.way = runtime.info, runtime, longest, way

    def run(self, batch: np.ndarray, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        self.require(probabilities=probabilities, measure=measure)
        height, width = batch.shape[2:]
        scale = self.longest / max(height, width)
        small = F.interpolate(torch.from_numpy(batch), scale_factor=scale, mode="bilinear", antialias=True)
        return Output(self.way(probabilities_of(self.runtime, small.numpy()), (height, width))[None])


def change(data: SegmentationDataset, longest: int) -> dict[str, object]:
    found: dict[str, object] = {"longest": longest}
    for way in (ours, nearest):
        boundary = BoundaryMeter(data.labels)
        predictor = Predictor(Reduced(open_runtime("segnet_light"), longest, way), max_size=None, tiles=None)
        scores = evaluate(predictor, data, observe=boundary.add)
        bf = boundary.scores.to_dict()["bf_paper"]
        found[way.__name__] = {"miou": round(scores.miou, 4), "bf": round(bf, 4)}
    return found


if __name__ == "__main__":
    main()
