"""Samples on disk, and the dataset that makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from segnet.data.pictures import read_image, read_mask
from segnet.errors import ConfigError, DataError, SegNetError
from segnet.labels import VOID, Labels

__all__ = ["Batch", "Sample", "SegmentationDataset", "collate", "worker_error"]


_LARGEST = 65535  # what a 16-bit mask file can hold


@dataclass(frozen=True)
class Sample:
    """A picture and its mask on disk, under one name."""

    image: Path
    mask: Path
    name: str


class Batch(TypedDict):
    """What a model is trained and scored on.

    ``image`` is float32 (N, C, H, W), RGB in [0, 1]; ``mask`` is int64 (N, H, W), void 255; ``name`` one per sample.
    """

    image: Tensor
    mask: Tensor
    name: list[str]


class SegmentationDataset(Dataset[dict[str, Tensor | str]]):
    """Pictures and masks as tensors, one sample at a time.

    Args:
        samples: what to read.
        labels: the class table.
        void: values in the mask files that count for nothing.
        size: (height, width) to resize to (pictures by area or bilinear, masks by nearest); None keeps each its own.
        channels: 3 for RGB, 1 for grey.

    Raises:
        ConfigError: a side of the size is below 1, or a void value is none that a mask file can hold.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Labels,
        *,
        void: Sequence[int] = (VOID,),
        size: tuple[int, int] | None = None,
        channels: int = 3,
    ) -> None:
        if size is not None and min(size) < 1:
            raise ConfigError(f"size {size} is not possible; give height and width of at least 1 pixel")
        if wrong := [value for value in void if not 0 <= value <= _LARGEST]:
            raise ConfigError(f"void value {wrong[0]} is not possible; mask files hold 0 to {_LARGEST}")
        self.samples = tuple(samples)
        self.labels = labels
        self.void = tuple(void)
        self.size = size
        self.channels = channels
        self._classes_of_values = _value_table(labels.classes, self.void)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """One sample: ``image`` float32 (C, H, W) in [0, 1], ``mask`` int64 (H, W) with void 255, ``name``.

        Raises:
            DataError: a file cannot be read, the sizes differ, or the mask holds a value that is no class.
        """
        sample = self.samples[index]
        pixels = read_image(sample.image, channels=self.channels)
        classes = self.read_classes(index)
        if classes.shape != pixels.shape[:2]:
            raise DataError(
                f"{sample.mask}: the mask is {classes.shape[1]}x{classes.shape[0]} pixels but its picture "
                f"{sample.image.name} is {pixels.shape[1]}x{pixels.shape[0]}; masks must have their picture's size"
            )
        image = torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)
        mask = torch.from_numpy(classes)
        if self.size is not None and self.size != mask.shape:
            image = F.interpolate(image[None], self.size, mode="bilinear", antialias=True)[0].clamp_(0, 1)
            mask = F.interpolate(mask[None, None], self.size, mode="nearest-exact")[0, 0]
        return {"image": image, "mask": mask.long(), "name": sample.name}

    def only(self, indices: Iterable[int]) -> SegmentationDataset:
        """The same data set with these samples alone; one may come more than once."""
        samples = [self.samples[index] for index in indices]
        return SegmentationDataset(samples, self.labels, void=self.void, size=self.size, channels=self.channels)

    def read_classes(self, index: int) -> NDArray[np.uint8]:
        """The mask of one sample at its own size: uint8 (H, W), class or void 255.

        Raises:
            DataError: the file cannot be read, or holds a value that is no class.
        """
        path = self.samples[index].mask
        raw = read_mask(path)
        classes = self._classes_of_values[raw]
        wrong = classes < 0
        if wrong.any():
            raise DataError(_describe_wrong(path, raw[wrong], self.labels, self.void))
        return classes.astype(np.uint8)


def collate(samples: list[dict[str, Tensor | str]]) -> Batch:
    """Samples of one size as a batch.

    Raises:
        DataError: the samples differ in size.
    """
    sizes = {
        tuple(sample["mask"].shape): str(sample["name"]) for sample in samples if isinstance(sample["mask"], Tensor)
    }
    if len(sizes) > 1:
        told = " and ".join(f"{name} ({size[1]}x{size[0]})" for size, name in list(sizes.items())[:2])
        raise DataError(
            f"pictures of different sizes cannot share a batch: {told}; give --size HEIGHT WIDTH or --batch 1"
        )
    batch: Batch = default_collate(samples)
    return batch


def worker_error(error: SegNetError) -> SegNetError:
    """The error as it was raised, without the traceback that a ``DataLoader`` wraps around it."""
    kind = type(error)
    wrapped, _, text = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
    return kind(text.strip()) if wrapped else error


def _value_table(classes: int, void: Sequence[int]) -> NDArray[np.int16]:
    """Value in a file -> class, void 255, or -1 for a value that must not occur."""
    table = np.full(_LARGEST + 1, -1, dtype=np.int16)
    table[:classes] = np.arange(classes)
    table[list(void)] = VOID
    return table


def _describe_wrong(path: Path, values: NDArray[np.uint8 | np.uint16], labels: Labels, void: Sequence[int]) -> str:
    found, counts = np.unique(values, return_counts=True)
    told = ", ".join(f"value {v} on {n} pixels" for v, n in list(zip(found, counts, strict=True))[:3])
    more = f" and {len(found) - 3} more values" if len(found) > 3 else ""
    hint = "; 0 and 255 look like a two-class mask saved in black and white" if found.tolist() == [255] else ""
    return (
        f"{path}: {told}{more}, but the classes are 0 to {labels.classes - 1} and void is "
        f"{', '.join(map(str, void)) or 'not used'}{hint}; correct the mask, or the class names and ignore_index"
    )
