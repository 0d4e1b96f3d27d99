"""Faults of pairing images and masks: an error as a rule, collected where a data set is checked.

A layout reports what does not pair up with ``report_fault``, and goes on with the files that do. Unless
``collect_faults`` is at work, the report is the error that ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from segnet.errors import DataError

__all__ = ["PairingFault", "collect_faults", "report_fault"]


@dataclass(frozen=True)
class PairingFault:
    """Files that do not pair up.

    Attributes:
        kind: ``image_without_mask``, ``mask_without_image``, ``same_name``, ``annotation`` (polygons and the like that
            cannot be drawn) or ``listing`` (lines of a list, missing or empty folders).
        files: the files, or what else is at fault, in order.
    """

    kind: str
    files: tuple[str, ...]


_collected: ContextVar[list[PairingFault] | None] = ContextVar("collected pairing faults", default=None)


@contextmanager
def collect_faults() -> Iterator[list[PairingFault]]:
    """Within the block, layouts collect faults in the list instead of raising them."""
    found: list[PairingFault] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def report_fault(message: str, *faults: PairingFault) -> None:
    """Collect faults of pairing, or raise them.

    Args:
        message: the error.
        faults: what is collected instead; none: the message.

    Raises:
        DataError: nothing collects faults.
    """
    found = _collected.get()
    if found is None:
        raise DataError(message)
    found += faults or (PairingFault("listing", (message,)),)
