"""Samples and batches of tensors, for PyTorch's data loaders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from segnet.bands import Pixels
from segnet.errors import SegNetError
from segnet.labels import IGNORE_INDEX

__all__ = ["Batch", "collate", "to_tensors", "worker_error"]


class Batch(TypedDict):
    """What a model is trained and scored on.

    ``image`` is float32 (N, C, H, W), RGB, gray or bands in [0, 1]; ``mask`` is int64 (N, H, W), 255 where ignored;
    ``name`` one per sample.
    """

    image: Tensor
    mask: Tensor
    name: list[str]


def to_tensors(image: Pixels, mask: NDArray[np.uint8], *, name: str) -> dict[str, Tensor | str]:
    """A sample of arrays as tensors: ``image`` float32 (C, H, W) in [0, 1], ``mask`` int64 (H, W), ``name``."""
    scaled = torch.from_numpy(image).permute(2, 0, 1)
    scaled = scaled.float().div_(255) if image.dtype == np.uint8 else scaled
    return {"image": scaled, "mask": torch.from_numpy(mask).long(), "name": name}


def collate(samples: list[dict[str, Tensor | str]], padding: Sequence[float] = ()) -> Batch:
    """Samples as a batch. Those of other sizes are padded below and to the right to the largest height and width.

    Args:
        samples: of a data set.
        padding: value of each channel of the images, 0 to 1; empty: black. Masks get the ignore index.
    """
    shapes = [sample["mask"].shape for sample in samples if isinstance(sample["mask"], Tensor)]
    size = (max(shape[0] for shape in shapes), max(shape[1] for shape in shapes))
    batch: Batch = default_collate([_padded(sample, size, padding) for sample in samples])
    return batch


def _padded(
    sample: dict[str, Tensor | str], size: tuple[int, int], padding: Sequence[float]
) -> dict[str, Tensor | str]:
    image, mask = sample["image"], sample["mask"]
    assert isinstance(image, Tensor)
    assert isinstance(mask, Tensor)
    if mask.shape == size:
        return sample
    color = torch.tensor([*padding] or [0.0] * len(image), dtype=image.dtype)
    height, width = mask.shape
    large, ignored = color[:, None, None].repeat(1, *size), mask.new_full(size, IGNORE_INDEX)
    large[:, :height, :width], ignored[:height, :width] = image, mask
    return {**sample, "image": large, "mask": ignored}


def worker_error(error: SegNetError) -> SegNetError:
    """The error as it was raised, without the traceback that a ``DataLoader`` wraps around it."""
    kind = type(error)
    wrapped, _, text = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
    return kind(text.strip()) if wrapped else error
