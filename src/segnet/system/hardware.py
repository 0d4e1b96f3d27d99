"""What a measurement ran on, and what this machine can do at best."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "Peak",
    "about",
    "has_nvidia_gpu",
    "instruction_sets",
    "memory",
    "peak_gmacs",
    "processor",
    "processor_fingerprint",
    "seconds",
    "versions",
    "why_emulated",
]

_UNKNOWN_MEMORY = 8 * 2**30
_INSTRUCTION_FIELDS = ("flags", "Features", "CPU implementer", "CPU part", "isa")  # x86, ARM, ARM, ARM, RISC-V

# The instruction sets that decide how fast a network is, by Linux's names.
_REPORTED = (
    "avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_IN_PYTORCH = {"avx512_f": "avx512f", "neon": "asimd", "dot": "asimddp"}
# What multiplies in the precision, and the value of ONEDNN_MAX_CPU_ISA from which on oneDNN uses it (x86 alone).
_MULTIPLY = {
    "bf16": {"avx512_bf16": "AVX512_CORE_BF16", "amx_bf16": "AVX512_CORE_AMX", "bf16": ""},
    "int8": {
        "avx_vnni": "AVX2_VNNI",
        "avx512_vnni": "AVX512_CORE_VNNI",
        "amx_int8": "AVX512_CORE_AMX",
        "asimddp": "",
        "i8mm": "",
    },
}
# oneDNN's documentation, "CPU Dispatcher Control"; values above these limit nothing that is asked for here.
_ONEDNN_LEVELS = (
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16",
    "AVX512_CORE_FP16", "AVX512_CORE_AMX",
)  # fmt: skip
_SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")

_SIDES = (128, 256, 512, 1024, 2048)
_BUDGET_S = 1.0
_REPEATS = 6
# Emulation costs a small product 20 to 1,000 times as much as float32; a fast kernel makes it cheaper.
_FAR_SLOWER = 4.0


@dataclass(frozen=True)
class Peak:
    """The best that this machine does in a precision.

    Attributes:
        gmacs: 10^9 multiply-accumulates a second; None if there is no such figure.
        reason: why there is none.
    """

    gmacs: float | None = None
    reason: str = ""


def about(*packages: str) -> dict[str, object]:
    """Processor, its instruction sets, cores, versions of installed packages, and the commit if this is a clone.

    Environment variables that limit the instruction sets of PyTorch or oneDNN are included where they are set.
    """
    limits = " ".join(f"{name}={os.environ[name]}" for name in _SWITCHES if name in os.environ)
    return {
        "processor": processor(),
        "instruction_sets": " ".join(instruction_sets()),
        **({"instruction_sets_limited": limits} if limits else {}),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(*packages),
        "commit": _commit(),
    }


def processor() -> str:
    """Model name of the CPU, as the system gives it; may be empty."""
    return _cpu_info().get("model name") or platform.processor()


def processor_fingerprint() -> str:
    """SHA-256 of the architecture, model and instruction sets of the CPU, in hexadecimal.

    A limit on the instruction sets, such as the environment variable ``ONEDNN_MAX_CPU_ISA``, counts as another CPU.
    """
    info = _cpu_info()
    parts = [platform.machine(), processor(), *(info.get(field, "") for field in _INSTRUCTION_FIELDS)]
    parts += [os.environ.get(name, "") for name in _SWITCHES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Version of each package by its name; packages that are not installed are left out.

    Args:
        packages: Names to import. Of a module, such as executorch.exir, the version is that of its package.
    """
    installed = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            installed[name] = version(name.partition(".")[0])
    return installed


def memory() -> int:
    """Bytes of main memory, or as many as this process is allowed (Linux containers)."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else _UNKNOWN_MEMORY
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(pages, int(text)) if text.isdigit() else pages


def has_nvidia_gpu() -> bool:
    """Whether Linux has a driver for an NVIDIA GPU; unlike PyTorch, this needs no second to ask."""
    return any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/dxg"))


def instruction_sets() -> list[str]:
    """Those of the processor that decide how fast a network is, by Linux's names; empty where nothing tells them.

    The switches ``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` do not change them.
    """
    found = _flags()
    return [name for name in _REPORTED if name in found]


def why_emulated(precision: str) -> str | None:
    """Why this CPU has to make up for products in this precision, which is slow; None if it has them.

    The instruction sets decide. Where they are there, or nothing tells them, a product that takes microseconds decides:
    a library may have no kernel for them.

    Args:
        precision: ``bf16`` or ``int8``; others are not emulated.
    """
    if precision not in _MULTIPLY:
        return None
    found = instruction_sets()
    on_x86 = any(name.startswith("avx") for name in found)
    wanted = {name: level for name, level in _MULTIPLY[precision].items() if bool(level) == on_x86}
    there = [name for name in wanted if name in found]
    if found and not there:
        return f"{precision} is emulated on this processor, which has none of {', '.join(wanted)}"
    if there and not any(_allowed(wanted[name]) for name in there):
        return f"{precision} is emulated while ONEDNN_MAX_CPU_ISA={_onednn_limit()} forbids {', '.join(there)}"
    if _small_product(precision) > _FAR_SLOWER * _small_product("float32"):
        return f"{precision} is emulated by this PyTorch, which has no fast product in it for this processor"
    return None


def peak_gmacs(precision: str, *, threads: int = 0, budget_s: float = _BUDGET_S) -> Peak:
    """10^9 multiply-accumulates a second of a square matrix product, the best of several; none if it is emulated.

    The product is taken as a matrix product and as a 1x1 convolution, since PyTorch asks different libraries for the
    two, and on some processors one is twice as fast as the other. The matrices grow for the budget, for each of
    the two.

    Args:
        precision: ``float32``, ``bf16`` or ``int8``.
        threads: 0: as many as PyTorch takes.
        budget_s: seconds for each of the two.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return Peak(reason="PyTorch, whose matrix product is compared with, is not installed")

    ways = [_matrix_product] if precision == "int8" else [_matrix_product, _convolution]
    if precision != "float32" and precision not in _MULTIPLY:
        return Peak(reason=f"PyTorch multiplies no matrices in {precision}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        if reason := why_emulated(precision):
            return Peak(reason=reason)
        return Peak(max(_best_gmacs(partial(way, precision), budget_s) for way in ways))
    except RuntimeError:
        return Peak(reason=f"PyTorch multiplies no matrices in {precision} on this processor")
    finally:
        torch.set_num_threads(before)


def _best_gmacs(product: Callable[[int], Callable[[], object]], budget_s: float = _BUDGET_S) -> float:
    """The best rate over growing matrices, within the budget; ``product`` makes a call from the side."""
    end, best, quickest = time.perf_counter() + budget_s, 0.0, 0.0
    for side in _SIDES:
        if time.perf_counter() + 8 * quickest > end:  # twice the side is eight times the work
            break
        run = product(side)
        quickest = seconds(run)
        for _ in range(_REPEATS - 1):
            if time.perf_counter() + quickest > end:
                break
            quickest = min(quickest, seconds(run))
        best = max(best, side**3 / quickest / 1e9)
    return best


def _small_product(precision: str) -> float:
    """Seconds of the smallest product, the best of several."""
    run = _matrix_product(precision, _SIDES[0])
    return min(seconds(run) for _ in range(_REPEATS))


def _matrix_product(precision: str, side: int) -> Callable[[], object]:
    import torch

    if precision == "int8":
        whole = torch.ones(side, side, dtype=torch.int8)
        return lambda: torch._int_mm(whole, whole)
    matrix = torch.ones(side, side, dtype=torch.float32 if precision == "float32" else torch.bfloat16)
    return lambda: torch.mm(matrix, matrix)


def _convolution(precision: str, side: int) -> Callable[[], object]:
    import torch
    import torch.nn.functional as F

    matrix = torch.ones(side, side, dtype=torch.float32 if precision == "float32" else torch.bfloat16)
    image = matrix.T.reshape(1, side, 16, -1).contiguous(memory_format=torch.channels_last)
    filters = matrix[:, :, None, None].contiguous(memory_format=torch.channels_last)
    return lambda: F.conv2d(image, filters)


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _flags() -> set[str]:
    """What PyTorch says of the processor, or else Linux."""
    try:
        import torch

        return {_IN_PYTORCH.get(name, name) for name, there in torch.cpu.get_capabilities().items() if there is True}
    except (ImportError, AttributeError):  # not installed, or older
        info = _cpu_info()
        return set((info.get("flags") or info.get("Features") or "").split())


def _allowed(level: str) -> bool:
    """Whether oneDNN may use what it calls by this name; it obeys a switch of its own."""
    limit = _onednn_limit()
    return limit not in _ONEDNN_LEVELS or not level or _ONEDNN_LEVELS.index(level) <= _ONEDNN_LEVELS.index(limit)


def _onednn_limit() -> str:
    return os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()


def _cpu_info() -> dict[str, str]:
    """Fields of the first core in Linux's /proc/cpuinfo; empty on other systems."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    fields = (line.partition(":") for line in reversed(lines))
    return {name.strip(): value.strip() for name, _, value in fields}


def _commit() -> str:
    """Of this package; an installed one may lie in the repository of a project, whose commit is not meant."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        revision = _git("rev-parse", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    try:
        _git("diff", "--quiet", "HEAD")
    except subprocess.CalledProcessError:
        return f"{revision}+changes"
    return revision


def _git(*words: str) -> str:
    """What git says in the folder of this package."""
    command = ["git", *words]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()
