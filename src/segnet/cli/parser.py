"""One signature gives a command its flags, its YAML keys, its help and its reference page.

``Command.of`` reads the signature and the docstring of a ``run`` function:

- positional-only parameters and ``*args`` become positional arguments;
- keyword-only parameters become flags, ``max_size: int`` for example ``--max-size`` and the YAML key ``max_size``;
- a parameter whose default is a dataclass stands for the fields of that dataclass, and of dataclasses within it.

``parse`` reads the command line and the ``--config`` file; the command line wins.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from segnet.cli.flags import HEADINGS, group_of
from segnet.errors import ConfigError

__all__ = ["Argument", "Command", "Flag", "parse"]

_PAIR_NAMES = {int: ("HEIGHT", "WIDTH"), float: ("LOW", "HIGH")}
_KIND_NAMES = {int: "a whole number", float: "a number"}


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
        help: full sentences from the docstring.
    """

    name: str
    form: Literal["switch", "single", "pair", "list"]
    kind: type | None
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str

    @classmethod
    def of(cls, name: str, hint: Any, default: Any, text: str) -> Flag:
        """The flag of a parameter or field with this type hint."""
        kinds = set(_alternatives(hint))
        optional = NoneType in kinds
        form: Literal["switch", "single", "pair", "list"] = "switch" if bool in kinds else "single"
        if pair := [kind for kind in kinds if get_origin(kind) is tuple]:
            form = "list" if Ellipsis in get_args(pair[0]) else "pair"
            kinds = set(_alternatives(get_args(pair[0])[0]))
        choices = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
        plain = [kind for kind in kinds if get_origin(kind) is not Literal and kind is not NoneType]
        return cls(
            name=name, form=form, kind=plain[0] if plain else None, choices=choices, optional=optional,
            default=default, help=text,
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
            return (f"{'N' if self.kind in _KIND_NAMES else 'NAME'},...",)
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
        if self.kind is None:
            raise ValueError(f"{word!r} is unknown; choose from {', '.join(self.choices)}")
        try:
            return self.kind(word)
        except ValueError:
            known = " or ".join([_KIND_NAMES[self.kind], *self.choices])
            raise ValueError(f"{word!r} is not {known}") from None

    def read_list(self, text: str) -> tuple[Any, ...]:
        """Values with commas between."""
        return tuple(self.read(word) for word in text.split(","))

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
        return (self.read(str(value)),) if self.form == "list" else self.read(str(value))


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


def parse(name: str, run: Callable[..., Any], words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for ``run`` from the command line and the ``--config`` file.

    Returns:
        The positional arguments, and the keyword-only ones by name.

    Raises:
        ConfigError: a word or a key of the file is unknown, or its value is not possible.
    """
    command = Command.of(name, run)
    file = vars(_config_parser(name).parse_known_args(words)[0]).get("config")
    in_file = {} if file is None else _read_file(file, command)
    given, rest = _parser(command, in_file).parse_known_args(words)
    if rest:
        hint = _near([flag.option for flag in command.flags.values()], rest[0].partition("=")[0])
        raise ConfigError(f"unrecognized arguments: {' '.join(rest)}; {hint or f'see segnet {name} --help'}")
    values = {
        **in_file,
        **{key: tuple(value) if isinstance(value, list) else value for key, value in vars(given).items()},
    }
    positional: list[Any] = []
    for argument in command.arguments:
        positional += values.get(argument.name, []) if argument.several else [values[argument.name]]
    parameters = inspect.signature(run).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return positional, {item.name: _filled(item.name, item.default, values) for item in keywords}


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _config_parser(name: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"segnet {name}", add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", metavar="FILE", help="Read flags from a YAML file. The command line wins over it.")
    return parser


def _parser(command: Command, in_file: Mapping[str, Any]) -> argparse.ArgumentParser:
    """The parser of a command; an argument that the file holds may be left out."""
    parser = _Parser(
        prog=f"segnet {command.name}",
        usage=command.usage,
        description=command.summary,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        parents=[_config_parser(command.name)],
    )
    groups = {heading: parser.add_argument_group(heading) for heading in dict.fromkeys(("input", *command.groups))}
    for argument in command.arguments:
        nargs = "*" if argument.several else "?" if argument.name in in_file else None
        groups["input"].add_argument(
            argument.name, nargs=nargs, metavar=argument.name.upper(), help=_escape(argument.help)
        )
    for heading, flags in command.groups.items():
        for flag in flags:
            groups[heading].add_argument(flag.option, help=_escape(flag.full_help), **_reading(flag))
    return parser


def _reading(flag: Flag) -> dict[str, Any]:
    """How argparse reads the values of a flag."""
    if flag.form == "switch":
        return {"action": "store_true"}
    read = flag.read_list if flag.form == "list" else flag.read

    def convert(word: str) -> Any:
        try:
            return read(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    values = flag.values
    return {
        "type": convert,
        "metavar": values if len(values) > 1 else values[0],
        "nargs": 2 if len(values) > 1 else None,
    }


def _read_file(file: str, command: Command) -> dict[str, Any]:
    """The values of a YAML file by name; a key may have dashes inside, as the flag has."""
    import yaml

    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"{file}: there is no such settings file; give a YAML file of flags")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(table or {}, dict):
        raise ConfigError(f"{file}: holds {table!r}; give one flag a line, such as epochs: 30")
    keys = {str(key).replace("-", "_"): value for key, value in (table or {}).items()}
    return {key: _read_key(file, command, key, value) for key, value in keys.items()}


def _read_key(file: str, command: Command, key: str, value: Any) -> Any:
    for argument in command.arguments:
        if argument.name == key and argument.several:
            raise ConfigError(f"{file}: {key} belongs on the command line, not in the --config file")
        if argument.name == key:
            return str(value)
    if key not in command.flags:
        hint = _near(list(command.flags), key) or f"see segnet {command.name} --help"
        raise ConfigError(f"{file}: segnet {command.name} has no flag {key!r}; {hint}")
    try:
        return command.flags[key].read_yaml(value)
    except ValueError as error:
        raise ConfigError(f"{file}: {key}: {error}") from None


def _flags(name: str, hint: Any, default: Any, texts: Mapping[str, str]) -> list[Flag]:
    """The flag of a parameter, or the flags of its fields if its default is a dataclass."""
    if not is_dataclass(default):
        return [Flag.of(name, hint, default, texts[name])]
    hints, own = get_type_hints(type(default)), _descriptions(type(default))
    parts = [_flags(field.name, hints[field.name], getattr(default, field.name), own) for field in fields(default)]
    return [flag for part in parts for flag in part]


def _filled(name: str, default: Any, values: Mapping[str, Any]) -> Any:
    """The value of a parameter; a dataclass is its default with the fields that were given."""
    if not is_dataclass(default) or isinstance(default, type):
        return values.get(name, default)
    return replace(default, **{
        field.name: _filled(field.name, getattr(default, field.name), values) for field in fields(default)
    })  # fmt: skip


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the only one."""
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _descriptions(documented: Any) -> dict[str, str]:
    """Text of each parameter or field in the ``Args`` or ``Attributes`` section of a docstring."""
    lines = re.split(r"^(?:Args|Attributes):\n", inspect.getdoc(documented) or "", maxsplit=1, flags=re.MULTILINE)
    section = re.split(r"^\S", lines[-1], maxsplit=1, flags=re.MULTILINE)[0]
    entries = re.findall(r"^ {4}\*?(\w+): (.*(?:\n {5,}.*|\n(?=\n? {5,}))*)", section, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


def _near(known: Sequence[str], word: str) -> str:
    """A hint at the nearest of the known words; empty if there is none."""
    near = get_close_matches(word, known, n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near and word not in known else ""


def _escape(text: str) -> str:
    return text.replace("%", "%%")
