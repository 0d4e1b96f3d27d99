"""Killed, full, damaged: a small part of benchmarks/bench_faults.py, whose full counts are in docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_faults.py"
FAULTS = (
    "kill -9 during predict", "kill -9 during convert", "SIGTERM during predict", "two trainings in one folder",
    "images removed and cut off while read",
)  # fmt: skip


def test_nothing_is_lost(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARK), "--trials", "2", "--out", str(tmp_path / "faults.json"), "--only", *FAULTS]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((tmp_path / "faults.json").read_text())["rows"]
    assert {row["fault"]: row.get("losses", []) for row in rows} == {fault: [] for fault in FAULTS}
