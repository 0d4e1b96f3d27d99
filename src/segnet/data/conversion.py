"""Writes any data set that is read here as folders of images and masks with a data.yaml."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from segnet.bands import Channels, stored_bands
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts.source import Source
from segnet.data.samples import Sample
from segnet.errors import DataError, OutputError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.writing import write_mask
from segnet.system.files import explained, holding_folder, replacing

__all__ = ["convert_data", "write_description"]


def convert_data(
    source: Source, out: Path, *, force: bool = False, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Copy the images of a data set, and write its masks as palette PNG of 0, 1, 2 and so on, 255 where ignored.

    Args:
        source: the data set.
        out: the new folder; gets ``images/SPLIT``, ``masks/SPLIT`` and ``data.yaml``.
        force: whether files may be replaced.
        progress: called with (images done, all images) after every image.

    Returns:
        The path of the data.yaml.

    Raises:
        OutputError: a file is there already or cannot be written, ``out`` is where the data set lies, or another run
            writes into it.
        DataError: an image or mask cannot be read, or two different images of a split have one name.
    """
    shared = len({tuple(samples) for samples in source.splits.values()}) == 1 and len(source.splits) > 1
    splits = {"": next(iter(source.splits))} if shared else {split: split for split in source.splits}
    labels = ClassTable(names=source.labels.names, colors=source.labels.colors)
    jobs = [(source.dataset(split), index, folder) for folder, split in splits.items()
            for index in _distinct(source.splits[split])]  # fmt: skip
    places = [_places(data.samples[index], out, folder) for data, index, folder in jobs]
    _require_elsewhere(source, out, places)
    with holding_folder(out):
        if not force:
            _require_new(out, places)
        with ThreadPoolExecutor(2) as pool:
            for done, _ in enumerate(pool.map(partial(_convert, out, labels), *zip(*jobs, strict=True)), start=1):
                if progress is not None:
                    progress(done, len(jobs))
        return write_description(out, labels, channels=source.channels)


def write_description(root: Path, labels: ClassTable, *, ignore_index: tuple[int, ...] = (IGNORE_INDEX,),
                      lists: dict[str, str] | None = None, colored: bool = False,
                      channels: Channels = 3) -> Path:  # fmt: skip
    """Write ``data.yaml``: names by mask value, colors, and the lists of the splits if there are any.

    Args:
        root: folder of the data set.
        labels: its classes.
        ignore_index: Values in the mask files that are ignored.
        lists: name of the file that lists the images of each split, or of their folder.
        colored: whether masks hold the colors, not the values.
        channels: how images are read.

    Raises:
        OutputError: it cannot be written.
    """
    names = {"names": dict(zip(labels.values, labels.names, strict=True))}  # a line each, to be edited
    others = {
        "palette" if colored else "colors": [list(color) for color in labels.colors],
        "ignore_index": list(ignore_index),
        **(lists or {}),
        **_channel_keys(channels),
    }
    path = root / "data.yaml"
    with replacing(path) as temporary:
        text = yaml.safe_dump(names, sort_keys=False, allow_unicode=True)
        text += yaml.safe_dump(others, sort_keys=False, default_flow_style=None)
        temporary.write_text(text, encoding="utf-8")
    return path


def _channel_keys(channels: Channels) -> dict[str, Any]:
    """The keys of a data.yaml that say how images are read; none for color."""
    if (bands := stored_bands(channels)) is None:
        return {} if channels == 3 else {"channels": channels}
    every = bands.indices == tuple(range(bands.count))
    keys = {"value_range": list(bands.value_range), "shown_bands": list(bands.shown)}
    return {"channels": bands.count if every else list(bands.indices), **{key: v for key, v in keys.items() if v}}


def _distinct(samples: Sequence[Sample]) -> list[int]:
    """Where each sample stands first; a list may name one several times."""
    first: dict[str, int] = {}
    for index, sample in enumerate(samples):
        other = samples[first.setdefault(sample.name, index)]
        if other != sample:
            raise DataError(
                f"{other.image} and {sample.image} would both be written as {sample.name}, with {other.mask_source} "
                f"and {sample.mask_source} as masks; rename one of them, or remove it"
            )
    return list(first.values())


def _places(sample: Sample, out: Path, split: str) -> tuple[Path, Path]:
    image = out / "images" / split / f"{sample.name}{sample.image.suffix}"
    return image, out / "masks" / split / f"{sample.name}.png"


def _require_elsewhere(source: Source, out: Path, places: list[tuple[Path, Path]]) -> None:
    """A data set that is replaced while it is read would be lost if an image is damaged, or the run is killed.

    New files among its images or masks would be taken for its own.
    """
    read = {file.resolve() for samples in source.splits.values() for sample in samples
            for file in (sample.image, sample.mask)}  # fmt: skip
    root, place = source.root.resolve(), out.resolve()
    if place == root or any(path.resolve() in read for both in places for path in both):
        raise OutputError(f"{out} holds the data set that is read; give another folder")
    if ({file.parent for file in read} - {root}).intersection((place, *place.parents)):
        raise OutputError(f"{out} lies among the images or masks of the data set that is read; give another folder")


def _require_new(out: Path, places: list[tuple[Path, Path]]) -> None:
    files = [out / "data.yaml", *(path for both in places for path in both)]
    if there := next((path for path in files if path.exists()), None):
        raise OutputError(f"{there} is there already; give another folder, or --force to replace files")


def _convert(out: Path, labels: ClassTable, data: SegmentationDataset, index: int, split: str) -> None:
    image, mask = _places(data.samples[index], out, split)
    with explained(mask):
        mask.parent.mkdir(parents=True, exist_ok=True)
    write_mask(mask, data.read_classes(index), labels)
    with replacing(image) as temporary:
        shutil.copyfile(data.samples[index].image, temporary)
