"""From what a label map's file holds, numbers or colors, to classes.

A label map is a mask that any program may have written: masks of data sets, predictions of other tools.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError
from segnet.labels import IGNORE_INDEX, ClassTable, Color
from segnet.media.images.reading import Encoding, read_mask_file

__all__ = ["LabelMapReader"]

_LARGEST = 65535  # what a 16-bit file can hold
_BLACK: Color = (0, 0, 0)
_FEW = 3  # so many wrong values or colors are told
_MANY = 20  # so many wrong colors are not other classes, but mixed ones


@dataclass(frozen=True, kw_only=True)
class LabelMapReader:
    """Reads label maps as classes.

    Attributes:
        labels: the class table.
        void: numbers in the files that count for nothing, 0 to 65535.
        encoding: what the pixels of the files are; see ``read_mask_file``. Black is void among colors, unless it is
            the color of a class.
        remedy: what to do about a number that is no class, for the error.

    Raises:
        ConfigError: a void value is none that a file can hold.
    """

    labels: ClassTable
    void: tuple[int, ...] = (IGNORE_INDEX,)
    encoding: Encoding = "numbers"
    remedy: str = "correct the mask, or the class names and ignore_index"

    def __post_init__(self) -> None:
        if wrong := [value for value in self.void if not 0 <= value <= _LARGEST]:
            raise ConfigError(f"void value {wrong[0]} is not possible; mask files hold 0 to {_LARGEST}")

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The classes of one file: uint8 (H, W), 0 .. classes-1, or void 255.

        Raises:
            DataError: the file cannot be read, holds a number that is no class or a color of none; or its numbers and
                the colors that it shows them in speak of different classes.
        """
        stored = read_mask_file(path, encoding=self.encoding)
        if stored.values.ndim == 3:
            return self._of_colors(stored.values, path)
        if stored.palette is not None and self.encoding == "auto":
            self._require_same_colors(stored.values, stored.palette, path)
        return self._of_numbers(stored.values, path)

    def _of_numbers(self, values: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> NDArray[np.uint8]:
        classes = self._class_of_number[values]
        wrong = classes < 0
        if wrong.any():
            raise DataError(f"{path}: {self._describe_numbers(values[wrong])}; {self.remedy}")
        return classes.astype(np.uint8)

    @cached_property
    def _class_of_number(self) -> NDArray[np.int16]:
        """Number in a file -> class, void 255, or -1 for a number that must not occur."""
        table = np.full(_LARGEST + 1, -1, dtype=np.int16)
        table[: self.labels.classes] = np.arange(self.labels.classes)
        table[list(self.void)] = IGNORE_INDEX
        return table

    def _describe_numbers(self, values: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
        found, counts = np.unique(values, return_counts=True)
        told = ", ".join(f"value {v} on {n} pixels" for v, n in list(zip(found, counts, strict=True))[:_FEW])
        more = f" and {len(found) - _FEW} more values" if len(found) > _FEW else ""
        hint = "; 0 and 255 look like a two-class mask saved in black and white" if found.tolist() == [255] else ""
        return (
            f"{told}{more}, but the classes are 0 to {self.labels.classes - 1} and void is "
            f"{', '.join(map(str, self.void)) or 'not used'}{hint}"
        )

    def _of_colors(self, values: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> NDArray[np.uint8]:
        packed = _packed(values)
        place = np.searchsorted(self._known_colors, packed).clip(max=len(self._known_colors) - 1)
        wrong = self._known_colors[place] != packed
        if wrong.any():
            raise DataError(f"{path}: {self._describe_colors(values[wrong])}")
        classes: NDArray[np.uint8] = self._class_of_known[place]
        return classes

    @cached_property
    def _colors(self) -> dict[Color, int]:
        """Class of each color, and void for black."""
        twice = [color for color, times in Counter(self.labels.colors).items() if times > 1]
        if twice:
            same = [name for name, color in zip(self.labels.names, self.labels.colors, strict=True) if color in twice]
            raise DataError(
                f"the classes {same[0]} and {same[1]} have one color, {twice[0]}; give a class table in which each "
                "has its own, or label maps of class numbers"
            )
        return {_BLACK: IGNORE_INDEX, **{color: index for index, color in enumerate(self.labels.colors)}}

    @cached_property
    def _known_colors(self) -> NDArray[np.int32]:
        """Ascending."""
        return np.sort(_packed(np.array([*self._colors], dtype=np.uint8)))

    @cached_property
    def _class_of_known(self) -> NDArray[np.uint8]:
        order = np.argsort(_packed(np.array([*self._colors], dtype=np.uint8)))
        return np.array([*self._colors.values()], dtype=np.uint8)[order]

    def _describe_colors(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
        found, counts = np.unique(pixels, axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_FEW]
        told = ", ".join(f"color {_words(found[index])} on {counts[index]} pixels" for index in most)
        more = f" and {len(found) - _FEW} more colors" if len(found) > _FEW else ""
        table = dict(zip(self.labels.names, self.labels.colors, strict=True))
        known = ", ".join(f"{name} {color}" for name, color in [*table.items()][:_FEW])
        others = f" and {len(table) - _FEW} more classes" if len(table) > _FEW else ""
        void = "" if _BLACK in table.values() else ", and black for void"
        return f"{told}{more}, but expected {known}{others}{void}; {self._remedy_for(found.tolist())}"

    def _remedy_for(self, colors: list[list[int]]) -> str:
        if len(colors) > _MANY:
            return "so many are a photo's, or a smoothed map's; give label maps, and scale them without smoothing"
        if all(len(set(color)) == 1 and color[0] < self.labels.classes for color in colors):
            return "if these are class numbers in three equal channels, give --encoding numbers"
        return "give the class table of these colors with --labels, or label maps of class numbers"

    def _require_same_colors(
        self, values: NDArray[np.uint8] | NDArray[np.uint16], palette: NDArray[np.uint8], path: Path
    ) -> None:
        """Refuse a file whose palette shows the classes' own colors, but at other numbers.

        Programs that make files small (ImageMagick) turn colors into a palette in an order of their own.
        """
        colors = [tuple(color) for color in palette.tolist()]
        if not set(colors) <= {*self.labels.colors, _BLACK}:
            return
        for number in np.unique(values).tolist():
            shown = colors[number] if number < len(colors) else _BLACK
            meant = self.labels.colors[number] if number < self.labels.classes else None
            if shown not in (meant, _BLACK):
                name = self.labels.names[self.labels.colors.index(shown)]
                told = "no class" if meant is None else self.labels.names[number]
                raise DataError(
                    f"{path}: number {number} is {told} in the class table, but has the color of {name} in the file's "
                    "palette; say what counts with --encoding numbers or --encoding colors"
                )


def _packed(colors: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.int32]:
    """(..., 3) -> (...), one number per color."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    packed: NDArray[np.int32] = red << 16 | green << 8 | blue
    return packed


def _words(color: NDArray[np.uint8]) -> str:
    return f"({', '.join(map(str, color.tolist()))})"
