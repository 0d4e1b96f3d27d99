"""Sizes of the images of a data set, by their headers alone, and batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from segnet.data.dataset import SegmentationDataset
from segnet.data.sizing import Size, spread
from segnet.media.images.stored import read_pixels_size

__all__ = ["batches_of_one_size", "read_sizes"]


def read_sizes(dataset: SegmentationDataset, *, most: int | None = None) -> list[Size | None]:
    """(height, width) of each image as the data set gives it, upright or resized; None where no header can be read.

    Args:
        dataset: Images with masks.
        most: Number of images to look at, evenly spread. Default: all.
    """
    samples = dataset.samples if most is None else spread(dataset.samples, most)
    return [dataset.size or read_pixels_size(sample.image) for sample in samples]


def batches_of_one_size(
    indices: Iterable[int], sizes: Sequence[Size | None], most: Callable[[Size], int]
) -> list[list[int]]:
    """Batches of images of one size each, in the order of their first images.

    Args:
        indices: of the images.
        sizes: of all images; one whose size is None is alone in its batch.
        most: how many images of a size fit into a batch.
    """
    batches: list[list[int]] = []
    growing: dict[Size, list[int]] = {}
    for index in indices:
        size = sizes[index]
        if size is None:
            batches.append([index])
            continue
        if size not in growing or len(growing[size]) >= most(size):
            growing[size] = []
            batches.append(growing[size])
        growing[size].append(index)
    return batches
