"""Latency of segnet_light with threads that spin or sleep while they wait, in turns, with and without busy neighbors.

    segnet export segnet_light
    python benchmarks/bench_busy.py segnet_light.onnx --neighbors 1 --json benchmarks/results/busy.json

The settings are those of the libraries, so this program calls them directly.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from segnet.benchmark.neighbors import busy_neighbors
from segnet.system.files import write_json
from segnet.system.hardware import about

KINDS = ("torch spin", "torch sleep", "onnx spin", "onnx sleep", "openvino pinned", "openvino free")
SIZE = (360, 480)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help=".onnx file of segnet_light")
    parser.add_argument("--neighbors", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kind", choices=KINDS, help="serve turns of one kind, for this program itself")
    arguments = parser.parse_args()
    if arguments.kind:
        serve(prepare(arguments.kind, arguments.model))
        return
    load_before = Path("/proc/loadavg").read_text().split()[:3]
    rows = measure(arguments)
    for row in rows:
        print(row)
    if arguments.json:
        figures = {
            **about("segnet", "torch", "onnxruntime", "openvino"),
            "size": SIZE,
            "load_before": load_before,
            "load_after": Path("/proc/loadavg").read_text().split()[:3],
            "neighbors": arguments.neighbors,
            "rows": rows,
        }
        write_json(arguments.json, figures)


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """One row per kind; all kinds take turns, each round first without and then with the neighbors."""
    workers = {kind: start(kind, arguments.model) for kind in arguments.kinds}
    taken: dict[tuple[str, int], list[float]] = {(kind, busy): [] for kind in arguments.kinds for busy in (0, 1)}
    cpu: dict[str, list[float]] = {kind: [] for kind in arguments.kinds}
    for _ in range(arguments.rounds):
        for busy in (0, 1):
            with busy_neighbors(arguments.neighbors * busy):
                for kind, worker in workers.items():
                    assert worker.stdin
                    assert worker.stdout
                    print(arguments.images, file=worker.stdin, flush=True)
                    seconds, cpu_s = json.loads(worker.stdout.readline())
                    taken[kind, busy] += seconds
                    cpu[kind].append(cpu_s)
    for worker in workers.values():
        worker.communicate()
    return [
        {
            "kind": kind,
            "p50_ms": round(1e3 * statistics.median(taken[kind, 0]), 1),
            "busy_p50_ms": round(1e3 * statistics.median(taken[kind, 1]), 1),
            "cpu_ms": round(1e3 * statistics.median(cpu[kind]), 1),
        }
        for kind in arguments.kinds
    ]


def start(kind: str, model: str) -> subprocess.Popen[str]:
    """A process of one kind that has warmed up."""
    names = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"OMP_WAIT_POLICY": "ACTIVE" if "spin" in kind else "PASSIVE"}
    words = [sys.executable, __file__, model, "--kind", kind]
    worker = subprocess.Popen(words, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout
    worker.stdout.readline()
    return worker


def serve(run: Callable[[], object]) -> None:
    """Answer each line, a number of images, with the wall seconds of each and the mean CPU seconds."""
    for _ in range(3):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, cpu = [], time.process_time()
        for _ in range(int(line)):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        print(json.dumps([seconds, (time.process_time() - cpu) / int(line)]), flush=True)


def prepare(kind: str, model: str) -> Callable[[], object]:
    """A call that runs one image."""
    image = np.random.default_rng(0).random((1, 3, *SIZE), dtype=np.float32)
    if kind.startswith("torch"):
        from segnet.runtimes.pytorch import load_checkpoint

        runtime = load_checkpoint("segnet_light")
        return lambda: runtime.run(image)
    if kind.startswith("onnx"):
        from segnet.runtimes.onnx import open_session

        session = open_session(Path(model).read_bytes())  # follows OMP_WAIT_POLICY
        return lambda: session.run(None, {session.get_inputs()[0].name: image})
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "pinned" in kind}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer([image])


if __name__ == "__main__":
    main()
