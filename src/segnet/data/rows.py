"""Pictures too large to be held in memory: read from top to bottom, written the same way.

libvips reads them, by way of pyvips. Pillow, which reads and writes all others, holds the whole picture in memory.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from segnet.errors import DataError, MissingPackageError, ShapeError

if TYPE_CHECKING:
    from pyvips import Image

__all__ = ["PictureRows", "PngWriter"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOR, _PALETTE = 0, 2, 3


class PictureRows:
    """A picture file that is read from top to bottom, with memory for a few rows at a time.

    Upright, RGB or grey in 8 bits, and without alpha, as ``read_image`` gives it. What is stored in another order, such
    as progressive JPEG or a picture that has to be turned, takes memory for the whole.

    Args:
        path: PNG, JPEG, TIFF or whatever else libvips reads.
        channels: 3 (RGB) or 1 (grey).
        size: (H, W) to bring it to, bilinear, and smoothed where it becomes smaller; None: its own.

    Raises:
        DataError: the file is missing, not a picture, or damaged.
        MissingPackageError: pyvips is not installed.
    """

    def __init__(self, path: Path, *, channels: int = 3, size: tuple[int, int] | None = None) -> None:
        self.path = path
        image = _opened(path)
        if size is not None and size != (image.height, image.width):
            image = _brought_to(image, *size)
        self._image: Any = image
        self._region: Any = None  # which remembers the rows that were read last
        self._channels = channels
        self._next = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self._image.height, self._image.width

    def read(self, rows: int) -> NDArray[np.uint8]:
        """The next so many rows: uint8 (rows, W, channels).

        Raises:
            DataError: the file is damaged there.
        """
        from pyvips import Error, Region

        if self._region is None:
            self._region = Region.new(self._image)
        try:
            data = self._region.fetch(0, self._next, self._image.width, rows)
        except Error as error:
            raise _damaged(self.path, error) from error
        self._next += rows
        image = np.frombuffer(data, dtype=np.uint8).reshape(rows, self._image.width, 3)
        return image if self._channels == 3 else _grey(image)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ITU-R 601 luma as Pillow computes it."""
    sums = np.dot(image, np.array([19595, 38470, 7471], dtype=np.uint32)) + 0x8000
    grey: NDArray[np.uint8] = (sums >> 16).astype(np.uint8)[..., None]
    return grey


def _opened(path: Path) -> Image:
    try:
        import pyvips
    except ImportError as error:
        raise MissingPackageError("pyvips", "large") from error
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a picture; check the path")
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated").autorot()
        image = image.colourspace("srgb")
        return image[:3].cast("uchar")
    except pyvips.Error as error:
        raise _damaged(path, error) from error


def _brought_to(image: Image, height: int, width: int) -> Any:
    """Bilinear, with pixels as areas: their middles, not their corners, lie over each other."""
    from pyvips import Interpolate

    down, across = height / image.height, width / image.width
    if down <= 1 and across <= 1:
        return image.resize(across, vscale=down, kernel="linear")
    return image.affine(
        (across, 0, 0, down),
        interpolate=Interpolate.new("bilinear"),
        odx=(across - 1) / 2,
        ody=(down - 1) / 2,
        oarea=(0, 0, width, height),
        extend="copy",
    )


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{path} cannot be read in parts ({reason}); copy or download it again, or convert it to PNG")


class PngWriter:
    """A PNG that is written from top to bottom.

    Args:
        file: to write to.
        size: (H, W).
        channels: 3 (RGB) or 1 (grey).
        bits: of a channel: 8 (rows of uint8) or 16 (uint16).
        palette: uint8 (256, 3); grey values are then indices of it.
        told: keys and words that the file says of itself.

    Raises:
        ShapeError: a block that uses it as a context is left without an error, and rows are missing.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        *,
        channels: int = 1,
        bits: int = 8,
        palette: NDArray[np.uint8] | None = None,
        told: dict[str, str] | None = None,
    ) -> None:
        self._file = file
        self._size = size
        self._shape = (size[1], channels)
        self._type = np.dtype(np.uint8 if bits == 8 else ">u2")
        self._left = size[0]
        self._compressor = zlib.compressobj(1)  # as quick as Pillow's level 1, and a few per cent larger than level 6
        kind = _PALETTE if palette is not None else _COLOR if channels == 3 else _GREY
        file.write(_SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, 0))
        if palette is not None:
            self._chunk(b"PLTE", palette.tobytes())
        for key, words in (told or {}).items():
            self._chunk(b"tEXt", key.encode("latin-1") + b"\0" + words.encode("latin-1", "replace"))

    def add(self, rows: NDArray[Any]) -> None:
        """The next rows, (h, W) or (h, W, channels).

        Raises:
            ShapeError: they have another width or number of channels, or are more than are left.
        """
        width, channels = self._shape
        if rows.shape[1:] not in ((width, channels), (width * channels,)) or len(rows) > self._left:
            raise ShapeError(f"rows of shape {rows.shape} do not fit; {self._left} rows of {self._shape} are left")
        self._left -= len(rows)
        stored = rows.reshape(len(rows), width * channels).astype(self._type, copy=False)
        lines = np.zeros((len(rows), 1 + stored.shape[1] * self._type.itemsize), dtype=np.uint8)  # 0: not filtered
        lines[:, 1:] = np.ascontiguousarray(stored).view(np.uint8)
        if data := self._compressor.compress(lines.tobytes()):
            self._chunk(b"IDAT", data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._left:
            raise ShapeError(f"{self._left} rows of {self._size[0]} are missing")
        self._chunk(b"IDAT", self._compressor.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
