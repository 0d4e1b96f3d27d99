"""Masks in NumPy files: class indices, or one plane for each class (one-hot)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import DataError

__all__ = ["read_mask_array"]

_IGNORED = 255
_LARGEST = 65535


def read_mask_array(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Class values of a ``.npy`` file: (H, W), or one-hot planes (classes, H, W) or (H, W, classes).

    A pixel that is in no plane is 255, ignored.

    Raises:
        DataError: it is no array of this kind, or a pixel is in several planes.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is not a NumPy array that can be read ({error}); save it with numpy.save") from error
    array = array.astype(np.uint8) if array.dtype == np.bool_ else array
    if array.ndim == 2 and array.size and _is_whole(array) and array.min() >= 0 and array.max() <= _LARGEST:
        values: NDArray[np.uint8] | NDArray[np.uint16]
        values = array.astype(np.uint8) if array.max() <= _IGNORED else array.astype(np.uint16)
        return values
    if array.ndim == 3 and array.size and _is_whole(array) and array.min() >= 0 and array.max() == 1:
        return _of_planes(array, path)
    raise DataError(
        f"{path} is an array of {array.dtype} in the shape {array.shape}; expected class values (H, W), or planes of 0 "
        "and 1, one for each class, (classes, H, W) or (H, W, classes)"
    )


def _is_whole(array: NDArray[Any]) -> bool:
    return bool(array.dtype.kind in "iu" or (array.dtype.kind == "f" and (array == np.floor(array)).all()))


def _of_planes(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """The classes are the first or the last axis: that in which no pixel is in two planes, or else the shorter one."""
    both = sorted((array, np.moveaxis(array, 2, 0)), key=len)
    planes = next((one for one in both if len(one) <= _IGNORED and one.sum(axis=0).max() == 1), None)
    if planes is None:
        raise DataError(f"{path}: a pixel is in several of {len(both[0])} planes; give each pixel one class")
    return np.where(planes.any(axis=0), planes.argmax(axis=0), _IGNORED).astype(np.uint8)
