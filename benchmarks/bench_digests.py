"""What the digests of a model file and the check for finite values cost when it is loaded.

    python benchmarks/bench_digests.py [--rounds 15] [--out benchmarks/results/digests.json]

CPU time of one thread, the smallest of the rounds, so that other programs on the machine matter little; the file is in
the system's cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import torch

from segnet.labels import ClassTable
from segnet.models import checkpoint, model_file
from segnet.models.bundled import find
from segnet.models.zoo import create_model
from segnet.system.files import write_json
from segnet.system.hardware import about

CHECKS = ("check_description", "check_tensors", "require_finite")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "digests.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        vgg = Path(folder) / "segnet.safetensors"
        checkpoint.save(create_model("segnet", classes=11), ClassTable.numbered(11), vgg)
        files = {"segnet_light": find("segnet_light"), "segnet (VGG16, float32)": vgg}
        rows = [measure(name, path, arguments.rounds) for name, path in files.items()]
    report = {"machine": about("torch", "safetensors", "segnet"), "rounds": arguments.rounds, "files": rows}
    write_json(arguments.out, report)
    print(json.dumps(report, indent=1))


def measure(name: str, path: Path, rounds: int) -> dict[str, object]:
    checked, plain = [], []
    for _ in range(rounds):
        checked.append(load_ms(path))
        with patch.multiple(model_file, **{check: lambda *_: False for check in CHECKS}):
            plain.append(load_ms(path))
    return {
        "model": name,
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "load_ms": round(min(checked), 1),
        "without_checks_ms": round(min(plain), 1),
    }


def load_ms(path: Path) -> float:
    began = time.process_time()
    checkpoint.load(path)
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    main()
