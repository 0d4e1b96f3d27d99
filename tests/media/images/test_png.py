from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from segnet.errors import ShapeError
from segnet.media.images.png import PngWriter


@pytest.fixture
def image() -> np.ndarray:
    ramp = np.linspace(0, 255, 150 * 90).reshape(150, 90)
    return np.stack([ramp, ramp[::-1], np.roll(ramp, 40, axis=1)], axis=2).astype(np.uint8)


def written(rows: np.ndarray, *, step: int, **how: object) -> Image.Image:
    file = io.BytesIO()
    size = (rows.shape[0], rows.shape[1])
    with PngWriter(file, size, **how) as png:  # type: ignore[arg-type]
        for top in range(0, size[0], step):
            png.add(rows[top : top + step])
    file.seek(0)
    image = Image.open(file)
    image.load()
    return image


@pytest.mark.parametrize("step", [1, 7, 150])
def test_what_was_written_is_read_again(image: np.ndarray, step: int) -> None:
    color = written(image, step=step, channels=3)
    assert color.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(color), image)
    np.testing.assert_array_equal(np.asarray(written(image[..., 0], step=step)), image[..., 0])
    deep = image[..., 0].astype(np.uint16) * 256 + image[..., 1]
    assert written(deep, step=step, bits=16).mode == "I;16"
    np.testing.assert_array_equal(np.asarray(written(deep, step=step, bits=16)), deep)


def test_palette_and_metadata_are_kept(image: np.ndarray) -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    opened = written(image[..., 0], step=50, palette=palette, metadata={"Title": "mask"})
    assert opened.mode == "P"
    assert opened.info["Title"] == "mask"
    np.testing.assert_array_equal(np.asarray(opened), image[..., 0])
    np.testing.assert_array_equal(np.array(opened.getpalette()).reshape(-1, 3), palette)


def test_rows_that_do_not_fit_and_missing_ones_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="do not fit"), PngWriter(io.BytesIO(), (150, 80), channels=3) as png:
        png.add(image)
    with pytest.raises(ShapeError, match="do not fit"), PngWriter(io.BytesIO(), (100, 90), channels=3) as png:
        png.add(image)
    with pytest.raises(ShapeError, match="50 rows of 200 are missing"), PngWriter(io.BytesIO(), (200, 90)) as png:
        png.add(image[..., 0])
