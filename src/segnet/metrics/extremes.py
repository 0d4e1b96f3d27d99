"""The items with the lowest and the highest scores of a stream."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

__all__ = ["Extremes"]

Item = TypeVar("Item")


class Extremes(Generic[Item]):
    """Keeps the items with the lowest and the highest scores. Memory holds one item more than those.

    Args:
        lowest, highest: Number of items to keep. If there are fewer than both together, all are kept.

    Attributes:
        count: Number of items added so far. An item whose score is NaN does not count.
    """

    def __init__(self, *, lowest: int, highest: int = 0) -> None:
        self.lowest = lowest
        self.highest = highest
        self.count = 0
        self._kept: list[tuple[float, Item]] = []

    def add(self, score: float, item: Item) -> None:
        """Keep ``item`` if its score is among the lowest or the highest. Of equal scores, the first is the lowest."""
        if math.isnan(score):
            return
        self.count += 1
        self._kept = sorted([*self._kept, (score, item)], key=lambda pair: pair[0])
        if len(self._kept) > self.lowest + self.highest:
            del self._kept[self.lowest]

    @property
    def items(self) -> list[Item]:
        """The kept items, the lowest score first."""
        return [item for _, item in self._kept]

    @property
    def ranks(self) -> list[int]:
        """Rank of each kept item among all that were added; 1 is the lowest score."""
        skipped = self.count - len(self._kept)
        return [index + 1 + (skipped if index >= self.lowest else 0) for index in range(len(self._kept))]
