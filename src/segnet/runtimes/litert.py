"""LiteRT's files (.tflite); no torch needed."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import MissingPackageError, ModelError
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image
from segnet.runtimes.silence import quiet

__all__ = ["LiteRtRuntime"]


class LiteRtRuntime(FileRuntime):
    """An interpreter of LiteRT, on the processor.

    Args:
        path: a .tflite file that ``segnet export`` wrote.
        threads: 0: as many as LiteRT takes.

    Raises:
        MissingPackageError: LiteRT is not installed.
        ModelError: the file is damaged or says nothing of itself.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        try:
            with quiet():
                from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingPackageError("ai_edge_litert", "litert") from error
        backend = f"LiteRT {version('ai-edge-litert')}"
        super().__init__(path, ModelInfo.from_json(_description(path), path), backend=backend)
        try:
            with quiet():
                self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads or None)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{path}: LiteRT cannot use it ({reason}); export the model anew") from error
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def run(self, image: Image) -> list[NDArray[Any]]:
        """The file's one output."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(image))
        self._interpreter.invoke()
        result: NDArray[Any] = self._interpreter.get_tensor(self._output)
        return [result]


def _description(path: Path) -> str | None:
    """The file ``segnet.json`` of the archive that stands behind the network in the same file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{KEY}.json").decode() if f"{KEY}.json" in archive.namelist() else None
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: does not say which classes it knows ({error}); it may be cut off or of another kind"
        ) from error
