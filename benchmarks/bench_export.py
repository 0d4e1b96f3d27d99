"""Seconds of `segnet export`, from the start of the process to its end, comparison and verification included.

    python benchmarks/bench_export.py [--models NAME ...] [--formats NAME ...] > export.json

Every export is a process of its own, and the median of three counts. `cpu_s` is the processor time of
the process, which another program beside it makes larger by less than the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from segnet.exporting.formats import FORMATS
from segnet.system.hardware import about


def export(model: str, name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"model{FORMATS[name].suffix}"
        command = [sys.executable, "-m", "segnet", "export", model, "--format", name, "--out", str(out)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        report = json.loads(out.with_name(f"{out.name}.report.json").read_text(encoding="utf-8"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "check_s": report["seconds"]["check"], "agreement": report["agreement"]}


def measure(model: str, name: str, rounds: int) -> dict[str, Any]:
    runs = [export(model, name) for _ in range(rounds)]
    return {"model": model, "format": name, **{key: round(median(run[key] for run in runs), 6) for key in runs[0]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["segnet_light", "segnet_basic"])
    parser.add_argument("--formats", nargs="+", default=["onnx", "openvino"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [measure(model, name, arguments.rounds) for model in arguments.models for name in arguments.formats]
    machine = about("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "segnet")
    print(json.dumps({"machine": machine, "load_before": round(load, 1), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
