"""Samples on disk, and the dataset that makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from segnet.bands import Channels, Pixels
from segnet.data.corruptions import check_corruption, corrupt
from segnet.data.cropping import letterbox
from segnet.data.masks import MaskReader
from segnet.data.samples import Sample, describe_mismatch
from segnet.errors import ConfigError, DataError, SegNetError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.resizing import resize_image, resize_mask
from segnet.media.images.stored import read_pixels

__all__ = [
    "Batch", "RawSamples", "ResizeMode", "SegmentationDataset", "collate", "to_tensors", "worker_error",
]  # fmt: skip

ResizeMode = Literal["letterbox", "stretch"]
"""How images get another aspect ratio: padded on both sides, or distorted."""


class Batch(TypedDict):
    """What a model is trained and scored on.

    ``image`` is float32 (N, C, H, W), RGB, gray or bands in [0, 1]; ``mask`` is int64 (N, H, W), 255 where ignored;
    ``name`` one per sample.
    """

    image: Tensor
    mask: Tensor
    name: list[str]


class SegmentationDataset(Dataset[dict[str, Tensor | str]]):
    """Images and masks as tensors, one sample at a time.

    Args:
        samples: what to read.
        labels: the class table; classes with an ignored value are left out of it.
        ignore_index: Values in the mask files that are ignored.
        size: (height, width) to resize to; None keeps each its own.
        resize_mode: how: ``letterbox`` keeps the aspect ratio and pads images with black and masks with the ignore
            index, ``stretch`` does not keep it.
        channels: 3 for RGB, 1 for gray; another number or ``Bands`` for bands as they are stored.
        corruption: one of ``CORRUPTIONS``, applied to every image, for RGB only; masks follow its size.
        reader: how masks are read, if not as values of ``labels``; it then has the class table.

    Raises:
        ConfigError: a side of the size is below 1, the resize mode is unknown, an ignored value is none that a mask
            file can hold, or there is no such corruption of such images.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: ClassTable,
        *,
        ignore_index: Sequence[int] = (IGNORE_INDEX,),
        size: tuple[int, int] | None = None,
        resize_mode: ResizeMode = "letterbox",
        channels: Channels = 3,
        corruption: str | None = None,
        reader: MaskReader | None = None,
    ) -> None:
        if resize_mode not in get_args(ResizeMode):
            raise ConfigError(f"resize_mode={resize_mode!r} is unknown; choose one of letterbox, stretch")
        if size is not None and min(size) < 1:
            raise ConfigError(f"size {size} is not possible; give height and width of at least 1 pixel")
        if corruption is not None:
            check_corruption(corruption, channels)
        self.samples = tuple(samples)
        self.labels = labels.without(ignore_index) if reader is None else reader.classes
        self.ignore_index = tuple(ignore_index)
        self.size = size
        self.resize_mode: ResizeMode = resize_mode
        self.channels = channels
        self.corruption = corruption
        self.reader = reader or MaskReader(labels=self.labels, ignore_index=self.ignore_index)

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        size = "each its own size" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return f"SegmentationDataset({len(self)} images, {size}, {self.labels.classes} classes)"

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """One sample: ``image`` float32 (C, H, W) in [0, 1], ``mask`` int64 (H, W), 255 where ignored, ``name``.

        Raises:
            DataError: see ``read``.
        """
        return to_tensors(*self.read(index), name=self.samples[index].name)

    def read(self, index: int) -> tuple[Pixels, NDArray[np.uint8]]:
        """One sample as arrays: the image, (H, W, C), and its mask, uint8 (H, W), 255 where ignored.

        The image is uint8, or float32 in [0, 1] for bands of more than 8 bits.

        Raises:
            DataError: a file cannot be read, the sizes differ, or the mask holds a value that is no class.
        """
        sample = self.samples[index]
        image = read_pixels(sample.image, self.channels)
        mask = self.read_classes(index)
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"{sample.mask}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image "
                f"{sample.image.name} is {image.shape[1]}x{image.shape[0]}; "
                f"{describe_mismatch(sample.image, sample.mask)}"
            )
        if self.corruption is not None:
            image = corrupt(image.astype(np.uint8, copy=False), self.corruption, key=sample.name)
            mask = resize_mask(mask, (image.shape[0], image.shape[1]))
        if self.size is None:
            return image, mask
        if self.resize_mode == "letterbox":
            return letterbox(image, mask, self.size)
        return resize_image(image, self.size), resize_mask(mask, self.size)

    def only(self, indices: Iterable[int]) -> SegmentationDataset:
        """The same data set with these samples alone; one may come more than once."""
        return SegmentationDataset(
            [self.samples[index] for index in indices],
            self.labels,
            ignore_index=self.ignore_index,
            size=self.size,
            resize_mode=self.resize_mode,
            channels=self.channels,
            corruption=self.corruption,
            reader=self.reader,
        )

    def read_classes(self, index: int) -> NDArray[np.uint8]:
        """The mask of one sample at its own size: uint8 (H, W), class index, or 255 (ignored).

        Raises:
            DataError: the file cannot be read, or holds a value that is no class.
        """
        return self.reader.read(self.samples[index].mask)


class RawSamples(Dataset[tuple[str, Pixels, NDArray[np.uint8]]]):
    """Name, image and mask of each sample of a data set, as ``SegmentationDataset.read`` gives them."""

    def __init__(self, data: SegmentationDataset) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[str, Pixels, NDArray[np.uint8]]:
        """See ``SegmentationDataset.read``."""
        return self._data.samples[index].name, *self._data.read(index)


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
