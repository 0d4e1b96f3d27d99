"""ONNX files in ONNX Runtime; no torch needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image

__all__ = ["OnnxRuntime", "session"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}


class OnnxRuntime(FileRuntime):
    """A session of ONNX Runtime.

    Args:
        path: an .onnx file that ``segnet export`` wrote.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: 0: as many as ONNX Runtime takes.

    Raises:
        MissingPackageError: ONNX Runtime is not installed.
        ModelError: the file is damaged or says nothing of itself.
        ConfigError: this build of ONNX Runtime has no such device.
    """

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        available = _library().get_available_providers()
        wanted = _PROVIDERS.get("cpu" if device == "auto" else device.partition(":")[0], "")
        if wanted not in available:
            raise ConfigError(
                f"device {device!r} cannot be used by this ONNX Runtime, which has {', '.join(available)}; "
                "choose cpu, or install a build for your device"
            )
        providers = list(dict.fromkeys([wanted, "CPUExecutionProvider"]))
        if device == "auto" and "CUDAExecutionProvider" in available:
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = session(path.read_bytes(), threads=threads, providers=providers)
        except Exception as error:  # ONNX Runtime raises classes of its own, without a common one
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"{path}: ONNX Runtime cannot use it ({reason}); it may be cut off or of another kind"
            ) from error
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        device_used = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        backend = f"ONNX Runtime {_library().__version__} ({device_used})"
        super().__init__(path, ModelInfo.from_json(text, path), backend=backend)
        self._input = self._session.get_inputs()[0].name

    def run(self, image: Image) -> list[NDArray[Any]]:
        """All outputs of the file."""
        result: list[NDArray[Any]] = self._session.run(None, {self._input: np.ascontiguousarray(image)})
        return result


def session(data: bytes, *, threads: int = 0, providers: Sequence[str] = ("CPUExecutionProvider",)) -> Any:
    """A session of ONNX Runtime, on the processor unless other providers are named.

    Args:
        data: a file's content.
        threads: 0: as many as ONNX Runtime takes.
        providers: by ONNX Runtime's names, the first that can is taken.

    Raises:
        MissingPackageError: ONNX Runtime is not installed.
    """
    library = _library()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return library.InferenceSession(data, options, providers=list(providers))


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "onnx") from error
    return onnxruntime
