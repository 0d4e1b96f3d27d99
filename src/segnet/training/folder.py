"""A run's folder: whose it is, and which settings it was started with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segnet.errors import ConfigError, OutputError
from segnet.system.files import replacing
from segnet.training.settings import MAY_CHANGE

__all__ = ["check_unchanged", "check_unused", "settings_of", "start_folder"]

log = logging.getLogger("segnet")


def check_unused(out: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder that holds a run.

    Args:
        out: the folder.
        names: files that only a run has.

    Raises:
        ConfigError: it holds one of them.
    """
    if any((out / name).exists() for name in names):
        raise ConfigError(f"{out}: holds a run already; add --resume to go on with it, or give another --out")


def settings_of(out: Path) -> dict[str, Any]:
    """What ``config.yaml`` holds; nothing if there is none.

    Raises:
        ConfigError: it is damaged.
    """
    file = out / "config.yaml"
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.is_file() else {}
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: is damaged; put it right, or remove it to resume with the flags given") from error


def check_unchanged(file: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """The optimizer's state and the best score so far belong to the old settings.

    Raises:
        ConfigError: a setting that alters what a step does is another one now.
    """
    for name, value in settings.items():
        if name not in before or before[name] == value:
            continue
        if name not in MAY_CHANGE:
            raise ConfigError(
                f"{file}: this run was started with {name} {before[name]}, not {value}; "
                f"resume with --config {file}, or start anew with another --out"
            )
        log.warning("resuming with %s %s instead of %s", name, value, before[name])


def start_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder, write ``config.yaml``, and remove what a killed run left half-written.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for half in out.glob(".segnet-*"):
            half.unlink()
    except OSError as error:
        raise OutputError(f"{out}: the run's folder cannot be made ({error.strerror}); give another --out") from error
    with replacing(out / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
