"""What a measurement ran on, and what this machine can do at best."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["about", "memory", "peak_gmacs", "seconds", "versions"]

_SIDE = 2048
_UNKNOWN_MEMORY = 8 * 2**30


def about(*packages: str) -> dict[str, object]:
    """Processor, cores, versions of the packages that are installed, and the commit if this is a clone."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(*packages),
        "commit": _commit(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed."""
    return {package: found for package in packages if (found := _version(package))}


def memory() -> int:
    """Bytes of main memory, or as many as this process is allowed (Linux containers)."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else _UNKNOWN_MEMORY
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(pages, int(text)) if text.isdigit() else pages


def peak_gmacs(precision: str, *, threads: int = 0) -> float | None:
    """10^9 multiply-accumulates a second of a square matrix product, the best of several; None if PyTorch has none.

    The product is taken as a matrix product and as a 1x1 convolution, since PyTorch asks different libraries for the
    two, and on some processors one is twice as fast as the other.

    Args:
        precision: ``float32``, ``bf16`` or ``int8``.
        threads: 0: as many as PyTorch takes.
    """
    import torch

    if precision not in {"float32", "bf16", "int8"}:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.inference_mode():
            taken = min(seconds(product) for product in _products(precision) for _ in range(6))
    except RuntimeError:  # no such product for this processor
        return None
    finally:
        torch.set_num_threads(before)
    return _SIDE**3 / taken / 1e9


def _products(precision: str) -> list[Callable[[], object]]:
    """The same product of two square matrices in different ways."""
    import torch
    import torch.nn.functional as F

    if precision == "int8":
        whole = torch.ones(_SIDE, _SIDE, dtype=torch.int8)
        return [lambda: torch._int_mm(whole, whole)]
    matrix = torch.ones(_SIDE, _SIDE, dtype=torch.float32 if precision == "float32" else torch.bfloat16)
    image = matrix.T.reshape(1, _SIDE, 64, -1).contiguous(memory_format=torch.channels_last)
    filters = matrix[:, :, None, None].contiguous(memory_format=torch.channels_last)
    return [lambda: torch.mm(matrix, matrix), lambda: F.conv2d(image, filters)]


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
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
