"""The flags and arguments of a command, read from the signature and the docstring of its ``run`` function.

- Positional-only parameters and ``*args`` become positional arguments.
- Keyword-only parameters become flags, ``max_size: int`` for example ``--max-size`` and the YAML key ``max_size``.
- A parameter of type ``Given`` is no flag: it gets the names of the flags that were given.
- A parameter whose default is a dataclass stands for the fields of that dataclass, and of dataclasses within it.
"""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from segnet.cli.flags import Given
from segnet.cli.headings import HEADINGS, group_of

__all__ = ["Argument", "Command", "Flag"]

_PAIR_NAMES = {int: ("HEIGHT", "WIDTH"), float: ("LOW", "HIGH")}
_KIND_NAMES = {int: "a whole number", float: "a number"}
_ITEM_NAMES = {
    "add": "DATA", "cors": "ORIGIN", "example": "SHAPE", "sizes": "SIZE", "teacher": "MODEL", "unlabeled": "PATH",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A positional argument of a command.

    Attributes:
        name: the parameter of ``run``.
        several: whether any number of values is taken, none included.
        help: full sentences from the docstring.
    """

    name: str
    several: bool
    help: str

    @property
    def usage(self) -> str:
        """How a usage line shows it."""
        return f"[{self.name.upper()} ...]" if self.several else self.name.upper()


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag of a command.

    Attributes:
        name: the parameter or field, which is also the YAML key.
        form: ``switch`` takes no value, ``single`` one, ``pair`` two, ``list`` several with commas between.
        kind: type of each value; None if there are only choices.
        choices: words that are accepted; with a ``kind``, besides values of that type.
        optional: whether the value may be None (``null`` in YAML).
        default: value without the flag.
        lone: whether one value of a list stands for itself, not for a list of one.
        help: full sentences from the docstring.
    """

    name: str
    form: Literal["switch", "single", "pair", "list"]
    kind: type | None
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    lone: bool = False

    @classmethod
    def of(cls, name: str, hint: Any, default: Any, text: str) -> Flag:
        """The flag of a parameter or field with this type hint."""
        kinds = set(_alternatives(hint))
        optional = NoneType in kinds
        form: Literal["switch", "single", "pair", "list"] = "switch" if bool in kinds else "single"
        lone = not kinds.isdisjoint({int, float, str})
        if pair := [kind for kind in kinds if get_origin(kind) is tuple]:
            form = "list" if Ellipsis in get_args(pair[0]) else "pair"
            kinds = set(_alternatives(get_args(pair[0])[0]))
        choices = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
        plain = [kind for kind in kinds if get_origin(kind) is not Literal and kind is not NoneType]
        return cls(
            name=name, form=form, kind=plain[0] if plain else None, choices=choices, optional=optional,
            default=default, help=text, lone=lone and form == "list",
        )  # fmt: skip

    @property
    def option(self) -> str:
        """How it is written on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def values(self) -> tuple[str, ...]:
        """What help shows behind the flag: one word for each value that is taken."""
        if self.form == "switch":
            return ()
        if self.form == "pair":
            assert self.kind is not None
            return _PAIR_NAMES[self.kind]
        if self.form == "list":
            return (f"{'N' if self.kind in _KIND_NAMES else _ITEM_NAMES.get(self.name, 'NAME')},...",)
        if self.choices and self.kind is None:
            return (f"{{{','.join(self.choices)}}}",)
        return ("PATH" if self.kind is Path else self.name.rpartition("_")[2].upper(),)

    @property
    def shown_default(self) -> str:
        """The default as one writes it on the command line; empty for None, False and empty lists."""
        if self.default is None or self.default is False or self.default == ():
            return ""
        if self.form in {"pair", "list"}:
            return (" " if self.form == "pair" else ",").join(map(str, self.default))
        return str(self.default)

    @property
    def full_help(self) -> str:
        """The help with the choices of a list and with the default, unless the text names it."""
        text = self.help
        if self.form == "list" and self.choices:
            text += f" Choices: {', '.join(self.choices)}."
        return f"{text} Default: {self.shown_default}." if self.shown_default and "Default:" not in text else text

    def read(self, word: str) -> Any:
        """One value from its text.

        Raises:
            ValueError: it is neither of the type nor among the choices.
        """
        if word in self.choices:
            return word
        if not word and self.default != "" and self.kind in (Path, str):  # of a variable of the shell that is not set
            noun = "path" if self.kind is Path else "value"
            raise ValueError(f"the {noun} is empty; give one, or leave the flag out")
        if self.kind is None:
            raise ValueError(f"{word!r} is unknown; choose from {', '.join(self.choices)}")
        try:
            return self.kind(word)
        except ValueError:
            known = " or ".join([_KIND_NAMES[self.kind], *self.choices])
            raise ValueError(f"{word!r} is not {known}") from None

    def read_list(self, text: str) -> Any:
        """Values with commas between; one that holds a comma itself stands in double quotes, as in CSV.

        Raises:
            ValueError: see ``read``; or they stand on several lines.
        """
        try:
            words = next(csv.reader([text], skipinitialspace=True), None) or [""]
        except csv.Error:  # of the output of ls or cat
            raise ValueError(f"{text[:60]!r} holds several lines; put commas between the values") from None
        values = tuple(self.read(word) for word in words)
        return values[0] if self.lone and len(values) == 1 else values

    def read_yaml(self, value: Any) -> Any:
        """A value as a YAML file holds it.

        Raises:
            ValueError: it is not possible for this flag.
        """
        if value is None:
            if self.optional:
                return None
            raise ValueError("is empty; give a value, or leave the key out")
        if self.form == "switch":
            if isinstance(value, bool):
                return value
            raise ValueError(f"{value!r} is neither true nor false")
        if self.form == "list" and isinstance(value, str):
            return self.read_list(value)
        if self.form == "pair" and not (isinstance(value, list) and len(value) == 2):
            raise ValueError(f"{value} is not a pair; give two values, [a, b]")
        if self.form in {"pair", "list"} and isinstance(value, list):
            return tuple(self.read(str(item)) for item in value)
        if isinstance(value, bool | list | dict):
            raise ValueError(f"{value} is not one value; give a single value")
        return (self.read(str(value)),) if self.form == "list" and not self.lone else self.read(str(value))


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a ``run`` function takes.

    Attributes:
        name: of the command.
        run: the function.
        summary: what it does, from the docstring.
        arguments: its positional arguments, in order.
        flags: its flags by name.
    """

    name: str
    run: Callable[..., Any]
    summary: str
    arguments: tuple[Argument, ...]
    flags: Mapping[str, Flag]

    @classmethod
    def of(cls, name: str, run: Callable[..., Any]) -> Command:
        """The command of a ``run`` function."""
        texts, arguments, flags = _descriptions(run), [], []
        hints = get_type_hints(run)
        for parameter in inspect.signature(run).parameters.values():
            if hints[parameter.name] is Given:
                continue
            if parameter.kind is parameter.KEYWORD_ONLY:
                flags += _flags(parameter.name, hints[parameter.name], parameter.default, texts)
            else:
                several = parameter.kind is parameter.VAR_POSITIONAL
                arguments.append(Argument(name=parameter.name, several=several, help=texts[parameter.name]))
        summary = (inspect.getdoc(run) or "").partition("\n\nArgs:")[0]
        table = {flag.name: flag for flag in flags}
        return cls(name=name, run=run, summary=summary, arguments=tuple(arguments), flags=table)

    @property
    def groups(self) -> dict[str, list[Flag]]:
        """The flags by the heading of their group."""
        groups: dict[str, list[Flag]] = {heading: [] for heading in HEADINGS}
        for flag in self.flags.values():
            groups[group_of(flag.name)].append(flag)
        return {heading: flags for heading, flags in groups.items() if flags}

    @property
    def usage(self) -> str:
        """The line that shows how to call it."""
        words = ["segnet", self.name, *(argument.usage for argument in self.arguments), "[flags]"]
        return " ".join(words)


def _flags(name: str, hint: Any, default: Any, texts: Mapping[str, str]) -> list[Flag]:
    """The flag of a parameter, or the flags of its fields if its default is a dataclass."""
    if not is_dataclass(default):
        return [Flag.of(name, hint, default, texts[name])]
    hints, own = get_type_hints(type(default)), _descriptions(type(default))
    parts = [_flags(field.name, hints[field.name], getattr(default, field.name), own) for field in fields(default)]
    return [flag for part in parts for flag in part]


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the only one."""
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _descriptions(documented: Any) -> dict[str, str]:
    """Text of each parameter or field in the ``Args`` or ``Attributes`` section of a docstring."""
    lines = re.split(r"^(?:Args|Attributes):\n", inspect.getdoc(documented) or "", maxsplit=1, flags=re.MULTILINE)
    section = re.split(r"^\S", lines[-1], maxsplit=1, flags=re.MULTILINE)[0]
    entries = re.findall(r"^ {4}\*?(\w+): (.*(?:\n {5,}.*|\n(?=\n? {5,}))*)", section, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}
