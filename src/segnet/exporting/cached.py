"""Exports that are kept in the cache, so that faster libraries than PyTorch run a model file from then on."""

from __future__ import annotations

from pathlib import Path

from segnet.errors import ModelError
from segnet.exporting.export import export
from segnet.models import checkpoint
from segnet.runtimes.exported import cached_export
from segnet.system.files import last_change

__all__ = ["export_to_cache"]

AGREEMENT = 0.9999
"""Least share of the pixels with PyTorch's class: nobody asked for another mask."""
_KEPT = 8  # exports; the oldest go


def export_to_cache(path: Path) -> Path:
    """Export a model file to ONNX in the cache; ``exported_file`` tells whether it is there already.

    Args:
        path: of a .safetensors file.

    Returns:
        the ONNX file.

    Raises:
        ModelError: the model cannot be exported, or its masks differ from PyTorch's.
        MissingPackageError: a library is not installed.
        OutputError: the cache cannot be written.
    """
    out = cached_export(path)
    model = checkpoint.load(path)
    report = export(model.model, model.labels, out, provenance=model.provenance, scores=model.scores)
    if report.agreement < AGREEMENT:
        _forget(out)
        raise ModelError(
            f"{path}: only {report.agreement:.3%} of the pixels have the same class in ONNX Runtime as in PyTorch; "
            "use --runtime torch"
        )
    _forget_old(out)
    return out


def _forget_old(newest: Path) -> None:
    kept = [(change[1], path) for path in newest.parent.glob("*.onnx") if (change := last_change(path))]
    for _, old in sorted(kept, reverse=True)[_KEPT:]:
        _forget(old)


def _forget(out: Path) -> None:
    for each in (out, out.with_name(f"{out.name}.report.json")):
        each.unlink(missing_ok=True)
