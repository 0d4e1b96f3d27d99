"""Exports that are kept in the cache, so that faster libraries than PyTorch run a model file from then on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segnet.errors import ModelError
from segnet.exporting.export import export
from segnet.models import checkpoint
from segnet.runtimes.exported import cached_export

__all__ = ["export_to_cache"]

AGREEMENT = 0.9999
"""Least share of the pixels with PyTorch's class: nobody asked for another mask."""
_KEPT = 8  # exports; the oldest go


def export_to_cache(path: Path, *, on_stage: Callable[[str], object] | None = None) -> Path:
    """Export a model file to ONNX in the cache, unless it is there already.

    Args:
        path: of a .safetensors file.
        on_stage: called with the name of each stage of the work as it begins.

    Returns:
        the ONNX file.

    Raises:
        ModelError: the model cannot be exported, or its masks differ from PyTorch's.
        MissingPackageError: a library is not installed.
        OutputError: the cache cannot be written.
    """
    out = cached_export(path)
    if out.is_file():
        return out
    model = checkpoint.load(path)
    report = export(model.model, model.labels, out, provenance=model.provenance, scores=model.scores, on_stage=on_stage)
    if report.agreement < AGREEMENT:
        out.unlink()
        raise ModelError(
            f"{path}: only {report.agreement:.3%} of the pixels have the same class in ONNX Runtime as in PyTorch; "
            "use --runtime torch"
        )
    _forget_old(out)
    return out


def _forget_old(newest: Path) -> None:
    kept = sorted(newest.parent.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in kept[_KEPT:]:
        for each in (old, old.with_name(f"{old.name}.report.json")):
            each.unlink(missing_ok=True)
