"""NumPy files, and masks as arrays: class indices, or one plane for each class (one-hot), as pages of TIFF too."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy_format  # numpy.load reads archives of arrays, too
from numpy.typing import NDArray

from segnet.errors import DataError, first_line
from segnet.media.images.decoding import open_regular

__all__ = ["classes_of_planes", "is_whole", "load_array", "mask_of_array", "require_class_values"]

_IGNORED = 255
_LARGEST = 65535
_DAMAGE = (OSError, ValueError, EOFError, TokenError)  # of NumPy, whose headers are Python's text


def load_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The array of a ``.npy`` file.

    Args:
        path: of the file.
        mapped: whether its values are read only when they are used.

    Raises:
        DataError: the file is missing, holds no array, such as an archive of several (``.npz``), or one that is larger
            than the memory.
    """
    try:
        with open_regular(path) as file:
            if mapped:
                return npy_format.open_memmap(path, mode="r")
            array: NDArray[Any] = npy_format.read_array(file, allow_pickle=False)
            return array
    except DataError:
        raise
    except _DAMAGE as error:
        reason = first_line(error)[:200]
        raise DataError(f"{path} is not a NumPy array that can be read ({reason}); save it with numpy.save") from error
    except MemoryError as error:
        raise DataError(
            f"{path} says that it holds more than the memory can ({first_line(error)}); if it does not, it is damaged: "
            "save it with numpy.save"
        ) from error


def mask_of_array(array: NDArray[Any], path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Class values of an array (H, W), or of one-hot planes (classes, H, W) or (H, W, classes).

    A pixel that is in no plane is 255, ignored. A single plane, (1, H, W) or (H, W, 1), holds class values.

    Args:
        array: of whole numbers, in any type.
        path: of its file, for errors.

    Raises:
        DataError: it is no array of this kind, or a pixel is in several planes.
    """
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[:, :, 0] if array.shape[2] == 1 else array[0]
    if array.ndim == 2 and array.size and is_whole(array):
        require_class_values(array, path)
        values: NDArray[np.uint8] | NDArray[np.uint16]
        values = array.astype(np.uint8) if array.max() <= _IGNORED else array.astype(np.uint16)
        return values
    if array.ndim == 3 and _is_binary(array):
        return _of_planes(array, path)
    raise DataError(
        f"{path} is an array of {array.dtype} in the shape {array.shape}; expected class values (H, W), or planes of 0 "
        "and 1, one for each class, (classes, H, W) or (H, W, classes)"
    )


def is_whole(array: NDArray[Any]) -> bool:
    """Whether an array holds whole numbers only, in any type."""
    return bool(array.dtype.kind in "biu" or (array.dtype.kind == "f" and (array == np.floor(array)).all()))


def require_class_values(values: NDArray[Any], path: Path) -> None:
    """Refuse whole numbers that are no class values.

    Raises:
        DataError: one of them is negative, or too large.
    """
    if not (values.min() >= 0 and float(values.max()) <= _LARGEST):
        raise DataError(
            f"{path} holds {values.dtype} from {values.min()} to {values.max()}; expected class values from 0 to "
            f"{_LARGEST}; save pixels without a class, such as those of -1, as {_IGNORED}"
        )


def classes_of_planes(planes: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Class indices (H, W) of planes (classes, H, W) of 0 and 1, or of 0 and 255; 255 where a pixel is in none.

    Raises:
        DataError: they hold other values, or a pixel is in several planes.
    """
    if not _is_binary(planes):
        raise DataError(
            f"{path} has {len(planes)} pages, which are no planes of 0 and 1 for each class; save the mask as one page"
        )
    inside = planes > 0
    if len(planes) > _IGNORED or inside.sum(axis=0).max() > 1:
        raise DataError(f"{path}: a pixel is in several of {len(planes)} planes; give each pixel one class")
    return np.where(inside.any(axis=0), inside.argmax(axis=0), _IGNORED).astype(np.uint8)


def _is_binary(array: NDArray[Any]) -> bool:
    """Whether all values are 0 or 1, or 0 or 255, and some are not 0."""
    top = array.max() if array.size and is_whole(array) else 0
    return bool(top in (1, _IGNORED) and ((array == 0) | (array == top)).all())


def _of_planes(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """The classes are the first or the last axis: that in which no pixel is in two planes, or else the shorter one."""
    both = sorted((array, np.moveaxis(array, 2, 0)), key=len)
    planes = next((one for one in both if len(one) <= _IGNORED and (one > 0).sum(axis=0).max() == 1), both[0])
    return classes_of_planes(planes, path)
