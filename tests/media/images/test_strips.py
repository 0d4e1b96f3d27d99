from __future__ import annotations

import builtins
import logging
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from segnet.errors import DataError, MissingPackageError
from segnet.media.images.headers import Header, read_header
from segnet.media.images.reading import read_image
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


def test_16_bit_gray_whose_white_is_0_is_read_in_strips_as_whole(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    of_kind(image, "I;16").save(path, tiffinfo={262: 0})
    header = read_header(path)
    assert header is not None
    assert readable_in_strips(header)
    np.testing.assert_array_equal(all_of(ImageRows(path, channels=1), step=64), read_image(path, channels=1))
    np.testing.assert_allclose(read_image(path, channels=1), 255 - image[..., :1], atol=1)


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


COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "lzma", "zstd"]
TAGS: dict[str, list[dict[int, Any]]] = {  # that Pillow writes as they are
    "": [{262: 0}, {262: 1}, {266: 2}, {274: 5}, {274: 7}],
    "RGBA": [{338: 0}, {338: 1}, {338: 2}],
    "P": [{320: tuple(range(256)) * 3}],
}


def require_same_pixels_if_readable(path: Path) -> None:
    """Streamed as read whole, or not streamed; what cannot be read whole has no pixels to compare."""
    header = read_header(path)
    if header is None or not readable_in_strips(header):
        return
    try:
        whole = read_image(path)
    except DataError:
        return
    rows = ImageRows(path)
    assert rows.size == whole.shape[:2]
    np.testing.assert_array_equal(all_of(rows, step=37), whole)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "YCbCr", "LAB", "PA"])
def test_whatever_is_read_in_strips_has_the_pixels_of_read_image(tmp_path: Path, image: np.ndarray, mode: str) -> None:
    source = of_kind(image, mode)
    extras: list[dict[str, Any]] = [{"compression": each} if each else {} for each in COMPRESSIONS]
    extras += [{"compression": "tiff_lzw", "tiffinfo": tags} for tags in (*TAGS[""], *TAGS.get(mode, []))]
    for number, extra in enumerate(extras):
        path = tmp_path / f"{number}.tif"
        try:
            source.save(path, **extra)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError):
            continue  # a mode that this compression or Pillow does not write
        require_same_pixels_if_readable(path)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "gray", "RGB16", "RGBA16", "gray16", "cmyk", "lab", "float"])
def test_whatever_libvips_writes_is_read_in_strips_as_whole_or_not(
    tmp_path: Path, image: np.ndarray, kind: str
) -> None:
    from pyvips import Error
    from pyvips import Image as Vips

    wide = image.astype(np.uint16) * 256 + image[..., ::-1]
    alpha = np.roll(image[..., :1], 7, axis=0)
    pixels, space = {
        "RGB": (image, "srgb"), "RGBA": (np.concatenate([image, alpha], 2), "srgb"), "gray": (image[..., :1], "b-w"),
        "RGB16": (wide, "rgb16"), "RGBA16": (np.concatenate([wide, alpha * np.uint16(257)], 2), "rgb16"),
        "gray16": (wide[..., :1], "grey16"), "cmyk": (np.concatenate([image, alpha], 2), "cmyk"),
        "lab": (image, "srgb"), "float": (image[..., :1] / np.float32(255), "b-w"),
    }[kind]  # fmt: skip
    source = Vips.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation=space)
    source = source.colourspace("lab") if kind == "lab" else source
    options: dict[str, list[dict[str, Any]]] = {
        "tif": [
            {}, {"compression": "lzw", "predictor": "horizontal"}, {"compression": "jpeg"}, {"miniswhite": True},
            {"tile": True, "pyramid": True, "tile_width": 64, "tile_height": 64}, {"bitdepth": 1}, {"bitdepth": 2},
            {"bitdepth": 4}, {"premultiply": True}, {"bigtiff": True}, {"compression": "zstd"},
        ],
        "png": [{}, {"interlace": True}, {"bitdepth": 2}, {"bitdepth": 16}, {"palette": True}],
        "jpg": [{}, {"interlace": True}, {"subsample_mode": "off"}],
    }  # fmt: skip
    for suffix, choices in options.items():
        for number, extra in enumerate(choices):
            path = tmp_path / f"{number}.{suffix}"
            with suppress(Error):  # what this build does not write
                source.write_to_file(str(path), **extra)
            if path.exists():
                require_same_pixels_if_readable(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_in_xmp_turns_strips_too(
    tmp_path: Path, image: np.ndarray, suffix: str, orientation: int
) -> None:
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>{orientation}</tiff:Orientation></x:xmpmeta>'
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", packet)
    extra = {"xmp": packet.encode()} if suffix == ".jpg" else {"pnginfo": texts}
    Image.fromarray(image).save(tmp_path / f"a{suffix}", **extra)
    assert (read_image(tmp_path / f"a{suffix}").shape[0] == 90) == (orientation > 4)
    require_same_pixels_if_readable(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for pixels in (image, image[::-1], image[:50]):
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        np.testing.assert_array_equal(all_of(ImageRows(path), step=37), read_image(path))


def test_a_tiled_file_that_was_replaced_is_read_anew(tmp_path: Path, image: np.ndarray) -> None:
    from pyvips import Image as Vips

    for pixels in (image, image[::-1]):
        Vips.new_from_array(np.ascontiguousarray(pixels)).write_to_file(str(tmp_path / "a.tif"), tile=True)
        np.testing.assert_array_equal(all_of(ImageRows(tmp_path / "a.tif"), step=37), pixels)
        small = ImageRows(tmp_path / "a.tif", size=(30, 18))
        assert abs(small.read(30).astype(float)[0].mean() - pixels[:5].mean()) < 8


def test_an_image_longer_than_libvips_reads_is_refused_by_name(tmp_path: Path) -> None:
    with (tmp_path / "long.bmp").open("wb") as file:  # a header is enough
        file.write(
            b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 1, 10**8, 1, 24, *[0] * 6)
        )
    with pytest.raises(DataError, match=r"long\.bmp is too large \(1 x 100000000 pixels\); .* cut it into"):
        ImageRows(tmp_path / "long.bmp")
