"""ONNX files in ONNX Runtime, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError, first_line
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.overflow import may_overflow, warn_of_overflow
from segnet.system.packages import importing
from segnet.system.waiting import may_spin

__all__ = ["OnnxRuntime", "Provider", "choose_providers", "open_session"]

Provider = str | tuple[str, dict[str, int]]
"""An execution provider of ONNX Runtime: its name, with options or without."""

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_PROVIDERS = {"cpu": _CPU, "cuda": _CUDA, "mps": "CoreMLExecutionProvider"}


class OnnxRuntime(FileRuntime):
    """An ONNX file in ONNX Runtime.

    Args:
        path: an .onnx file written by ``segnet export``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        threads: number of compute threads; 0: ONNX Runtime's default.

    Raises:
        MissingPackageError: ONNX Runtime is not installed.
        ModelError: the file is damaged or has no metadata.
        ConfigError: this build of ONNX Runtime has no such device.
    """

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        providers = choose_providers(device, _library().get_available_providers())
        try:
            self._session = open_session(path.read_bytes(), threads=threads, providers=providers)
            text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        except Exception as error:  # the exceptions of ONNX Runtime have no common base class
            raise ModelError(
                f"{path}: ONNX Runtime cannot use it ({first_line(error)}); it may be truncated or of another format"
            ) from error
        device_used = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        backend = f"ONNX Runtime {_library().__version__} ({device_used})"
        super().__init__(path, ModelInfo.from_json(text, path), backend=backend)
        if may_overflow(self.info):
            warn_of_overflow(path)
            self._session = open_session(path.read_bytes(), threads=threads, providers=providers, wide=True)
        self._inputs = [each.name for each in self._session.get_inputs()]

    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs of the file."""
        result: list[NDArray[Any]] = self._session.run(
            None, {name: np.ascontiguousarray(each) for name, each in zip(self._inputs, inputs, strict=True)}
        )
        return result


def choose_providers(device: str, available: Sequence[str]) -> list[Provider]:
    """The execution providers of ONNX Runtime for a device, in order of preference; the CPU is the last.

    Args:
        device: as in ``OnnxRuntime``; the number behind ``cuda:`` is that of the GPU.
        available: names of the providers that this build of ONNX Runtime has.

    Raises:
        ConfigError: it has no such device, or what is behind the colon is no number.
    """
    kind, _, number = ("cuda" if _CUDA in available else "cpu", "", "") if device == "auto" else device.partition(":")
    wanted = _PROVIDERS.get(kind, "")
    if wanted not in available or (number and not number.isdecimal()):
        raise ConfigError(
            f"device {device!r} is not available in this ONNX Runtime, which has {', '.join(available)}; "
            "choose cpu, or install a build for your device"
        )
    if wanted == _CPU:
        return [_CPU]
    return [(wanted, {"device_id": int(number)}) if number and wanted == _CUDA else wanted, _CPU]


def open_session(data: bytes, *, threads: int = 0, providers: Sequence[Provider] = (_CPU,), wide: bool = False) -> Any:
    """Open an inference session of ONNX Runtime, on the CPU by default.

    Args:
        data: content of an .onnx file.
        threads: number of compute threads; 0: ONNX Runtime's default.
        providers: execution providers of ONNX Runtime, in order of preference.
        wide: add INT8 products in 32 bits where they could overflow 16, on x86 processors without VNNI; slower there.

    Raises:
        MissingPackageError: ONNX Runtime is not installed.
    """
    library = _library()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if may_spin() else "0")
    options.add_session_config_entry("session.x64quantprecision", "1" if wide else "0")
    return library.InferenceSession(data, options, providers=list(providers))


def _library() -> Any:
    with importing("onnxruntime", "onnx"):
        import onnxruntime
    return onnxruntime
