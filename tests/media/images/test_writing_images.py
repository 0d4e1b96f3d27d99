from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segnet.errors import DataError, OutputError
from segnet.labels import CAMVID
from segnet.media.images.reading import read_image
from segnet.media.images.writing import write_image, write_mask, write_values

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [0, 0, 255]]], dtype=np.uint8)
CLASSES = np.array([[0, 1, 2], [10, 3, 255]], dtype=np.uint8)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mask", [np.array([[-1]]), np.array([[256]]), np.zeros((1, 2, 2), dtype=np.uint8)])
def test_masks_that_a_png_cannot_hold_are_not_written(tmp_path: Path, mask: NDArray[np.int64]) -> None:
    with pytest.raises(DataError, match=r"cannot be written to .*a\.png; expected \(H, W\) with values from 0 to 255"):
        write_mask(tmp_path / "a.png", mask, CAMVID)
    assert list(tmp_path.iterdir()) == []


def test_values_are_read_as_the_file_itself_says(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((7, 5), dtype=np.float32) * 2.4
    values[0, :3] = [0, 2.4, 3]  # the last is beyond the range
    write_values(tmp_path / "a.png", values, 2.4, {"Title": "entropy"})
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.text["Title"]) == ("I;16", "entropy")
        assert image.text["value"] == "stored / 65535 * largest"
        stored, largest = np.array(image), float(image.text["largest"])
    assert stored[0, :3].tolist() == [0, 65535, 65535]
    np.testing.assert_allclose(stored / 65535 * largest, values.clip(0, 2.4), atol=0.51 * 2.4 / 65535)


def test_values_are_written_as_png_only(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.jpg cannot hold values of 16 bits"):
        write_values(tmp_path / "a.jpg", np.zeros((2, 2), dtype=np.float32), 1.0, {})


def test_masks_are_written_as_png_only(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.jpg cannot hold a mask; .* ends in \.png"):
        write_mask(tmp_path / "a.jpg", CLASSES, CAMVID)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_images_come_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, COLORS)
    np.testing.assert_array_equal(read_image(path), COLORS)
    write_image(path, COLORS[:, :, :1])
    np.testing.assert_array_equal(read_image(path, channels=1), COLORS[:, :, :1])
    write_image(path, COLORS[:, :, 0])
    np.testing.assert_array_equal(read_image(path, channels=1), COLORS[:, :, :1])


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_images_come_back_nearly(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16, 3), 99, dtype=np.uint8)
    write_image(tmp_path / f"a{suffix}", flat)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - flat).max() <= 2


@pytest.mark.parametrize(("suffix", "most", "name"), [("jpg", 65_500, "JPEG"), ("webp", 16_383, "WEBP")])
def test_a_side_that_the_format_does_not_hold_is_refused(tmp_path: Path, suffix: str, most: int, name: str) -> None:
    for size in ((1, most + 1), (most + 1, 1)):
        with pytest.raises(DataError, match=rf"a\.{suffix} has .* and {name} holds at most {most:,} on a side; .* PNG"):
            write_image(tmp_path / f"a.{suffix}", np.zeros(size, np.uint8))
    write_image(tmp_path / f"b.{suffix}", np.zeros((1, most), np.uint8))
    assert [path.stem for path in tmp_path.iterdir()] == ["b"]


def test_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.xyz cannot be written as an image; give a name that ends in \.png"):
        write_image(tmp_path / "a.xyz", COLORS)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel stops every write beyond the size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_half_way_leaves_the_old_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, COLORS)
    with files_of_at_most(1000), pytest.raises(OutputError, match=r"a\.png cannot be written \(File too large\)"):
        write_image(path, noise(64, 64))
    np.testing.assert_array_equal(read_image(path), COLORS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.png cannot be written"):
        write_mask(tmp_path / "file" / "a.png", CLASSES, CAMVID)
