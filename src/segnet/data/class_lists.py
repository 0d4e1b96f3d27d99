"""Class lists: one name per line, and the similar files of labelme and CVAT."""

from __future__ import annotations

import re

from segnet.errors import ConfigError
from segnet.labels import ClassTable, Color

__all__ = ["read_class_list"]

_LABELME_IGNORE = "__ignore__"
_CVAT_HEADER = re.compile(r"#\s*label\s*:\s*color_rgb\b", re.IGNORECASE)
_CVAT_LINE = re.compile(r"(?P<name>[^:]+):(?P<color>\d+,\d+,\d+):[^:]*:[^:]*")
_HEADINGS = frozenset({
    "b", "blue", "category", "class", "color", "color_rgb", "colour", "g", "green", "id", "idx", "index", "label",
    "name", "names", "pixel", "r", "red", "rgb", "value",
})  # fmt: skip
_SEPARATORS = re.compile(r"[\t,;:|]")
_CODE = re.compile(r"[{\[<]|item\s*\{|names\s*:|---$")
_NUMBERED = re.compile(r"-?\d+\s*[\s:,;=|]\s*\S")
_COLORED = re.compile(r"(.*\D)?\d+[\s,;]+\d+[\s,;]+\d+(\D.*)?")


def read_class_list(text: str) -> ClassTable:
    """Class table of a text with one name per line, the first being class 0.

    ``__ignore__`` as the first name, of labelme, is no class. CVAT's ``labelmap.txt`` gives names and colors.

    Raises:
        ConfigError: See ``ClassTable``; or the text is a table, numbered, or of another format.
    """
    lines = [name for line in text.splitlines() if (name := line.strip())]
    if lines and _CVAT_HEADER.match(lines[0]):
        return _read_labelmap(lines[1:])
    if lines and all(_CVAT_LINE.fullmatch(line) for line in lines):
        return _read_labelmap(lines)
    if lines and lines[0] == _LABELME_IGNORE:
        lines = lines[1:]
    _require_plain_names(lines)
    return ClassTable.from_names(lines)


def _read_labelmap(lines: list[str]) -> ClassTable:
    names, colors = [], []
    for line in lines:
        match = _CVAT_LINE.fullmatch(line)
        if match is None:
            raise ConfigError(f"{line[:60]!r} is no line of CVAT's labelmap.txt; expected label:red,green,blue::")
        names.append(match["name"].strip())
        colors.append(_read_color(match["color"]))
    return ClassTable(names=tuple(names), colors=tuple(colors))


def _read_color(text: str) -> Color:
    red, green, blue = (int(part[:4]) for part in text.split(","))
    return red, green, blue


def _require_plain_names(lines: list[str]) -> None:
    """Refuse files whose headings, numbers or colors would become names."""
    remedy = "write one class name per line, the first being class 0"
    if not lines:
        return
    if _CODE.match(lines[0]):
        raise ConfigError(f"{lines[0][:60]!r} begins JSON, YAML, XML or a .pbtxt file; {remedy}")
    if comment := next((line for line in lines if line.startswith("#")), None):
        raise ConfigError(f"{comment[:60]!r} looks like a comment, not a class; {remedy}")
    if _LABELME_IGNORE in lines:
        raise ConfigError(f"{_LABELME_IGNORE} (labelme) is only possible in the first line; {remedy}")
    headings = {word.strip().lower() for part in _SEPARATORS.split(lines[0]) for word in part.split()}
    if _SEPARATORS.search(lines[0]) and headings <= _HEADINGS:
        raise ConfigError(f"{lines[0][:60]!r} looks like the heading of a table, not a class; {remedy}")
    for kind, pattern in (("numbers", _NUMBERED), ("colors", _COLORED)):
        if len(lines) > 1 and all(pattern.fullmatch(line) or pattern.match(line) for line in lines):
            raise ConfigError(f"{lines[0][:60]!r} and the other lines hold {kind}, not names only; {remedy}")
