"""The models that come with the package, as files; finding them needs no torch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["bundled_models", "bundled_onnx"]


def bundled_models() -> dict[str, Path]:
    """The models that come with the package: name -> .safetensors file."""
    return _files(".safetensors")


def bundled_onnx() -> dict[str, Path]:
    """The same models for ONNX Runtime and OpenVINO: name -> .onnx file, with free image sizes and without dropout."""
    return _files(".onnx")


def _files(suffix: str) -> dict[str, Path]:
    folder = Path(str(files("segnet.models") / "weights"))
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
