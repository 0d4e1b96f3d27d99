"""Which library runs a model: the fastest that is installed and can do what is asked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.runtimes.exported import exported_file
from segnet.system.hardware import has_nvidia_gpu

__all__ = ["RuntimeName", "check_runtime", "choose_runtime", "needs_torch"]

RuntimeName = Literal["auto", "torch", "onnx", "openvino"]

_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}  # the faster one first: docs/how-to/benchmark.md
_OF_SUFFIX = {".onnx": ("onnx", "openvino"), ".xml": ("openvino",), ".pt2": ("torch",)}


def choose_runtime(
    source: str | Path,
    wanted: RuntimeName = "auto",
    *,
    device: str = "auto",
    precision: str = "float32",
    samples: int = 0,
) -> RuntimeName:
    """The library for a bundled model or a .safetensors file: ``torch``, ``onnx`` or ``openvino``.

    The last two need an ONNX file: a bundled one, or an export that is kept in the cache.

    Args:
        source: as in ``open_runtime``.
        wanted: ``auto``, or the library that the user asks for.
        device, precision, samples: as in ``open_runtime``.

    Raises:
        ConfigError: the library is unknown, or only PyTorch can do what is asked and another is wanted.
        ModelError: another library is wanted, and there is no such .safetensors file.
        MissingPackageError: none of the libraries is installed.
    """
    if wanted not in get_args(RuntimeName):
        raise ConfigError(f"runtime {wanted!r} is unknown; choose one of {', '.join(get_args(RuntimeName))}")
    reason = needs_torch(device=device, precision=precision, samples=samples)
    if not reason and exported_file(source) is None:
        reason = "a model file that was not exported"
    if wanted in _PACKAGES and reason:
        if Path(source).suffix == ".safetensors" and not Path(source).is_file():
            raise ModelError(f"{source}: there is no such model file; 'segnet train' writes one")
        raise ConfigError(f"{source}: {reason} needs PyTorch; leave --runtime {wanted} out")
    if wanted != "auto":
        return wanted
    installed: list[RuntimeName] = [] if reason else [name for name in ("openvino", "onnx") if _has(_PACKAGES[name])]
    if installed:
        return installed[0]
    if not reason and not _has("torch"):
        raise MissingPackageError.of("onnxruntime", "onnx")
    return "torch"


def check_runtime(path: Path, wanted: RuntimeName) -> None:
    """Refuse a library that cannot run an exported file.

    Raises:
        ConfigError: the suffix is that of another library's files.
    """
    able = _OF_SUFFIX.get(path.suffix, ())
    if wanted != "auto" and wanted not in able:
        raise ConfigError(f"{path}: --runtime {wanted} cannot run {path.suffix} files; leave it out")


def needs_torch(*, device: str, precision: str, samples: int) -> str:
    """What of this PyTorch alone can do, as the subject of a sentence; empty if other libraries can."""
    if samples:
        return "Monte Carlo dropout (--samples)"
    if precision != "float32":
        return f"--precision {precision}"
    if device not in {"auto", "cpu"}:
        return f"--device {device}"
    return "a GPU" if device == "auto" and has_nvidia_gpu() and _has("torch") else ""


def _has(package: str) -> bool:
    return find_spec(package) is not None
