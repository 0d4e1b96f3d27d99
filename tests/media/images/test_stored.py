"""Files of any number of bands, against the arrays that were written."""

from __future__ import annotations

import logging
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segnet.bands import Bands, Channels
from segnet.errors import DataError, MissingPackageError
from segnet.media.images import stored
from segnet.media.images.masks import read_mask
from segnet.media.images.stored import read_pixels, read_pixels_size, read_shown, read_stored, stretch_bands

SIZE = (20, 30)


def values(bands: int, kind: str = "uint16") -> NDArray[Any]:
    rng = np.random.default_rng(bands)
    if kind == "float32":
        return rng.random((*SIZE, bands), dtype=np.float32)
    return rng.integers(0, np.iinfo(kind).max, (*SIZE, bands), dtype=kind)


def write_pages(path: Path, array: NDArray[Any]) -> Path:
    """One page for each band, as Ultralytics writes them."""
    first, *others = (Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(array, 2, 0))
    first.save(path, save_all=True, append_images=others)
    return path


def write_interleaved(path: Path, array: NDArray[np.uint16]) -> Path:
    """A TIFF with all bands in each pixel, as GDAL writes them; no other program is needed for it."""
    height, width, bands = array.shape
    end = 8 + 2 + 11 * 12 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, end), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, 1, end + 2 * bands), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, array.nbytes),
            (284, 3, 1, 1), (339, 3, 1, 1)]  # fmt: skip
    data = struct.pack(f"<{bands}H", *[16] * bands) + array.astype("<u2").tobytes()
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)
    return path


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("first", [True, False])
def test_arrays_may_have_their_bands_first_or_last(tmp_path: Path, kind: str, first: bool) -> None:
    array = values(13, kind)
    np.save(tmp_path / "a.npy", np.moveaxis(array, 2, 0) if first else array)
    np.testing.assert_array_equal(read_stored(tmp_path / "a.npy"), array)
    assert read_pixels_size(tmp_path / "a.npy") == SIZE


def write_ppm(path: Path, array: NDArray[np.uint16], top: int = 65535) -> Path:
    """PPM of three bands, PGM of one, with values up to ``top``."""
    height, width, bands = array.shape
    path.write_bytes(f"P{6 if bands == 3 else 5} {width} {height} {top}\n".encode() + array.astype(">u2").tobytes())
    return path


def write_png(path: Path, array: NDArray[np.uint16]) -> Path:
    """A color PNG of 16 bits, which Pillow reads and does not write."""
    height, width, _ = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks.items()
        )
    )
    return path


@pytest.mark.parametrize("write", [write_png, write_ppm])
def test_colors_of_which_half_the_bits_would_be_lost_are_no_bands(
    tmp_path: Path, write: Callable[[Path, NDArray[np.uint16]], Path]
) -> None:
    path = write(tmp_path / "a.png", values(3))
    with pytest.raises(DataError, match=r"a\.png has 16 bits per channel, .* the upper 8; .*; save it as TIFF or"):
        read_pixels(path, Bands(indices=(0, 1, 2), value_range=(0, 4095)))
    assert read_pixels(path, 3).dtype == np.uint8


def test_values_of_a_pgm_file_are_not_scaled(tmp_path: Path) -> None:
    array = (values(1) >> 4).astype(np.uint16)
    stored = read_stored(write_ppm(tmp_path / "a.pgm", array, top=4095))
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, array)


def test_an_archive_of_arrays_is_no_image_and_no_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.savez(file, values(4))
    assert read_pixels_size(path) is None
    for read in (read_stored, read_mask):
        with pytest.raises(DataError, match=r"a\.npy is not a NumPy array that can be read \(.*\); save it with numpy"):
            read(path)


def test_the_expected_number_of_bands_decides_which_axis_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 50, 13), dtype=np.uint8))
    assert read_stored(tmp_path / "a.npy", count=13).shape == (4, 50, 13)
    assert read_stored(tmp_path / "a.npy", count=4).shape == (50, 13, 4)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_pages_of_a_tiff_are_its_bands(tmp_path: Path, kind: str) -> None:
    path = write_pages(tmp_path / "a.tif", values(13, kind))
    np.testing.assert_array_equal(read_stored(path), values(13, kind))
    assert read_pixels_size(path) == SIZE


def test_a_tiff_with_all_bands_in_each_pixel_is_read_by_tifffile(tmp_path: Path) -> None:
    path = write_interleaved(tmp_path / "a.tif", values(13))
    assert read_pixels_size(path) == SIZE
    pytest.importorskip("tifffile")
    np.testing.assert_array_equal(read_stored(path), values(13))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read as TIFF"):
        read_stored(path)


def test_planes_of_16_bits_are_bands_with_all_their_bits(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", values(3).transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif"), values(3))


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(
    ("order", "kind"), [("<", "uint8"), (">", "uint8"), ("<", "uint16"), (">", "uint16"), ("<", "uint32")]
)
def test_gray_whose_white_is_0_is_inverted(tmp_path: Path, kind: str, order: str, compression: str | None) -> None:
    tifffile = pytest.importorskip("tifffile")
    gray, top = values(1, kind), np.iinfo(kind).max
    options = {"photometric": "miniswhite", "byteorder": order, "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", top - gray[..., 0], **options)
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif"), gray)
    if kind == "uint32":
        return
    expected = np.rint(gray * (255 / top)).astype(np.uint8)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif", 1), expected)
    bands = read_pixels(tmp_path / "a.tif", Bands(indices=(0,)))
    np.testing.assert_allclose(bands, gray if kind == "uint8" else gray / top, atol=1e-6)


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["int16", "int32", "uint32", "int64", "float32", "float64"])
def test_numbers_are_bands_in_the_type_of_the_file(
    tmp_path: Path, kind: str, order: str, compression: str | None
) -> None:
    tifffile = pytest.importorskip("tifffile")
    limits = np.finfo(kind) if kind[0] == "f" else np.iinfo(kind)
    array = np.array([[[limits.min], [1], [limits.max]]], dtype=kind)
    options = {"photometric": "minisblack", "byteorder": order, "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", array[..., 0], **options)
    assert read_stored(tmp_path / "a.tif").dtype == kind
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif"), array)


def test_a_tiff_of_complex_numbers_is_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.full(SIZE, 0.5 + 0.5j, dtype=np.complex64))
    with pytest.raises(DataError, match=r"is a TIFF of complex64 .*; expected one image of numbers"):
        read_pixels(tmp_path / "a.tif", 3)


@pytest.mark.parametrize("content", [b"II*\0", b"II*\0\1\2", b"II+\0\1\2"])
def test_a_damaged_header_of_tiff_has_no_size(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert read_pixels_size(tmp_path / "a.tif") is None


def test_without_tifffile_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    path = write_interleaved(tmp_path / "a.tif", values(13))
    with pytest.raises(MissingPackageError, match=r"pip install .*segnet\[tiff\]"):
        read_pixels(path, 13)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_is_a_fourth_band(tmp_path: Path, name: str) -> None:
    array = values(4, "uint8")
    Image.fromarray(array).save(tmp_path / name)
    np.testing.assert_array_equal(read_pixels(tmp_path / name, 4), array)
    assert read_pixels(tmp_path / name, 3).shape == (*SIZE, 3)


@pytest.mark.parametrize(("kind", "top"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_bands_are_chosen_in_their_order_on_the_scale_of_their_type(tmp_path: Path, kind: str, top: int) -> None:
    array = values(13, kind)
    np.save(tmp_path / "a.npy", array)
    pixels = read_pixels(tmp_path / "a.npy", Bands(indices=(3, 2, 1, 7)))
    scale = 255 if pixels.dtype == np.uint8 else 1
    np.testing.assert_allclose(pixels / scale, array[:, :, [3, 2, 1, 7]] / top, atol=1e-6)


def test_a_range_of_values_becomes_zero_to_one_and_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored._warned.clear()
    np.save(tmp_path / "a.npy", np.array([[-20.0, -10, 0, 10, 30]], dtype=np.float32)[..., None])
    bands = Bands(indices=(0,), value_range=(-10.0, 10.0))
    with caplog.at_level(logging.WARNING):
        read_pixels(tmp_path / "a.npy", bands)
        pixels = read_pixels(tmp_path / "a.npy", bands)
    np.testing.assert_allclose(pixels[0, :, 0], [0, 0, 0.5, 1, 1])
    assert len(caplog.records) == 1
    assert "40 % of the values lie beyond the range from -10 to 10" in caplog.text


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_arrays_are_color_and_gray_images_too(tmp_path: Path, kind: str, bands: int) -> None:
    np.save(tmp_path / "a.npy", values(bands, kind))
    color, gray = read_pixels(tmp_path / "a.npy", 3), read_pixels(tmp_path / "a.npy", 1)
    assert (color.shape, color.dtype, gray.shape) == ((*SIZE, 3), np.uint8, (*SIZE, 1))
    if kind == "uint8":
        expected = np.repeat(values(1, kind), 3, axis=2) if bands == 1 else values(bands, kind)[..., :3]
        np.testing.assert_array_equal(color, expected)


def stored_as(array: NDArray[Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "a.npy", array)
        return folder / "a.npy"

    return write


def array_of_header(text: str) -> Callable[[Path], Path]:
    """A .npy file of ten bytes behind a header."""

    def write(folder: Path) -> Path:
        header = text.ljust(117).encode() + b"\n"
        (folder / "a.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(10))
        return folder / "a.npy"

    return write


def empty_tiff(folder: Path) -> Path:
    return write_interleaved(folder / "a.tif", np.zeros((0, 6, 4), dtype=np.uint16))


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.npy")
    return folder / "a.npy"


HOLE = np.where(np.arange(27).reshape(3, 3, 3) == 1, np.nan, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("write", "channels", "message"),
    [
        (stored_as(values(4)), Bands(indices=(0, 7)), "has 4 bands, so there is no band 7: bands count from 0"),
        (stored_as(values(4)), 13, "has 4 bands, and 13 are expected; give images of 13 bands$"),
        (stored_as(values(13)), 4, r"and 4 are expected; .*, such as channels: \[0, 1, 2, 3\]"),
        (stored_as(values(13)), 3, "has 13 bands, and is read as a color image; .*channels: 13, or with --in-channels"),
        (stored_as(values(2)), 1, "has 2 bands, and is read as a gray image"),
        (stored_as(HOLE), Bands(indices=(0, 1)), "holds NaN or infinity in 1 pixel; replace them"),
        (stored_as(values(4, "float32") * 9), 4, r"holds float32 from .* expected 0 to 1; state value_range"),
        (
            stored_as(values(4, "int64") & 1),
            4,
            "holds int64 from 0 to 1, a type whose range is not known; expected uint8",
        ),
        (stored_as(values(3, "int64") & 255), 3, "holds int64 from 0 to 255, a type .*; convert it to one of these"),
        (stored_as(values(1, "int32") & 255), 1, "holds int32 from 0 to 255, a type"),
        (stored_as(np.array(["a"])), 4, "is an array of <U1 in the shape"),
        (lambda folder: folder / "none.npy", 4, "does not exist"),
        (array_of_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2"), 4, "is not a NumPy array"),
        (array_of_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**50}, 2)}}"), 4, "than the memory"),
        (pipe, 4, "is a pipe or a device"),
        (empty_tiff, 4, r"is a TIFF of \S+ in the shape \(.*\) with the axes .*; expected one image of numbers"),
        (empty_tiff, 3, r"is a TIFF of \S+ in the shape \(.*\) with the axes .*; expected one image of numbers"),
        (lambda folder: folder / "none.tif", 4, "does not exist"),
    ],
)
def test_images_that_cannot_be_read_as_asked_are_refused(
    tmp_path: Path, write: Callable[[Path], Path], channels: Channels, message: str
) -> None:
    path = write(tmp_path)
    with pytest.raises(DataError, match=message) as raised:
        read_pixels(path, channels)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_hole_in_a_band_that_is_not_taken_does_no_harm(tmp_path: Path) -> None:
    assert np.isfinite(read_pixels(stored_as(HOLE)(tmp_path), Bands(indices=(0, 2)))).all()


def test_shown_bands_are_stretched_between_their_percentiles(tmp_path: Path) -> None:
    ramp = np.linspace(1000, 2000, 101).astype(np.uint16)
    array = np.tile(np.stack([ramp, ramp, ramp * 0 + 7, ramp[::-1]], axis=1), (5, 1, 1))
    np.save(tmp_path / "a.npy", array)
    bands = Bands(indices=(0, 1, 2, 3), shown=(3, 0, 2))
    shown = read_shown(tmp_path / "a.npy", bands)
    from_pixels = stretch_bands(read_pixels(tmp_path / "a.npy", bands), bands)
    np.testing.assert_allclose(shown, from_pixels.astype(int), atol=1)
    assert (shown[0, :3, 1] == 0).all()
    assert (shown[0, -3:, 1] == 255).all()
    assert shown[0, 50].tolist() == [128, 128, 0]
    np.testing.assert_array_equal(shown[..., 0], shown[:, ::-1, 1])
    assert stretch_bands(array[..., :1], Bands(indices=(0,))).shape == (5, 101, 1)


def test_color_and_gray_are_shown_as_they_are() -> None:
    for channels in (3, 1):
        image = values(channels, "uint8")
        assert stretch_bands(image, channels) is image


def test_people_see_the_first_bands_where_nothing_is_known_of_an_image(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(13, "float32") * 99)
    np.save(tmp_path / "b.npy", values(3, "uint8"))
    every = Bands(indices=tuple(range(13)))
    np.testing.assert_array_equal(read_shown(tmp_path / "a.npy"), stretch_bands(values(13, "float32") * 99, every))
    np.testing.assert_array_equal(read_shown(tmp_path / "b.npy"), values(3, "uint8"))
