"""Protobuf's two encodings, as far as Caffe's files use them: the binary one within limits, and the text.

Not read with the protobuf library: it copies the whole file before anything can be counted, and makes 0.9 GB of 30 MB
of empty messages (protobuf 7.36). Here the file stays where it is, bytes that nobody asks for are never touched (fc6
of VGG has 411 MB), and the number of fields that are looked at is limited.

Source: protobuf's encoding guide and text format specification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from segnet.errors import ModelError

__all__ = ["Fields", "Message", "Wire", "parse_text"]

# Field name -> its values, in their order; a message within is again one of these.
Message = dict[str, list[Any]]
# Of a message: number -> name, and what it holds: "int", "float", "text", "bytes" (left as they are), "ints" (packed or
# not), the words of an enumeration, or a message. Other fields are passed over.
Fields = Mapping[int, tuple[str, Any]]

_MOST_FIELDS = 200_000  # a fifth of a second, 40 MB; VGG has some 500
_MOST_NUMBERS = 1_000  # in one list
_LONGEST_TEXT = 1_000  # bytes of a name
_DEEPEST = 20  # messages within messages; Caffe's have 4


class Wire:
    """The binary encoding, within limits.

    Args:
        path: of the file, for errors. All messages of a file count towards one limit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def message(self, data: memoryview, fields: Fields) -> Message:
        """The known fields of a message.

        Raises:
            ModelError: the bytes are no such message, or there is too much in it.
        """
        message: Message = {}
        for number, wire, value in self._fields(data):
            if number in fields:
                name, kind = fields[number]
                message.setdefault(name, []).append(self._value(name, kind, wire, value))
        return message

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int, Any]]:
        """Number, wire type and value of every field: an int, or the bytes."""
        at = 0
        while at < len(data):
            self._seen += 1
            if self._seen > _MOST_FIELDS:
                self._refuse(f"more than {_MOST_FIELDS} fields")
            key, at = self._varint(data, at)
            wire = key & 7
            if not key >> 3:
                self._refuse("a field of number 0")
            if wire == 0:
                value, at = self._varint(data, at)
                yield key >> 3, wire, value
                continue
            if wire not in (1, 2, 5):
                self._refuse(f"a field of wire type {wire}")
            length, at = self._varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            if length > len(data) - at:
                self._refuse(f"a field of {length} bytes where {len(data) - at} are left")
            yield key >> 3, wire, data[at : at + length]
            at += length

    def _varint(self, data: memoryview, at: int) -> tuple[int, int]:
        """A number of up to 64 bits, seven in each byte, and the place behind it."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(data):
                self._refuse("a number that is cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        return self._refuse("a number of more than ten bytes")

    def _value(self, name: str, kind: Any, wire: int, value: Any) -> Any:
        match kind, wire:
            case "bytes", 2:
                return value
            case "bytes", 5:
                self._refuse(f"{name!r} number by number instead of packed, as Caffe never writes it")
            case "text", 2:
                return self._text(value)
            case "float", 5:
                return struct.unpack("<f", value)[0]
            case "int", 0:
                return _signed(value)
            case "ints", 0 | 2:
                return [_signed(value)] if wire == 0 else self._numbers(value)
            case tuple(), 0:
                return kind[value] if value < len(kind) else str(value)
            case dict(), 2:
                return self.message(value, kind)
        return self._refuse(f"a field {name!r} of wire type {wire}")

    def _numbers(self, data: memoryview) -> list[int]:
        numbers: list[int] = []
        at = 0
        while at < len(data):
            if len(numbers) == _MOST_NUMBERS:
                self._refuse(f"a list of more than {_MOST_NUMBERS} numbers")
            value, at = self._varint(data, at)
            numbers.append(_signed(value))
        return numbers

    def _text(self, value: memoryview) -> str:
        if len(value) > _LONGEST_TEXT:
            self._refuse(f"a name of {len(value)} bytes")
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            return self._refuse("a name that is no text")

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(
            f"{self._path}: holds {what}; it is damaged, cut off or no file of Caffe's: give the whole .caffemodel"
        )


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_TOKEN = re.compile(
    r"""(?P<gap>\s+|\#[^\n]*|[,;]) | (?P<mark>[{}<>:])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*) | (?P<number>[-+]?[0-9.][0-9.eE+-]*)
    | "(?P<double>[^"\n]*)" | '(?P<single>[^'\n]*)'""",
    re.VERBOSE,
)


def parse_text(text: str, path: Path) -> Message:
    """The text form: ``name: value`` and ``name { ... }``, one after the other.

    Raises:
        ModelError: the text has another form, or is nested too deeply.
    """
    open_messages: list[Message] = [{}]
    name, colon = "", False
    for kind, token in _tokens(text, path):
        if token in ("{", "<") and name and kind == "mark":
            inner: Message = {}
            open_messages[-1].setdefault(name, []).append(inner)
            open_messages.append(inner)
            name, colon = "", False
        elif token in ("}", ">") and not name and len(open_messages) > 1 and kind == "mark":
            open_messages.pop()
        elif token == ":" and name and not colon and kind == "mark":  # noqa: S105  no password
            colon = True
        elif colon and kind != "mark":
            open_messages[-1].setdefault(name, []).append(_typed(kind, token))
            name, colon = "", False
        elif kind == "word" and not name:
            name = token
        else:
            _refuse_text(path, f"{token!r} stands where it does not belong")
        if len(open_messages) > _DEEPEST:
            _refuse_text(path, f"more than {_DEEPEST} brackets are open")
    if name or len(open_messages) > 1:
        _refuse_text(path, "it ends within a layer")
    return open_messages[0]


def _tokens(text: str, path: Path) -> Iterator[tuple[str, str]]:
    """Kind and text of each token; gaps, comments and separators left out."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            _refuse_text(path, f"line {line} holds {text[at : at + 20]!r}")
        at = match.end()
        if match.lastgroup != "gap":
            kind = str(match.lastgroup)
            yield kind, match[kind]


def _typed(kind: str, token: str) -> bool | int | float | str:
    if kind == "number" and len(token) <= _LONGEST_TEXT:
        for number in (int, float):
            try:
                return number(token)
            except ValueError:
                continue
    return {"true": True, "false": False}.get(token, token) if kind == "word" else token


def _refuse_text(path: Path, what: str) -> NoReturn:
    raise ModelError(f"{path}: is no description of a net ({what}); give a .prototxt as Caffe reads it")
