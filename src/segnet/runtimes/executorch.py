"""ExecuTorch programs (.pte)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.output_suppression import suppress_output
from segnet.system.packages import importing

__all__ = ["ExecuTorchRuntime"]


class ExecuTorchRuntime(FileRuntime):
    """An ExecuTorch program on the CPU.

    Args:
        path: a .pte file written by ``segnet export``.

    Raises:
        MissingPackageError: ExecuTorch is not installed.
        ModelError: the file is damaged or has no metadata.
    """

    def __init__(self, path: Path) -> None:
        with importing("executorch", "executorch"), suppress_output():
            from executorch.runtime import Runtime
        try:
            with suppress_output():  # it prints a line for each system file it reads
                program = Runtime.get().load_program(path.read_bytes())
                text = _read_metadata(program)
                method = program.load_method("forward") if "forward" in program.method_names else None
        except RuntimeError as error:
            raise ModelError(
                f"{path}: ExecuTorch cannot use it ({error}); it may be truncated or of another format"
            ) from error
        super().__init__(path, ModelInfo.from_json(text, path), backend=f"ExecuTorch {version('executorch')}")
        if method is None:
            raise ModelError(f"{path}: contains no network; export the model again")
        self._program = program  # the method refers to it
        self._method = method

    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs of the file."""
        import torch

        results = self._method.execute([torch.from_numpy(np.ascontiguousarray(each)) for each in inputs])
        # The program owns the memory of its outputs and overwrites it at the next call.
        return [result.numpy().copy() for result in results]


def _read_metadata(program: Any) -> str | None:
    """The text that the method ``segnet`` returns; None without that method."""
    if KEY not in program.method_names:
        return None
    text: bytes = program.load_method(KEY).execute([])[0].numpy().tobytes()
    return text.decode("utf-8", errors="replace")
