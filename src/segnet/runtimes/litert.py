"""LiteRT models (.tflite), without PyTorch."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.output_suppression import suppress_output
from segnet.system.files import ZIP_ERRORS
from segnet.system.packages import importing

__all__ = ["LiteRtRuntime"]


class LiteRtRuntime(FileRuntime):
    """A LiteRT interpreter on the CPU.

    Args:
        path: a .tflite file written by ``segnet export``.
        threads: number of compute threads; 0: LiteRT's default.

    Raises:
        MissingPackageError: LiteRT is not installed.
        ModelError: the file is damaged or has no metadata.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        with importing("ai_edge_litert", "litert"), suppress_output():
            from ai_edge_litert.interpreter import Interpreter
        backend = f"LiteRT {version('ai-edge-litert')}"
        super().__init__(path, ModelInfo.from_json(_read_metadata(path), path), backend=backend)
        try:
            with suppress_output():
                self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads or None)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{path}: LiteRT cannot use it ({reason}); export the model again") from error
        # Sorted by name, which numbers them: "serving_default_args_0:0", "StatefulPartitionedCall:1".
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs, self._outputs = (
            [each["index"] for each in sorted(given, key=lambda each: (len(each["name"]), each["name"]))]
            for given in (inputs, outputs)
        )

    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs of the file."""
        for index, each in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, np.ascontiguousarray(each))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _read_metadata(path: Path) -> str | None:
    """``segnet.json`` of the zip archive that is appended to the network in the same file; None without it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{KEY}.json").decode() if f"{KEY}.json" in archive.namelist() else None
    except ZIP_ERRORS as error:
        raise ModelError(
            f"{path}: has no readable metadata ({error}); it may be truncated or of another format"
        ) from error
