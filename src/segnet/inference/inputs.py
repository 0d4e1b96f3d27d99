"""What a predictor takes: a path, a Pillow image, an array or a tensor becomes the pixels that its model takes."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard, Union, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.bands import Channels, Pixels, stored_bands
from segnet.errors import ConfigError, DataError, ShapeError
from segnet.media.images.reading import load_pixels, pixels_of
from segnet.media.images.stored import as_array, read_pixels, take_bands
from segnet.system.files import path_fault

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ImageSource", "Order", "check_order", "is_one_image", "path_of", "read_input"]

Order = Literal["rgb", "bgr"]
"""Channel order of an array: RGB, as everywhere in this package, or BGR, as in OpenCV."""

ImageSource = Union[str, Path, Image.Image, NDArray[Any], "Tensor"]
"""One image: a path, a Pillow image, an array (H, W, C) or (H, W), or a tensor (C, H, W) or (H, W)."""

_KINDS = "a path, a Pillow image, a NumPy array, a torch tensor"


def check_order(order: str) -> None:
    """Refuse an unknown channel order.

    Raises:
        ConfigError: it is neither "rgb" nor "bgr".
    """
    if order not in get_args(Order):
        raise ConfigError(f"order={order!r} is unknown; give 'rgb', or 'bgr' for the arrays of OpenCV")


def is_one_image(source: object) -> bool:
    """Whether this stands for one image, rightly or wrongly, and not for a list of them."""
    one = (str, bytes, os.PathLike, Image.Image, np.ndarray, Mapping, io.IOBase)
    return isinstance(source, one) or _is_tensor(source) or not isinstance(source, Iterable)


def path_of(source: object) -> Path | None:
    """The path, if the image comes from a file."""
    return Path(source) if isinstance(source, str | os.PathLike) else None


def read_input(source: object, *, channels: Channels, order: Order = "rgb", name: str = "the image") -> Pixels:
    """The pixels of one image, (H, W, channels): uint8, or float32 in [0, 1] for bands of more than 8 bits.

    A file is read as ``read_image`` does, and a Pillow image is converted in the same way: the EXIF orientation is
    applied, 16-bit gray is scaled, and alpha is dropped. Floating numbers are rounded to 8 bits. Gray becomes RGB and
    RGB becomes gray (ITU-R 601 luma) where the model takes the other. An array of uint8 and the right channels is not
    copied. For bands, the source holds all bands of a file, in the values that files have.

    Args:
        source: a path, a Pillow image, an array or a tensor, see ``Predictor.__call__``.
        channels: 3 (RGB), 1 (gray), or bands as they are stored.
        order: channel order of an array or a tensor with three channels; files and Pillow images know theirs.
        name: of the image, for errors.

    Raises:
        DataError: the file or the Pillow image cannot be read, the type is none of these, the values are out of range,
            or the image has other bands.
        ShapeError: an array or a tensor has another shape or type.
    """
    if (path := path_of(source)) is not None:
        if fault := path_fault(str(path)):
            raise DataError(f"{str(path)[:60]!a} {fault}; give the path of an image")
        return read_pixels(path, channels)
    if (bands := stored_bands(channels)) is not None:
        return take_bands(_stored_of(source, name), bands, name)
    assert isinstance(channels, int)
    if isinstance(source, Image.Image):
        if not math.prod(source.size):
            raise ShapeError(f"{name} has {source.width} x {source.height} pixels; an image has at least one pixel")
        return pixels_of(source, channels=channels, name=name)
    if _is_tensor(source):
        array = _from_tensor(source, name)
    elif isinstance(source, np.ndarray):
        array = _from_array(source, name)
    else:
        raise DataError(f"{name} is of type {type(source).__name__}; expected {_KINDS}, or a list of these")
    pixels = _to_bytes(array, name)
    if order == "bgr" and pixels.shape[2] == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    return _with_channels(pixels, channels)


def _stored_of(source: object, name: str) -> NDArray[Any]:
    """All bands of an image from memory, (H, W, bands)."""
    if not (isinstance(source, Image.Image | np.ndarray) or _is_tensor(source)):
        raise DataError(f"{name} is of type {type(source).__name__}; expected {_KINDS}, or a list of these")
    if isinstance(source, Image.Image):
        load_pixels(source, name)
    elif _is_tensor(source):
        _require_dense(source, name)
    array = as_array(source) if isinstance(source, Image.Image) else source
    layout = _ARRAY if isinstance(array, np.ndarray) else _TENSOR
    shape = tuple(array.shape)
    if len(shape) not in (2, 3) or math.prod(shape) == 0:
        expected = "(H, W, bands)" if layout is _ARRAY else "(bands, H, W)"
        raise ShapeError(f"{name} is of shape {shape}; expected {expected}, with at least one pixel")
    stored = array if isinstance(array, np.ndarray) else _from_checked_tensor(array)
    if stored.dtype.kind not in "uif":
        raise ShapeError(f"{name} holds values of type {stored.dtype}; expected numbers")
    return stored[..., None] if stored.ndim == 2 else stored


def _is_tensor(source: object) -> TypeGuard[Tensor]:
    """Without importing PyTorch, which need not be installed: no tensor exists before it is imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


class _Layout(NamedTuple):
    """Where a kind of array has its channels, and the words of its errors."""

    kind: str
    channels: int  # axis
    other: int  # axis where the channels of the other kind are
    expected: str
    without_alpha: str
    reorder: str


_ARRAY = _Layout(
    "array", 2, 0, "(H, W, 3)", "image[..., :3]",
    "the channels of an array come last: image.transpose(1, 2, 0)",
)  # fmt: skip
_TENSOR = _Layout(
    "tensor", 0, 2, "(3, H, W)", "image[:3]",
    "the channels of a tensor come first: image.permute(2, 0, 1)",
)  # fmt: skip


def _from_tensor(tensor: Tensor, name: str) -> NDArray[Any]:
    """A tensor (C, H, W) or (H, W) as an array (H, W, C)."""
    _require_dense(tensor, name)
    _require_one_image(tuple(tensor.shape), _TENSOR, name)
    return _from_checked_tensor(tensor)


def _require_dense(tensor: Tensor, name: str) -> None:
    """Refuse tensors that do not hold one value for each pixel; a nested one has no shape either."""
    if tensor.is_nested:
        kind, remedy = "nested", "give a list of its images: list(images.unbind())"
    elif tensor.is_quantized:
        kind, remedy = "quantized", "give its values: image.dequantize()"
    elif tensor.is_meta:
        kind, remedy = "meta", "it has a shape and no values, so make it on the CPU or a GPU"
    elif tensor.layout is not sys.modules["torch"].strided:
        kind, remedy = "sparse", "give all values: image.to_dense()"
    else:
        return
    raise ShapeError(f"{name} is a {kind} tensor; expected a dense one; {remedy}")


def _from_checked_tensor(tensor: Tensor) -> NDArray[Any]:
    values = tensor.detach().cpu().resolve_conj().resolve_neg()
    array: NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    return array[..., None] if array.ndim == 2 else array.transpose(1, 2, 0)


def _from_array(array: NDArray[Any], name: str) -> NDArray[Any]:
    """An array (H, W, C) or (H, W) as (H, W, C)."""
    _require_one_image(array.shape, _ARRAY, name)
    return array[..., None] if array.ndim == 2 else array


def _require_one_image(shape: tuple[int, ...], layout: _Layout, name: str) -> None:
    """Refuse a shape that is not that of one image, with what to do."""
    if len(shape) == 4:
        raise ShapeError(
            f"{name} is one {layout.kind} of shape {shape}, which holds {shape[0]} images; give a list: list(images)"
        )
    empty, three = math.prod(shape) == 0, len(shape) == 3
    if not empty and (len(shape) == 2 or (three and shape[layout.channels] in (1, 3))):
        return
    hint = "an image has at least one pixel" if empty else "give each pixel one value or three"
    if three and shape[layout.channels] == 4:
        hint = f"leave alpha out: {layout.without_alpha}"
    elif three and shape[layout.other] in (1, 3):
        hint = layout.reorder
    article = "an" if layout is _ARRAY else "a"
    raise ShapeError(
        f"{name} is {article} {layout.kind} of shape {shape}; expected {layout.expected} or (H, W); {hint}"
    )


def _to_bytes(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Values of 0..255 or of [0, 1] as uint8."""
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ShapeError(
            f"{name} holds values of type {array.dtype}; expected uint8, or floating numbers in [0, 1]; "
            "convert values up to 255 with astype('uint8'), or divide by the largest possible value: image / 65535"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # true for NaN
        raise DataError(
            f"{name} holds floating numbers from {low:g} to {high:g}; expected 0 to 1; {_range_hint(low, high)}"
        )
    pixels: NDArray[np.uint8] = np.rint(array * 255).astype(np.uint8)
    return pixels


def _range_hint(low: float, high: float) -> str:
    if not np.isfinite([low, high]).all():
        return "replace NaN and infinity"
    if low >= 0 and high <= 255 and high > 2:
        return "convert it with astype('uint8'), or divide by 255"
    if low < -0.2:
        return "give the image itself, without normalization, which is part of the model"
    return "clip it"


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if pixels.shape[2] == channels:
        return pixels
    return pixels_of(Image.fromarray(np.squeeze(pixels, 2) if channels == 3 else pixels), channels=channels)
