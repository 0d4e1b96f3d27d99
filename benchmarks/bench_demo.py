"""Seconds from ``segnet demo`` to the first answer with the page, in a new process each time.

pip install 'segnet[demo]'
python benchmarks/bench_demo.py >benchmarks/results/demo.json

Where other programs run, the time of the wall says little; ``cpu_s`` is the processor time of the process until then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from segnet.system.hardware import about

_ROUNDS = 5


def start() -> tuple[float, float]:
    """Seconds of the wall and of the processors until the page was served."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "segnet", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().split()[0]
        with urlopen(address) as answer:  # noqa: S310  an address of the demo's
            assert answer.status == 200
        seconds = time.perf_counter() - began
        user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        process.terminate()
    return seconds, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    start()  # files come from the disk for the first time
    measured = []
    for _ in range(_ROUNDS):
        load = os.getloadavg()[0]
        wall, processor = start()
        measured.append({"wall_s": round(wall, 2), "cpu_s": round(processor, 2), "load": round(load, 1)})
    print(json.dumps({
        "machine": about("torch", "gradio", "segnet"),
        "wall_s": median(row["wall_s"] for row in measured),
        "cpu_s": median(row["cpu_s"] for row in measured),
        "rounds": measured,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
