"""How fast ``segnet check`` is, and what it finds of twelve kinds of faults planted in a copy of the data set.

    python benchmarks/bench_check.py CAMVID [--rounds 3] [--out benchmarks/results/check.json]

``cold`` reads every file; ``warm`` is the next check, which reads only the cache. Both are whole runs of the command,
with the start of Python. Seconds of CPU are given beside those of the clock, and the load of the machine, since other
work on it slows the clock alone. ``train_start`` is what ``segnet train`` spends on the check before it starts, with
and without an earlier check, beside the count of the classes that it needs anyway. CamVid's own folder is only read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from segnet.data.check.alignment import align
from segnet.data.check.misplaced import judge_alignment
from segnet.data.check.report import check_data, refuse_known_faults
from segnet.data.class_weights import count_classes
from segnet.data.layouts import open_source
from segnet.media.images.masks import read_mask
from segnet.media.images.reading import read_image
from segnet.system.files import write_json
from segnet.system.hardware import about

FAULTS = {
    "image_without_mask": 1, "mask_without_image": 1, "unreadable": 2, "lfs": 1, "lossy": 1, "size_mismatch": 1,
    "value_out_of_range": 2, "noisy_mask": 1, "shifted_mask": 3, "flipped_mask": 2, "foreign_mask": 1, "leak": 1,
}  # fmt: skip
"""Files at fault by kind of finding; the mask that went through JPEG has values out of range, too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "check.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = plant(arguments.camvid, Path(folder) / "planted")
        report = {
            **about("segnet", "numpy", "pillow"),
            "scheduling": scheduling(),
            "load_before": os.getloadavg(),
            "clean": measure(arguments.camvid, Path(folder), arguments.rounds),
            "planted": {**measure(copy, Path(folder), 1), "expected": FAULTS},
            "misplaced": misplaced(arguments.camvid),
            "train_start": train_start(arguments.camvid, Path(folder)),
            "load_after": os.getloadavg(),
        }
    write_json(arguments.out, report)
    print(json.dumps(report, indent=2))


def scheduling() -> str:
    """The priority of this session on Linux, where sessions share the cores: nice -19 has nearly all of them."""
    path = Path("/proc/self/autogroup")
    return path.read_text().strip().partition(" ")[2] if path.exists() else "unknown"


def measure(data: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Cold and warm runs of the command, and what the last one found."""
    runs: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    found: dict[str, Any] = {}
    for number in range(rounds):
        cache = folder / f"cache {data.name} {number}"
        for kind in runs:
            taken, code, found = command(data, cache, folder / "check.json")
            runs[kind].append(taken)
    pairs = found["pairs"]
    cold = median(run["seconds"] for run in runs["cold"])
    cpu = median(run["cpu_seconds"] for run in runs["cold"])
    return {
        "pairs": pairs,
        **runs,
        "cold_pairs_per_second": round(pairs / cold, 1),
        "cold_pairs_per_cpu_second": round(pairs / cpu, 1),
        "warm_seconds": median(run["seconds"] for run in runs["warm"]),
        "warm_cpu_seconds": median(run["cpu_seconds"] for run in runs["warm"]),
        "exit_code": code,
        "findings": {finding["kind"]: finding["count"] for finding in found["findings"]},
    }


def command(data: Path, cache: Path, out: Path) -> tuple[dict[str, float], int, dict[str, Any]]:
    words = [sys.executable, "-m", "segnet", "check", str(data), "--json", str(out)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, env={**os.environ, "SEGNET_CACHE": str(cache)}, capture_output=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3)}, done.returncode, json.loads(out.read_text())


def misplaced(data: Path) -> dict[str, dict[str, float]]:
    """The share of masks of every third pair that are found shifted, flipped or foreign, by what was done to them."""
    report = check_data(data)
    samples = report.data.samples[::3]
    usual = median(facts.alignment.fit for facts in report.data.facts if facts.alignment is not None)
    pairs = [(read_image(one.image, channels=1)[:, :, 0], read_mask(one.mask)) for one in samples]
    others = np.random.default_rng(0).permutation(len(pairs))
    changes: dict[str, Any] = {
        "clean": lambda _, mask: mask,
        **{f"{side} pixels across": lambda _, mask, side=side: np.roll(mask, side, axis=1) for side in (4, 8, 16)},
        **{f"{side} pixels down": lambda _, mask, side=side: np.roll(mask, side, axis=0) for side in (4, 8, 16)},
        "left to right": lambda _, mask: np.ascontiguousarray(mask[:, ::-1]),
        "upside down": lambda _, mask: np.ascontiguousarray(mask[::-1]),
        "of another image": lambda index, _: pairs[others[index]][1],
        "of the next frame but two": lambda index, _: pairs[(index + 1) % len(pairs)][1],
    }
    found = {}
    for name, change_mask in changes.items():
        tried = [align(gray, change_mask(index, mask)) for index, (gray, mask) in enumerate(pairs)]
        kinds = Counter(judge_alignment(one, usual)[0] for one in tried if one is not None)
        found[name] = {kind or "nothing": round(count / len(pairs), 3) for kind, count in kinds.items()}
    return found


def train_start(data: Path, folder: Path) -> dict[str, float]:
    """CPU seconds of the check before a training, with and without facts of an earlier check."""
    os.environ["SEGNET_CACHE"] = str(folder / "cache of training")
    source = open_source(data)
    taken = {"unchecked_cpu_seconds": cpu_seconds(lambda: refuse_known_faults(source, check="segnet check"))}
    train_set = source.dataset("train")
    taken["count_classes_cpu_seconds"] = cpu_seconds(lambda: count_classes(train_set))
    check_data(data)
    return {**taken, "checked_cpu_seconds": cpu_seconds(lambda: refuse_known_faults(source, check="segnet check"))}


def cpu_seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return round(time.process_time() - start, 3)


def plant(camvid: Path, root: Path) -> Path:
    """A copy with faults; each kind in files of its own."""
    shutil.copytree(camvid, root, copy_function=shutil.copyfile)
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    names = sorted(path.name for path in (root / "train").iterdir())[5::17]
    images, masks = ([root / folder / name for name in names] for folder in ("train", "trainannot"))
    masks[0].unlink()
    images[1].unlink()
    images[2].write_bytes(images[2].read_bytes()[:-5000])
    masks[3].write_bytes(masks[3].read_bytes()[:-900])
    images[4].write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    Image.open(masks[5]).convert("L").save(masks[5], format="JPEG")
    change(masks[6], lambda mask: mask[:-8])
    change(masks[7], lambda mask: np.where(np.arange(480) < 9, 77, mask).astype(np.uint8))
    Image.open(masks[8]).save(root / "lossy.jpg", quality=85)
    Image.open(root / "lossy.jpg").save(masks[8])
    (root / "lossy.jpg").unlink()
    change(masks[9], lambda mask: np.roll(mask, 6, axis=1))
    change(masks[10], lambda mask: np.roll(mask, (-4, 8), axis=(0, 1)))
    change(masks[11], lambda mask: np.roll(mask, 16, axis=0))
    change(masks[12], lambda mask: mask[:, ::-1])
    change(masks[13], lambda mask: mask[::-1])
    change(masks[14], lambda _: np.array(Image.open(masks[20])))
    for kind in ("", "annot"):
        shutil.copy(root / f"train{kind}" / names[15], root / f"val{kind}" / "copied.png")
    return root


def change(path: Path, work: Any) -> None:
    with Image.open(path) as image:
        mask = np.array(image)
    Image.fromarray(np.ascontiguousarray(work(mask))).save(path)


if __name__ == "__main__":
    main()
