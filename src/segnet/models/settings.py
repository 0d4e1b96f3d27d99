"""Settings of networks from the JSON of model files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_type_hints

from segnet.errors import ConfigError

__all__ = ["from_dict"]

T = TypeVar("T")


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


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value
