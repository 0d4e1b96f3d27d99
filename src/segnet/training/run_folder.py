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
        raise ConfigError(f"{file} is damaged; repair it, or remove it to resume with the flags given") from error


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
                f"resume with --config {file}, or start a new run with another --out"
            )
        log.warning("resuming with %s %s instead of %s", name, value, earlier[name])


@contextmanager
def removing_failed_start(out: Path, names: tuple[str, ...]) -> Iterator[None]:
    """If the block fails before the run has something to keep, remove what the start wrote, and an empty folder.

    Args:
        out: The folder.
        names: Names of the files that a run keeps.
    """
    try:
        yield
    except BaseException:
        if not any((out / name).exists() for name in names):
            for name in _OF_A_START:
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()
        raise


def prepare_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Create the folder, write ``config.yaml``, and remove temporary files of a killed run.

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
    with replacing(out / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
