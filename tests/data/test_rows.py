from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.pictures import read_image
from segnet.data.rows import PictureRows, PngWriter
from segnet.errors import DataError, ShapeError


@pytest.fixture
def picture() -> np.ndarray:
    ramp = np.linspace(0, 255, 150 * 90).reshape(150, 90)
    return np.stack([ramp, ramp[::-1], np.roll(ramp, 40, axis=1)], axis=2).astype(np.uint8)


def all_of(rows: PictureRows, *, step: int) -> np.ndarray:
    height = rows.size[0]
    return np.concatenate([rows.read(min(step, height - top)) for top in range(0, height, step)])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("channels", [3, 1])
def test_rows_are_those_of_read_image(tmp_path: Path, picture: np.ndarray, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    rows = PictureRows(path, channels=channels)
    assert rows.size == (150, 90)
    np.testing.assert_array_equal(all_of(rows, step=37), read_image(path, channels=channels))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16"])
def test_other_kinds_of_pixels(tmp_path: Path, picture: np.ndarray, mode: str) -> None:
    path = tmp_path / "a.png"
    if mode == "I;16":
        Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(picture).convert(mode).save(path)
    found = all_of(PictureRows(path), step=64)
    assert found.shape == (150, 90, 3)
    assert np.abs(found.astype(int) - read_image(path)).max() <= 1


def test_a_picture_is_turned_upright(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(path, exif=exif, quality=95)
    rows = PictureRows(path)
    assert rows.size == (90, 150)
    assert np.abs(all_of(rows, step=90).astype(int) - read_image(path)).mean() < 1


@pytest.mark.parametrize("size", [(75, 45), (60, 90), (195, 117), (300, 180)])
def test_another_size_is_that_of_pillow(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    coarse = np.random.default_rng(4).integers(0, 256, (10, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((90, 150), Image.Resampling.BICUBIC)
    smooth.save(path)
    rows = PictureRows(path, size=size)
    assert rows.size == size
    expected = np.asarray(smooth.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(all_of(rows, step=20) - expected).max() <= 3


def test_damage_is_told_with_the_name(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:50_000])
    rows = PictureRows(path)
    with pytest.raises(DataError, match=r"cut.png cannot be read in parts \(.+\); copy or download it again"):
        all_of(rows, step=50)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(DataError, match=r"text.png cannot be read in parts"):
        PictureRows(text)
    with pytest.raises(DataError, match="does not exist"):
        PictureRows(tmp_path / "none.png")


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
def test_what_was_written_is_read_again(picture: np.ndarray, step: int) -> None:
    color = written(picture, step=step, channels=3)
    assert color.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(color), picture)
    np.testing.assert_array_equal(np.asarray(written(picture[..., 0], step=step)), picture[..., 0])
    deep = picture[..., 0].astype(np.uint16) * 256 + picture[..., 1]
    assert written(deep, step=step, bits=16).mode == "I;16"
    np.testing.assert_array_equal(np.asarray(written(deep, step=step, bits=16)), deep)


def test_a_palette_and_words_are_kept(picture: np.ndarray) -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    image = written(picture[..., 0], step=50, palette=palette, told={"Title": "mask"})
    assert image.mode == "P"
    assert image.info["Title"] == "mask"
    np.testing.assert_array_equal(np.asarray(image), picture[..., 0])
    np.testing.assert_array_equal(np.array(image.getpalette()).reshape(-1, 3), palette)


def test_rows_that_do_not_fit_and_missing_ones_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="do not fit"), PngWriter(io.BytesIO(), (150, 80), channels=3) as png:
        png.add(picture)
    with pytest.raises(ShapeError, match="do not fit"), PngWriter(io.BytesIO(), (100, 90), channels=3) as png:
        png.add(picture)
    with pytest.raises(ShapeError, match="50 rows of 200 are missing"), PngWriter(io.BytesIO(), (200, 90)) as png:
        png.add(picture[..., 0])
