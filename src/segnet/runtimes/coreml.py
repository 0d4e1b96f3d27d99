"""Core ML's packages (.mlpackage), on macOS; no torch needed."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image
from segnet.runtimes.silence import quiet

__all__ = ["CoreMlRuntime"]


class CoreMlRuntime(FileRuntime):
    """A network of Core ML's, on the processor.

    Args:
        path: an .mlpackage that ``segnet export`` wrote.

    Raises:
        ConfigError: this is no Mac.
        MissingPackageError: coremltools is not installed.
        ModelError: the package is damaged or says nothing of itself.
    """

    def __init__(self, path: Path) -> None:
        if platform.system() != "Darwin":
            raise ConfigError(f"{path}: Core ML runs on macOS alone; take another format here, such as onnx")
        try:
            with quiet():
                import coremltools
        except ImportError as error:
            raise MissingPackageError("coremltools", "coreml") from error
        try:
            with quiet():
                self._model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.CPU_ONLY)
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelError(f"{path}: Core ML cannot use it ({error}); export the model anew") from error
        info = ModelInfo.from_json(self._model.user_defined_metadata.get(KEY), path)
        super().__init__(path, info, backend=f"Core ML on macOS {platform.mac_ver()[0]}")

    def run(self, image: Image) -> list[NDArray[Any]]:
        """The package's one output; a mask, which is int32 there, as uint8."""
        found = self._model.predict({"image": np.ascontiguousarray(image)})[self.info.output]
        return [found.astype(np.uint8 if self.info.output == "mask" else np.float32)]
