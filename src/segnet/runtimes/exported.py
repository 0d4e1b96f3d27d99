"""ONNX files of models, by which ONNX Runtime and OpenVINO run them: bundled ones, and exports kept in the cache."""

from __future__ import annotations

from pathlib import Path

from segnet.models.bundled import bundled_onnx, local_file
from segnet.system.files import cache_dir, files_digest
from segnet.system.hardware import versions

__all__ = ["cached_export", "exported_file"]


def exported_file(source: str | Path) -> Path | None:
    """The ONNX file of a bundled model, or the one that was kept for a model file; None if there is none."""
    if not Path(source).is_file() and (bundled := bundled_onnx().get(str(source))):
        return bundled
    path = local_file(source)
    if path is None:
        return None
    kept = cached_export(path)
    return kept if kept.is_file() else None


def cached_export(path: Path) -> Path:
    """Where the export of a model file is kept. Another file at that path, or another version, has another one.

    Raises:
        DataError: the model file cannot be read.
    """
    version = versions("segnet")["segnet"]
    return cache_dir() / "exports" / f"{path.stem}-{files_digest([path], key=f'export {version}')}.onnx"
