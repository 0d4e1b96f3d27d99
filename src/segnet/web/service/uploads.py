"""Receives the image of a request into a file of the service's own folder: a raw body, or a part of a form.

Names in the request are never used as paths, and nothing of the body is held in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from segnet.system.files import describe_os_error
from segnet.web.service.refusals import DisconnectedError, RefusedError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

__all__ = ["FORM", "RAW_KINDS", "check_upload", "extract_part", "not_stored", "receive"]

FORM = "multipart/form-data"
"""Content type of a form, such as ``curl -F image=@photo.jpg`` sends it."""

RAW_KINDS = ("image/*", "application/octet-stream")
"""Content types of a body that is the image itself."""

_FIELDS = frozenset((b"image", b"file"))  # names of the part that holds the image
_PARAMETERS = frozenset((b"model", b"format"))  # of the address, which a form would give in vain
_MOST_PARTS = 16
_CHUNK = 2**16


def check_upload(request: Request, limit: int) -> None:
    """Refuse a request by its headers, before its body is read.

    Raises:
        RefusedError: the content type is none of those taken, or the body is longer than ``limit`` bytes.
    """
    kind = request.headers.get("content-type", RAW_KINDS[1]).partition(";")[0].strip().lower()
    if kind not in (FORM, RAW_KINDS[1]) and (not kind.startswith("image/") or "svg" in kind):
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the content type {kind[:60]!a} is not taken; send an image as image/jpeg, image/png or the like, "
            f"as {RAW_KINDS[1]}, or in the field 'image' of a form ({FORM})",
        )
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > limit:
        raise _too_long(limit)


async def receive(request: Request, path: Path, *, limit: int, seconds: float) -> None:
    """Write the body of a request to a file.

    Args:
        request: whose body was not read yet.
        path: of the file.
        limit: largest body in bytes.
        seconds: in which it must arrive.

    Raises:
        RefusedError: the body is longer, arrives too slowly, is empty, or does not fit on the disk.
        DisconnectedError: the client went away.
    """
    try:
        async with asyncio.timeout(seconds):
            with path.open("wb") as file:
                await _copy(request.stream(), file, limit)
    except TimeoutError as error:
        reason = f"the request did not arrive within {seconds:g} seconds"
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, reason) from error
    except OSError as error:
        raise not_stored(error) from error
    if not path.stat().st_size:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the request has no body; send the bytes of an image")


async def _copy(body: AsyncIterator[bytes], file: BinaryIO, limit: int) -> None:
    from starlette.requests import ClientDisconnect

    try:
        async for chunk in body:
            limit -= len(chunk)
            if limit < 0:
                raise _too_long(file.tell() + len(chunk) + limit)
            file.write(chunk)
    except ClientDisconnect as error:
        raise DisconnectedError from error


def not_stored(error: OSError) -> RefusedError:
    """The refusal of an image that the disk does not take."""
    return RefusedError(
        HTTPStatus.INSUFFICIENT_STORAGE, f"the image cannot be stored ({describe_os_error(error) or error.strerror})"
    )


def _too_long(limit: int) -> RefusedError:
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the request is larger than {limit:,} bytes; send a smaller or more compressed image",
    )


def extract_part(form: Path, content_type: str, into: Path) -> None:
    """Copy the image out of a form.

    Args:
        form: file of the whole body.
        content_type: of the request, with the boundary.
        into: path of the image.

    Raises:
        RefusedError: the form is damaged, has too many parts, a field ``model`` or ``format``, or not exactly
            one called ``image`` or ``file``; or the image does not fit on the disk.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    try:
        with form.open("rb") as file, into.open("wb") as image:
            part = _ImagePart(image)
            parser = MultipartParser(boundary, part.callbacks())
            while chunk := file.read(_CHUNK):
                parser.write(chunk)
            parser.finalize()
    except FormParserError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the form is damaged ({error})") from error
    except OSError as error:
        raise not_stored(error) from error
    if not part.complete:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "the form has no complete field 'image'; send the image in a field of this name"
        )
    if not into.stat().st_size:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the image has 0 bytes; send the bytes of an image")


class _ImagePart:
    """Writes the part of a form that is called ``image`` or ``file``.

    Attributes:
        complete: whether such a part came, to its end.
    """

    def __init__(self, image: BinaryIO) -> None:
        self.complete = False
        self._image = image
        self._parts = 0
        self._header = self._value = b""
        self._taken = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin, "on_header_field": self._add_header, "on_header_value": self._add_value,
            "on_header_end": self._end_header, "on_part_data": self._write, "on_part_end": self._end,
        }  # fmt: skip

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the form has more than {_MOST_PARTS} parts; send one image")
        self._taken = False
        self._header = self._value = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        from python_multipart.multipart import parse_options_header

        if self._header.lower() == b"content-disposition":
            name = parse_options_header(self._value)[1].get(b"name", b"")
            if name in _PARAMETERS:
                word = name.decode()
                reason = f"{word} is a field of the form; give it in the address, as in /v1/segment?{word}=..."
                raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, reason)
            self._taken = name in _FIELDS
            if self._taken and self.complete:
                reason = "the form has more than one image; send a request for each"
                raise RefusedError(HTTPStatus.BAD_REQUEST, reason)
        self._header = self._value = b""

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._taken:
            self._image.write(data[start:end])

    def _end(self) -> None:
        self.complete = self.complete or self._taken
