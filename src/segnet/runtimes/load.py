"""Opens any model with the runtime that its suffix names; the only module that imports all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segnet.errors import ConfigError, ModelError
from segnet.models.bundled import EXPORTED_SUFFIXES, check_source
from segnet.models.hub import fetch, is_hub_address
from segnet.runtimes.base import FileRuntime, Runtime
from segnet.runtimes.choice import RuntimeName, check_runtime, choose_runtime
from segnet.runtimes.exported import exported_file
from segnet.runtimes.model_info import ModuleInfo
from segnet.system.threads import check_threads

if TYPE_CHECKING:
    import torch

__all__ = ["open_file", "open_runtime"]

_ON_CPU = frozenset((".pte", ".tflite", ".mlpackage", ".pt2"))
_OWN_THREADS = frozenset((".pte", ".mlpackage"))


def open_runtime(
    source: str | Path,
    *,
    device: str | torch.device = "auto",
    precision: str = "float32",
    threads: int = 0,
    samples: int = 0,
    seed: int = 0,
    runtime: RuntimeName = "auto",
) -> Runtime:
    """Open a model file, a bundled model by its name, or a file of the Hugging Face hub (``hf://OWNER/NAME``).

    Args:
        source: ``.onnx`` (ONNX Runtime), ``.xml`` (OpenVINO), ``.pte`` (ExecuTorch), ``.tflite`` (LiteRT),
            ``.mlpackage`` (Core ML), ``.pt2`` (torch.export or AOTInductor); ``.safetensors`` (PyTorch); for a bundled
            name see ``runtime``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``, or a device name of OpenVINO.
        precision: ``float32``, ``bf16`` or ``auto``; a file that was exported in another precision keeps it.
        threads: number of compute threads; 0: the library's default.
        samples: number of Monte Carlo dropout samples per image, for a ``.safetensors`` or bundled model; 0: dropout
            is off. A file that was exported with samples draws its own.
        seed: random seed of Monte Carlo dropout.
        runtime: of a bundled model, or of a .safetensors file that ``segnet predict --runtime`` exported once:
            ``torch``, ``onnx`` (ONNX Runtime), ``openvino``, or ``auto``: OpenVINO or else ONNX Runtime if it is
            installed, and PyTorch for samples, a GPU or another precision. An .onnx file may be run by ``openvino``.

    Raises:
        ModelError: the file does not exist, it cannot be used, or the source is neither a path nor a name.
        ConfigError: the device, precision or number of threads is not possible, or the model has no dropout to draw
            samples with.
        MissingPackageError: the library is not installed.
    """
    check_source(source)
    check_threads(threads)
    device = str(device)
    if is_hub_address(source):
        source = fetch(source)
    path = Path(source)
    if path.suffix not in EXPORTED_SUFFIXES:
        chosen = choose_runtime(source, runtime, device=device, precision=precision, samples=samples)
        if chosen != "torch" and (exported := exported_file(source)):
            return open_file(exported, threads=threads, runtime=chosen)
        from segnet.runtimes.pytorch import load_checkpoint

        return load_checkpoint(source, device=device, precision=precision, threads=threads, samples=samples, seed=seed)
    check_runtime(path, runtime)
    if samples:
        raise ConfigError(
            f"{source}: an exported file draws as many samples as it was exported with; leave samples out, and export "
            f"it with --samples {samples}, or give the .safetensors file"
        )
    if path.suffix == ".mlpackage" and not path.is_dir():
        raise ModelError(f"{source}: there is no such package, which is a folder; 'segnet export' writes it")
    if path.suffix != ".mlpackage" and not path.is_file():
        raise ModelError(f"{source}: there is no such file; 'segnet export' writes it")
    opened = open_file(path, device=device, precision=precision, threads=threads, runtime=runtime)
    if isinstance(opened.info, ModuleInfo):
        raise ModelError(
            f"{source}: was exported from a module of yours and has no classes; run it in {opened.backend}, "
            "or open it with segnet.runtimes.load.open_file"
        )
    return opened


def open_file(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: str = "float32",
    threads: int = 0,
    runtime: RuntimeName = "auto",
) -> FileRuntime:
    """Open an exported file in its library, also one that ``segnet.export_module`` wrote; see ``open_runtime``."""
    path = Path(path)
    _check_device(path, device)
    _check_threads(path, threads)
    match path.suffix:
        case ".onnx" if runtime != "openvino":
            from segnet.runtimes.onnx import OnnxRuntime

            return OnnxRuntime(path, device=device, threads=threads)
        case ".onnx" | ".xml":
            from segnet.runtimes.openvino import OpenVinoRuntime

            return OpenVinoRuntime(path, device=device, precision=precision, threads=threads)
        case ".pte":
            from segnet.runtimes.executorch import ExecuTorchRuntime

            return ExecuTorchRuntime(path)
        case ".tflite":
            from segnet.runtimes.litert import LiteRtRuntime

            return LiteRtRuntime(path, threads=threads)
        case ".mlpackage":
            from segnet.runtimes.coreml import CoreMlRuntime

            return CoreMlRuntime(path)
        case _:
            from segnet.runtimes.pytorch import ProgramRuntime

            return ProgramRuntime(path, threads=threads)


def _check_device(path: Path, device: str) -> None:
    if path.suffix in _ON_CPU and device not in {"auto", "cpu"}:
        raise ConfigError(f"{path}: {path.suffix} files run on the cpu here, not on {device!r}; choose --device cpu")


def _check_threads(path: Path, threads: int) -> None:
    if threads and path.suffix in _OWN_THREADS:
        raise ConfigError(f"{path}: the library of {path.suffix} files chooses its threads itself; leave --threads out")
