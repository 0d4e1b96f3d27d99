from __future__ import annotations

import builtins
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segnet.errors import DataError, MissingPackageError
from segnet.media.images.reading import Header, read_header, read_image
from segnet.media.images.strips import ImageRows, readable_in_strips


@pytest.fixture
def image() -> np.ndarray:
    ramp = np.linspace(0, 255, 150 * 90).reshape(150, 90)
    return np.stack([ramp, ramp[::-1], np.roll(ramp, 40, axis=1)], axis=2).astype(np.uint8)


def all_of(rows: ImageRows, *, step: int) -> np.ndarray:
    height = rows.size[0]
    return np.concatenate([rows.read(min(step, height - top)) for top in range(0, height, step)])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("channels", [3, 1])
def test_rows_are_those_of_read_image(tmp_path: Path, image: np.ndarray, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(image).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    rows = ImageRows(path, channels=channels)
    assert rows.size == (150, 90)
    np.testing.assert_array_equal(all_of(rows, step=37), read_image(path, channels=channels))


def of_kind(image: np.ndarray, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(image[..., 0].astype(np.uint16) * 256 + image[..., 1])
    if mode == "I":
        return Image.fromarray(image[..., 0].astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(image[..., 0].astype(np.float32) / 255)
    return Image.fromarray(image).convert(mode)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", [3, 1])
def test_modes_read_in_strips_have_the_pixels_of_read_image(
    tmp_path: Path, image: np.ndarray, mode: str, suffix: str, channels: int
) -> None:
    path = tmp_path / f"a{suffix}"
    of_kind(image, mode).save(path)
    header = read_header(path)
    assert header is not None
    assert header.mode == mode
    assert readable_in_strips(header)
    found = all_of(ImageRows(path, channels=channels), step=64)
    np.testing.assert_array_equal(found, read_image(path, channels=channels))


@pytest.mark.parametrize(("mode", "name"), [("F", "a.tif"), ("I", "a.tif"), ("CMYK", "a.tif"), ("CMYK", "a.jpg")])
def test_modes_that_would_give_other_pixels_are_refused(
    tmp_path: Path, image: np.ndarray, mode: str, name: str
) -> None:
    of_kind(image, mode).save(tmp_path / name)
    header = read_header(tmp_path / name)
    assert header is not None
    assert not readable_in_strips(header)
    with pytest.raises(DataError, match=rf"{name} holds pixels of the kind '{mode}', .* expected one of .*; save it"):
        ImageRows(tmp_path / name)


def test_formats_that_need_the_whole_in_memory_are_not_read_in_strips() -> None:
    assert readable_in_strips(Header("JPEG", (2, 2), "L"))
    assert not readable_in_strips(Header("WEBP", (2, 2), "RGB"))
    assert not readable_in_strips(Header("TIFF", (2, 2), "LAB"))


def test_an_image_is_turned_upright(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(path, exif=exif, quality=95)
    rows = ImageRows(path)
    assert rows.size == (90, 150)
    assert np.abs(all_of(rows, step=90).astype(int) - read_image(path)).mean() < 1


@pytest.mark.parametrize("size", [(75, 45), (60, 90), (195, 117), (300, 180)])
def test_another_size_is_that_of_pillow(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    coarse = np.random.default_rng(4).integers(0, 256, (10, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((90, 150), Image.Resampling.BICUBIC)
    smooth.save(path)
    rows = ImageRows(path, size=size)
    assert rows.size == size
    expected = np.asarray(smooth.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(all_of(rows, step=20) - expected).max() <= 3


def test_damage_is_reported_with_the_name(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:50_000])
    rows = ImageRows(path)
    with pytest.raises(DataError, match=r"cut.png cannot be read in strips \(.+\); copy or download it again"):
        all_of(rows, step=50)
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(DataError, match=r"text.png cannot be read in strips"):
        ImageRows(text)
    with pytest.raises(DataError, match="does not exist"):
        ImageRows(tmp_path / "none.png")


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.tif", {"compression": "tiff_adobe_deflate"})])
def test_damage_in_the_middle_is_an_error_and_not_a_warning_besides(
    tmp_path: Path, name: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("pyvips").setLevel(logging.NOTSET)
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)).save(path, **options)
    spoiled = bytearray(path.read_bytes())
    spoiled[len(spoiled) // 2 : len(spoiled) // 2 + 800] = bytes(800)
    path.write_bytes(spoiled)
    with pytest.raises(DataError, match=rf"{name} cannot be read in strips"):
        all_of(ImageRows(path), step=50)
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "package"), [(ModuleNotFoundError, "pyvips"), (OSError("libvips.so.42 cannot be loaded"), "libvips")]
)
def test_a_missing_library_is_reported_with_the_pip_line(
    error: Any, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyvips":
            raise error
        return whole(name, *rest)

    monkeypatch.delitem(sys.modules, "pyvips", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=rf"^{package} is not installed; run: pip install 'segnet\[large\]'"):
        ImageRows(tmp_path / "a.png")
