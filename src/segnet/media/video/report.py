"""Figures of a video source: lost frames, reconnections, problems."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["SourceReport"]


@dataclass(kw_only=True)
class SourceReport:
    """Figures of a video source so far.

    Attributes:
        dropped, reconnects: of a live source, see ``LiveSource``.
        troubles: sentences on what was wrong with the source.
    """

    dropped: int = 0
    reconnects: int = 0
    troubles: list[str] = field(default_factory=list)
