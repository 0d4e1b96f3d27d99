"""ExecuTorch's files (.pte)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segnet.runtimes.protocol import FileRuntime, Image

__all__ = ["ExecuTorchRuntime"]


class ExecuTorchRuntime(FileRuntime):
    """A program of ExecuTorch.

    Args:
        path: a .pte file that ``segnet export`` wrote.
    """

    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    def run(self, image: Image) -> NDArray[Any]:
        """The file's own output."""
        raise NotImplementedError
