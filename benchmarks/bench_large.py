"""An image larger than memory: time and peak memory; and what segmentation in tiles and test-time augmentation change.

python benchmarks/bench_large.py CAMVID [--side 20000] [--parts memory tiles views]

memory  `segnet predict --image-scale 1` segments an image of SIDE x SIDE pixels, a patchwork of synthetic scenes; the
        peak is that of the whole process, Python and PyTorch included.
tiles   A patchwork of 16 validation images is segmented in one piece, in tiles, and in tiles again without its first
        rows and columns, so that the tiles lie elsewhere: the share of pixels whose class differs, and the share that
        is right.
views   mIoU on the validation images with test-time augmentation, and the time per image, reading and scoring included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from segnet.data.layouts import open_dataset
from segnet.data.synthetic.scenes import render_scene
from segnet.inference.evaluation import evaluate
from segnet.inference.predictor import Predictor
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig
from segnet.media.images.masks import read_mask
from segnet.media.images.png import PngWriter
from segnet.media.images.reading import read_image
from segnet.runtimes.load import open_runtime
from segnet.system.files import write_json
from segnet.system.hardware import about

RESULT = Path(__file__).parent / "results" / "large.json"
PARTS = ("memory", "tiles", "views")
MODELS = ("segnet_light", "segnet_basic")
SHIFT = (96, 160)  # rows and columns
TILES = ((480, 128), (640, 128), (1056, 128))  # side and overlap
VIEWS = {
    "one": TTAConfig(),
    "flip": TTAConfig(tta_flip=True),
    "scales": TTAConfig(tta_scales=(0.75, 1.0, 1.25)),
    "flip and scales": TTAConfig(tta_flip=True, tta_scales=(0.75, 1.0, 1.25)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for part in arguments.parts:
        figures[part] = about("segnet", "torch", "numpy", "pyvips")
        if part == "memory":
            figures[part] |= memory(arguments.side)
        elif part == "tiles":
            figures[part] |= {model: tiles(model, arguments.camvid) for model in MODELS}
        else:
            figures[part] |= views("segnet_light", arguments.camvid)
    write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def memory(side: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "large.png"
        _draw_patchwork(image, side)
        command = [sys.executable, "-m", "segnet", "predict", str(image), "--image-scale", "1", "--out", folder]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"side": side, "seconds": round(seconds), "peak_gib": round(peak, 2)}


def _draw_patchwork(path: Path, side: int) -> None:
    scenes = [render_scene(seed)[0] for seed in range(32)]
    chosen = np.random.default_rng(0)
    with path.open("wb") as file, PngWriter(file, (side, side), channels=3) as png:
        for top in range(0, side, 360):
            row = [scenes[number] for number in chosen.integers(0, len(scenes), -(-side // 480))]
            png.add(np.concatenate(row, axis=1)[: side - top, :side])


def tiles(model: str, camvid: str) -> list[dict[str, object]]:
    samples = open_dataset(camvid, split="val").samples[::6][:16]
    image = _patchwork([read_image(sample.image) for sample in samples])
    truth = _patchwork([read_mask(sample.mask) for sample in samples])
    whole = Predictor.load(model, max_size=None, tiles=None)(image).mask
    rows = [{"tile": None, "right": _right(whole, truth)}]
    for side, overlap in TILES:
        predictor = Predictor.load(model, max_size=None, tiles=TileConfig(tile=side, overlap=overlap))
        mask = predictor(image).mask
        elsewhere = predictor(image[SHIFT[0] :, SHIFT[1] :]).mask
        rows.append(
            {
                "tile": side,
                "overlap": overlap,
                "other_than_whole": round(float((mask != whole).mean()), 5),
                "other_than_elsewhere": round(float((mask[SHIFT[0] :, SHIFT[1] :] != elsewhere).mean()), 5),
                "right": _right(mask, truth),
            }
        )
    return rows


def _patchwork(images: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.concatenate(images[first : first + 4], axis=1) for first in range(0, 16, 4)])


def _right(mask: np.ndarray, truth: np.ndarray) -> float:
    counted = truth < 11
    return round(float((mask == truth)[counted].mean()), 4)


def views(model: str, camvid: str) -> dict[str, dict[str, float]]:
    data = open_dataset(camvid, split="val")
    runtime, found = open_runtime(model), {}
    for name, config in VIEWS.items():
        start = time.perf_counter()
        scores = evaluate(Predictor(runtime, max_size=None, tiles=None, tta=config), data)
        seconds = (time.perf_counter() - start) / len(data)
        found[name] = {"miou": round(scores.miou, 4), "ms": round(1000 * seconds, 1)}
    return found


if __name__ == "__main__":
    main()
