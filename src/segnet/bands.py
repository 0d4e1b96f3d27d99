"""What a network takes of image files: color or gray as a viewer shows them, or bands as they are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError

__all__ = [
    "Bands", "Channels", "Pixels", "RGBImage", "count_channels", "describe_channels", "same_input", "stored_bands",
]  # fmt: skip

Pixels: TypeAlias = NDArray[np.uint8 | np.float32]
"""An image in memory, (H, W, C): uint8, or float32 in [0, 1] where bands have more than 8 bits."""
RGBImage: TypeAlias = NDArray[np.uint8]
"""An image in memory that people see, uint8 (H, W, 3)."""

_COLOR, _GRAY = 3, 1


@dataclass(frozen=True, kw_only=True)
class Bands:
    """Bands of image files, taken as they are stored, such as those of a satellite or a thermal camera.

    Attributes:
        indices: The bands in the order in which the network takes them, from 0. Empty: color or gray instead.
        count: How many bands the files have; 0: not known yet.
        value_range: Values in the files that become 0 and 1; values beyond them become 0 and 1, too. Empty: 0 and 255
            for uint8, 0 and 65535 for uint16, and 0 and 1 for floating numbers; other types are refused.
        shown: Bands that people see as red, green and blue, or one band as gray. Empty: the first three, or the first.

    Raises:
        ConfigError: A band is negative, twice or beyond ``count``; one that is shown is not taken; the range is none.
    """

    indices: tuple[int, ...] = ()
    count: int = 0
    value_range: tuple[float, ...] = ()
    shown: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("indices", "value_range", "shown"):  # so that bands of a list and of a tuple are equal
            object.__setattr__(self, name, tuple(getattr(self, name)))
        low = [index for index in self.indices if type(index) is not int or index < 0]
        if low or len(set(self.indices)) < len(self.indices):
            raise ConfigError(f"bands {list(self.indices)} are not possible; give numbers from 0, each once")
        if type(self.count) is not int or self.count < 0 or (self.count and max(self.indices, default=0) >= self.count):
            raise ConfigError(
                f"band {max(self.indices, default=0)} is not possible in images of {self.count} bands; the last one is "
                f"{self.count - 1}, since bands count from 0"
            )
        if self.shown and (len(self.shown) not in (1, 3) or not set(self.shown) <= set(self.indices)):
            raise ConfigError(
                f"bands {list(self.shown)} cannot be shown; give one or three of {', '.join(map(str, self.indices))}"
            )
        if self.value_range and not _is_range(self.value_range):
            raise ConfigError(
                f"value_range {list(self.value_range)} is not possible; give the lowest and the highest value"
            )

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """The bands that ``dataclasses.asdict`` gave, read from JSON.

        Raises:
            ConfigError: A value is not possible.
            TypeError: The table is another.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
        }
        return cls(**values)

    @property
    def shown_positions(self) -> tuple[int, ...]:
        """The positions among ``indices`` of the bands that are shown: one or three."""
        if self.shown:
            return tuple(self.indices.index(band) for band in self.shown)
        return tuple(range(_COLOR)) if len(self.indices) >= _COLOR else (0,)

    def reads_like(self, other: Bands) -> bool:
        """Whether both take the same bands of files; other files are those whose known count differs."""
        return self.indices == other.indices and (self.count == other.count or 0 in (self.count, other.count))


Channels: TypeAlias = int | Bands
"""How images are read: 3 in color and 1 in gray, as a viewer shows them; another number, or ``Bands``: as stored.

A number stands for all bands of files that have as many.
"""


def stored_bands(channels: Channels) -> Bands | None:
    """The bands that are read as they are stored; None for color and gray."""
    if isinstance(channels, Bands):
        return channels if channels.indices else None
    return None if channels in (_COLOR, _GRAY) else Bands(indices=tuple(range(channels)), count=channels)


def same_input(first: Channels, second: Channels) -> bool:
    """Whether two networks get the same numbers of an image."""
    one, other = stored_bands(first), stored_bands(second)
    if one is None or other is None:
        return first == second
    return one.reads_like(other) and one.value_range == other.value_range


def count_channels(channels: Channels) -> int:
    """How many channels a network has that takes such images."""
    return len(channels.indices) if isinstance(channels, Bands) else channels


def describe_channels(channels: Channels) -> str:
    """``RGB``, ``gray``, or ``bands 3, 2, 1 of 13``."""
    if (bands := stored_bands(channels)) is None:
        return "gray" if channels == _GRAY else "RGB"
    if bands.indices == tuple(range(bands.count)):
        return f"{bands.count} bands"
    return f"bands {', '.join(map(str, bands.indices))}" + (f" of {bands.count}" if bands.count else "")


def _is_range(values: tuple[float, ...]) -> bool:
    numbers = [type(value) in (int, float) and math.isfinite(value) for value in values]
    return len(values) == 2 and all(numbers) and values[0] < values[1]
