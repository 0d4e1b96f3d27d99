"""Reads PNG files with large texts or color profiles, which Pillow refuses as a whole.

Pillow's limits, 1 MB for a chunk and 64 MB for all texts, are variables of the whole process. Pixels need none of them.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

__all__ = ["without_large_texts"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST = 1_000_000  # bytes of a text, of the few that hold the orientation
_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")


def without_large_texts(file: BinaryIO) -> BinaryIO | None:
    """The PNG file without color profile and texts, except for those of the orientation; None for another format."""
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        return None
    small = io.BytesIO()
    small.write(_SIGNATURE)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        body = file.read(length + 4)
        if kind == b"iCCP" or (kind in (b"tEXt", b"zTXt", b"iTXt") and not _is_needed(kind, body[:-4])):
            continue
        small.write(head + body)
    small.seek(0)
    return small


def _is_needed(kind: bytes, text: bytes) -> bool:
    if not text.startswith(_ORIENTATION) or len(text) > _MOST:
        return False
    data = text.partition(b"\0")[2]
    if kind == b"tEXt" or (kind == b"iTXt" and data[:1] != b"\1"):
        return True
    packed = data[1:] if kind == b"zTXt" else data[2:].split(b"\0", 2)[-1]
    try:
        return len(zlib.decompressobj().decompress(packed, _MOST + 1)) <= _MOST
    except zlib.error:
        return False
