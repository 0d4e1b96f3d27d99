"""The files of models, of which some come with the package; finding them needs no torch."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from segnet.errors import ModelError
from segnet.models.hub import fetch, is_hub_address

__all__ = ["EXPORTED_SUFFIXES", "bundled_models", "bundled_onnx", "check_source", "find", "local_file"]

EXPORTED_SUFFIXES = frozenset((".onnx", ".xml", ".pte", ".tflite", ".mlpackage", ".pt2"))
"""Suffixes of the files that ``segnet export`` writes and runtimes open."""


def bundled_models() -> dict[str, Path]:
    """The models that come with the package: name -> .safetensors file."""
    return _files(".safetensors")


def bundled_onnx() -> dict[str, Path]:
    """The same models for ONNX Runtime and OpenVINO: name -> .onnx file, with free image sizes and without dropout."""
    return _files(".onnx")


def check_source(source: object) -> None:
    """Refuse what can be neither a path nor a name.

    Raises:
        ModelError: it is of another type, such as None or a network.
    """
    if not isinstance(source, str | os.PathLike):
        hint = ", or predict with segnet.Predictor(segnet.TorchRuntime(model, labels))"
        raise ModelError(
            f"a {type(source).__name__} is no model file; give the path of one, or the name of a bundled model"
            f"{hint if hasattr(source, 'state_dict') else ''}"
        )


def local_file(source: str | Path) -> Path | None:
    """The file at a path, or else that of a bundled model by its name; None if there is neither."""
    path = Path(source)
    return path if path.is_file() else bundled_models().get(str(source))


def find(source: str | Path) -> Path:
    """The path of a model file, of a bundled model by its name, or of a model of the hub (``hf://OWNER/NAME``).

    Raises:
        ModelError: there is none of them, or the source is of another type.
        MissingPackageError: the hub is asked for, and huggingface_hub is not installed.
    """
    check_source(source)
    if is_hub_address(source):
        return fetch(source)
    if found := local_file(source):
        return found
    path, bundled = Path(source), bundled_models()
    if (best := path / "best.safetensors").is_file():
        raise ModelError(f"{source}: is the folder of a run; give its model file, {best}")
    if path.suffix in EXPORTED_SUFFIXES and path.is_dir():  # a package of Core ML
        raise ModelError(f"{source}: is an exported file; give the .safetensors file that it came from")
    known = f"bundled are {', '.join(bundled)}" if bundled else "no model is bundled"
    raise ModelError(f"{source}: there is neither such a model file nor a bundled model of that name; {known}")


def _files(suffix: str) -> dict[str, Path]:
    folder = Path(str(files("segnet.models") / "weights"))
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
