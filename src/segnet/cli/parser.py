"""Reads the command line and the ``--config`` file of a command; the command line wins."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from segnet.cli.companions import require_companions
from segnet.cli.flags import Given
from segnet.cli.signature import Command, Flag
from segnet.errors import ConfigError

__all__ = ["parse"]

_NAMED = 5  # unknown words in a message; a pattern of the shell makes any number


def parse(name: str, run: Callable[..., Any], words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for ``run`` from the command line and the ``--config`` file.

    Returns:
        The positional arguments, and the keyword-only ones by name.

    Raises:
        ConfigError: a word or a key of the file is unknown, or its value is not possible.
    """
    command = Command.of(name, run)
    files = vars(_config_parser(name).parse_known_args(words)[0]).get("config", [])
    if len(files) > 1:
        raise ConfigError(f"--config is given twice, {' and '.join(files[:2])}; only one file is read, so join them")
    in_file = _read_file(files[0], command) if files else {}
    given, rest = _parser(command, in_file).parse_known_args(words)
    if rest:
        shown = " ".join(rest[:_NAMED]) + (f" and {len(rest) - _NAMED} more" if len(rest) > _NAMED else "")
        hint = _near([flag.option for flag in command.flags.values()], rest[0].partition("=")[0])
        raise ConfigError(f"unrecognized arguments: {shown}; {hint or f'see segnet {name} --help'}")
    values = {
        **in_file,
        **{key: tuple(value) if isinstance(value, list) else value for key, value in vars(given).items()},
    }
    positional: list[Any] = []
    for argument in command.arguments:
        found = values.get(argument.name, []) if argument.several else [values[argument.name]]
        if "" in found:
            raise ConfigError(f"{argument.name.upper()} is empty; give a path or a name (. is the current folder)")
        positional += found
    decided = Given(values)
    decided.typed = frozenset(vars(given))
    require_companions(decided.typed, {flag.name: flag.default for flag in command.flags.values()} | values)
    parameters = inspect.signature(run).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return positional, {item.name: _filled(item.name, item.default, values, decided) for item in keywords}


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


class _Once(argparse.Action):
    """Stores the values of a list, which a second list would replace unseen."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            raise ConfigError(f"{option_string} is given twice; give it once, with commas between all its values")
        setattr(namespace, self.dest, values)


def _config_parser(name: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"segnet {name}", add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    text = "Read flags from a YAML file. The command line wins over it."
    parser.add_argument("--config", action="append", metavar="FILE", help=text)
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
        "action": _Once if flag.form == "list" else "store",
        "type": convert,
        "metavar": values if len(values) > 1 else values[0],
        "nargs": 2 if len(values) > 1 else None,
    }


def _read_file(file: str, command: Command) -> dict[str, Any]:
    """The values of a YAML file by name; a key may have dashes inside, as the flag has."""
    from segnet.system.yaml_files import load_yaml

    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"{file}: there is no such settings file; give a YAML file of flags")
    try:
        table = load_yaml(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(table or {}, dict):
        raise ConfigError(f"{file}: holds {table!r}; give one flag a line, such as epochs: 30")
    keys = {str(key).replace("-", "_"): value for key, value in (table or {}).items()}
    if len(keys) < len(table or {}):
        raise ConfigError(f"{file}: a flag stands twice, with - and with _ in its name; keep one of the two")
    return {key: _read_key(file, command, key, value) for key, value in keys.items()}


def _read_key(file: str, command: Command, key: str, value: Any) -> Any:
    for argument in command.arguments:
        if argument.name == key and argument.several:
            raise ConfigError(f"{file}: {key} belongs on the command line, not in the --config file")
        if argument.name == key and (value is None or isinstance(value, bool | list | dict)):
            raise ConfigError(f"{file}: {key}: {value} is not one value; give a text, in quotes if it is such as 'yes'")
        if argument.name == key:
            return str(value)
    if key not in command.flags:
        hint = _near(list(command.flags), key) or f"see segnet {command.name} --help"
        raise ConfigError(f"{file}: segnet {command.name} has no flag {key!r}; {hint}")
    try:
        return command.flags[key].read_yaml(value)
    except ValueError as error:
        raise ConfigError(f"{file}: {key}: {error}") from None


def _filled(name: str, default: Any, values: Mapping[str, Any], decided: Given) -> Any:
    """The value of a parameter; a dataclass is its default with the fields that were given."""
    if isinstance(default, Given):
        return decided
    if not is_dataclass(default) or isinstance(default, type):
        return values.get(name, default)
    return replace(default, **{
        field.name: _filled(field.name, getattr(default, field.name), values, decided) for field in fields(default)
    })  # fmt: skip


def _near(known: Sequence[str], word: str) -> str:
    """A hint at the nearest of the known words; empty if there is none."""
    near = get_close_matches(word, known, n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near and word not in known else ""


def _escape(text: str) -> str:
    return text.replace("%", "%%")
