"""Write docs/reference/commands.md from the parsers of the commands.

python tools/make_reference.py
"""

from __future__ import annotations

from argparse import Action
from importlib import import_module
from pathlib import Path
from typing import Any

from segnet.cli import main as cli

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_NOTE = "<!-- Written by tools/make_reference.py; change the help texts and run it again. -->\n"


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {"commands.md": commands()}


def commands() -> str:
    """Every command with its arguments and flags."""
    text = (
        f"{_NOTE}\n# Commands\n\n"
        "`segnet COMMAND --help` prints the same in the terminal. `segnet --version` prints the version.\n"
        "Exit codes are in [files](files.md#exit-codes).\n\n"
        "Every command takes `--config FILE.yaml`. Keys of the file are the flags without the leading dashes and\n"
        "with `_` inside (`weight_decay: 0.01`); the command line overrides the file.\n"
    )
    return text + "".join(_command(name) for name in cli.COMMANDS)


def _command(name: str) -> str:
    parser = cli._parser(name, import_module(f"segnet.cli.commands.{name}").run)
    actions = [action for action in parser._actions if action.dest not in {"help", "config"}]
    positionals = [action for action in actions if not action.option_strings]
    flags = [action for action in actions if action.option_strings]
    shown = " ".join(f"[{a.dest.upper()} ...]" if a.nargs == "*" else a.dest.upper() for a in positionals)
    text = f"\n## segnet {name}\n\n{_cell(parser.description or '')}\n\n"
    text += f"```text\nsegnet {name} {shown}".rstrip() + (" [flags]\n```\n" if flags else "\n```\n")
    if positionals:
        text += "\n| argument | description |\n|---|---|\n"
        text += "".join(f"| `{action.dest.upper()}` | {_cell(action.help)} |\n" for action in positionals)
    if flags:
        text += "\n| flag | default | description |\n|---|---|---|\n"
        text += "".join(f"| {_flag(action)} | {_default(action)} | {_cell(_help(action))} |\n" for action in flags)
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


def _help(action: Action) -> str:
    """The help text without the default, which has a column of its own."""
    return (action.help or "").partition(" (default: ")[0].replace("%%", "%")


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("``", "`")


def main() -> None:
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
