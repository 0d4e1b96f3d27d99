"""Write docs/reference/commands.md and docs/reference/python.md from the parsers and docstrings themselves.

python tools/make_reference.py
"""

from __future__ import annotations

import inspect
from argparse import Action
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import segnet
from segnet.cli import main as cli

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_NOTE = "<!-- Written by tools/make_reference.py; change the docstrings and run it again. -->\n"
_CONSTANTS = {
    "CAMVID": "CamVid's eleven classes, in the published order and colors (a `ClassTable`).",
    "IGNORE_INDEX": "255: the value of a pixel that belongs to no class.",
}


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {"commands.md": commands(), "python.md": names()}


def commands() -> str:
    """Every command with its arguments and flags."""
    text = (
        f"{_NOTE}\n# Commands\n\n"
        "`segnet COMMAND --help` shows the same on the terminal. `segnet --version` tells the version.\n"
        "Exit codes are in [files](files.md#exit-codes).\n\n"
        "Every command takes `--config FILE.yaml`. Keys of the file are the flags without dashes in front and\n"
        "with `_` inside (`weight_decay: 0.01`); what stands on the command line wins.\n"
    )
    return text + "".join(_command(name) for name in cli.COMMANDS)


def names() -> str:
    """The public names, one line each, and what they are called with."""
    groups: dict[str, Callable[[object], bool]] = {"Functions": inspect.isfunction, "Classes": inspect.isclass}
    text = (
        f"{_NOTE}\n# Python\n\n"
        "Everything here is reached as `segnet.NAME`. `help(segnet.NAME)` shows the whole docstring: shapes,\n"
        "types, ranges and errors. Settings that can be wrong raise a subclass of `segnet.SegNetError`.\n"
    )
    for heading, belongs in groups.items():
        found = [name for name in segnet.__all__ if belongs(getattr(segnet, name))]
        text += f"\n## {heading}\n\n| name | what |\n|---|---|\n"
        text += "".join(f"| `{name}` | {_summary(getattr(segnet, name))} |\n" for name in found)
    text += "\n## Constants\n\n| name | what |\n|---|---|\n"
    text += "".join(f"| `{name}` | {told} |\n" for name, told in _CONSTANTS.items())
    text += "\n## Signatures\n\n```text\n"
    found = [name for name in segnet.__all__ if inspect.isfunction(getattr(segnet, name))]
    return text + "".join(f"{_signature(name, getattr(segnet, name))}\n" for name in found) + "```\n"


def _command(name: str) -> str:
    parser = cli._parser(name, import_module(f"segnet.cli.commands.{name}").run)
    actions = [action for action in parser._actions if action.dest not in {"help", "config"}]
    places = [action for action in actions if not action.option_strings]
    flags = [action for action in actions if action.option_strings]
    shown = " ".join(f"[{a.dest.upper()} ...]" if a.nargs == "*" else a.dest.upper() for a in places)
    text = f"\n## segnet {name}\n\n{_cell(parser.description or '')}\n\n"
    text += f"```text\nsegnet {name} {shown}".rstrip() + (" [flags]\n```\n" if flags else "\n```\n")
    if places:
        text += "\n| argument | what |\n|---|---|\n"
        text += "".join(f"| `{action.dest.upper()}` | {_cell(action.help)} |\n" for action in places)
    if flags:
        text += "\n| flag | default | what |\n|---|---|---|\n"
        text += "".join(f"| {_flag(action)} | {_default(action)} | {_cell(_told(action))} |\n" for action in flags)
    return text


def _flag(action: Action) -> str:
    values = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or "",)
    values = () if action.nargs == 0 else values
    return f"`{' '.join((action.option_strings[0], *map(str, values)))}`"


def _default(action: Action) -> str:
    value = action.default
    if value is None or value is False:
        return ""
    if isinstance(value, list | tuple):
        return f"`{(' ' if isinstance(action.metavar, tuple) else ',').join(map(str, value))}`"
    return f"`{value}`"


def _told(action: Action) -> str:
    """The help text without the default, which has a column of its own."""
    return (action.help or "").partition(" (default: ")[0].replace("%%", "%")


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("``", "`")


def _summary(documented: Any) -> str:
    """The first paragraph of a docstring."""
    paragraph = " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())
    return _cell(paragraph)


def _signature(name: str, function: Any) -> str:
    """One line, or one line per parameter if that is too long."""
    signature = inspect.signature(function)
    parameters: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{parameter.name}: {parameter.annotation}{default}")
    line = f"{name}({', '.join(parameters)}) -> {signature.return_annotation}"
    if len(line) <= 110:
        return line
    return f"{name}(\n    " + ",\n    ".join(parameters) + f",\n) -> {signature.return_annotation}"


def main() -> None:
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
