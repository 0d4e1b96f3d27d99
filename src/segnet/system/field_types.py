"""Type checks for settings, which come from a file or from Python: a dataclass takes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from segnet.errors import ConfigError

__all__ = ["check_type", "check_types", "require_kind"]

_LARGEST = (2 - 2**-23) * 2.0**127  # of float32
_LONGEST = 80  # characters of a value in a message


class Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def check_types(settings: Settings) -> None:
    """Check the type of each field; lists become tuples, and numbers of NumPy those of Python.

    Raises:
        ConfigError: a field's value is not of the field's type, or a number is not finite.
    """
    hints = _hints(type(settings))
    for field in fields(settings):
        value = _plain(getattr(settings, field.name))
        check_type(field.name, value, hints[field.name])
        object.__setattr__(settings, field.name, value)  # the dataclass may be frozen


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


def require_kind(name: str, value: object, kind: type, *, example: str = "") -> None:
    """Refuse a value that is no instance of a public class of settings.

    Args:
        name: of the parameter.
        value: of the parameter.
        kind: the class.
        example: arguments of the class in the message.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{name}={value!r} is not possible; give segnet.{kind.__name__}({example}) for instance")


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if getattr(value, "shape", None) == () else value


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
