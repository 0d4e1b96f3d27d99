"""Figures of a video that is being segmented: frames, rate, latency, class shares, flicker."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.labels import ClassTable
from segnet.media.video.report import SourceReport
from segnet.metrics.flicker import FlickerMeter
from segnet.system.stages import StageTimes
from segnet.visualization.overlay import class_shares

__all__ = ["THREADS", "VideoReport"]

_LATENCIES = 10_000
_NOTABLE = 0.1  # share of the time that the network's thread waits

THREADS = {
    "reading": ("decode", "resize"),
    "network": ("network", "upsample"),
    "writing": ("overlay", "encode", "save", "count"),
}
"""The stages of each of the three threads that run side by side."""


@dataclass(kw_only=True)
class VideoReport(SourceReport):
    """Figures of a video so far, updated frame by frame.

    Attributes:
        frames: number of frames that were segmented and written.
        seconds: since the start.
        latencies_ms: of a live source, in milliseconds, the last ten thousand.
        shares: class shares summed over the frames, float64 (classes,); see ``mean_shares``.
        flicker: how many pixels change their class from frame to frame.
        stages: time of each stage in ``THREADS``; decode: and conversion to RGB, upsample: and the choice of the class,
            save: masks and images, count: shares and flicker. ``wait_for_frame`` and ``wait_for_writer``: how long the
            network's thread waits for the other two.
        cpu_seconds: processor time of the whole process.
        at_once: number of frames that the network computes at the same time.
        files: the video files that were written.
    """

    frames: int = 0
    seconds: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    shares: NDArray[np.float64] | float = 0.0
    flicker: FlickerMeter = field(default_factory=FlickerMeter)
    stages: StageTimes = field(default_factory=StageTimes)
    cpu_seconds: float = 0.0
    at_once: int = 1
    files: list[Path] = field(default_factory=list)

    def add(self, image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: ClassTable) -> None:
        """Count one frame that was written: uint8 (H, W, C) and its mask, uint8 (H, W)."""
        self.flicker.add(image, mask)
        self.shares = self.shares + class_shares(mask, labels)
        self.frames += 1

    @property
    def rate(self) -> float:
        """Frames per second, from the first to the last."""
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
            "stages": self.stages_ms(),
            "cpu_ms": self._per_frame(self.cpu_seconds),
            "at_once": self.at_once,
            "slowest": self.slowest,
            "shares": self.mean_shares(labels),
            "troubles": list(self.troubles),
            "files": [str(path) for path in self.files],
        }

    def mean_shares(self, labels: ClassTable) -> dict[str, float]:
        """Mean share of each class among the pixels, 0 to 1, by its name."""
        shares = np.broadcast_to(self.shares, labels.classes) / max(1, self.frames)
        return {name: float(share) for name, share in zip(labels.names, shares, strict=True)}

    def stages_ms(self) -> dict[str, dict[str, float]]:
        """Milliseconds per frame of each stage: ``ms`` on the clock, ``cpu_ms`` of the processor in its thread."""
        return {
            name: {"ms": self._per_frame(taken.seconds), "cpu_ms": self._per_frame(taken.cpu_seconds)}
            for name, taken in self.stages.times.items()
        }

    @property
    def slowest(self) -> str:
        """Which of the three threads the others wait for: ``reading``, ``network`` or ``writing``."""
        network = self.stages.seconds(*THREADS["network"]) / self.at_once
        waits = {name: self.stages.seconds(f"wait_for_{name}") for name in ("frame", "writer")}
        name, wait = max(waits.items(), key=lambda each: each[1])
        if wait <= _NOTABLE * (network + sum(waits.values())):
            return "network"
        return "reading" if name == "frame" else "writing"

    def _per_frame(self, seconds: float) -> float:
        return round(1000 * seconds / max(1, self.frames), 2)

    def latency_ms(self, percentile: float) -> float | None:
        """Percentile of the latency in milliseconds; None without a live source."""
        return float(np.percentile(self.latencies_ms, percentile)) if self.latencies_ms else None
