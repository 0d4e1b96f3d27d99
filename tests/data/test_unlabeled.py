"""Images without masks: which are found, and how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segnet.data.dataset import SegmentationDataset
from segnet.data.unlabeled import UnlabeledImages, find_unlabeled
from segnet.errors import DataError
from segnet.labels import CAMVID
from segnet.media.images.writing import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in (("2", (6, 8)), ("1", (5, 9))):
        write_image(tmp_path / f"{name}.png", np.full((*size, 3), 7, dtype=np.uint8))
    return tmp_path


def test_each_image_of_files_folders_and_globs_is_found_once(folder: Path):
    words = (str(folder / "2.png"), str(folder), str(folder / "*.png"))
    assert [path.name for path in find_unlabeled(words)] == ["2.png", "1.png"]


def test_a_video_is_refused_with_the_command_that_writes_its_frames(tmp_path: Path):
    with pytest.raises(DataError, match=r"road\.mp4 is a video; expected images; .*\(ffmpeg -i .*road\.mp4 "):
        find_unlabeled([str(tmp_path / "road.mp4")])


def test_a_file_that_is_no_image_is_refused_before_training(folder: Path):
    (folder / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png cannot be read as an image; remove it"):
        UnlabeledImages.find([str(folder)], SegmentationDataset([], CAMVID))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (6, 8, 3)),
        ({"channels": 1}, (6, 8, 1)),
        ({"size": (10, 20)}, (10, 20, 3)),
        ({"size": (10, 20), "resize_mode": "stretch"}, (10, 20, 3)),
    ],
)
def test_they_are_read_as_the_data_set_is_and_every_pixel_is_ignored(folder: Path, options: dict, shape: tuple):
    image, mask = UnlabeledImages([folder / "2.png"], SegmentationDataset([], CAMVID, **options)).read(0)
    assert image.shape == shape
    assert mask.shape == shape[:2]
    assert (mask == 255).all()
