"""What labeling a video has come to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.labels import ClassTable
from segnet.metrics.flicker import FlickerMeter
from segnet.visualization.overlay import class_shares

__all__ = ["VideoTally"]

_LATENCIES = 10_000


@dataclass(kw_only=True)
class VideoTally:
    """What labeling a video has come to so far.

    Attributes:
        frames: labeled and written.
        seconds: since the labeling began.
        dropped, reconnects: of a live source, see ``LiveSource``.
        latencies_ms: of a live source, the last ten thousand.
        shares: summed over the frames, see ``mean_shares``.
        flicker: how unsteady the masks are.
        troubles: sentences on what was wrong with the source.
        files: the movies.
    """

    frames: int = 0
    seconds: float = 0.0
    dropped: int = 0
    reconnects: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    shares: NDArray[np.float64] | float = 0.0
    flicker: FlickerMeter = field(default_factory=FlickerMeter)
    troubles: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def add(self, image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: ClassTable) -> None:
        """Count one frame that was written."""
        self.flicker.add(image, mask)
        self.shares = self.shares + class_shares(mask, labels)
        self.frames += 1

    @property
    def rate(self) -> float:
        """Frames a second, from the first to the last."""
        return self.frames / self.seconds if self.seconds else 0.0

    def to_dict(self, labels: ClassTable) -> dict[str, Any]:
        """All figures, for a JSON file."""
        return {
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "frames_per_s": round(self.rate, 3),
            "flicker": self.flicker.share,
            "flicker_along_motion": self.flicker.share_along_motion,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "latency_ms": {"median": self.latency_ms(50), "p95": self.latency_ms(95)},
            "shares": self.mean_shares(labels),
            "troubles": list(self.troubles),
            "files": [str(path) for path in self.files],
        }

    def mean_shares(self, labels: ClassTable) -> dict[str, float]:
        """The mean share of each class among the pixels, by its name."""
        shares = np.broadcast_to(self.shares, labels.classes) / max(1, self.frames)
        return {name: float(share) for name, share in zip(labels.names, shares, strict=True)}

    def latency_ms(self, percentile: float) -> float | None:
        """Of a live source: as many per cent of the frames were labeled within this time; else None."""
        return float(np.percentile(self.latencies_ms, percentile)) if self.latencies_ms else None
