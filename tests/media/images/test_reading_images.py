from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from segnet.errors import ConfigError, DataError
from segnet.labels import CAMVID
from segnet.media.images.decoding import MAX_PIXELS
from segnet.media.images.headers import count_images, read_header, read_orientation, read_size
from segnet.media.images.masks import read_mask
from segnet.media.images.reading import pixels_of, read_image
from segnet.media.images.writing import write_mask

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [0, 0, 255]]], dtype=np.uint8)
CLASSES = np.array([[0, 1, 2], [10, 3, 255]], dtype=np.uint8)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(*, width: int, height: int, bits: int, kind: int, rows: bytes) -> bytes:
    """A PNG written by hand from the specification: for what Pillow itself does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Reading images


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.png"),
        ("RGB", "a.webp"),
        ("RGB", "a.bmp"),
        ("RGB", "a.ppm"),
        ("RGB", "a.tga"),
        ("RGB", "a.jp2"),
        ("RGBA", "a.png"),
        ("P", "a.png"),
        ("P", "a.gif"),
        ("CMYK", "a.tif"),
        ("RGBX", "a.tif"),
    ],
)
def test_colors_are_the_same_from_every_kind_of_file(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.fromarray(COLORS)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    image.save(tmp_path / name, lossless=True)
    pixels = read_image(tmp_path / name)
    np.testing.assert_array_equal(pixels, COLORS)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(("mode", "name"), [("RGB", "a.jpg"), ("CMYK", "a.jpg"), ("YCbCr", "a.jpg")])
def test_colors_survive_other_color_spaces(tmp_path: Path, mode: str, name: str) -> None:
    flat = np.full((16, 16, 3), (200, 30, 90), dtype=np.uint8)
    Image.fromarray(flat).convert(mode).save(tmp_path / name)
    assert np.abs(read_image(tmp_path / name).astype(int) - flat).max() <= 4


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_gray_is_repeated_in_three_channels(tmp_path: Path, mode: str) -> None:
    gray = np.array([[0, 255, 0]], dtype=np.uint8)
    Image.fromarray(gray).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(gray[:, :, None], 3, axis=2))


def test_one_channel_is_luma(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "a.png")
    gray = read_image(tmp_path / "a.png", channels=1)
    assert gray.shape == (2, 3, 1)
    np.testing.assert_allclose(gray[:, :, 0], COLORS @ [0.299, 0.587, 0.114], atol=1)


def test_other_channel_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4 channels; use 3"):
        read_image(tmp_path / "a.png", channels=4)


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    clear = np.dstack([COLORS, np.zeros((2, 3), dtype=np.uint8)])
    Image.fromarray(clear).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLORS)


@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_gray_whose_white_is_0_is_inverted(tmp_path: Path, orientation: int) -> None:
    gray = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    tags = {262: 0, 274: orientation}
    Image.fromarray(65535 - gray).save(tmp_path / "a.tif", tiffinfo=tags, compression="tiff_lzw")
    expected = np.rot90(gray // 257, -1 if orientation == 6 else 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1)[..., 0], expected)
    for _ in range(2):  # reading does not change it
        with Image.open(tmp_path / "a.tif") as image:
            np.testing.assert_array_equal(pixels_of(image, channels=1)[..., 0], expected)


def planes_of(path: Path, image: NDArray[Any], **options: Any) -> Path:
    tifffile = pytest.importorskip("tifffile")
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    tifffile.imwrite(path, planes, **{"photometric": "rgb", "planarconfig": "separate", **options})
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bands", "compression"), [(3, None), (4, None), (3, "deflate")])
def test_separate_planes_of_tiff_have_the_pixels_that_were_written(
    tmp_path: Path, kind: type, tile: tuple[int, int] | None, order: str, bands: int, compression: str | None
) -> None:
    if compression:
        pytest.importorskip("imagecodecs")
    values = np.random.default_rng(3).integers(0, np.iinfo(kind).max, (40, 50, bands), dtype=kind)
    extra = {"extrasamples": ["unassalpha"]} if bands == 4 else {}
    options = {"tile": tile, "byteorder": order, "compression": compression, "rowsperstrip": 7, **extra}
    path = planes_of(tmp_path / "a.tif", values, **options)
    expected = (values[..., :3] >> (8 if kind is np.uint16 else 0)).astype(np.uint8)
    np.testing.assert_array_equal(read_image(path), expected)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels_of(image), expected)
    header = read_header(path)
    assert header is not None
    assert header.bits == 8 * values.itemsize


def test_planes_of_16_bits_that_pillow_cannot_decode_are_refused(tmp_path: Path) -> None:
    cmyk = np.zeros((4, 5, 4), dtype=np.uint16)
    path = planes_of(tmp_path / "a.tif", cmyk, photometric="separated")
    with pytest.raises(DataError, match=r"a\.tif has CMYK colors in separate planes of 16 bits, .*; save it as RGB"):
        read_image(path)


@pytest.mark.parametrize("transparency", [b"\x00\x80\xff", 0])
def test_transparent_palettes_give_their_colors(tmp_path: Path, transparency: bytes | int) -> None:
    Image.fromarray(COLORS).quantize(8).save(tmp_path / "a.png", transparency=transparency)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLORS)


def test_16_bit_gray_is_divided_by_257_and_rounded(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 128, 129, 257, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", channels=1)[0, :, 0], [0, 0, 1, 1, 255])


@pytest.mark.parametrize("kind", ["int32", "uint32", "int16"])
@pytest.mark.parametrize("top", [1, 255, 65535])
def test_integers_whose_type_has_no_range_are_refused(tmp_path: Path, kind: str, top: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.array([[0, min(top, np.iinfo(kind).max)]], dtype=kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    message = rf"holds {kind} from 0 to {values.max()}, a type .*; expected uint8, uint16, or .*; convert it to one of"
    with pytest.raises(DataError, match=rf"a\.tif {message}"):
        read_image(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(DataError, match=f"the image {message}"):
        pixels_of(image)
    with pytest.raises(DataError, match=r"the image holds int32 from 0 to .*, a type whose range is not known"):
        pixels_of(Image.fromarray(values.astype(np.int32)))


def test_16_bit_gray_that_pillow_gives_in_32_bits_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 514, 65535))
    np.testing.assert_array_equal(read_image(tmp_path / "a.pgm", channels=1)[0, :, 0], [0, 2, 255])
    with Image.open(tmp_path / "a.pgm") as image:
        assert image.mode == "I"
        np.testing.assert_array_equal(pixels_of(image, channels=1)[0, :, 0], [0, 2, 255])


def test_floating_point_gray_is_read_from_0_to_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.2, 1]], dtype=np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1)[0, :, 0], [0, 51, 255])


@pytest.mark.parametrize("value", [np.float32(1.5), np.float32(-0.1), np.float32("nan")])
def test_values_outside_the_range_of_their_kind_are_refused(tmp_path: Path, value: np.generic) -> None:
    Image.fromarray(np.array([[value]])).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif holds values from .* expected 0 to 1 for .*save it with 8 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_images_are_turned_upright_as_pillow_does(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(4, 6)).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(read_image(tmp_path / name), np.array(ImageOps.exif_transpose(image)))
        np.testing.assert_array_equal(pixels_of(image), read_image(tmp_path / name))


def test_damaged_exif_leaves_the_image_as_stored(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "a.png", exif=b"Exif\x00\x00no TIFF header here")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLORS)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.webp"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / name)[0, 0].argmax() == 0


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), COLORS)


def test_many_threads_read_the_same(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30)).save(tmp_path / "a.png")
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_image, [tmp_path / "a.png"] * 40))
    assert all(np.array_equal(image, noise(20, 30)) for image in images)


# Broken images


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.png is empty \(0 bytes\); expected an image; copy"),
        (b"hello, world\n" * 9, r"a\.png is not an image that can be read, whatever its name says; expected PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"a\.png is not an image"),
        (b"\x89PNG\r\n\x1a\n", r"a\.png is not an image"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, read: object, content: bytes, message: str) -> None:
    assert callable(read)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.tif"])
def test_truncated_images_are_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(noise(64, 64)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 3 // 4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow warns where a TIFF ends.
        with pytest.raises(DataError, match=r"a\.\w+ is (damaged \(.+\); copy or download it again|not an image)"):
            read_image(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png does not exist; expected an image; check the path"):
        read_image(tmp_path / "a.png")


def test_a_path_below_a_file_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path / "file" / "a.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; expected an image; give the path of a file"):
        read_image(tmp_path)


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # chmod does not stop root, as whom tests often run
    with pytest.raises(DataError, match=r"a\.png may not be read; give yourself the permission"):
        read_image(tmp_path / "a.png")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(width=100_000, height=100_000, bits=8, kind=2, rows=b""))
    with pytest.raises(DataError, match=r"a\.png is too large \(100000 x 100000 pixels\); at most 500,000,000 pixels"):
        read_image(tmp_path / "a.png")
    assert MAX_PIXELS == 500_000_000


def test_a_frame_beyond_pillows_limit_is_no_error_of_pillow(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.gif")
    frame = struct.pack("<BHHHH", ord(","), 0, 0, 8, 8)
    content = (tmp_path / "a.gif").read_bytes()
    assert content.count(frame) == 1
    large = struct.pack("<BHHHH", ord(","), 0, 0, 60_000, 60_000)
    (tmp_path / "a.gif").write_bytes(content.replace(frame, large))
    with pytest.raises(DataError, match=r"a\.gif is too large"):
        read_image(tmp_path / "a.gif")
    headers = [read(tmp_path / "a.gif") for read in (read_header, read_size, read_orientation, count_images)]
    assert headers == [None, None, 1, 0]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.gif"])
def test_pillows_own_limit_neither_warns_nor_refuses(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / name)
    expected = read_image(tmp_path / name)
    for limit in (40, 5):  # Pillow would warn of 64 pixels, then refuse them.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        np.testing.assert_array_equal(read_image(tmp_path / name), expected)
    assert Image.MAX_IMAGE_PIXELS == 5


def test_the_error_of_a_large_image_says_what_helps_whatever_is_installed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(width=100_000, height=100_000, bits=8, kind=2, rows=b""))
    with pytest.raises(DataError, match=r"scale it down, or .* extra 'large' and does not go with --records, "):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("channels", [3, 1])
def test_an_image_of_pillow_has_the_pixels_of_its_file(tmp_path: Path, mode: str, channels: int) -> None:
    values = noise(5, 7)[..., 0]
    deep = {"I;16": values.astype(np.uint16) * 257, "F": values / np.float32(255)}
    image = Image.fromarray(deep[mode]) if mode in deep else Image.fromarray(noise(5, 7)).convert(mode)
    image.save(tmp_path / "a.tif")
    expected = read_image(tmp_path / "a.tif", channels=channels)
    np.testing.assert_array_equal(pixels_of(image, channels=channels), expected)


def test_an_image_of_pillow_stays_as_it_is() -> None:
    image = Image.fromarray(noise(5, 7)).convert("P")
    image.info["transparency"] = 0
    pixels_of(image)
    assert (image.mode, image.info["transparency"]) == ("P", 0)


def test_an_image_of_pillow_that_cannot_be_converted_is_named() -> None:
    with pytest.raises(DataError, match=r"frame 3 holds values from 2 to 2; expected 0 to 1"):
        pixels_of(Image.new("F", (2, 2), 2.0), name="frame 3")
    with pytest.raises(DataError, match=r"the image holds LAB colors, which cannot be converted to L"):
        pixels_of(Image.new("LAB", (2, 2)), channels=1)
    with pytest.raises(ConfigError, match="4 channels; use 3"):
        pixels_of(Image.new("RGB", (2, 2)), channels=4)


def test_colors_without_a_way_to_gray_are_refused(tmp_path: Path) -> None:
    Image.new("LAB", (2, 2)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif holds LAB colors, which cannot be converted to L; save it as RGB"):
        read_image(tmp_path / "a.tif", channels=1)


# Masks


def test_a_mask_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_mask(tmp_path / "new" / "a.png", CLASSES.astype(np.int64), CAMVID)
    mask = read_mask(tmp_path / "new" / "a.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, CLASSES)


def test_a_written_mask_shows_its_colors(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", CLASSES, CAMVID)
    pixels = read_image(tmp_path / "a.png")
    assert tuple(pixels[0, 1]) == CAMVID.colors[1]
    assert tuple(pixels[1, 2]) == (0, 0, 0)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.gif", "a.pgm", "a.tga"])
def test_gray_masks_keep_their_values(tmp_path: Path, name: str) -> None:
    Image.fromarray(CLASSES).save(tmp_path / name, optimize=False)  # Pillow would renumber a GIF.
    np.testing.assert_array_equal(read_mask(tmp_path / name), CLASSES)


def test_palette_masks_give_indices_not_colors(tmp_path: Path) -> None:
    image = Image.fromarray(CLASSES % 16)
    image.putpalette([7, 7, 7] * 16)
    image.save(tmp_path / "a.png")  # Pillow packs 16 colors into 4 bits.
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), CLASSES % 16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_masks_keep_their_values(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 1, 300, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    mask = read_mask(tmp_path / f"a{suffix}")
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, values)


@pytest.mark.parametrize(("bits", "packed"), [(1, 0b01_10_0000), (2, 0b00_01_10_11), (4, 0x0F)])
def test_gray_masks_of_few_bits_are_not_stretched(tmp_path: Path, bits: int, packed: int) -> None:
    width = {1: 4, 2: 4, 4: 2}[bits]
    expected = {1: [0, 1, 1, 0], 2: [0, 1, 2, 3], 4: [0, 15]}[bits]
    content = png(width=width, height=1, bits=bits, kind=0, rows=bytes([0, packed]))
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), [expected])


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_masks_whose_white_is_0_keep_their_values(tmp_path: Path, kind: str, compression: str | None) -> None:
    tifffile = pytest.importorskip("tifffile")
    options = {"photometric": "miniswhite", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", CLASSES.astype(kind), **options)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), CLASSES)
    planes = np.stack([value == CLASSES for value in range(11)]).astype(kind)
    tifffile.imwrite(tmp_path / "b.tif", planes, **options)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.tif"), CLASSES)


@pytest.mark.parametrize(("top", "values"), [(11, bytes([0, 5, 11])), (1000, struct.pack(">3H", 0, 5, 1000))])
def test_pgm_masks_with_another_maximum_are_not_stretched(tmp_path: Path, top: int, values: bytes) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 %d\n" % top + values)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.pgm"), [[0, 5, top]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_color_masks_with_equal_channels_count_as_gray(tmp_path: Path, mode: str) -> None:
    Image.fromarray(CLASSES).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), CLASSES)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "F"])
def test_masks_of_colors_or_fractions_are_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(COLORS).convert(mode).save(tmp_path / "a.tif")
    with pytest.raises(
        DataError, match=rf"a\.tif is not a mask: .*'{mode}'.*expected one class index per pixel.*convert"
    ):
        read_mask(tmp_path / "a.tif")


def test_color_masks_of_16_bits_are_refused_because_half_of_them_is_lost(tmp_path: Path) -> None:
    content = png(width=1, height=1, bits=16, kind=2, rows=b"\x00" + b"\x00\x05" * 3)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="is not a mask"):
        read_mask(tmp_path / "a.png")


NUMBERS = ["int16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_masks_of_small_whole_numbers_are_read_from_any_type(tmp_path: Path, kind: str, order: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    for compression in (None, "deflate"):
        options = {"photometric": "minisblack", "byteorder": order, "compression": compression}
        tifffile.imwrite(tmp_path / "a.tif", CLASSES.astype(kind), **options)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), CLASSES)
    np.save(tmp_path / "a.npy", CLASSES.astype(kind).astype(f"{order}{np.dtype(kind).str[1:]}"))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npy"), CLASSES)


@pytest.mark.parametrize(("kind", "value"), [("int16", -1), ("int32", 70_000), ("uint32", 70_000), ("int64", -1)])
def test_masks_of_numbers_that_are_no_class_values_are_refused(tmp_path: Path, kind: str, value: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.array([[value, 9]], dtype=kind), photometric="minisblack")
    message = rf"a\.tif holds {kind} from {min(value, 9)} to {max(value, 9)}; expected class values from 0 to 65535"
    with pytest.raises(DataError, match=message):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {}), ("a.webp", {}), ("a.tif", {"compression": "jpeg"})])
def test_lossy_masks_are_refused(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    Image.fromarray(CLASSES).save(tmp_path / name, **options)
    with pytest.raises(DataError, match=r"which may change class numbers .* save the original mask as PNG"):
        read_mask(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        b"P1\n4 2\n0101\n1100\n",
        b"P1\n# Created by GIMP version 2.10.36 PNM plug-in\n4 2\n01011100\n",
        b"P1\r\n4 2\r\n0 1 0 1\r\n# in between\r\n1 1 0 0\r\n",
        b"P1\n# " + b"x" * 5000 + b"\n4 2\n0101\n1100\n",
    ],
)
def test_plain_pbm_is_read_with_and_without_comments(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pbm").write_bytes(content)
    expected = [[255, 0, 255, 0], [0, 0, 255, 255]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.pbm", channels=1)[..., 0], expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.pbm"), np.array(expected) // 255)


def sixteen_bits(path: Path, largest: int, *, color: bool) -> Path:
    values = np.linspace(0, largest, 64).astype(np.uint16).reshape(8, 8)
    if color:
        rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in values)
        path.write_bytes(png(width=8, height=8, bits=16, kind=2, rows=rows))
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(("lowest", "highest", "warned"), [(29_000, 29_900, True), (29_000, 40_000, False)])
def test_images_of_thermal_cameras_that_lose_their_values_in_8_bits_are_named_once(
    lowest: int, highest: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("segnet.media.images.reading._warned", set())
    kelvin = np.linspace(lowest, highest, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(kelvin).save(tmp_path / "a.png")
    for channels in (1, 3):
        read_image(tmp_path / "a.png", channels=channels)
    named = f"{tmp_path / 'a.png'} has little contrast: of its 16-bit values, 4 gray levels of 256 are left"
    assert caplog.text.count(named) == caplog.text.count("gray levels") == warned


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(("largest", "bits"), [(1023, 10), (4095, 12), (16383, 14), (40000, None), (0, None)])
def test_16_bit_images_that_use_fewer_bits_are_told_once(
    tmp_path: Path,
    largest: int,
    bits: int | None,
    color: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("segnet.media.images.reading._warned", set())
    path = sixteen_bits(tmp_path / "a.png", largest, color=color)
    for _ in range(2):
        read_image(path)
    expected = [] if bits is None else [f"one of {bits} bits; multiply the values by {2 ** (16 - bits)} if"]
    assert len(caplog.records) == len(expected)
    assert all(text in caplog.text for text in expected)
    pytest.importorskip("pyvips", exc_type=ImportError)
    from segnet.media.images.strips import ImageRows

    monkeypatch.setattr("segnet.media.images.reading._warned", set())
    ImageRows(path).read(8)
    assert len(caplog.records) == 2 * len(expected)


def large_texts(kind: str) -> dict[str, Any]:
    texts = PngInfo()
    if kind == "icc":
        return {"icc_profile": np.random.default_rng(0).bytes(1_200_000)}
    if kind == "many":
        for number in range(70):
            texts.add_text(f"k{number}", "x" * 1_000_000, zip=True)
    elif kind == "itxt":
        texts.add_itxt("k", "x" * 1_200_000, zip=True)
    elif kind == "after":
        texts.add(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 1_200_000), after_idat=True)
    else:
        texts.add_text("k", "x" * 1_200_000, zip=True)
    return {"pnginfo": texts}


@pytest.mark.parametrize("kind", ["icc", "many", "itxt", "after", "ztxt"])
def test_png_with_large_texts_or_profiles_is_read(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif, **large_texts(kind))
    np.testing.assert_array_equal(read_image(path), np.rot90(pixels, -1))
    header = read_header(path)
    assert header is not None
    assert header.size == (6, 9)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_of_a_header_is_that_of_the_pixels(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(noise(5, 9)).save(tmp_path / name, exif=exif)
    assert read_size(tmp_path / name) == read_image(tmp_path / name).shape[:2]
    assert read_size(tmp_path / "none.png") is None


def test_an_orientation_among_large_texts_is_kept(tmp_path: Path) -> None:
    packet = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>3</tiff:Orientation></x:xmpmeta>'
    for packed in (False, True):
        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", packet, zip=packed)
        texts.add_text("k", "x" * 1_200_000, zip=True)
        pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
        Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=texts)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels[::-1, ::-1])


def test_a_damaged_png_with_large_texts_is_damaged(tmp_path: Path) -> None:
    Image.new("RGB", (90, 90)).save(tmp_path / "a.png", **large_texts("icc"))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-60])
    with pytest.raises(DataError, match="is damaged"):
        read_image(tmp_path / "a.png")


def test_uncompressed_tiff_in_ycbcr_is_read_as_the_compressed_one(tmp_path: Path) -> None:
    gradient = np.linspace(0, 255, 40 * 30 * 3).reshape(40, 30, 3).astype(np.uint8)
    image = Image.fromarray(gradient).convert("YCbCr")
    image.save(tmp_path / "raw.tif")
    image.save(tmp_path / "lzw.tif", compression="tiff_lzw")
    raw, compressed = (read_image(tmp_path / f"{name}.tif").astype(int) for name in ("raw", "lzw"))
    assert abs(raw - compressed).max() <= 2
    assert abs(raw - gradient).max() <= 3


def ppm(height: int) -> bytes:
    return b"P5 20000 %d 255\n" % height + bytes(100)


def claiming_png(height: int) -> bytes:
    return png(width=20_000, height=height, bits=8, kind=0, rows=b"")


def jpeg(height: int) -> bytes:
    file = BytesIO()
    Image.new("L", (20_000, 8)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    struct.pack_into(">H", content, content.index(b"\xff\xc0") + 5, height)
    return bytes(content)


def tiff(compression: int) -> Callable[[int], bytes]:
    def claim(height: int) -> bytes:
        tags = {256: 20_000, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: height, 279: 40}
        entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(40)

    return claim


TIFF = {"none": 1, "lzw": 5, "jpeg": 7, "deflate": 8, "old deflate": 32946, "lzma": 34925, "zstd": 50000}


@pytest.mark.parametrize("form", [ppm, claiming_png, jpeg, *(pytest.param(tiff(TIFF[name]), id=name) for name in TIFF)])
def test_a_header_that_claims_far_more_pixels_than_the_file_has_is_damage(
    form: Callable[[int], bytes], tmp_path: Path
) -> None:
    """Memory for 400 million pixels is not allocated."""
    (tmp_path / "image").write_bytes(form(20_000))
    with pytest.raises(DataError, match=r"is damaged \(20000 x 20000 pixels in \d+ bytes\)"):
        read_image(tmp_path / "image")
