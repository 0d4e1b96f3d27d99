"""Killed, full, damaged: a small part of benchmarks/bench_faults.py, whose full counts are in docs/reliability.md."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_faults.py"
FAULTS = (
    "kill -9 during predict", "kill -9 during convert", "SIGTERM during predict", "two trainings in one folder",
    "images removed and cut off while read",
)  # fmt: skip


def test_nothing_is_lost(tmp_path: Path) -> None:
    words = ["--trials", "1", "--images", "20", "--out", str(tmp_path / "faults.json"), "--only", *FAULTS]
    subprocess.run([sys.executable, str(BENCHMARK), *words], check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((tmp_path / "faults.json").read_text())["rows"]
    assert {row["fault"]: row.get("losses", []) for row in rows} == {fault: [] for fault in FAULTS}


def small_files_only() -> None:
    """As on a full disk, no file of this process can grow beyond 4 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_full_disk_ends_an_export_with_one_line(toy: SegNet, tmp_path: Path) -> None:
    """PyTorch's own writing of a program would abort the process."""
    checkpoint.save(toy, ClassTable.numbered(3), tmp_path / "toy.safetensors")
    words = ["export", "toy.safetensors", "--format", "torch"]
    command = [sys.executable, "-B", "-m", "segnet", *words]  # -B: bytecode would be cut off, too, and fail later
    done = subprocess.run(
        command, cwd=tmp_path, preexec_fn=small_files_only, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "toy.pt2 cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["toy.safetensors"]
