"""The folder of a run and its ``config.yaml``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from segnet.errors import ConfigError, OutputError
from segnet.system.files import remove_stale, replacing
from segnet.training.settings import MAY_CHANGE

__all__ = [
    "CHECKPOINTS",
    "LAST",
    "PREVIOUS",
    "check_settings_file",
    "check_unchanged",
    "check_unused",
    "prepare_folder",
    "read_settings",
    "removing_failed_start",
]

log = logging.getLogger("segnet")

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
CHECKPOINTS = (LAST, PREVIOUS)
"""Files that ``--resume`` reads."""

_RESULTS = ("best.safetensors", "metrics.csv")
_OF_A_START = ("config.yaml", "report.html", "metrics.csv")


def check_unused(out: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        ConfigError: The folder holds a checkpoint, a model file or scores.
    """
    if any((out / name).exists() for name in CHECKPOINTS):
        raise ConfigError(f"{out} already holds a run; add --resume to continue it, or give another --out")
    if kept := [name for name in _RESULTS if (out / name).exists()]:
        raise ConfigError(
            f"{out} already holds a run ({kept[0]}), without a checkpoint to resume it; give another --out, or remove "
            "the folder"
        )


def read_settings(out: Path) -> dict[str, Any]:
    """Settings in ``config.yaml`` of a run; empty if there is no such file.

    Raises:
        ConfigError: The file is damaged.
    """
    file = out / "config.yaml"
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.is_file() else {}
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file} is damaged; repair it, or remove it: the checkpoint has the settings too") from error


def check_unchanged(file: Path, earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse to resume with changed settings, since optimizer state and best score belong to the earlier ones.

    Settings in ``MAY_CHANGE`` may change, with a warning.

    Args:
        file: ``config.yaml``, named in the error.
        earlier: Settings of the run so far.
        settings: Settings now.

    Raises:
        ConfigError: A setting changed that alters the computation of a step.
    """
    for name, value in settings.items():
        if name not in earlier or earlier[name] == value:
            continue
        if name not in MAY_CHANGE:
            raise ConfigError(
                f"{file}: this run was started with {name} {earlier[name]}, not {value}; "
                f"resume with --config {file} as the run wrote it, or start a new run with another --out"
            )
        log.warning("resuming with %s %s instead of %s", name, value, earlier[name])


def check_settings_file(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to replace a ``config.yaml`` of the user's, such as one given by ``--config``.

    A start that was killed leaves one too: it has all settings, in the form in which a run writes them.

    Raises:
        ConfigError: No run wrote the file, and it says something else than ``settings``.
    """
    file = out / "config.yaml"
    if not file.is_file() or _holds(file, settings):
        return
    try:
        earlier = read_settings(out)
        of_run = list(earlier) == list(settings) and file.read_text(encoding="utf-8") == _to_yaml(earlier)
    except ConfigError:
        of_run = False
    if not of_run:
        raise ConfigError(f"{file} was not written by a run, which would replace it; rename it, or give another --out")


@contextmanager
def removing_failed_start(out: Path) -> Iterator[None]:
    """If the block fails before the run has something to keep, remove what it wrote, and a folder that it created.

    Args:
        out: The folder. What is in it before the block stays.
    """
    names = [name for name in _OF_A_START if not (out / name).exists()]
    created = not out.exists()
    try:
        yield
    except BaseException:
        if not any((out / name).exists() for name in (*CHECKPOINTS, "best.safetensors")):
            with suppress(OSError):
                for name in names:
                    (out / name).unlink(missing_ok=True)
                if created:
                    out.rmdir()
        raise


def prepare_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Create the folder, write ``config.yaml`` unless it is there, and remove temporary files of a killed run.

    Raises:
        OutputError: The folder cannot be created or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        remove_stale(out)
    except OSError as error:
        raise OutputError(
            f"{out}: the folder of the run cannot be created ({error.strerror}); give another --out"
        ) from error
    file = out / "config.yaml"
    if not _holds(file, settings):
        with replacing(file) as temporary:
            temporary.write_text(_to_yaml(settings), encoding="utf-8")


def _holds(file: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a file has these settings, in any form."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        return bool(yaml.safe_load(file.read_text(encoding="utf-8")) == yaml.safe_load(_to_yaml(settings)))
    return False


def _to_yaml(settings: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(settings), sort_keys=False)
