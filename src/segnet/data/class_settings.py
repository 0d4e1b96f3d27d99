"""The classes of a data.yaml, and how its masks hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segnet.data.masks import MaskReader
from segnet.errors import ConfigError
from segnet.labels import IGNORE_INDEX, ClassTable

__all__ = ["read_class_table", "read_ignore_index", "read_mask_encoding"]

_LARGEST = 65535  # what a mask file of 16 bits can hold
_IGNORED_WORDS = (None, -1, IGNORE_INDEX, "ignore", "ignore_label")


def read_class_table(settings: Mapping[str, Any]) -> ClassTable:
    """The classes of a data.yaml: ``names``, a list or mask value: name, optionally with ``colors`` or ``palette``.

    A class whose value is in ``ignore_index`` is no class, and left out.

    Raises:
        ConfigError: there are no names, they are of another form, or all of them are ignored.
    """
    values, names = _read_names(settings.get("names"))
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ConfigError(
            f"'names' holds {repr(wrong[0])[:40]}, which is no text: YAML reads yes, no, on, off, null and numbers "
            "as values; quote it, such as 'no'"
        )
    table = ClassTable.from_names(names, values)
    colors = settings.get("colors", settings.get("palette"))
    if isinstance(colors, dict):
        colors = [colors.get(value) for value in values]
    if colors is not None:
        table = ClassTable.from_dict({"names": names, "colors": colors, "values": values})
    kept = table.without(read_ignore_index(settings))
    return kept if colors is not None else kept.colorblind()


def _read_names(names: Any) -> tuple[list[int], list[Any]]:
    """Mask values and names of the classes, by rising value."""
    if isinstance(names, dict):
        if wrong := [value for value in names if type(value) is not int or not 0 <= value <= 255]:
            raise ConfigError(
                f"'names' gives a class the mask value {repr(wrong[0])[:40]}; write value: name, with numbers from 0 "
                "to 255"
            )
        return sorted(names), [names[value] for value in sorted(names)]
    if not isinstance(names, list):
        raise ConfigError("'names' must be a list of class names, or mask value: name")
    return list(range(min(len(names), IGNORE_INDEX))), names


def read_ignore_index(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """The ignored mask values of a data.yaml: by default 255, unless that is the value of a class.

    -1 stands for what programs store for it: 255 in files of 8 bits, 65535 in files of 16 bits.

    Raises:
        ConfigError: they are no numbers that a mask file can hold.
    """
    names = settings.get("names")
    named = isinstance(names, dict) and IGNORE_INDEX in names
    given = settings.get("ignore_index", [] if named else IGNORE_INDEX)
    values = given if isinstance(given, list) else [given]
    if not all(type(value) is int and -1 <= value <= _LARGEST for value in values):
        raise ConfigError(
            f"'ignore_index' must be mask values from 0 to {_LARGEST}, one or a list, or -1, got {repr(given)[:60]}"
        )
    stored = [(IGNORE_INDEX, _LARGEST) if value == -1 else (value,) for value in values]
    return tuple(dict.fromkeys(value for both in stored for value in both))


def read_mask_encoding(settings: Mapping[str, Any]) -> MaskReader | None:
    """How masks are read, if ``palette`` (colors of the classes) or ``label_mapping`` (mask value: class) is given.

    Raises:
        ConfigError: both are given, or one is of another form.
    """
    if "palette" in settings and "label_mapping" in settings:
        raise ConfigError("'palette' is for masks of colors and 'label_mapping' for masks of values; give one of them")
    if "palette" in settings:
        return MaskReader(labels=read_class_table(settings), ignore_index=read_ignore_index(settings), encoding="auto")
    return _read_label_mapping(settings) if "label_mapping" in settings else None


def _read_label_mapping(settings: Mapping[str, Any]) -> MaskReader:
    mapping, target = settings["label_mapping"], read_class_table(settings)
    if not isinstance(mapping, dict) or not all(type(value) is int and value <= _LARGEST for value in mapping):
        raise ConfigError("'label_mapping' must be mask value: class number")
    ignored = {value for value, to in mapping.items() if to in _IGNORED_WORDS and to not in target.values}
    kept = {value: to for value, to in mapping.items() if value not in ignored}
    if wrong := [to for to in kept.values() if to not in target.values]:
        raise ConfigError(f"'label_mapping' maps to {repr(wrong[0])[:40]}, which is none of {target.describe_values()}")
    if outside := [value for value in kept if not 0 <= value <= 255]:
        raise ConfigError(
            f"'label_mapping' makes the mask value {outside[0]} a class; only values from 0 to 255 can be classes, "
            "others can be ignored"
        )
    members = tuple(tuple(_value_name(value) for value, to in kept.items() if to == one) for one in target.values)
    values = ClassTable.from_names([_value_name(value) for value in kept], list(kept))
    ignore_index = {*(value for value in ignored if value >= 0), *read_ignore_index(settings)} - set(kept)
    return MaskReader(labels=values, ignore_index=tuple(sorted(ignore_index)), target=replace(target, members=members))


def _value_name(value: int) -> str:
    return f"value {value}"
