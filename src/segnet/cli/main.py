"""The command line: finds one command, makes flags of its signature, runs it, turns errors into exit codes.

Exit codes: 0 fine; 1 a bug of ours, with its traceback; 2 something the user can mend, said in one line; 130
interrupted. No torch is imported here, so that help is quick.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin, get_type_hints

from segnet.errors import ConfigError, MissingPackageError, SegNetError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["COMMANDS", "main", "parse"]

COMMANDS = {
    "predict": "label images: palette masks and overlays with a legend",
    "train": "train a model on labeled images",
    "evaluate": "score a model on labeled images",
    "score": "score label maps that any program wrote",
    "export": "write a model for ONNX Runtime, OpenVINO, ExecuTorch or PyTorch, and check it there",
    "benchmark": "time models side by side, with their memory and scores",
    "models": "list the models by name, and what each costs",
    "recalibrate": "measure a model's batch-norm statistics anew",
    "temperature": "make a model's probabilities mean what they say",
    "convert": "turn Caffe's models into model files",
}


_PAIR_NAMES = {int: ("HEIGHT", "WIDTH"), float: ("LOW", "HIGH")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    sys.exit(_exit_code(list(sys.argv[1:] if arguments is None else arguments)))


def _exit_code(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("segnet").setLevel(logging.INFO)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except SegNetError as error:
        print(f"segnet: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # what labels images with exported models does without torch
        if error.name != "torch":
            raise
        print(f"segnet: {MissingPackageError('torch', 'torch')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("segnet: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _overview() -> str:
    lines = [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: segnet COMMAND ...",
            "",
            "Label every pixel of an image.",
            "",
            "commands:",
            *lines,
            "",
            "segnet COMMAND --help tells a command's flags; segnet --version the version.",
        ]
    )


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"segnet {version('segnet')}")
        return 0
    return _run_command(arguments[0], arguments[1:])


def _run_command(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {name!r}; {hint}")
    run = import_module(f"segnet.cli.commands.{name}").run
    positional, flags = parse(name, run, arguments)

    from segnet.system.allocator import keep_freed_memory

    keep_freed_memory()
    return int(run(*positional, **flags) or 0)


def parse(name: str, run: Callable[..., Any], arguments: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for ``run``: its positional parameters by place, its keyword-only ones by flag or ``--config``."""
    from argparse import ArgumentError, ArgumentTypeError

    parser, ordered = _parser(name, run), _config_first(arguments)
    try:
        settings = parser.parse_args(ordered)
    except (ArgumentError, ArgumentTypeError, TypeError, ValueError) as error:
        hint = _near_flag(parser, str(error)) or f"see segnet {name} --help"
        raise ConfigError(f"{_one_line(error)}; {hint}") from error
    hints = get_type_hints(run)
    positional: list[Any] = []
    flags: dict[str, Any] = {}
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            _refuse_in_files(parameter.name, settings.get("config") or [])
            positional += settings[parameter.name]
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(settings[parameter.name])
        else:
            flags[parameter.name] = _value(parameter.name, hints[parameter.name], settings)
    return positional, flags


def _refuse_in_files(name: str, files: list[Any]) -> None:
    """The parser would pass over a list of positional arguments in a settings file without a word."""
    import yaml

    for file in files:
        if name in (yaml.safe_load(Path(str(file)).read_text(encoding="utf-8")) or {}):
            raise ConfigError(f"{file}: {name} belongs on the command line, not in the --config file")


def _config_first(arguments: list[str]) -> list[str]:
    """The parser lets the later win, and the command line is to win over the file, wherever ``--config`` stands."""
    for place, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == "--config" or argument.startswith("--config="):
            end = place + (2 if argument == "--config" else 1)
            file = argument.partition("=")[2] or "".join(arguments[place + 1 : end])
            if file and not Path(file).is_file():
                raise ConfigError(f"{file}: there is no such settings file; give a YAML file of flags")
            return arguments[place:end] + arguments[:place] + arguments[end:]
    return arguments


def _parser(name: str, run: Callable[..., Any]) -> ArgumentParser:
    from argparse import HelpFormatter

    from jsonargparse import ArgumentParser

    summary = inspect.cleandoc(run.__doc__ or "").partition("\n\nArgs:")[0]
    parser = ArgumentParser(
        prog=f"segnet {name}",
        description=summary,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
        print_config=None,
    )
    parser.add_argument("--config", action="config", help="a YAML file of flags; the command line wins")
    hints, told = get_type_hints(run), _descriptions(run)
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            parser.add_argument(parameter.name, nargs="*", default=[], help=told[parameter.name].replace("%", "%%"))
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            parser.add_argument(parameter.name, help=told[parameter.name].replace("%", "%%"))
        elif is_dataclass(hints[parameter.name]):
            _add_fields(parser, hints[parameter.name])
        else:
            _add_flag(parser, parameter.name, hints[parameter.name], parameter.default, told[parameter.name])
    return parser


def _add_fields(parser: ArgumentParser, settings: Any) -> None:
    """The fields of a config dataclass, and of those within it, as flat flags."""
    hints, told = get_type_hints(settings), _descriptions(settings)
    for field in fields(settings):
        if is_dataclass(hints[field.name]):
            _add_fields(parser, hints[field.name])
        else:
            _add_flag(parser, field.name, hints[field.name], field.default, told[field.name])


def _add_flag(parser: ArgumentParser, name: str, hint: Any, default: Any, told: str) -> None:
    """``weight_decay: float = 0.01`` becomes ``--weight-decay``; a pair takes two values, a switch none."""
    flag, told = f"--{name.replace('_', '-')}", told.replace("%", "%%")
    metavar = name.rpartition("_")[2].upper()
    inner = [part for part in get_args(hint) if part is not type(None)] if default is None else [hint]
    kind = inner[0] if inner else hint
    if kind is bool:
        parser.add_argument(flag, action="store_true", default=default, help=told)
    elif get_origin(kind) is tuple and Ellipsis in get_args(kind):
        item = get_args(kind)[0]
        metavar = {int: "N,N", float: "X,X"}.get(item, "NAME,NAME")
        parser.add_argument(
            flag, type=_comma_list(get_args(item), item), default=list(default), help=told, metavar=metavar
        )
    elif get_origin(kind) is tuple:
        told = told if default is None else f"{told} (default: {' '.join(map(str, default))})"
        default = None if default is None else list(default)  # the parser checks the values in place
        number = get_args(kind)[0]
        parser.add_argument(flag, nargs=2, type=number, default=default, help=told, metavar=_PAIR_NAMES[number])
    elif get_origin(kind) is Literal:
        parser.add_argument(flag, choices=get_args(kind), default=default, help=f"{told} (default: {default})")
    elif get_origin(kind) is list:
        choices = get_args(get_args(kind)[0])
        told = f"{told} (default: {','.join(default)})" if default else told
        parser.add_argument(flag, type=_comma_list(choices), default=default, help=told, metavar="NAME,NAME")
    else:
        told = told if default is None else f"{told} (default: {default})"
        if kind is Path:
            kind, default = str, None if default is None else str(default)
        parser.add_argument(flag, type=kind, default=default, help=told, metavar=metavar)


def _comma_list(choices: tuple[str, ...], kind: Any = str) -> Callable[[Any], list[Any]]:
    """Reads words, or numbers of a kind, with commas between; any words if there are no choices."""
    from argparse import ArgumentTypeError

    def split(value: Any) -> list[Any]:
        names = value.split(",") if isinstance(value, str) else list(value)
        if kind in {int, float}:
            return [kind(name) for name in names]
        if unknown := [name for name in names if choices and name not in choices]:
            raise ArgumentTypeError(f"{unknown[0]!r} is unknown; choose of {', '.join(choices)}, with commas between")
        return names

    return split


def _value(name: str, hint: Any, settings: Any) -> Any:
    """One parameter of ``run``, a config dataclass being put together from its flat flags."""
    if is_dataclass(hint):
        hints, settings_class = get_type_hints(hint), cast("Callable[..., Any]", hint)
        return settings_class(**{field.name: _value(field.name, hints[field.name], settings) for field in fields(hint)})
    value = settings[name]
    kinds = {hint, *get_args(hint)}
    if value is None and type(None) not in kinds:
        raise ConfigError(f"{name}: is empty in the --config file; give a value, or leave it out")
    if hint is bool and not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} in the --config file is neither true nor false")
    if value is not None and tuple in {get_origin(kind) for kind in kinds}:
        if Ellipsis in get_args(hint):
            return tuple(value)
        if len(value) != 2:
            raise ConfigError(f"{name}: {value} in the --config file is not a pair; give two values, [a, b]")
        return tuple(value)
    return Path(value) if value is not None and Path in kinds else value


def _descriptions(documented: Any) -> dict[str, str]:
    """What the docstring says of each parameter or field; several may share one entry."""
    from docstring_parser import parse as parse_docstring

    told = {}
    for item in parse_docstring(inspect.cleandoc(documented.__doc__ or "")).params:
        for name in item.arg_name.split(","):
            told[name.strip(" *")] = " ".join((item.description or "").split())
    return told


def _near_flag(parser: ArgumentParser, told: str) -> str:
    """For a flag that does not exist, the one that was probably meant."""
    unknown = told.rpartition("unrecognized arguments: ")[2].split(" ")[0].partition("=")[0]
    known = [flag for action in parser._actions for flag in action.option_strings]
    near = get_close_matches(unknown, known, n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near and unknown not in known else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
