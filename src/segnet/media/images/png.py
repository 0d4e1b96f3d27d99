"""Writes PNG from top to bottom, with memory for a few rows at a time (https://www.w3.org/TR/png-3/)."""

from __future__ import annotations

import struct
import zlib
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ShapeError

__all__ = ["PngWriter"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _COLOR, _PALETTE = 0, 2, 3


class PngWriter:
    """A PNG file that is written from top to bottom.

    Args:
        file: to write to.
        size: (H, W).
        channels: 3 (RGB) or 1 (gray).
        bits: per channel: 8 (rows of uint8) or 16 (uint16).
        palette: uint8 (256, 3); gray values are then indices into it.
        metadata: keys and texts of text chunks.

    Raises:
        ShapeError: the context ends without an error, and rows are missing.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        *,
        channels: int = 1,
        bits: int = 8,
        palette: NDArray[np.uint8] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self._file = file
        self._size = size
        self._shape = (size[1], channels)
        self._type = np.dtype(np.uint8 if bits == 8 else ">u2")
        self._left = size[0]
        self._compressor = zlib.compressobj(1)  # as fast as Pillow's level 1, and a few percent larger than level 6
        kind = _PALETTE if palette is not None else _COLOR if channels == 3 else _GRAY
        file.write(_SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, 0))
        if palette is not None:
            self._chunk(b"PLTE", palette.tobytes())
        for key, text in (metadata or {}).items():
            self._chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1", "replace"))

    def add(self, rows: NDArray[Any]) -> None:
        """Write the next rows: uint8 or uint16 (h, W) or (h, W, channels).

        Raises:
            ShapeError: another width or number of channels, or more rows than are left.
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
