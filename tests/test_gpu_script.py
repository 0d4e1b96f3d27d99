"""``tools/gpu.sh --dry-run``: every stage runs on the CPU with toy sizes, so that the script works where a GPU is.

It runs with the packages that the script checks for, and no others: where a GPU is, there may be no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from segnet.models import checkpoint

ROOT = Path(__file__).parents[1]
STAGES = ["tests", "benchmark", "segnet", "segnet_light", "segnet_frozen"]


def call(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment}
    command = ["bash", str(ROOT / "tools" / "gpu.sh"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=known)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing but the packages that the script checks for, and those that they require."""
    root = tmp_path_factory.mktemp("python")
    packages = root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    for package in required_packages():
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(Path(str(package.locate_file(name))))
    interpreter = Path(sys.executable).resolve()
    (root / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to(interpreter)
    return root / "bin" / "python"


def required_packages() -> list[Distribution]:
    owners = packages_distributions()
    names = [owners[module][0] for module in import_steps().PACKAGES]
    found: dict[str, Distribution] = {}
    for name in names:  # grows while it is read
        if (key := canonicalize_name(name)) not in found:
            found[key] = package = distribution(name)
            wanted = map(Requirement, package.requires or ())
            names += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return list(found.values())


def import_steps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        return import_module("gpu_steps")


def read_summary(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def states(out: Path) -> dict[str, str]:
    return {name: stage["state"] for name, stage in read_summary(out)["stages"].items()}


def test_a_dry_run_does_every_stage_and_a_second_call_continues(python: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    known = {"GPU_WORK": str(work), "PYTHON": str(python)}
    first = call("synthetic", "none", out, "--dry-run", **known, PYTEST_ADDOPTS="--unknown-flag")
    assert first.returncode == 1, first.stdout + first.stderr
    assert "--unknown-flag" in first.stdout  # the end of the log of the stage that failed
    assert states(out) == {**dict.fromkeys(STAGES, "done"), "tests": "failed with exit code 4; see tests.log"}

    (work / "segnet_light.done").unlink()
    second = call("synthetic", "none", out, "--dry-run", **known)
    assert second.returncode == 0, second.stdout + second.stderr
    assert all(f"== {name}: done before" in second.stdout for name in ("benchmark", "segnet", "segnet_frozen"))
    assert states(out) == dict.fromkeys(STAGES, "done")
    assert "all 1 epochs of this run are done" in (work / "segnet_light.log").read_text()
    check_benchmark(out)
    check_files(out, tmp_path)


def check_benchmark(out: Path) -> None:
    """Everything is measured but the CUDA graphs."""
    rows = json.loads((out / "benchmark.json").read_text())["rows"]
    assert {row["way"]: row["note"] for row in rows if "note" in row} == {"graph": "left out: CUDA graphs need CUDA"}
    assert all(row["against_reference_eager"] > 0 and row["share_of_product"] > 0 for row in rows if "ms" in row)
    assert len(rows) == 2 * 4 * 2


def check_files(out: Path, folder: Path) -> None:
    """They fit through a narrow door, and the parts of a model are that model."""
    files = list(out.iterdir())
    assert len(files) <= 8
    assert all(file.stat().st_size < 16 * 2**20 for file in files)
    assert sum(file.stat().st_size for file in files) < 64 * 2**20
    summary = read_summary(out)
    assert set(summary["runs"]) == {"segnet", "segnet_light", "segnet_frozen"}
    carried = {name: entry for name, entry in summary["models"].items() if entry["files"]}
    assert len(carried) == 2  # the better one of the two with 59 MB
    for name, entry in carried.items():
        data = b"".join((out / file).read_bytes() for file in entry["files"])
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        (folder / "joined.safetensors").write_bytes(data)
        assert checkpoint.load(folder / "joined.safetensors").model.config.name == name.removesuffix("_frozen")


def test_stages_for_which_no_time_is_left_are_noted(tmp_path: Path) -> None:
    done = call("synthetic", "none", tmp_path / "out", "--dry-run", GPU_SECONDS="1")
    assert done.returncode == 1
    assert states(tmp_path / "out") == dict.fromkeys(STAGES, "left out: no time")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("synthetic", "none"), "usage: bash tools/gpu.sh"),
        (("synthetic", "none", "out", "--fast"), "usage: bash tools/gpu.sh"),
        (("nowhere", "none", "out", "--dry-run"), "these files and folders are missing: "),
    ],
)
def test_a_wrong_call_ends_with_one_line(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = call(*words, GPU_WORK=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("counts", "passes"),
    [('tests="3" skipped="0"', True), ('tests="3" skipped="1"', False), ('tests="0" skipped="0"', False)],
)
def test_skipped_gpu_tests_are_a_failure(counts: str, passes: bool, tmp_path: Path) -> None:
    steps = import_steps()
    (tmp_path / "tests.xml").write_text(f'<testsuites><testsuite {counts} failures="0" errors="0"/></testsuites>')
    assert steps.all_ran(steps.count_tests(tmp_path / "tests.xml")) is passes
    assert not steps.all_ran(steps.count_tests(tmp_path / "absent.xml"))
