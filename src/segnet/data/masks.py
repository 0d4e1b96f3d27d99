"""From the values of a mask file, class indices or colors, to classes.

Mask files may come from any program: masks of data sets, predictions of other tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, describe_count
from segnet.labels import IGNORE_INDEX, ClassTable, Color
from segnet.media.images.masks import Encoding, RawMask, read_mask_file

__all__ = ["COLORED", "MaskReader", "describe_one_class", "describe_value", "stored_values"]

COLORED = 1 << 24
"""Values from here on are colors: this plus 65536 red plus 256 green plus blue."""


_LARGEST = 65535  # what a 16-bit file can hold
_BLACK: Color = (0, 0, 0)
_FEW = 3  # so many wrong values or colors are details
_MANY = 20  # so many wrong colors are not other classes, but mixed ones


@dataclass(frozen=True, kw_only=True)
class MaskReader:
    """Reads mask files as class indices.

    Attributes:
        labels: the class table.
        ignore_index: Values in the files that are ignored, 0 to 65535; a class of such a value does not occur.
        encoding: what the pixels of the files are; see ``read_mask_file``.
        remedy: what to do about a number that is no class, for the error.
        ignore_colors: Colors in the files that are ignored, unless one is the color of a class.
        target: the classes that those of the files are mapped to, by their names; None: to themselves.

    Raises:
        ConfigError: an ignored value is none that a file can hold, or there is one class only.
    """

    labels: ClassTable
    ignore_index: tuple[int, ...] = (IGNORE_INDEX,)
    encoding: Encoding = "numbers"
    remedy: str = "correct the mask, or the class names and ignore_index"
    ignore_colors: tuple[Color, ...] = (_BLACK,)
    target: ClassTable | None = None

    def __post_init__(self) -> None:
        if self.classes.classes < 2:
            raise ConfigError(describe_one_class(self.classes))
        if wrong := [value for value in self.ignore_index if not 0 <= value <= _LARGEST]:
            raise ConfigError(f"ignore_index={wrong[0]} is not possible; mask files hold 0 to {_LARGEST}")

    @property
    def classes(self) -> ClassTable:
        """The class table of what ``read`` returns."""
        return self.target or self.labels

    def mapped(self, target: ClassTable) -> MaskReader:
        """The reader of other classes, whose members are classes of ``classes``; see ``data.mapping``."""
        if self.target is None:
            return replace(self, target=target)
        below = dict(zip(self.target.names, self.target.members, strict=True))
        members = tuple(tuple(one for name in names for one in below.get(name, ())) for names in target.members)
        return replace(self, target=replace(target, members=members))

    def key(self) -> str:
        """A text that is the same for readers that read every file alike."""
        tables = [table and table.to_dict() for table in (self.labels, self.target)]
        return repr((tables, self.ignore_index, self.encoding, self.ignore_colors))

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The classes of one file: uint8 (H, W), 0 .. classes-1, or 255 (ignored).

        Raises:
            DataError: the file cannot be read, holds a number that is no class or a color of none; or its numbers and
                the colors that it shows them in speak of different classes.
        """
        classes = self._read(path)
        return classes if self.target is None else self._target_of_class[classes]

    def _read(self, path: Path) -> NDArray[np.uint8]:
        stored = read_mask_file(path, encoding=self.encoding)
        if stored.values.ndim == 3:
            return self._of_colors(stored.values, path)
        palette = stored.palette.tolist() if stored.palette is not None and self.encoding == "auto" else None
        if palette and (fault := self.palette_fault(np.unique(stored.values).tolist(), palette)):
            raise DataError(f"{path}: {fault}")
        return self._of_numbers(stored.values, path)

    def classes_of(self, values: NDArray[np.integer[Any]]) -> NDArray[np.int16]:
        """The class of values as ``stored_values`` gives them: 0 .. classes-1, 255 (ignored), or -1 for no class."""
        if values.dtype.itemsize <= 2:
            classes: NDArray[np.int16] = self._class_of_number[values]
        else:
            classes = np.empty(values.shape, dtype=np.int16)
            colored = values >= COLORED
            classes[~colored] = self._class_of_number[values[~colored]]
            if colored.any():
                classes[colored] = self._classes_of_colors(values[colored] - COLORED)
        return classes if self.target is None else np.where(classes < 0, classes, self._target_of_class[classes])

    @cached_property
    def _target_of_class(self) -> NDArray[np.uint8]:
        """Class of the files -> class of ``target``, or 255."""
        assert self.target is not None
        members = {name: index for index, names in enumerate(self.target.members) for name in names}
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, dtype=np.uint8)
        table[: self.labels.classes] = [members.get(name, IGNORE_INDEX) for name in self.labels.names]
        return table

    def _of_numbers(self, values: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> NDArray[np.uint8]:
        classes = self._class_of_number[values]
        wrong = classes < 0
        if wrong.any():
            raise DataError(f"{path}: {self._describe_numbers(values[wrong])}; {self.remedy}")
        return classes.astype(np.uint8)

    @cached_property
    def _class_of_number(self) -> NDArray[np.int16]:
        """Value in a file -> class, 255 (ignored), or -1 for a number that must not occur."""
        table = np.full(_LARGEST + 1, -1, dtype=np.int16)
        table[list(self.labels.values)] = np.arange(self.labels.classes)
        table[list(self.ignore_index)] = IGNORE_INDEX
        return table

    def _describe_numbers(self, values: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
        found, counts = np.unique(values, return_counts=True)
        pairs = list(zip(found, counts, strict=True))[:_FEW]
        details = ", ".join(f"value {value} on {describe_count(count, 'pixel')}" for value, count in pairs)
        more = f" and {len(found) - _FEW} more values" if len(found) > _FEW else ""
        hint = "; 0 and 255 look like a two-class mask saved in black and white" if found.tolist() == [255] else ""
        return (
            f"{details}{more}, but the classes are {self.labels.describe_values()} and ignored values are "
            f"{', '.join(map(str, self.ignore_index)) or 'not used'}{hint}"
        )

    def _of_colors(self, values: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> NDArray[np.uint8]:
        classes = self._classes_of_colors(_packed(values))
        wrong = classes < 0
        if wrong.any():
            raise DataError(f"{path}: {self._describe_colors(values[wrong])}")
        return classes.astype(np.uint8)

    def _classes_of_colors(self, packed: NDArray[np.integer[Any]]) -> NDArray[np.int16]:
        place = np.searchsorted(self._known_colors, packed).clip(max=len(self._known_colors) - 1)
        classes: NDArray[np.int16] = np.where(self._known_colors[place] == packed, self._class_of_known[place], -1)
        return classes

    @cached_property
    def _colors(self) -> dict[Color, int]:
        """Class of each color, and the ignore value of those that are ignored."""
        twice = [color for color, times in Counter(self.labels.colors).items() if times > 1]
        if twice:
            same = [name for name, color in zip(self.labels.names, self.labels.colors, strict=True) if color in twice]
            raise DataError(
                f"the classes {same[0]} and {same[1]} have one color, {twice[0]}; give a class table in which each "
                "has its own, or masks of class indices"
            )
        ignored = dict.fromkeys(self.ignore_colors, IGNORE_INDEX)
        return {**ignored, **{color: index for index, color in enumerate(self.labels.colors)}}

    @cached_property
    def _known_colors(self) -> NDArray[np.int32]:
        """Ascending."""
        return np.sort(_packed(np.array([*self._colors], dtype=np.uint8)))

    @cached_property
    def _class_of_known(self) -> NDArray[np.int16]:
        order = np.argsort(_packed(np.array([*self._colors], dtype=np.uint8)))
        return np.array([*self._colors.values()], dtype=np.int16)[order]

    def _describe_colors(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
        found, counts = np.unique(pixels, axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_FEW]
        named = [(found[index].tolist(), counts[index]) for index in most]
        details = ", ".join(
            f"color {tuple(color)} on {describe_count(count, 'pixel')} (nearest: {self.nearest_class(color)})"
            for color, count in named
        )
        more = f" and {len(found) - _FEW} more colors" if len(found) > _FEW else ""
        table = dict(zip(self.labels.names, self.labels.colors, strict=True))
        known = ", ".join(f"{name} {color}" for name, color in [*table.items()][:_FEW])
        others = f" and {len(table) - _FEW} more classes" if len(table) > _FEW else ""
        black = "" if _BLACK in table.values() else ", and black for ignored pixels"
        return f"{details}{more}, but expected {known}{others}{black}; {self._remedy_for(found.tolist())}"

    def nearest_class(self, color: Sequence[int]) -> str:
        """The name of the class whose color (red, green, blue) is nearest."""
        distances = np.square(np.array(self.labels.colors, dtype=np.int64) - np.array(color)).sum(axis=1)
        return self.labels.names[int(distances.argmin())]

    def _remedy_for(self, colors: list[list[int]]) -> str:
        if len(colors) > _MANY:
            return "so many are a photo's, or a smoothed mask's; give masks, and scale them without smoothing"
        if all(len(set(color)) == 1 and color[0] in self.labels.values for color in colors):
            return "if these are class numbers in three equal channels, give --encoding numbers"
        return "give the class table of these colors with --classes, or masks of class indices"

    def palette_fault(self, numbers: Iterable[int], palette: Sequence[Sequence[int]]) -> str:
        """What is wrong with a file whose palette shows the classes' own colors, but at other numbers; empty if not.

        Programs that make files small (ImageMagick) turn colors into a palette in an order of their own.

        Args:
            numbers: those in the file, ascending.
            palette: the colors (red, green, blue) of 0, 1, 2 and so on in the file.
        """
        colors = [tuple(color) for color in palette]
        if not set(colors) <= {*self.labels.colors, _BLACK}:
            return ""
        index_of = {value: index for index, value in enumerate(self.labels.values)}
        for number in numbers:
            shown, index = colors[number] if number < len(colors) else _BLACK, index_of.get(number)
            if shown not in (None if index is None else self.labels.colors[index], _BLACK):
                name = self.labels.names[self.labels.colors.index(shown)]
                details = "no class" if index is None else self.labels.names[index]
                return (
                    f"number {number} is {details} in the class table, but has the color of {name} in the file's "
                    "palette; say what counts with --encoding numbers or --encoding colors"
                )
        return ""


def describe_one_class(labels: ClassTable) -> str:
    """Why one class is not enough, and what to do, for an error."""
    name = labels.names[0]
    return (
        f"{name} is the only class, so any prediction would be right; name the background, too, as class 0 before "
        f"{name}, and give its pixels 0 in the masks and those of {name} 1"
    )


def stored_values(stored: RawMask) -> NDArray[np.integer[Any]]:
    """One value per pixel, (H, W): the number in the file, or ``COLORED`` and more for its color."""
    return COLORED + _packed(stored.values) if stored.values.ndim == 3 else stored.values


def describe_value(value: int, reader: MaskReader) -> str:
    """``value 7`` or ``color (0, 64, 128) (nearest: road)``."""
    if value < COLORED:
        return f"value {value}"
    color = (value >> 16 & 255, value >> 8 & 255, value & 255)
    return f"color {color} (nearest: {reader.nearest_class(color)})"


def _packed(colors: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.int32]:
    """(..., 3) -> (...), one number per color."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    packed: NDArray[np.int32] = red << 16 | green << 8 | blue
    return packed
