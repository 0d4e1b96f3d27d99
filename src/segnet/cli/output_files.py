"""Files that flags name, such as --out and --json: where they go by default, and checks before the work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from segnet.errors import ConfigError, OutputError

__all__ = ["model_file_beside", "place_beside", "require_distinct", "require_writable_files"]

_ENDINGS = {
    "--json": (".json",), "--html": (".html", ".htm"), "--plot": (".png", ".svg", ".pdf"), "--out": (".safetensors",),
}  # fmt: skip


def model_file_beside(model: str, out: Path | None, *, ending: str) -> Path:
    """The path of a new model file: ``out``, or ``MODEL-ENDING.safetensors`` beside the model.

    Raises:
        ConfigError: ``out`` does not end in .safetensors.
    """
    if out is None:
        return place_beside(model, f"{Path(model).name.removesuffix('.safetensors')}-{ending}.safetensors")
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out} is no name for a model file; give --out a name that ends in .safetensors")
    return out


def place_beside(model: str, name: str) -> Path:
    """The path of a file beside a model file, or in the current folder for a model that is bundled or of the hub."""
    from segnet.models.hub import is_hub_address

    return Path(name) if is_hub_address(model) else Path(model).parent / name


def require_distinct(*named: Path | None, results: Iterable[Path] = ()) -> None:
    """Check that no result would be written over another one of the same run.

    Args:
        *named: files that flags name; None: the flag is not given.
        results: what is written besides.

    Raises:
        ConfigError: a file is named twice, or is one of the results.
    """
    taken = {os.path.realpath(path) for path in results}
    for path in filter(None, named):
        if (place := os.path.realpath(path)) in taken:
            raise ConfigError(f"{path} would be written twice, by two flags; give each result its own name")
        taken.add(place)


def require_writable_files(files: Mapping[str, Path | None], *, any_ending: bool = False) -> None:
    """Check that files can be written, before the work whose figures they will hold.

    A file that is there already is replaced only if its name has the ending of what is written: not a model or a
    photo by figures.

    Args:
        files: by their flags; None: the flag is not given.
        any_ending: whether another rule decides what is replaced.

    Raises:
        OutputError: a file cannot be written, or would replace one of another kind; the message names the flag.
    """
    from segnet.system.files import is_no_file
    from segnet.system.writable import require_writable

    for flag, path in files.items():
        if path is not None:
            if is_no_file(path):
                raise OutputError(
                    f"{path} is a folder or a device and cannot be written as a file; give {flag} the name of a file"
                )
            endings = _ENDINGS[flag]
            if path.exists() and path.suffix.lower() not in endings and not any_ending:
                raise OutputError(
                    f"{path} is there already and would be replaced; give {flag} a name that ends in {endings[0]}"
                )
            require_writable(path.parent, flag=flag)
