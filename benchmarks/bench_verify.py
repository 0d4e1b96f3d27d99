"""How long an exported file takes to verify its predictions at its first use, and how much they add to its metadata.

python benchmarks/bench_verify.py segnet_light.onnx segnet_light.xml
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from typing import cast

from segnet.runtimes.base import FileRuntime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import verify
from segnet.system.hardware import about

_ROUNDS = 5


def measure(path: str) -> dict[str, object]:
    """Seconds of the first and of later verifications, each in a runtime that was just opened; CPU over all threads."""
    taken, cpu = [], []
    for _ in range(_ROUNDS):
        runtime = cast("FileRuntime", open_runtime(path, device="cpu"))
        started, before = time.perf_counter(), time.process_time()
        found = verify(runtime)
        taken.append(time.perf_counter() - started)
        cpu.append(time.process_time() - before)
    return {
        "file": runtime.path.name,
        "backend": runtime.backend,
        "precision": runtime.info.precision,
        "first_s": round(taken[0], 3),
        "first_cpu_s": round(cpu[0], 3),
        "median_s": round(median(taken), 3),
        "median_cpu_s": round(median(cpu), 3),
        "agreement": found.agreement,
        "reference_bytes": len(json.dumps(dict(runtime.info.reference))),
    }


def main() -> None:
    rows = [measure(path) for path in sys.argv[1:]]
    print(json.dumps({**about("segnet", "onnxruntime", "openvino"), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
