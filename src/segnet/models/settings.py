"""Type checks for settings that are read from a file, or given by name in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import torch

from segnet.errors import ConfigError

__all__ = ["check_type", "check_types", "from_dict"]

_LARGEST = torch.finfo(torch.float32).max
_LONGEST = 80  # characters of a value in a message


class Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T")


def check_types(settings: Settings) -> None:
    """The JSON of a model file may hold anything; a dataclass takes it all.

    Raises:
        ConfigError: a field's value is not of the field's type, or a number is not finite.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        check_type(field.name, getattr(settings, field.name), hints[field.name])


def check_type(name: str, value: object, hint: Any) -> None:
    """Refuse a value of another type.

    Args:
        name: of the setting.
        value: of the setting.
        hint: its type: a plain class, ``Literal``, a tuple of these, or a union of all.

    Raises:
        ConfigError: the value is not of this type, or a number is not finite.
    """
    if not _fits(value, hint):
        shown = repr(value)
        if "\n" in shown or len(shown) > _LONGEST:
            shown = f"a {type(value).__name__}"
        raise ConfigError(f"{name}={shown} is not possible: {_words(hint)} wanted")


def from_dict(kind: type[T], values: object) -> T:
    """The settings that ``dataclasses.asdict`` gave: lists become tuples again, objects the settings they stand for.

    Raises:
        ConfigError: a key is unknown or missing, or a value is not possible.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{values!r} is not possible: an object with the settings of {kind.__name__} is wanted")
    hints = get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise ConfigError(f"unknown model setting {unknown[0]!r}; known are {', '.join(sorted(hints))}")
    ready = {
        name: from_dict(hints[name], value) if is_dataclass(hints[name]) else _as_tuple(value)
        for name, value in values.items()
    }
    try:
        return kind(**ready)
    except TypeError as error:
        raise ConfigError(f"the model settings are not complete: {error}") from error


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        item, *others = get_args(hint)
        return (
            isinstance(value, tuple)
            and (others == [...] or len(value) == 1 + len(others))
            and all(_fits(each, item) for each in value)
        )
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return type(value) is hint


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_words, get_args(hint)))
    if get_origin(hint) is tuple:
        item, *others = get_args(hint)
        many = "" if others == [...] else f" of {1 + len(others)} items"
        return f"a list{many}, each item {_words(item)},"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "None"}
    return names.get(hint, f"{hint.__name__}")


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value
