"""Models as files: saves and loads a network with its class table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from segnet.errors import ModelError, OutputError
from segnet.labels import ClassTable, require_table
from segnet.models.bundled import find
from segnet.models.model_file import Description, read_model_file, write_model_file
from segnet.models.segnet import SegNet, is_segnet

__all__ = ["Checkpoint", "load", "save"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """A model file's content.

    Attributes:
        model: the network in evaluation mode, float32, on the CPU.
        labels: the class table it was trained with.
        provenance: how it came to be: data, recipe, versions; ``terms`` is its license.
        scores: what it scored, as ``Scores.to_dict`` has it; empty if never measured.
        path: where it was read.
        verified: whether the file holds digests of its tensors and description, which were compared; files of versions
            before the digests have none, and damage to them can go unnoticed.
    """

    model: SegNet
    labels: ClassTable
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    path: Path
    verified: bool = False

    def __repr__(self) -> str:
        miou = self.scores.get("miou")
        score = f", mIoU {miou:.3f}" if isinstance(miou, float) else ""
        return f"Checkpoint({self.model.config.name}, {self.labels.classes} classes{score}, {str(self.path)!r})"


def save(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    *,
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    half: bool = False,
    int8: bool = False,
) -> Path:
    """Write a model file, whole or not at all.

    Args:
        model: the network; it stays as it is.
        labels: its class table.
        path: where to, ending in ``.safetensors``; folders are made.
        provenance: how it came to be; kept in the file.
        scores: what it scored; kept in the file.
        half: keep the convolutions in float16 (half the size); norms and statistics stay float32.
        int8: keep the convolutions in eight bits with a scale for each channel (a quarter of the size); when read they
            are float32, rounded to 255 levels. The network computes in float32; for INT8 arithmetic export it.

    Raises:
        ModelError: the model is no SegNet, the class table does not fit it, its layers are no longer those of its
            config, a tensor is not finite (with ``half``: in float16), both ``half`` and ``int8`` are asked for, or
            provenance or scores are no JSON.
        OutputError: the path does not end in ``.safetensors``, or the file cannot be written.
    """
    if not is_segnet(model):
        raise ModelError(
            f"{path}: a {type(model).__name__} was given, and a file can hold a SegNet only; give the network in it "
            "(DataParallel and DistributedDataParallel keep theirs as .module)"
        )
    require_table(labels, model.config.classes)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OutputError(f"{path} is no name for a model file; give one that ends in .safetensors")
    description = Description(labels=labels, provenance=provenance or {}, scores=scores or {})
    write_model_file(path, model.config.to_dict(), description, model.stored_state(path), half=half, int8=int8)
    return path


def load(source: str | Path, *, encoder: nn.Module | None = None) -> Checkpoint:
    """Read a model file, a bundled model by its name, or a model of the Hugging Face hub.

    Args:
        source: a path, a bundled model's name, or ``hf://OWNER/NAME`` with the extra ``hub``.
        encoder: for a model around a module of your own: that module again; it is filled with the file's weights.

    Raises:
        ModelError: no such file or name, not one of our files, damaged, with values that are not finite, or its parts
            do not belong together.
        MissingPackageError: the hub is asked for, and huggingface_hub is not installed.
    """
    path = find(source)
    content = read_model_file(path)
    model = SegNet.from_file(content, path, encoder=encoder)
    description = content.description
    return Checkpoint(
        model=model, labels=description.labels, provenance=description.provenance, scores=description.scores,
        path=path, verified=content.verified,
    )  # fmt: skip
