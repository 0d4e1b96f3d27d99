"""Samples on disk, and the dataset that makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from segnet.data.corruptions import check_corruption, corrupt
from segnet.data.masks import MaskReader
from segnet.data.samples import Sample, describe_mismatch
from segnet.errors import ConfigError, DataError, SegNetError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.reading import read_image

__all__ = ["Batch", "Sample", "SegmentationDataset", "collate", "describe_mismatch", "worker_error"]


class Batch(TypedDict):
    """What a model is trained and scored on.

    ``image`` is float32 (N, C, H, W), RGB in [0, 1]; ``mask`` is int64 (N, H, W), 255 where ignored;
    ``name`` one per sample.
    """

    image: Tensor
    mask: Tensor
    name: list[str]


class SegmentationDataset(Dataset[dict[str, Tensor | str]]):
    """Images and masks as tensors, one sample at a time.

    Args:
        samples: what to read.
        labels: the class table.
        ignore_index: Values in the mask files that are ignored.
        size: (height, width) to resize to (images by area or bilinear, masks by nearest); None keeps each its own.
        channels: 3 for RGB, 1 for gray.
        corruption: one of ``CORRUPTIONS``, applied to every image; masks follow its size.

    Raises:
        ConfigError: a side of the size is below 1, an ignored value is none that a mask file can hold, or there is no
            such corruption.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: ClassTable,
        *,
        ignore_index: Sequence[int] = (IGNORE_INDEX,),
        size: tuple[int, int] | None = None,
        channels: int = 3,
        corruption: str | None = None,
    ) -> None:
        if size is not None and min(size) < 1:
            raise ConfigError(f"size {size} is not possible; give height and width of at least 1 pixel")
        if corruption is not None:
            check_corruption(corruption)
        self.samples = tuple(samples)
        self.labels = labels
        self.ignore_index = tuple(ignore_index)
        self.size = size
        self.channels = channels
        self.corruption = corruption
        self._masks = MaskReader(labels=labels, ignore_index=self.ignore_index)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """One sample: ``image`` float32 (C, H, W) in [0, 1], ``mask`` int64 (H, W), 255 where ignored, ``name``.

        Raises:
            DataError: see ``read``.
        """
        image, mask = (torch.from_numpy(values) for values in self.read(index))
        image = image.permute(2, 0, 1).float().div_(255)
        return {"image": image, "mask": mask.long(), "name": self.samples[index].name}

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One sample as bytes: the image, uint8 (H, W, C), and its mask, uint8 (H, W), 255 where ignored.

        Raises:
            DataError: a file cannot be read, the sizes differ, or the mask holds a value that is no class.
        """
        sample = self.samples[index]
        image = read_image(sample.image, channels=self.channels)
        mask = self.read_classes(index)
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"{sample.mask}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image "
                f"{sample.image.name} is {image.shape[1]}x{image.shape[0]}; "
                f"{describe_mismatch(sample.image, sample.mask)}"
            )
        if self.corruption is not None:
            image = corrupt(image, self.corruption, key=sample.name)
        size = self.size or (image.shape[0], image.shape[1])
        return _resize_image(image, size), _resize_mask(mask, size)

    def only(self, indices: Iterable[int]) -> SegmentationDataset:
        """The same data set with these samples alone; one may come more than once."""
        return SegmentationDataset(
            [self.samples[index] for index in indices],
            self.labels,
            ignore_index=self.ignore_index,
            size=self.size,
            channels=self.channels,
            corruption=self.corruption,
        )

    def read_classes(self, index: int) -> NDArray[np.uint8]:
        """The mask of one sample at its own size: uint8 (H, W), class index, or 255 (ignored).

        Raises:
            DataError: the file cannot be read, or holds a value that is no class.
        """
        return self._masks.read(self.samples[index].mask)


def _resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if image.shape[:2] == size:
        return image
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True)[0].round_().clamp_(0, 255)
    return resized.byte().permute(1, 2, 0).contiguous().numpy()


def _resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if mask.shape == size:
        return mask
    return F.interpolate(torch.from_numpy(mask)[None, None], size, mode="nearest-exact")[0, 0].numpy()


def collate(samples: list[dict[str, Tensor | str]]) -> Batch:
    """Samples of one size as a batch.

    Raises:
        DataError: the samples differ in size.
    """
    sizes = {
        tuple(sample["mask"].shape): str(sample["name"]) for sample in samples if isinstance(sample["mask"], Tensor)
    }
    if len(sizes) > 1:
        examples = " and ".join(f"{name} ({size[1]}x{size[0]})" for size, name in list(sizes.items())[:2])
        raise DataError(
            f"images of different sizes cannot share a batch: {examples}; give --resize HEIGHT WIDTH or --batch 1"
        )
    batch: Batch = default_collate(samples)
    return batch


def worker_error(error: SegNetError) -> SegNetError:
    """The error as it was raised, without the traceback that a ``DataLoader`` wraps around it."""
    kind = type(error)
    wrapped, _, text = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
    return kind(text.strip()) if wrapped else error
