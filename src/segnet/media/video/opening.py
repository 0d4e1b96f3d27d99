"""Opens video files, numbered images, cameras, streams and pipes, and reads them in one way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Bands, Channels, describe_channels, stored_bands
from segnet.errors import ConfigError
from segnet.media.sources import VideoSource, find_videos
from segnet.media.video.live import LiveSource
from segnet.media.video.reading import Clip, Frame, open_clip
from segnet.media.video.report import SourceReport
from segnet.media.video.settings import VideoConfig
from segnet.media.video.writing import VideoFormat
from segnet.system.queues import prefetch
from segnet.system.stages import staged

__all__ = ["Video", "open_video"]

Ready = TypeVar("Ready")


class Video:
    """An open source, which can be read once; see ``open_video``.

    Args:
        source: of the frames.
        config: which frames are read.
        channels: 3 (RGB) or 1 (gray).
        stop: asked while a live source gives no frame; True ends it.
    """

    def __init__(
        self, source: VideoSource, config: VideoConfig, *, channels: int, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.source = source
        self._config = config
        self._channels = channels
        self._live: LiveSource | None = None
        self._clip: Clip | None = None
        if config.live or source.kind not in {"file", "images"}:
            self._live = LiveSource(
                source,
                rate=config.rate,
                channels=channels,
                end=config.end,
                reconnect_timeout=config.reconnect_timeout,
                stop=stop,
            )
        else:
            self._clip = open_clip(Path(source.word), rate=config.rate)

    @property
    def live(self) -> bool:
        """Whether frames that nobody takes in time are dropped."""
        return self._live is not None

    @property
    def expected(self) -> int | None:
        """Approximate number of frames; None if unknown."""
        config = self._config
        count = self._clip and self._clip.expected(start=config.start, end=config.end, every=config.every)
        return count or None

    @property
    def format(self) -> VideoFormat:
        """Format of a video written from this source; the aspect of pixels is set by its first frame."""
        config = self._config
        if self._clip is None:
            return VideoFormat(codec=config.codec)
        return VideoFormat(
            codec=config.codec,
            rate=self._clip.rate / config.every,
            tick=self._clip.tick,
            audio=self._clip.path if self._clip.audio else None,
            start=config.start,
        )

    def frames(self, prepare: Callable[[NDArray[np.uint8]], Ready]) -> Generator[tuple[Frame, Ready]]:
        """The requested frames, each with its prepared image.

        Frames of files are read and prepared in a thread while the caller works on earlier ones.

        Args:
            prepare: called with the image of each frame.
        """
        if self._clip is not None:
            yield from staged("wait_for_frame", prefetch(self._read(self._clip, prepare)))
        elif self._live is not None:
            with closing(staged("wait_for_frame", self._live_frames(self._live))) as frames:
                for frame in frames:  # a live frame would be old when it was needed
                    yield frame, prepare(frame.image)

    def _read(self, clip: Clip, prepare: Callable[[NDArray[np.uint8]], Ready]) -> Generator[tuple[Frame, Ready]]:
        config = self._config
        frames = clip.read(start=config.start, end=config.end, every=config.every, channels=self._channels)
        with closing(staged("decode", frames)) as decoded:
            for frame in decoded:
                yield frame, prepare(frame.image)

    def _live_frames(self, live: LiveSource) -> Generator[Frame]:
        with closing(live.frames()) as frames:
            for number, frame in enumerate(frames):
                if self._config.end is not None and frame.time >= self._config.end:
                    return
                if frame.time >= self._config.start and number % self._config.every == 0:
                    yield replace(frame, time=frame.time - Fraction(str(self._config.start)))

    def update_report(self, report: SourceReport) -> None:
        """Bring the report up to date with the source."""
        if self._clip is not None:
            report.troubles = self._clip.troubles
        elif self._live is not None:
            report.dropped, report.reconnects = self._live.dropped, self._live.reconnects
            report.troubles = self._live.troubles


def open_video(
    source: str | Path | int | VideoSource,
    config: VideoConfig,
    *,
    channels: Channels = 3,
    stop: Callable[[], bool] = lambda: False,
) -> Video:
    """Open a video file, numbered images, a camera by its number, a stream by its address, or a pipe.

    Args:
        source: see ``find_videos``.
        config: which frames are read.
        channels: 3 (RGB) or 1 (gray).
        stop: asked while a live source gives no frame; True ends it.

    Raises:
        DataError: there is no such video, or it cannot be read.
        ConfigError: the source stands for several videos, or for none; or the channels are bands.
        MissingPackageError: PyAV is not installed.
    """
    if isinstance(channels, Bands) or stored_bands(channels) is not None:
        raise ConfigError(
            f"video cannot be read as {describe_channels(channels)}; use a model with 3 channels (RGB) or 1 (gray)"
        )
    if isinstance(source, VideoSource):
        return Video(source, config, channels=channels, stop=stop)
    videos = find_videos(str(source), animations=True)
    if len(videos) != 1:
        raise ConfigError(f"{source} stands for {len(videos)} videos; give one file, pattern, camera or address")
    return Video(videos[0], config, channels=channels, stop=stop)
