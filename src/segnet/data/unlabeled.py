"""Images without masks, from which a network learns what its teachers see there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Pixels
from segnet.data.dataset import SegmentationDataset
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX
from segnet.media.images.stored import read_pixels, read_pixels_size
from segnet.media.sources import VIDEO_SUFFIXES, find_images

__all__ = ["UnlabeledImages", "find_unlabeled"]


def find_unlabeled(words: Sequence[str]) -> tuple[Path, ...]:
    """The images of files, folders and globs in the order given, each once.

    Raises:
        DataError: A word stands for no image, or for a video.
    """
    found: list[Path] = []
    for word in words:
        if Path(word).suffix.lower() in VIDEO_SUFFIXES and not Path(word).is_dir():
            raise DataError(
                f"{word} is a video; expected images; write some of its frames into a folder, such as one a second "
                f"(ffmpeg -i {word} -vf fps=1 frames/%05d.png), and give that"
            )
        found += [image.path for image in find_images(word)]
    return tuple(dict.fromkeys(found))


class UnlabeledImages:
    """Images without masks, read and resized as those of a data set; every pixel is ignored.

    Args:
        paths: Their files.
        like: The data set.
    """

    def __init__(self, paths: Sequence[Path], like: SegmentationDataset) -> None:
        self.paths = tuple(paths)
        self._like = like

    @classmethod
    def find(cls, words: Sequence[str], like: SegmentationDataset) -> Self:
        """The images of files, folders and globs.

        Raises:
            DataError: A word stands for no image, or for a video; or a file has no header of an image.
        """
        paths = find_unlabeled(words)
        for path in paths:
            if read_pixels_size(path) is None:
                raise DataError(
                    f"{path} cannot be read as an image; remove it from the unlabeled images, or save it anew"
                )
        return cls(paths, like)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> tuple[Pixels, NDArray[np.uint8]]:
        """One image, uint8 or float32 (H, W, C), and its mask, uint8 (H, W), all 255.

        Raises:
            DataError: The file cannot be read.
        """
        image = read_pixels(self.paths[index], self._like.channels)
        return self._like.resize(image, np.full(image.shape[:2], IGNORE_INDEX, dtype=np.uint8))
