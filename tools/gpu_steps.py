"""The steps of ``tools/gpu.sh`` that are programs: check what is needed, toy data, GPU tests, results.

python tools/gpu_steps.py check|data|tests|pack ...
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "torch", "numpy", "PIL", "safetensors", "yaml", "rich", "lightning", "kornia", "kornia_rs", "pytest", "hypothesis",
)  # fmt: skip
WEIGHTS = ("vgg16_imagenet_hed.safetensors", "efficientnet_lite0_imagenet.safetensors")
MODELS = ("segnet_light", "segnet", "segnet_frozen")  # the two last: the better one first
MOST_FILES = 8
MOST_BYTES = 62 * 2**20
PART_BYTES = 15 * 2**20
LOG_BYTES = 2**19  # of each; its end
TOY_SIZE = (32, 48)
TOY_IMAGES = {"train": 4, "val": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run, words in ((check, "data weights device"), (write_toy_data, "data out"), (tests, "device report"),
                       (pack, "work out")):  # fmt: skip
        command = commands.add_parser("data" if run is write_toy_data else run.__name__)
        for word in words.split():
            command.add_argument(word)
        command.set_defaults(run=run)
    words = vars(parser.parse_args())
    words.pop("run")(**words)


def check(data: str, weights: str, device: str) -> None:
    """Stop with one line if something is missing, before any time is spent."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise SystemExit(f"these Python packages are missing: {', '.join(missing)}; install the extras train and dev")
    found = describe_device(device)
    wanted = [] if weights == "none" and device == "cpu" else [Path(weights) / name for name in WEIGHTS]
    if device == "cuda" or data != "synthetic":
        wanted += [Path(data) / name for name in ("train", "trainannot", "val", "valannot")]
    absent = [str(path) for path in wanted if not path.exists()]
    if absent:
        raise SystemExit(f"these files and folders are missing: {', '.join(absent)}")
    print(f"torch {version('torch')}, {found}")


def describe_device(device: str) -> str:
    if device != "cuda":
        return "CPU"
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device is there; give --dry-run to try the script on the CPU")
    return torch.cuda.get_device_name()


def write_toy_data(data: str, out: str) -> None:
    """A few images in CamVid's layout: of the synthetic street, or the first of CamVid, resized."""
    from segnet.data.synthetic.scenes import write_scenes

    if data == "synthetic":
        write_scenes(Path(out), **TOY_IMAGES, size=TOY_SIZE)
        return
    from PIL import Image

    for split, count in TOY_IMAGES.items():
        for folder, method in ((split, Image.Resampling.BILINEAR), (f"{split}annot", Image.Resampling.NEAREST)):
            target = Path(out, folder)
            target.mkdir(parents=True, exist_ok=True)
            for path in sorted(Path(data, folder).glob("*.png"))[:count]:
                with Image.open(path) as image:
                    image.resize((TOY_SIZE[1], TOY_SIZE[0]), method).save(target / path.name)


def tests(device: str, report: str) -> None:
    """Run the GPU tests, and fail also if one was skipped or none was there."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, "tests/gpu"], cwd=ROOT, env={**os.environ, "SEGNET_TEST_DEVICE": device}, check=False
    )
    figures = count_tests(Path(report))
    print(f"GPU tests on {device}: {figures}")
    if done.returncode or not all_ran(figures):
        raise SystemExit(done.returncode or 1)


def count_tests(report: Path) -> dict[str, int]:
    """Numbers of tests, failures, errors and skipped tests in a JUnit file; zeros without one."""
    tree = ElementTree.parse(report) if report.is_file() else None  # noqa: S314  pytest has just written it
    suites = list(tree.getroot().iter("testsuite")) if tree is not None else []
    return {
        name: sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    }


def all_ran(figures: dict[str, int]) -> bool:
    """Whether there were tests, and none of them was skipped."""
    return figures["tests"] > 0 and not figures["skipped"]


def pack(work: str, out: str) -> None:
    """Write the results as at most 8 files below 16 MiB each, 62 MiB in all, and print a summary."""
    folder, target = Path(work), Path(out)
    target.mkdir(parents=True, exist_ok=True)
    remove_earlier(target)
    benchmark = folder / "benchmark.json"
    if benchmark.is_file():
        shutil.copyfile(benchmark, target / benchmark.name)
    (target / "logs.tar.gz").write_bytes(pack_logs(folder))
    runs = {name: describe_run(folder / "runs" / name) for name in MODELS}
    summary = {
        "stages": read_stages(folder / "stages.tsv"),
        "tests": count_tests(folder / "tests.xml"),
        "benchmark": read_notes(benchmark),
        "runs": {name: run for name, run in runs.items() if run},
        "models": write_models(folder / "runs", target, runs),
    }
    (target / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print_summary(summary, target)


def remove_earlier(target: Path) -> None:
    """Remove the results of an earlier call; other files stay."""
    names = {"summary.json", "benchmark.json", "logs.tar.gz"}
    for path in target.iterdir():
        if path.name in names or path.name.partition(".safetensors")[0] in MODELS:
            path.unlink()


def pack_logs(folder: Path) -> bytes:
    """The ends of all logs, and what is small of the runs, as a .tar.gz."""
    paths = [*folder.glob("*.log"), *folder.glob("*.tsv"), *folder.glob("*.xml")]
    paths += [path for name in ("metrics.csv", "config.yaml") for path in folder.glob(f"runs/*/{name}")]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted(paths):
            data = path.read_bytes()[-LOG_BYTES:]
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def describe_run(run: Path) -> dict[str, Any]:
    """Best mIoU, epochs, steps and pace of a run; empty if it has no model file."""
    import yaml

    metrics = run / "metrics.csv"
    if not (run / "best.safetensors").is_file() or not metrics.is_file():
        return {}
    rows = list(csv.DictReader(io.StringIO(metrics.read_text(encoding="utf-8"))))
    last, batch = rows[-1], yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["batch"]
    return {
        "miou": max(float(row["miou"]) for row in rows),
        "epochs": int(last["epoch"]),
        "steps": int(last["step"]),
        "seconds": float(last["seconds"]),
        "images_per_s": round(int(last["step"]) * batch / max(float(last["seconds"]), 1e-9), 1),
    }


def read_notes(benchmark: Path) -> dict[str, str]:
    """The candidates of the benchmark that were not measured, each with the reason."""
    rows = json.loads(benchmark.read_text(encoding="utf-8"))["rows"] if benchmark.is_file() else []
    return {f"{row['network']} {row['way']} {row['task']}": row["note"] for row in rows if row.get("note")}


def read_stages(file: Path) -> dict[str, dict[str, str]]:
    """The last state of each stage: how it ended and how long it took."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = (line.split("\t") for line in lines)
    return {name: {"state": state, "seconds": seconds} for name, state, seconds in rows}


def write_models(runs: Path, target: Path, described: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The models with filters in float16, in parts; those for which there is no room stay where they are."""
    pair = sorted(MODELS[1:], key=lambda name: described[name].get("miou", -1.0), reverse=True)
    written: dict[str, dict[str, Any]] = {}
    for name in (name for name in (MODELS[0], *pair) if described[name]):
        data = halved(runs / name / "best.safetensors")
        parts = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
        files = list(target.iterdir())
        room = MOST_BYTES - sum(path.stat().st_size for path in files)
        entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "files": list[str]()}
        if len(files) + len(parts) + 1 <= MOST_FILES and len(data) < room:  # 1: the summary
            entry["files"] = part_names(f"{name}.safetensors", len(parts))
            for file, part in zip(entry["files"], parts, strict=True):
                (target / file).write_bytes(part)
        written[name] = entry
    return written


def part_names(name: str, parts: int) -> list[str]:
    return [name] if parts == 1 else [f"{name}.part{number}of{parts}" for number in range(1, parts + 1)]


def halved(path: Path) -> bytes:
    """A model file with its filters in float16."""
    from segnet.models import checkpoint

    kept = checkpoint.load(path)
    file = path.with_name("half.safetensors")
    checkpoint.save(kept.model, kept.labels, file, provenance=kept.provenance, scores=kept.scores, half=True)
    return file.read_bytes()


def print_summary(summary: dict[str, Any], target: Path) -> None:
    for name, stage in summary["stages"].items():
        print(f"{name:14s} {stage['seconds']:>4s} s  {stage['state']}")
    print(f"GPU tests      {summary['tests']}")
    for name, note in summary["benchmark"].items():
        print(f"benchmark      {name} {note}")
    for name, run in summary["runs"].items():
        print("{:14s} mIoU {miou:.4f}, {epochs} epochs, {images_per_s} images/s".format(name, **run))
    for name, entry in summary["models"].items():
        joined = f"cat {name}.safetensors.part* > {name}.safetensors" if len(entry["files"]) > 1 else ""
        print(f"{name:14s} {' '.join(entry['files']) or 'no room: it stays in the folder of the runs'}  {joined}")
    print(f"results: {', '.join(sorted(path.name for path in target.iterdir()))}")


if __name__ == "__main__":
    main()
