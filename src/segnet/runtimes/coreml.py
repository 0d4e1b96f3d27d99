"""Core ML packages (.mlpackage), on macOS, without PyTorch."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError
from segnet.runtimes.base import FileRuntime
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

    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs of the package; a mask, int32 in Core ML, is converted to uint8."""
        given = {name: np.ascontiguousarray(each) for name, each in zip(self.info.input_names, inputs, strict=True)}
        outputs = self._model.predict(given)
        return [outputs[name].astype(np.uint8 if name == "mask" else np.float32) for name in self.info.output_names]
