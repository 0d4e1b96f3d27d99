from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.dataset import SegmentationDataset
from segnet.data.image_sizes import batches_of_one_size, read_sizes
from segnet.data.samples import Sample
from segnet.labels import ClassTable
from segnet.media.images.reading import read_image


@pytest.fixture
def data(tmp_path: Path) -> SegmentationDataset:
    """Three images: wide, stored turned, and none."""
    for name, orientation in (("wide", 1), ("turned", 6)):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / f"{name}.jpg", exif=exif)
    (tmp_path / "none.jpg").write_bytes(b"text")
    paths = [tmp_path / f"{name}.jpg" for name in ("wide", "turned", "none")]
    return SegmentationDataset([Sample(path, path, path.stem) for path in paths], ClassTable.numbered(2))


def test_sizes_are_those_of_the_upright_images(data: SegmentationDataset) -> None:
    assert read_sizes(data) == [(4, 6), (6, 4), None]
    assert [read_image(sample.image).shape[:2] for sample in data.samples[:2]] == read_sizes(data)[:2]
    assert read_sizes(data, most=2) == [(4, 6), None]
    resized = SegmentationDataset(data.samples, data.labels, size=(3, 3))
    assert read_sizes(resized) == [(3, 3)] * 3


def test_a_batch_holds_images_of_one_size_and_no_more_than_fit() -> None:
    sizes = [(4, 6), (6, 4), None, (4, 6), (4, 6), (6, 4), None]
    batches = batches_of_one_size(range(7), sizes, lambda size: 2 if size == (4, 6) else 5)
    assert batches == [[0, 3], [1, 5], [2], [4], [6]]
    assert batches_of_one_size([5, 0, 1], sizes, lambda _: 5) == [[5, 1], [0]]
