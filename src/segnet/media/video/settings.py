"""How a video or a live source is read and predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from segnet.errors import ConfigError
from segnet.system.field_types import check_types

__all__ = ["Codec", "VideoConfig"]

Codec = Literal["auto", "h264", "vp9", "av1"]
"""Codec of a written video; ``auto``: H.264, in .webm VP9."""


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """How a video or a live source is read and predicted.

    Attributes:
        start: Start time in a video in seconds. Raise it to skip the beginning.
        end: End time in a video or a live source in seconds. Default: its end.
        every: Step between predicted frames of a video; N predicts every Nth frame. Raise it to save time.
        smoothing: Weight of the earlier frames of a video where they agree with the new one, from 0 to below 1. Set
            0.8 for instance if masks flicker.
        flicker: Measure also the share of pixels in a video that change their class along the motion.
        codec: Codec of written videos. auto takes H.264, and VP9 for .webm.
        frames: Write the frames of a video as images instead of a video file.
        rate: Frame rate of an image sequence (frames/%06d.jpg) in frames per second.
        live: Read a video file or numbered images like a camera: frames come in real time, and late ones are dropped.
        reconnect_timeout: Time in seconds for which a lost live source is reconnected before the run ends. Raise it
            for unstable networks.
        show: Show the overlay of a video in a window during prediction.
    """

    start: float = 0.0
    end: float | None = None
    every: int = 1
    smoothing: float = 0.0
    flicker: bool = False
    codec: Codec = "auto"
    frames: bool = False
    rate: float = 25.0
    live: bool = False
    reconnect_timeout: float = 10.0
    show: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.start < math.inf or not (self.end is None or self.start < self.end < math.inf):
            raise ConfigError(f"start={self.start} and end={self.end} are not possible; give seconds, end after start")
        if self.every < 1:
            raise ConfigError(f"every={self.every} is not possible; give 1 for each frame, 2 for each second one")
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"smoothing={self.smoothing} is not possible; give 0 (off) to below 1, 0.8 for instance")
        if not 0.001 <= self.rate <= 1000:
            raise ConfigError(f"rate={self.rate} is not possible; give frames per second, from 0.001 to 1000")
        if not 0 <= self.reconnect_timeout < math.inf:
            raise ConfigError(f"reconnect_timeout={self.reconnect_timeout} is not possible; give seconds, 0 or more")
