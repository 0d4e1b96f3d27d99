"""Type checks for settings that are read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

import torch

from segnet.errors import ConfigError

__all__ = ["check_types", "from_dict"]

_LARGEST = torch.finfo(torch.float32).max


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
        value = getattr(settings, field.name)
        if not _fits(value, hints[field.name]):
            raise ConfigError(f"{field.name}={value!r} is not possible: {_words(hints[field.name])} wanted")


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
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return type(value) is hint


def _words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each item {_words(get_args(hint)[0])},"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    return names.get(hint, f"{hint.__name__}")


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value
