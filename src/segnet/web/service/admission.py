"""Admission: how many requests are in hand, and how many pixels of them are decoded at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

from segnet.web.service.refusals import RefusedError

__all__ = ["Admission", "PixelBudget"]

_UPLOADS_PER_PLACE = 4  # requests whose body still arrives, per place of the queue


class Admission:
    """Places for images that are decoded, wait or are predicted; further requests are refused at once.

    A place is taken when the body has arrived, so slow clients keep nobody out. It belongs to one event loop.

    Args:
        places: how many images are in hand at most.

    Attributes:
        accepted: images in hand.
        uploading: requests whose body arrives.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self.accepted = 0
        self.uploading = 0

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Receive the body of a request in this block.

        Raises:
            RefusedError: no place is free anyway, or too many bodies arrive.
        """
        self._require_place()
        if self.uploading >= self._places * _UPLOADS_PER_PLACE:
            raise self._refusal(f"{self.uploading} other images are being received")
        self.uploading += 1
        try:
            yield
        finally:
            self.uploading -= 1

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in this block.

        Raises:
            RefusedError: none is free.
        """
        self._require_place()
        self.accepted += 1
        try:
            yield
        finally:
            self.accepted -= 1

    def _require_place(self) -> None:
        if self.accepted >= self._places:
            raise self._refusal(f"{self.accepted} other images are in the queue")

    def _refusal(self, text: str) -> RefusedError:
        return RefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"{text}; try again in a second", retry_after=1)


class PixelBudget:
    """Decoded images take memory, so only so many pixels are decoded at once; whoever came first is served first.

    Args:
        pixels: that may be decoded at once; a larger image is decoded alone.
    """

    def __init__(self, pixels: int) -> None:
        self._limit = pixels
        self._used = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def holding(self, pixels: int) -> AsyncIterator[None]:
        """Wait until so many pixels may be decoded, and hold them in this block."""
        async with self._turn:
            while self._used and self._used + pixels > self._limit:
                self._freed.clear()
                await self._freed.wait()
            self._used += pixels
        try:
            yield
        finally:
            self._used -= pixels
            self._freed.set()
