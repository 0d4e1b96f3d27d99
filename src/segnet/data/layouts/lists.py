"""Lists of pairs: CamVid's train.txt, and PaddleSeg's."""

from __future__ import annotations

import logging
from pathlib import Path

from segnet.data.description import read_text, resolve_written
from segnet.data.layouts.folders import CAMVID_IGNORE_INDEX
from segnet.data.layouts.naming import CLASS_FILES, Naming, naming_of
from segnet.data.layouts.source import Source
from segnet.data.pairing_faults import report_fault
from segnet.data.samples import Sample, with_distinct_names
from segnet.data.splits import SPLITS, lists_by_split, looks_like_a_split, split_of
from segnet.errors import DataError
from segnet.labels import CAMVID
from segnet.media.sources import find_file
from segnet.system.files import path_fault

__all__ = ["is_list_folder", "list_folder", "pair_list"]

log = logging.getLogger("segnet")

_MOST_BLANKS = 50  # of a line in a pair list


def pair_list(path: Path) -> Source:
    """CamVid's ``train.txt`` and its like: one "image mask" pair per line, the lists beside it being other splits.

    A ``classes.txt`` or ``labels.txt`` beside the list names other classes than CamVid's; the ignore value is then 255
    instead of 11.

    Raises:
        DataError: a line is not a pair, or names files that cannot be found.
    """
    if split_of(path.stem):
        found = lists_by_split(path.parent, path.suffix)
    else:
        found = dict.fromkeys(SPLITS, path)
        if looks_like_a_split(path.stem):
            log.warning("%s: the name is none of %s, so the list is used for every split", path, ", ".join(SPLITS))
    splits = {split: _read_pairs(file) for split, file in found.items()}
    naming = _naming_beside(path)
    return naming.source(path.parent, "pair list", splits)


def _naming_beside(path: Path) -> Naming:
    """The classes in a file beside a list; else CamVid's eleven."""
    files = (path.with_name(name) for name in CLASS_FILES)
    found = next((file for file in files if file.is_file() and file != path), None)
    return Naming(labels=CAMVID, ignore_index=CAMVID_IGNORE_INDEX) if found is None else naming_of(found)


def list_folder(root: Path) -> Source:
    """A folder with ``train.txt`` and ``val.txt`` of pairs, and the class names in ``labels.txt``, as PaddleSeg has it.

    Raises:
        DataError: there is no such list; see ``pair_list``.
    """
    if not (lists := lists_by_split(root)):
        raise DataError(f"{root}: holds no list of pairs; expected {', '.join(f'{split}.txt' for split in SPLITS)}")
    return pair_list(next(iter(lists.values())))


def is_list_folder(root: Path) -> bool:
    """Whether a list of pairs is there: a first line of two paths whose files exist."""
    return any(_begins_with_a_pair(path) for path in lists_by_split(root).values())


def _begins_with_a_pair(path: Path) -> bool:
    try:
        line = next((line for line in read_text(path).splitlines() if line.strip()), "")
        return bool(line) and len(_read_pair(line.strip(), path, 1)) == 2
    except DataError:
        return False


def _read_pairs(path: Path) -> tuple[Sample, ...]:
    samples = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                image, mask = _read_pair(line.strip(), path, number)
            except DataError as error:
                report_fault(str(error))
                continue
            samples.append(Sample(image=image, mask=mask, name=image.stem))
    if not samples:
        report_fault(f"{path}: holds no pairs; expected one 'image mask' per line")
    return with_distinct_names(samples)


def _read_pair(line: str, path: Path, number: int) -> tuple[Path, Path]:
    """Split at tabs, or else at the blank on both sides of which a file exists."""
    place = f"{path}, line {number}"
    if fault := next((fault for part in line.split() if (fault := path_fault(part))), ""):
        raise DataError(f"{place}: the path {line[:40]!a} {fault}; correct the line")
    parts = [part.strip().strip('"') for part in line.split("\t") if part.strip()] if "\t" in line else line.split()
    if len(parts) == 2:
        image, mask = (_find_listed(part, path) for part in parts)
        for found, part in ((image, parts[0]), (mask, parts[1])):
            if found is None:
                raise DataError(
                    f"{place}: names {part}, which is not there, nor is any end of that path beside the list"
                )
        if image and mask:
            return image, mask
    pairs = [] if "\t" in line else _split_at_blanks(line, path)
    if len(pairs) != 1:
        raise DataError(
            f"{place}: expected 'image mask', got {line[:200]!r}; put one tab between the two paths if they hold blanks"
        )
    return pairs[0]


def _split_at_blanks(line: str, path: Path) -> list[tuple[Path, Path]]:
    """Every way to cut a line at a blank into two files that exist."""
    cuts = [index for index, character in enumerate(line) if character == " "][:_MOST_BLANKS]
    both = [(_find_listed(line[:cut].strip(' "'), path), _find_listed(line[cut:].strip(' "'), path)) for cut in cuts]
    return list(dict.fromkeys((image, mask) for image, mask in both if image and mask))


def _find_listed(written: str, listed_in: Path) -> Path | None:
    """A path of a list: as written, seen from the list, else the longest end of it that exists beside the list."""
    found = resolve_written(listed_in.parent, written)
    if found.is_file():
        return found
    parts = [part for part in written.replace("\\", "/").split("/") if part not in {"", "..", "."}]
    ends = (find_file([listed_in.parent], "/".join(parts[start:])) for start in range(len(parts)))
    return next(filter(None, ends), None)
