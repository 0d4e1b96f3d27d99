"""Time and memory of max_pool + max_unpool, forward and backward, against PyTorch's own pair.

    python benchmarks/bench_ops.py [--threads 2] [--rounds 15] [--out benchmarks/results/ops.json]

The candidates take turns, and the smallest time of each counts. With one thread CPU time is measured instead of wall
time, which stays meaningful on a machine that others use. Each case runs in two memory modes: `returning`, as glibc
comes, where big buffers go back to the kernel and are zeroed again at their next use, and `keeping`, as segnet sets it
up.

Tried, in ms for (1, 64, 360, 480) float32, contiguous / channels_last, two threads of an idle machine, memory kept:

    pooling    native 23.7 / 1.8; native on planes turned to channels_last 4.5 + 1.8, and 1 for the way back (chosen);
               code by comparing three strided slices with the maxima 9.5 / 6.4, from the indices about 1 (chosen)
    unpooling  flat index 2.2 / 2.0, with zeros and index_copy_ 3.8 / 2.5 (chosen), scatter_ 5.9 / 3.3, put_ 3.8 / 2.7;
               torch.where into four slices of the result 15.0 / 15.7, mul 10.6 / 8.0 (and wrong for infinities);
               native max_unpool2d 3.0 / 2.6, but it refuses deterministic mode
    gathering  flat index and take 4.9 / 2.0 (chosen), index_select 5.5 / 2.3; native gather by planes 2.9 / 13.9
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segnet.nn.codes import max_pool, max_unpool
from segnet.system.files import write_json

SHAPES = [(1, 64, 360, 480), (4, 256, 90, 120)]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DTYPES = [torch.float32, torch.bfloat16]
KEEPING = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000:glibc.malloc.top_pad=268435456"


def main() -> None:
    arguments = parse_arguments()
    if arguments.cases_only:
        print(json.dumps(run_cases(arguments.threads, arguments.rounds)))
        return
    report = {
        "machine": machine(arguments.threads),
        "measured": f"{'CPU' if arguments.threads == 1 else 'wall'} time, smallest of {arguments.rounds} rounds",
        "memory": [code_memory(shape) for shape in SHAPES],
        "time": {"returning": in_child(arguments, ""), "keeping": in_child(arguments, KEEPING)},
    }
    write_json(arguments.out, report)
    print_table(report)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ops.json")
    parser.add_argument("--cases-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_child(arguments: argparse.Namespace, tunables: str) -> list[dict[str, Any]]:
    # glibc reads its tunables once, when a process starts.
    command = [sys.executable, __file__, "--cases-only"]
    command += ["--threads", str(arguments.threads), "--rounds", str(arguments.rounds)]
    done = subprocess.run(
        command, env={**os.environ, "GLIBC_TUNABLES": tunables}, stdout=subprocess.PIPE, text=True, check=True
    )
    cases: list[dict[str, Any]] = json.loads(done.stdout)
    return cases


def run_cases(threads: int, rounds: int) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    cases = []
    for dtype in DTYPES:
        for shape in SHAPES:
            for layout, memory_format in LAYOUTS.items():
                x = torch.randn(shape).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
                pytorch, segnet = interleaved([with_pytorch, with_segnet], x, rounds, clock)
                case = {"dtype": str(dtype).removeprefix("torch."), "shape": shape, "layout": layout}
                times = {"pytorch_ms": round(pytorch, 2), "segnet_ms": round(segnet, 2)}
                cases.append({**case, **times, "ratio": round(segnet / pytorch, 3)})
    return cases


def interleaved(
    candidates: list[Callable[[Tensor], Tensor]], x: Tensor, rounds: int, clock: Callable[[], float]
) -> list[float]:
    """The smallest time of each candidate, forward and backward, in ms."""
    downstream = torch.randn_like(x).detach()
    best = [float("inf")] * len(candidates)
    for _ in range(rounds + 1):
        for i, candidate in enumerate(candidates):
            x.grad = None
            start = clock()
            candidate(x).backward(downstream)
            best[i] = min(best[i], (clock() - start) * 1000)
    return best


def with_pytorch(x: Tensor) -> Tensor:
    values, index = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    return F.max_unpool2d(values, index, 2, 2, output_size=x.shape[2:])


def with_segnet(x: Tensor) -> Tensor:
    values, code = max_pool(x)
    return max_unpool(values, code, (x.shape[2], x.shape[3]))


def code_memory(shape: tuple[int, ...]) -> dict[str, Any]:
    x = torch.zeros(shape)
    code = max_pool(x)[1].nbytes
    index = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)[1].nbytes
    return {"shape": shape, "code_bytes": code, "index_bytes": index, "times_smaller": round(index / code, 2)}


def machine(threads: int) -> dict[str, Any]:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpu[0].partition(": ")[2] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or None,
        "date": time.strftime("%Y-%m-%d"),
    }


def print_table(report: dict[str, Any]) -> None:
    for row in report["memory"]:
        print(
            f"{row['shape']}: code {row['code_bytes']:,} bytes, index {row['index_bytes']:,}: {row['times_smaller']}x"
        )
    print(f"\n{report['measured']}, load {report['machine']['load_before']}")
    print(f"{'memory':10} {'dtype':9} {'shape':20} {'layout':14} {'PyTorch ms':>10} {'segnet ms':>10} {'ratio':>6}")
    for mode, cases in report["time"].items():
        for case in cases:
            place = f"{mode:10} {case['dtype']:9} {case['shape']!s:20} {case['layout']:14}"
            print(f"{place} {case['pytorch_ms']:10.1f} {case['segnet_ms']:10.1f} {case['ratio']:6.2f}")


if __name__ == "__main__":
    main()
