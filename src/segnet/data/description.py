"""``data.yaml``: a data set described in a few keys. Everything is checked here before it is used."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segnet.bands import Bands, Channels, stored_bands
from segnet.data.class_settings import read_class_table, read_ignore_index, read_mask_encoding
from segnet.data.masks import MaskReader
from segnet.data.splits import SPLITS, split_of
from segnet.errors import ConfigError, DataError
from segnet.labels import ClassTable
from segnet.media.sources import spellings
from segnet.system.files import path_fault
from segnet.system.yaml_files import load_yaml

__all__ = ["Description", "read_class_settings", "read_description", "read_text", "resolve_written"]

log = logging.getLogger("segnet")

_BANDS = frozenset({"channels", "band_names", "shown_bands", "value_range"})
_FOLDERS = frozenset({"path", "images", "masks", "masks_dir"})
_KEYS = _FOLDERS | {*SPLITS, "names", "ignore_index", "colors", "palette", "label_mapping", *_BANDS}
# Keys of Ultralytics and Roboflow that say nothing about images and masks. nc is compared with names.
_FOREIGN = frozenset({"nc", "download", "roboflow", "license", "author", "description", "version", "url"})


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a data.yaml says.

    Attributes:
        labels: the class table.
        root: folder of the others.
        images: folder of the images; None if it is not named.
        masks: folder of the masks; None if it is not named.
        masks_dir: name of the folder that stands for ``images`` in the paths of masks, as Ultralytics has it.
        splits: image folders by split; empty if none is named.
        ignore_index: Values in the mask files that are ignored.
        reader: how masks are read, if ``palette`` or ``label_mapping`` is given.
        channels: how images are read: 3 for RGB, 1 for gray, or their bands.
        states_ignore_index: whether the file itself names them.
    """

    labels: ClassTable
    root: Path
    images: Path | None
    masks: Path | None
    masks_dir: str | None
    splits: Mapping[str, tuple[Path, ...]]
    ignore_index: tuple[int, ...]
    reader: MaskReader | None
    channels: Channels
    states_ignore_index: bool


def read_description(path: Path) -> Description:
    """Read and check a data.yaml.

    Raises:
        DataError: a key is unknown, missing or has a value of another kind; the message names file and key.
    """
    try:
        settings = read_class_settings(read_text(path))
        _check_keys(settings)
        root = path.parent / _written("path", settings.get("path", "."))
        folders = {key: _folder(root, key, settings[key]) for key in ("images", "masks") if key in settings}
        return Description(
            labels=read_class_table(settings),
            root=root,
            images=folders.get("images"),
            masks=folders.get("masks"),
            masks_dir=_written("masks_dir", settings["masks_dir"]) if "masks_dir" in settings else None,
            splits=_splits(root, settings),
            ignore_index=read_ignore_index(settings),
            reader=read_mask_encoding(settings),
            channels=_read_channels(settings),
            states_ignore_index="ignore_index" in settings,
        )
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def read_class_settings(text: str) -> dict[str, Any]:
    """The keys of a data.yaml.

    Raises:
        ConfigError: the text is not YAML, or has no ``names``.
    """
    settings = load_yaml(text)
    if not isinstance(settings, dict) or "names" not in settings:
        raise ConfigError("needs at least the key 'names' with the class names")
    return settings


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 if it begins with a byte order mark.

    Windows' editors and shell begin a file with a mark, in UTF-8 too.

    Raises:
        DataError: it is none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return path.read_text(encoding="utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not a text in UTF-8; save it as UTF-8, or give the path of the data set"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def resolve_written(root: Path, written: str) -> Path:
    """A path of a description or list: as it is written, with ``\\\\`` as ``/``, or without ``../`` at its front.

    Roboflow writes ``../train/images`` for a folder beside the file. Letters with marks may have another spelling.
    """
    slashed = written.replace("\\", "/")
    candidates = [written, slashed, slashed.removeprefix("../"), *spellings(slashed)]
    return next((root / one for one in candidates if (root / one).exists()), root / slashed)


def _check_keys(settings: Mapping[str, Any]) -> None:
    known = [key for key in settings if key in _KEYS or (isinstance(key, str) and split_of(key))]
    if unknown := [key for key in settings if key not in known and key not in _FOREIGN]:
        raise ConfigError(f"unknown key {repr(unknown[0])[:60]}; known are {', '.join(sorted(_KEYS))}")
    names, count = settings["names"], settings.get("nc")
    if count is not None and isinstance(names, list | dict) and (type(count) is not int or count != len(names)):
        raise ConfigError(f"'nc' is {repr(count)[:40]}, but 'names' holds {len(names)} names; correct one of them")


def _read_channels(settings: Mapping[str, Any]) -> Channels:
    """``channels``: a number as Ultralytics has it, or a list of bands, by number or by ``band_names``."""
    channels, names = settings.get("channels", 3), settings.get("band_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise ConfigError(f"'band_names' is {repr(names)[:60]}; give a list of texts, one for each band, all different")
    if type(channels) is int and channels > 0:
        bands = stored_bands(channels)
    elif isinstance(channels, list) and channels:
        bands = Bands(indices=_band_numbers("channels", channels, names), count=len(names))
    else:
        raise ConfigError(
            f"'channels' is {repr(channels)[:40]}; give 3 (color), 1 (gray), the number of bands of the images, or a "
            "list of bands such as [3, 2, 1, 7], which count from 0"
        )
    if bands is None:
        if extra := sorted(_BANDS & set(settings) - {"channels", "band_names"}):
            raise ConfigError(f"{extra[0]!r} is for bands; name them too, such as channels: [0, 1, 2]")
        return int(channels)
    return replace(
        bands,
        value_range=tuple(_listed("value_range", settings)),
        shown=_band_numbers("shown_bands", _listed("shown_bands", settings), names),
    )


def _listed(key: str, settings: Mapping[str, Any]) -> list[Any]:
    value = settings.get(key, [])
    if not isinstance(value, list):
        raise ConfigError(f"{key!r} is {repr(value)[:60]}; give a list")
    return value


def _band_numbers(key: str, values: list[Any], names: list[str]) -> tuple[int, ...]:
    """Bands by number or by name."""
    if unknown := [value for value in values if type(value) is not int and value not in names]:
        known = f"one of {', '.join(names)}" if names else "a number from 0, or add band_names"
        raise ConfigError(f"{key!r}: there is no band {repr(unknown[0])[:40]}; give {known}")
    return tuple(value if type(value) is int else names.index(value) for value in values)


def _splits(root: Path, settings: Mapping[str, Any]) -> dict[str, tuple[Path, ...]]:
    """Image folders by split; keys may have other spellings, and no value is no split."""
    found: dict[str, tuple[Path, ...]] = {}
    for key, value in settings.items():
        split = split_of(key) if isinstance(key, str) and key not in _KEYS - {*SPLITS} else None
        if split is None or value is None:
            continue
        if split in found:
            raise ConfigError(f"{key!r} and another key are both the split {split}; keep one of them")
        listed = value if isinstance(value, list) and value else [value]
        found[split] = tuple(_folder(root, key, one) for one in listed)
    return {split: found[split] for split in SPLITS if split in found}


def _folder(root: Path, key: str, value: Any) -> Path:
    return resolve_written(root, _written(key, value))


def _written(key: str, value: Any) -> str:
    """The path of a key as it is written."""
    if not isinstance(value, str) or not value:
        many = "" if key in _FOLDERS else " or a list of folders"
        raise ConfigError(
            f"{key!r} must name one folder{many}, got {repr(value)[:60]}; quote a name such as 'no' or '1'"
        )
    if fault := path_fault(value):
        raise ConfigError(f"{key!r}: the path {value[:40]!a} {fault}; correct it")
    return value
