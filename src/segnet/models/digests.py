"""SHA-256 digests in the description of a model file, so that a damaged file is refused and not used.

The description holds ``tensors``, the digest of each tensor (data type, shape and bytes, in the file's own precision),
and ``sha256``, the digest of the rest of the description as JSON. Files of earlier versions hold neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segnet.errors import ModelError

__all__ = ["add_digests", "check_description", "check_tensors", "require_finite"]

_REMEDY = "the file is damaged; copy or download it again, or restore it from a backup"


def add_digests(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The description with the digests of the tensors and its own."""
    complete = {**description, "tensors": {name: _tensor_digest(value) for name, value in tensors.items()}}
    return {"sha256": _text_digest(complete), **complete}


def check_description(description: Mapping[str, Any], path: Path) -> bool:
    """Compare a description with its digest.

    Args:
        description: As read.
        path: The file, for the error.

    Returns:
        Whether it holds digests.

    Raises:
        ModelError: The digest is another one, or one of the two kinds of digests is missing.
    """
    if not {"sha256", "tensors"} & set(description):
        return False
    rest = {key: value for key, value in description.items() if key != "sha256"}
    try:
        same = description.get("sha256") == _text_digest(rest)
    except RecursionError:
        same = False
    if not same or not isinstance(description.get("tensors"), dict):
        raise ModelError(f"{path}: the description has another SHA-256 digest than it should have; {_REMEDY}")
    return True


def check_tensors(tensors: Mapping[str, Tensor], digests: Mapping[str, str], path: Path) -> None:
    """Compare tensors with their digests.

    Raises:
        ModelError: A tensor is missing, or has another digest; the message names it.
    """
    for name in sorted(set(digests) - set(tensors)):
        raise ModelError(f"{path}: the tensor {name} is missing; {_REMEDY}")
    for name, value in tensors.items():
        if _tensor_digest(value) != digests.get(name):
            raise ModelError(f"{path}: the tensor {name} has another SHA-256 digest than it should have; {_REMEDY}")


def require_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors with values that are infinite in float32, or not a number: their masks would be meaningless.

    Raises:
        ModelError: The message names the first such tensor.
    """
    for name, value in tensors.items():
        # A sum takes a fifth of the time; that of large finite values may be infinite.
        if value.is_floating_point() and not (value.sum(dtype=torch.float32).isfinite() or _is_finite(value)):
            raise ModelError(
                f"{path}: the tensor {name} holds values that are infinite or not a number; train again, with a lower "
                "learning rate if the loss grew, or take another file"
            )


def _is_finite(value: Tensor) -> bool:
    return bool(value.float().isfinite().all())  # as networks compute; of 8 bits PyTorch cannot tell


def _tensor_digest(value: Tensor) -> str:
    digest = hashlib.sha256(f"{value.dtype} {tuple(value.shape)}\n".encode())
    digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _text_digest(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description).encode()).hexdigest()
