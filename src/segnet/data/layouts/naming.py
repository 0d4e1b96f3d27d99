"""The classes of a data set, out of the files in which data sets and tools name them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segnet.data.class_lists import read_class_list
from segnet.data.description import read_text
from segnet.data.layouts.source import Source
from segnet.data.masks import MaskReader
from segnet.data.samples import Sample
from segnet.errors import ConfigError, DataError
from segnet.labels import IGNORE_INDEX, ClassTable, Color
from segnet.media.images.masks import Encoding

__all__ = ["CLASS_FILES", "Naming", "find_naming", "means_unlabeled", "naming_of"]

CLASS_FILES = ("classes.txt", "labels.txt", "codes.txt", "class_names.txt", "labelmap.txt", "label_colors.txt",
               "class_dict.csv", "_classes.csv")  # fmt: skip
"""Files beside the images that name the classes, in the order in which they are looked for."""

_VOID = re.compile(r"(void|un-?label+ed|ignored?|__ignore__|don'?t ?care|out of roi)", re.IGNORECASE)
_COLOR_LINE = re.compile(r"\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*?)\s*")


@dataclass(frozen=True, kw_only=True)
class Naming:
    """The classes of mask files.

    Attributes:
        labels: the class table, without void.
        ignore_index: Values in the files that are ignored.
        encoding: ``auto`` if the classes have colors in the files: color files are then read by them.
        ignore_colors: colors in the files that are ignored.
    """

    labels: ClassTable
    ignore_index: tuple[int, ...] = (IGNORE_INDEX,)
    encoding: Encoding = "numbers"
    ignore_colors: tuple[Color, ...] = ((0, 0, 0),)

    def source(self, root: Path, layout: str, splits: Mapping[str, tuple[Sample, ...]]) -> Source:
        """The data set of these classes."""
        return Source(
            root=root, layout=layout, splits=splits, labels=self.labels, ignore_index=self.ignore_index,
            reader=self.reader,
        )  # fmt: skip

    @property
    def reader(self) -> MaskReader | None:
        """How masks are read; None: as class values."""
        if self.encoding == "numbers" or self.labels.classes < 2:
            return None
        return MaskReader(
            labels=self.labels, ignore_index=self.ignore_index, encoding=self.encoding,
            ignore_colors=self.ignore_colors,
        )  # fmt: skip


def find_naming(*folders: Path) -> Naming | None:
    """The classes that a file in one of the folders names; None if there is no such file.

    Raises:
        DataError: the file cannot be read, or is no class table.
    """
    paths = (folder / name for folder in folders for name in CLASS_FILES)
    return next((naming_of(path) for path in paths if path.is_file()), None)


def means_unlabeled(name: str) -> bool:
    """Whether the name of a class says that its pixels have none, such as unlabeled."""
    return _VOID.fullmatch(name) is not None


def naming_of(path: Path) -> Naming:
    """The classes of one of the ``CLASS_FILES``.

    Raises:
        DataError: it cannot be read, or is no class table.
    """
    try:
        return _of_table(path) if path.suffix == ".csv" else _of_text(path)
    except DataError:
        raise
    except (ValueError, csv.Error) as error:  # also of numbers with thousands of digits
        raise DataError(f"{path}: {error}") from error


def _of_text(path: Path) -> Naming:
    """One name per line, with a color (``label_colors.txt``, ``labelmap.txt``) or without.

    In lists that are one's own, every name is a class; in those of tools and data sets, void is none.
    """
    text = read_text(path)
    rows = [_COLOR_LINE.fullmatch(line) for line in text.splitlines() if line.strip()]
    if rows and all(rows):
        return _colored([(row[4], (int(row[1]), int(row[2]), int(row[3]))) for row in rows if row])
    labels = read_class_list(text)
    if path.name == "labelmap.txt":
        return _colored(list(zip(labels.names, labels.colors, strict=True)))
    return _numbered(list(enumerate(labels.names))) if path.name == "codes.txt" else Naming(labels=labels)


def _of_table(path: Path) -> Naming:
    """``_classes.csv`` of Roboflow (value, name), or ``class_dict.csv`` (name, r, g, b)."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(read_text(path).splitlines()) if any(row)]
    if not rows:
        raise ConfigError("is empty; expected the classes")
    if len(rows[0]) == 2 and all(row[0].isdigit() for row in rows[1:]):
        if nameless := [row[0] for row in rows[1:] if len(row) < 2]:
            raise ConfigError(f"the line {nameless[0]!r} has no name; expected a value and the name of its class")
        return _numbered([(int(row[0]), row[1]) for row in rows[1:]])
    if len(rows[0]) == 4 and all(len(row) == 4 and "".join(row[1:]).isdigit() for row in rows[1:]):
        return _colored([(row[0], (int(row[1]), int(row[2]), int(row[3]))) for row in rows[1:]])
    raise ConfigError(f"{','.join(rows[0])[:60]!r} heads neither 'Pixel Value, Class' nor 'name,r,g,b'")


def _numbered(rows: list[tuple[int, str]]) -> Naming:
    kept = [(value, name) for value, name in rows if not means_unlabeled(name)]
    table = ClassTable.from_names([name for _, name in kept], [value for value, _ in kept])
    void = [value for value, name in rows if means_unlabeled(name)]
    used = {IGNORE_INDEX} & set(table.values)
    return Naming(labels=table, ignore_index=tuple(dict.fromkeys([*void, *({IGNORE_INDEX} - used)])))


def _colored(rows: list[tuple[str, Color]]) -> Naming:
    """Classes with the colors that they have in the files; void is no class."""
    values = [index for index, (name, _) in enumerate(rows) if not means_unlabeled(name)]
    void = [index for index, (name, _) in enumerate(rows) if means_unlabeled(name)]
    table = ClassTable(
        names=tuple(rows[index][0] for index in values),
        colors=tuple(rows[index][1] for index in values),
        values=tuple(values),
    )
    colors = dict.fromkeys([(0, 0, 0), *(rows[index][1] for index in void)])
    return Naming(labels=table, ignore_index=(*void, IGNORE_INDEX), encoding="auto", ignore_colors=tuple(colors))
