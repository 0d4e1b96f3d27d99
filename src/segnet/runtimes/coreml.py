"""Core ML packages (.mlpackage), on macOS, without PyTorch."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError
from segnet.runtimes.base import FileRuntime, Image
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.output_suppression import suppress_output
from segnet.system.packages import importing

__all__ = ["CoreMlRuntime"]


class CoreMlRuntime(FileRuntime):
    """A Core ML package on the CPU.

    Args:
        path: an .mlpackage written by ``segnet export``.

    Raises:
        ConfigError: the operating system is not macOS.
        MissingPackageError: coremltools is not installed.
        ModelError: the package is damaged or has no metadata.
    """

    def __init__(self, path: Path) -> None:
        if platform.system() != "Darwin":
            raise ConfigError(f"{path}: Core ML runs only on macOS; use another format here, such as onnx")
        with importing("coremltools", "coreml"), suppress_output():
            import coremltools
        try:
            with suppress_output():
                self._model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.CPU_ONLY)
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelError(f"{path}: Core ML cannot use it ({error}); export the model again") from error
        info = ModelInfo.from_json(self._model.user_defined_metadata.get(KEY), path)
        super().__init__(path, info, backend=f"Core ML on macOS {platform.mac_ver()[0]}")

    def forward(self, batch: Image) -> list[NDArray[Any]]:
        """The package's only output; a mask, int32 in Core ML, is converted to uint8."""
        output = self._model.predict({"image": np.ascontiguousarray(batch)})[self.info.output]
        return [output.astype(np.uint8 if self.info.output == "mask" else np.float32)]
