"""ExecuTorch's files (.pte)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import MissingPackageError, ModelError
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image
from segnet.runtimes.silence import quiet

__all__ = ["ExecuTorchRuntime"]


class ExecuTorchRuntime(FileRuntime):
    """A program of ExecuTorch, on the processor.

    Args:
        path: a .pte file that ``segnet export`` wrote.

    Raises:
        MissingPackageError: ExecuTorch is not installed.
        ModelError: the file is damaged or says nothing of itself.
    """

    def __init__(self, path: Path) -> None:
        try:
            with quiet():
                from executorch.runtime import Runtime
        except ImportError as error:
            raise MissingPackageError("executorch", "executorch") from error
        try:
            with quiet():  # it reads the processor's files and tells of each
                program = Runtime.get().load_program(path.read_bytes())
                text = _description(program)
                method = program.load_method("forward") if "forward" in program.method_names else None
        except RuntimeError as error:
            raise ModelError(
                f"{path}: ExecuTorch cannot use it ({error}); it may be cut off or of another kind"
            ) from error
        super().__init__(path, ModelInfo.from_json(text, path), backend=f"ExecuTorch {version('executorch')}")
        if method is None:
            raise ModelError(f"{path}: holds no network; export the model anew")
        self._program = program  # the method lives in it
        self._method = method

    def run(self, image: Image) -> list[NDArray[Any]]:
        """The file's one output."""
        import torch

        result = self._method.execute([torch.from_numpy(np.ascontiguousarray(image))])[0]
        # The output's memory is the program's, written over by the next image.
        return [result.numpy().copy()]


def _description(program: Any) -> str | None:
    """What the method ``segnet`` returns, as text."""
    if KEY not in program.method_names:
        return None
    text: bytes = program.load_method(KEY).execute([])[0].numpy().tobytes()
    return text.decode("utf-8", errors="replace")
