"""What the defaults of `segnet train` reach in a given time, and what the weights they start from are worth.

python benchmarks/bench_transfer.py street [--time 3m] [--longer 10] [--one-size]
python benchmarks/bench_transfer.py camvid CAMVID --encoder-weights FILE [--time 3m] [--source-time 30m] [--drive NAME]

`street` draws 60 training and 20 validation images of mixed sizes (--one-size: of one) and names five of the classes
anew; all else is ignored. `segnet train DIR --time T` is compared with a run several times as long. `camvid` trains
segnet_light on the images of CamVid's other drives, from ImageNet weights, and transfers it to 40 images of a drive
that it has not seen; the same is done from the ImageNet weights alone in the same time. Scores are of validation images
behind the 40. Runs are kept in --out, and one that is done is not repeated; results/transfer.json has the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segnet.data.layouts import open_source
from segnet.data.synthetic.scenes import render_scene
from segnet.labels import CAMVID, IGNORE_INDEX
from segnet.models import checkpoint
from segnet.system.files import write_json
from segnet.system.hardware import about
from segnet.training.settings import TrainConfig

RESULT = Path(__file__).parent / "results" / "transfer.json"
NEW_NAMES = {"Building": "house", "Road": "street", "Tree": "plant", "Car": "vehicle", "Pedestrian": "person"}
SIZES = ((240, 320), (320, 240), (213, 320), (180, 240))
SPLITS = {"train": (1000, 60), "val": (2000, 20)}  # first scene, number of scenes
FEW = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--threads", type=int, default=2)
    studies = parser.add_subparsers(dest="study", required=True)
    street = studies.add_parser("street")
    street.add_argument("--longer", type=float, default=10.0)
    street.add_argument("--one-size", action="store_true")
    camvid = studies.add_parser("camvid")
    camvid.add_argument("data")
    camvid.add_argument("--encoder-weights", required=True)
    camvid.add_argument("--source-time", default="30m")
    camvid.add_argument("--drive", default="0016E5")
    for study in (street, camvid):
        study.add_argument("--time", default="3m")
    given = parser.parse_args()
    figures = street_figures(given) if given.study == "street" else camvid_figures(given)
    print(json.dumps(figures, indent=2))
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    results[given.study] = {"machine": about("segnet", "torch", "lightning", "kornia"), **figures}
    write_json(RESULT, results)


def street_figures(given: argparse.Namespace) -> dict[str, Any]:
    """Scores of a short run and of a longer one, by the defaults."""
    sizes = SIZES[:1] if given.one_size else SIZES
    data = given.out / f"street-{len(sizes)}"
    draw(data, sizes)
    longer = f"{given.longer * seconds(given.time):.0f}s"
    runs = {
        limit: run(given, data, limit, given.out / f"street-{len(sizes)}-{limit}") for limit in (given.time, longer)
    }
    share = runs[given.time]["miou"] / runs[longer]["miou"]
    return {"sizes": [list(size) for size in sizes], "threads": given.threads, "runs": runs, "share": share}


def camvid_figures(given: argparse.Namespace) -> dict[str, Any]:
    """Scores after the same time from a model of the other drives, and from ImageNet."""
    others, few = write_lists(given)
    imagenet = ("--encoder-weights", given.encoder_weights)
    source = given.out / f"source-{given.drive}-{given.source_time}"
    trained = run(given, others, given.source_time, source, *imagenet)
    starts = {"transfer": ("--weights", str(source / "best.safetensors")), "imagenet": imagenet}
    runs = {
        name: run(given, few, given.time, given.out / f"{name}-{given.drive}-{given.time}", *words)
        for name, words in starts.items()
    }
    gain = runs["transfer"]["miou"] - runs["imagenet"]["miou"]
    return {"drive": given.drive, "threads": given.threads, "source": trained, "runs": runs, "gain": gain}


def run(given: argparse.Namespace, data: Path, limit: str, out: Path, *words: str) -> dict[str, Any]:
    """Figures of `segnet train DATA --time LIMIT`; a run that is done is only read."""
    figures = out / "figures.json"
    if not figures.is_file():
        command = [sys.executable, "-m", "segnet", "train", str(data), "--time", limit, "--out", str(out), *words]
        threads = {"OMP_NUM_THREADS": str(given.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        began, load = time.monotonic(), os.getloadavg()[0]
        subprocess.run(command, check=True, env={**os.environ, **threads})
        write_json(figures, {"wall_s": round(time.monotonic() - began, 1), "load_before": load})
    kept = checkpoint.load(out / "best.safetensors")
    rows = (out / "metrics.csv").read_text(encoding="utf-8").splitlines()
    names, last = rows[0].split(","), rows[-1].split(",")
    settings = {name: kept.provenance["settings"][name] for name in ("crop", "batch", "optimizer", "lr")}
    return {
        "time": limit,
        **json.loads(figures.read_text(encoding="utf-8")),
        "steps": int(last[names.index("step")]),
        **settings,
        "miou": kept.scores["miou"],
    }


def draw(data: Path, sizes: Sequence[tuple[int, int]]) -> None:
    """The street with five of its classes under new names, once."""
    if (data / "classes.txt").is_file():
        return
    numbers = np.full(256, IGNORE_INDEX, np.uint8)
    for number, name in enumerate(NEW_NAMES):
        numbers[CAMVID.names.index(name)] = number
    for split, (first, count) in SPLITS.items():
        for index in range(count):
            image, mask = render_scene(first + index, size=sizes[index % len(sizes)])
            for folder, pixels in (("images", image), ("masks", numbers[mask])):
                path = data / folder / split / f"{index:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (data / "classes.txt").write_text("\n".join(NEW_NAMES.values()) + "\n", encoding="utf-8")


def write_lists(given: argparse.Namespace) -> tuple[Path, Path]:
    """Pair lists: the other drives, a tenth to choose the epoch by; and 40 images of this one, with those behind."""
    source = open_source(given.data)
    samples = sorted((*source.splits["train"], *source.splits["val"]), key=lambda sample: sample.name)
    held = [sample for sample in samples if sample.name.startswith(given.drive)]
    others = [sample for sample in source.splits["train"] if not sample.name.startswith(given.drive)]
    if len(held) < 2 * FEW or not others:
        raise SystemExit(
            f"drive {given.drive} has {len(held)} images and the others {len(others)}; give another --drive"
        )
    behind = held[2 * len(held) // 3 :]
    early = held[: len(held) - len(behind)]
    few = early[:: len(early) // FEW][:FEW]
    lists = []
    chosen_by = others[::10]
    learned = [sample for sample in others if sample not in chosen_by]
    for name, train, val in (("others", learned, chosen_by), ("few", few, behind)):
        folder = given.out / f"{name}-{given.drive}"
        folder.mkdir(parents=True, exist_ok=True)
        for split, chosen in (("train", train), ("val", val)):
            lines = [f"{sample.image.resolve()} {sample.mask.resolve()}\n" for sample in chosen]
            (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        lists.append(folder / "train.txt")
    return lists[0], lists[1]


def seconds(limit: str) -> float:
    found = TrainConfig(time=limit).seconds
    assert found is not None
    return found


if __name__ == "__main__":
    main()
