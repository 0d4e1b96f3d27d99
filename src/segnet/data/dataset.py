"""Labeled images on disk: read as arrays, without PyTorch, or as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Bands, Channels, Pixels
from segnet.data.corruptions import check_corruption, corrupt
from segnet.data.cropping import letterbox
from segnet.data.masks import MaskReader
from segnet.data.samples import Sample, describe_sample_mismatch
from segnet.errors import ConfigError, DataError
from segnet.labels import IGNORE_INDEX, ClassTable, require_table
from segnet.media.images.resizing import resize_image, resize_mask
from segnet.media.images.stored import read_pixels
from segnet.system.threads import read_ahead

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    _Dataset = Dataset[dict[str, Tensor | str]]
else:
    _Dataset = object  # PyTorch's loaders take it as it is; its base class would import PyTorch

__all__ = ["ResizeMode", "SegmentationDataset", "require_dataset"]

ResizeMode = Literal["letterbox", "stretch"]
"""How images get another aspect ratio: padded on both sides, or distorted."""


class SegmentationDataset(_Dataset):
    """Labeled images, for PyTorch's ``DataLoader`` (as tensors), or read as arrays.

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
        ModelError: ``labels`` is no class table.
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
        if not isinstance(ignore_index, Iterable):
            raise ConfigError(f"ignore_index={ignore_index!r} is not possible; give a list of values, such as [255]")
        if size is not None and (not isinstance(size, Iterable) or len(size) != 2 or min(size) < 1):
            raise ConfigError(f"size {size} is not possible; give height and width of at least 1 pixel")
        if not isinstance(channels, int | Bands):
            raise ConfigError(
                f"channels={channels!r} is not possible; give 3 (RGB), 1 (gray), another number for all bands of a "
                "file, or segnet.Bands(indices=(3, 2, 1)) for some"
            )
        require_table(labels)
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
        from segnet.data.tensors import to_tensors

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
                f"{sample.mask_source}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image "
                f"{sample.image.name} is {image.shape[1]}x{image.shape[0]}; "
                f"{describe_sample_mismatch(sample)}"
            )
        if self.corruption is not None:
            image = corrupt(image.astype(np.uint8, copy=False), self.corruption, key=sample.name)
            mask = resize_mask(mask, (image.shape[0], image.shape[1]))
        return self.resize(image, mask)

    def resize(self, image: Pixels, mask: NDArray[np.uint8]) -> tuple[Pixels, NDArray[np.uint8]]:
        """An image (H, W, C) and its mask (H, W) at the size of the data set; as they are if it has none."""
        if self.size is None:
            return image, mask
        if self.resize_mode == "letterbox":
            return letterbox(image, mask, self.size)
        return resize_image(image, self.size), resize_mask(mask, self.size)

    def read_all(self, threads: int = 1) -> Iterator[tuple[str, Pixels, NDArray[np.uint8]]]:
        """Name, image and mask of each sample in order; see ``read``.

        Args:
            threads: number of threads that read the next samples meanwhile; 0: each is read when it is requested.

        Raises:
            DataError: see ``read``.
            ConfigError: there are less than 0 threads.
        """
        if threads < 0:
            raise ConfigError(f"{threads} threads or workers are not possible; give 0 or more")
        indices = range(len(self))
        if threads:
            for index, content in read_ahead(indices, self.read, ahead=2 * threads, threads=threads):
                yield self.samples[index].name, *content.result()
        else:
            for index in indices:
                yield self.samples[index].name, *self.read(index)

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
        sample = self.samples[index]
        return (sample.reader or self.reader).read(sample.mask)


def require_dataset(data: object) -> None:
    """Refuse what is no data set, such as its path.

    Raises:
        DataError: it is of another type.
    """
    if not isinstance(data, SegmentationDataset):
        raise DataError(
            f"the data is a {type(data).__name__}; give a SegmentationDataset, such as segnet.open_dataset returns, or "
            "a part of one: data.only([0, 1])"
        )
