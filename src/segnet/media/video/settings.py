"""How a video is labeled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from segnet.errors import ConfigError

__all__ = ["Codec", "VideoConfig"]

Codec = Literal["auto", "h264", "vp9", "av1"]
"""Codec of a written video; ``auto``: H.264, in .webm VP9."""


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """Settings of a video or a live source.

    Attributes:
        start: seconds of a video to pass over.
        end: second of a video, or of a live source, to stop at.
        every: label each so manieth frame of a video.
        smooth: of a video: weight of the frames before, 0 to below 1, where they agree with the new one; 0: none.
        flicker: of a video: also measure how many pixels change their class along the motion.
        codec: of movies: h264, vp9 or av1; auto takes H.264, and VP9 for .webm.
        frames: write a video's frames as images, not as a movie.
        rate: frames a second of an image sequence (frames/%06d.jpg).
        live: take a video file for a camera: frames come in its own time, and those that are late are dropped.
        patience: seconds to go on trying when a live source stops, before giving up.
        show: show a video in a window while it is labeled.
    """

    start: float = 0.0
    end: float | None = None
    every: int = 1
    smooth: float = 0.0
    flicker: bool = False
    codec: Codec = "auto"
    frames: bool = False
    rate: float = 25.0
    live: bool = False
    patience: float = 10.0
    show: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < math.inf or not (self.end is None or self.end > self.start):
            raise ConfigError(f"start={self.start} and end={self.end} are not possible; give seconds, end after start")
        if self.every < 1:
            raise ConfigError(f"every={self.every} is not possible; give 1 for each frame, 2 for each second one")
        if not 0 <= self.smooth < 1:
            raise ConfigError(f"smooth={self.smooth} is not possible; give 0 (off) to below 1, 0.8 for instance")
        if not 0 < self.rate <= 1000:
            raise ConfigError(f"rate={self.rate} is not possible; give frames a second, above 0 and at most 1000")
        if not 0 <= self.patience < math.inf:
            raise ConfigError(f"patience={self.patience} is not possible; give seconds, 0 or more")
