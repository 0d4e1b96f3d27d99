from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.bands import Bands, Channels
from segnet.errors import ConfigError, DataError, ShapeError
from segnet.inference.inputs import read_input
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.reading import read_image
from segnet.models.segnet import SegNet
from segnet.runtimes.pytorch import TorchRuntime

PIXELS = np.random.default_rng(5).integers(0, 256, (6, 4, 3), dtype=np.uint8)
GRAY = PIXELS[..., 0]
LUMA = np.asarray(Image.fromarray(PIXELS).convert("L"))[..., None]


@pytest.mark.parametrize(
    "source",
    [
        PIXELS,
        Image.fromarray(PIXELS),
        PIXELS / 255,
        (PIXELS / 255).astype(np.float16),
        torch.tensor(PIXELS).permute(2, 0, 1),
        (torch.tensor(PIXELS).permute(2, 0, 1) / 255).requires_grad_(),
        (torch.tensor(PIXELS).permute(2, 0, 1) / 255).half(),
    ],
    ids=["uint8", "Pillow", "float64", "float16", "tensor", "tensor-grad", "tensor-half"],
)
def test_every_kind_of_image_becomes_the_same_pixels(source: Any) -> None:
    np.testing.assert_array_equal(read_input(source, channels=3), PIXELS)
    np.testing.assert_array_equal(read_input(source, channels=1), LUMA)


@pytest.mark.parametrize("source", [GRAY, GRAY[..., None], torch.tensor(GRAY), torch.tensor(GRAY)[None]])
def test_gray_becomes_what_the_model_takes(source: Any) -> None:
    np.testing.assert_array_equal(read_input(source, channels=1), GRAY[..., None])
    np.testing.assert_array_equal(read_input(source, channels=3), np.repeat(GRAY[..., None], 3, axis=2))


def test_bgr_is_for_arrays_and_tensors_and_files_know_their_order(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    tensor = torch.tensor(PIXELS).permute(2, 0, 1).flip(0)
    for source in (PIXELS[..., ::-1], tensor, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(PIXELS)):
        np.testing.assert_array_equal(read_input(source, channels=3, order="bgr"), PIXELS)
    np.testing.assert_array_equal(read_input(GRAY, channels=1, order="bgr"), GRAY[..., None])


def test_an_array_of_the_right_kind_is_not_copied() -> None:
    assert read_input(PIXELS, channels=3) is PIXELS


def test_paths_are_read_as_the_command_reads_them(tmp_path: Path) -> None:
    """Turned by EXIF, and scaled from 16 bits."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(turned := tmp_path / "turned.png", exif=exif)
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(deep := tmp_path / "deep.png")
    np.testing.assert_array_equal(read_input(turned, channels=3), np.rot90(PIXELS, -1))
    np.testing.assert_array_equal(read_input(Image.open(turned), channels=3), np.rot90(PIXELS, -1))
    np.testing.assert_array_equal(read_input(deep, channels=1), GRAY[..., None])
    np.testing.assert_array_equal(read_input(deep, channels=3), read_image(deep))


SIZED = np.zeros((7, 5, 3))
WRONG: list[tuple[Any, type[Exception], str]] = [
    (None, DataError, "the image is of type NoneType; expected a path, a Pillow image, a NumPy array, a torch tensor,"),
    (b"a.png", DataError, "the image is of type bytes"),
    (BytesIO(), DataError, "the image is of type BytesIO"),
    ({"a": SIZED}, DataError, "the image is of type dict"),
    (7, DataError, "the image is of type int"),
    ([], DataError, "an empty list was given; give at least one image"),
    ([[[0, 1], [2, 3]]], DataError, "image 0 of the list is of type list"),
    ([SIZED, None], DataError, "image 1 of the list is of type NoneType"),
    ("nothing.png", DataError, "nothing.png does not exist; expected an image; check the path"),
    ("a\0b.png", DataError, r"'a\\x00b.png' holds a NUL character; give the path of an image"),
    (np.zeros((2, 7, 5, 3), np.uint8), ShapeError, r"one array of shape \(2, 7, 5, 3\), which holds 2 images; give a"),
    (torch.zeros(2, 3, 7, 5), ShapeError, r"one tensor of shape \(2, 3, 7, 5\), which holds 2 images; give a"),
    (np.zeros((7, 5, 4), np.uint8), ShapeError, r"\(7, 5, 4\); expected .*; leave alpha out: image\[..., :3\]"),
    (torch.zeros(4, 7, 5), ShapeError, r"\(4, 7, 5\); expected \(3, H, W\) .*; leave alpha out: image\[:3\]"),
    (np.zeros((3, 7, 5), np.uint8), ShapeError, r"channels of an array come last: image.transpose\(1, 2, 0\)"),
    (torch.zeros(7, 5, 3), ShapeError, r"channels of a tensor come first: image.permute\(2, 0, 1\)"),
    (np.zeros((7, 5, 2), np.uint8), ShapeError, "give each pixel one value or three"),
    (torch.zeros(2, 7, 5), ShapeError, "give each pixel one value or three"),
    (np.zeros(7, np.uint8), ShapeError, r"shape \(7,\); expected \(H, W, 3\) or \(H, W\)"),
    (np.zeros((0, 5, 3), np.uint8), ShapeError, "at least one pixel"),
    (torch.zeros(3, 0, 5), ShapeError, "at least one pixel"),
    (Image.new("RGB", (0, 5)), ShapeError, "the image has 0 x 5 pixels; an image has at least one pixel"),
    (np.zeros((7, 5, 3), np.uint16), ShapeError, "values of type uint16; expected uint8, or floating numbers in"),
    (np.zeros((7, 5), bool), ShapeError, "values of type bool"),
    (torch.zeros(3, 7, 5, dtype=torch.int64), ShapeError, r"type int64.* values up to 255 with astype"),
    (SIZED + 255, DataError, r"from 255 to 255; expected 0 to 1; convert it with astype\('uint8'\), or divide by 255"),
    (SIZED - 1.9, DataError, "from -1.9 to -1.9; expected 0 to 1; give the image itself, without normalization"),
    (SIZED + 1.01, DataError, "from 1.01 to 1.01; expected 0 to 1; clip it"),
    (SIZED * np.nan, DataError, "from nan to nan; expected 0 to 1; replace NaN and infinity"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "kind", "message"), WRONG)
def test_what_is_no_image_is_one_clear_sentence(
    narrow: SegNet, five_labels: ClassTable, source: Any, kind: type[Exception], message: str
) -> None:
    predictor = Predictor(TorchRuntime(narrow, five_labels, device="cpu"))
    with pytest.raises(kind, match=message) as caught:
        predictor(source)
    assert "\n" not in str(caught.value)


def closed_before_it_was_read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image


def closed(path: Path) -> Image.Image:
    image = Image.open(path)
    image.load()
    image.close()
    return image


@pytest.mark.parametrize("channels", [3, Bands(indices=(0, 1, 2))])
@pytest.mark.parametrize(
    ("size", "opened", "reason"),
    [
        (60, Image.open, "truncated"),
        (None, closed, "closed image"),
        (None, closed_before_it_was_read, "its file was closed before its pixels were read"),
    ],
)
def test_a_pillow_image_that_cannot_be_decoded_is_named(
    tmp_path: Path, size: int | None, opened: Callable[[Path], Image.Image], reason: str, channels: Channels
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[:size])
    message = rf"^frame 4 \(.*a\.png\) cannot be decoded \(.*{reason}.*\); expected .* again$"
    with opened(path) as image, pytest.raises(DataError, match=message):
        read_input(image, channels=channels, name="frame 4")


def test_the_imaginary_part_of_a_conjugate_is_an_image() -> None:
    values = torch.complex(torch.zeros(6, 4), -(torch.tensor(GRAY) / 255))
    np.testing.assert_array_equal(read_input(values.conj().imag, channels=1), GRAY[..., None])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("channels", [3, Bands(indices=(0, 1, 2))])
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda image: image.to_sparse(), r"a sparse tensor; .*: image\.to_dense\(\)"),
        (lambda image: image[0].to_sparse_csr(), r"a sparse tensor; .*: image\.to_dense\(\)"),
        (
            lambda image: torch.quantize_per_tensor(image, 0.1, 0, torch.quint8),
            r"a quantized tensor; .*: image\.dequantize\(\)",
        ),
        (lambda image: image.to("meta"), "a meta tensor; .* a shape and no values, so make it on the CPU or a GPU"),
        (lambda image: torch.nested.nested_tensor([image]), r"a nested tensor; .*: list\(images\.unbind\(\)\)"),
    ],
    ids=["sparse", "csr", "quantized", "meta", "nested"],
)
def test_a_tensor_without_a_value_for_each_pixel_is_refused(
    made: Callable[[torch.Tensor], torch.Tensor], message: str, channels: Channels
) -> None:
    with pytest.raises(ShapeError, match=f"^the image is {message}$"):
        read_input(made(torch.rand(3, 7, 5)), channels=channels)


def test_an_unknown_order_is_refused(narrow: SegNet, five_labels: ClassTable) -> None:
    with pytest.raises(ConfigError, match="order='gbr' is unknown; give 'rgb', or 'bgr' for the arrays of OpenCV"):
        Predictor(TorchRuntime(narrow, five_labels, device="cpu"))(PIXELS, order="gbr")  # type: ignore[call-overload]


FOUR = np.random.default_rng(6).integers(0, 256, (6, 9, 4), dtype=np.uint8)
TWO_OF_FOUR = Bands(indices=(3, 1), count=4)


@pytest.mark.parametrize(
    "source",
    [FOUR, Image.fromarray(FOUR), torch.tensor(FOUR).permute(2, 0, 1), FOUR.astype(np.uint16) * 257, FOUR / 255],
    ids=["uint8", "Pillow", "tensor", "uint16", "float64"],
)
def test_every_kind_of_image_gives_the_bands_of_a_model(source: Any) -> None:
    pixels = read_input(source, channels=TWO_OF_FOUR)
    scale = 255 if pixels.dtype == np.uint8 else 1
    np.testing.assert_allclose(pixels / scale, FOUR[:, :, [3, 1]] / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (PIXELS, DataError, "the image has 3 bands, and 4 are expected"),
        (Image.fromarray(PIXELS), DataError, "the image has 3 bands"),
        (FOUR[None], ShapeError, r"shape \(1, 6, 9, 4\); expected \(H, W, bands\)"),
        (torch.zeros(1, 4, 6, 9), ShapeError, r"expected \(bands, H, W\)"),
        (np.full((2, 2, 4), np.inf), DataError, "the image holds NaN or infinity in 4 pixels"),
        (FOUR.astype(np.int64), DataError, "holds int64 from .* state value_range"),
        (FOUR > 5, ShapeError, "holds values of type bool; expected numbers"),
        ({"image": FOUR}, DataError, "is of type dict"),
    ],
)
def test_images_without_the_bands_of_a_model_are_refused(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_input(source, channels=TWO_OF_FOUR)
