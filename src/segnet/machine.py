"""What a measurement ran on, and what this machine can do at best."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["about", "peak_gmacs"]

_SIDE = 2048


def about(*packages: str) -> dict[str, object]:
    """Processor, cores, versions of the packages that are installed, and the commit if this is a clone."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: found for package in packages if (found := _version(package))},
        "commit": _commit(),
    }


def peak_gmacs(precision: str, *, threads: int = 0) -> float | None:
    """10^9 multiply-accumulates a second of a square matrix product, the best of five; None if PyTorch has none.

    Args:
        precision: ``float32``, ``bf16`` or ``int8``.
        threads: 0: as many as PyTorch takes.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    kind = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}.get(precision)
    if kind is None:
        return None
    product = torch._int_mm if kind == torch.int8 else torch.mm
    matrix = torch.ones(_SIDE, _SIDE, dtype=kind)
    try:
        seconds = min(_timed(lambda: product(matrix, matrix)) for _ in range(6))
    except RuntimeError:  # no such product for this processor
        return None
    finally:
        torch.set_num_threads(before)
    return _SIDE**3 / seconds / 1e9


def _timed(run: object) -> float:
    assert callable(run)
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision}+changes" if changed else revision
