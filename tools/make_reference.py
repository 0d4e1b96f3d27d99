"""Write docs/reference/commands.md and python.md from the signatures and docstrings of commands and public names.

python tools/make_reference.py
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import python_reference
from segnet.cli import main as cli
from segnet.cli.signature import Command, Flag

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_NOTE = "<!-- Written by tools/make_reference.py; change the docstrings and run it again. -->\n"


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {"commands.md": commands(), "python.md": _NOTE + python_reference.page()}


def commands() -> str:
    """Every command with its arguments and flags."""
    text = (
        f"{_NOTE}\n# Commands\n\n"
        "`segnet COMMAND --help` shows the same on the terminal. `segnet --version` prints the version.\n"
        "Exit codes are in [files](files.md#exit-codes).\n\n"
        "Every command takes `--config FILE.yaml`. Keys of the file are the flags without dashes in front and\n"
        "with `_` inside (`weight_decay: 0.01`). A flag on the command line wins over the file.\n"
    )
    return text + "".join(_command(name) for name in cli.COMMANDS)


def _command(name: str) -> str:
    command = Command.of(name, import_module(f"segnet.cli.commands.{name.replace('-', '_')}").run)
    text = f"\n## segnet {name}\n\n{_cell(command.summary)}\n\n```text\n{command.usage}\n```\n"
    if command.arguments:
        text += "\n| argument | meaning |\n|---|---|\n"
        text += "".join(f"| `{item.name.upper()}` | {_cell(item.help)} |\n" for item in command.arguments)
    for heading, flags in command.groups.items():
        text += f"\n**{heading.capitalize()}**\n\n| flag | default | meaning |\n|---|---|---|\n"
        text += "".join(f"| {_flag(flag)} | {_default(flag)} | {_cell(_meaning(flag))} |\n" for flag in flags)
    return text


def _flag(flag: Flag) -> str:
    return f"`{_cell(' '.join((flag.option, *flag.values)))}`"


def _default(flag: Flag) -> str:
    return f"`{flag.shown_default}`" if flag.shown_default else ""


def _meaning(flag: Flag) -> str:
    """The help text without the default at its end, which has a column of its own."""
    return flag.full_help.removesuffix(f" Default: {flag.shown_default}.")


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("``", "`")


def main() -> None:
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
