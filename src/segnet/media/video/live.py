"""Cameras and streams: always the newest frame, and a new connection when one is lost."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING

from segnet.errors import DataError
from segnet.media.video.library import import_av, reason
from segnet.media.video.reading import Frame, pixels
from segnet.media.video.sources import VideoSource

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

__all__ = ["LiveFrame", "LiveSource"]

log = logging.getLogger("segnet")

_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
# A second of a stream tells what it is; FFmpeg would take five. RTSP over TCP: a lost packet spoils no image.
_OPTIONS = {"analyzeduration": "1000000", "rtsp_transport": "tcp"}
# A frame that has waited longer is left for the next, if that comes soon: what this costs in rate it brings in latency,
# and what is still to be written of the frames before gets done meanwhile.
_FRESH_S = 0.01
_NEXT_S = 0.045
_CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}


@dataclass(frozen=True, eq=False)
class LiveFrame(Frame):
    """A frame with the moment, by ``time.monotonic``, at which it had come and was decoded."""

    arrived: float = 0.0


class LiveSource:
    """Receives frames in a thread and keeps the newest; whoever is slower than the source misses some.

    Args:
        source: a camera, a stream, a pipe, or a file that stands in for a camera.
        channels: 3 (RGB) or 1 (gray).
        patience: seconds of pauses between new connections after which a lost source is given up.

    Attributes:
        dropped: frames that came and were replaced by a newer one before anybody took them.
        reconnects: how often the source was lost and came again.
        lost: why the source ended before anybody asked it to; empty if a pipe or file came to its end.
    """

    def __init__(self, source: VideoSource, *, channels: int = 3, patience: float = 10.0) -> None:
        self._source = source
        self._channels = channels
        self._patience = patience
        self._news = Condition()
        self._newest: tuple[VideoFrame, float] | None = None
        self._stopped = Event()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = self.reconnects = 0
        self.lost = ""

    def frames(self) -> Generator[LiveFrame]:
        """The newest frame, each time that one is asked for; waits for one that has not been given yet.

        Raises:
            DataError: the source cannot be opened, or its first connection brings no frame.
        """
        thread = Thread(target=self._receive, name="segnet-live", daemon=True)
        thread.start()
        first: float | None = None
        try:
            while (newest := self._take()) is not None:
                frame, arrived = newest
                first = arrived if first is None else first
                yield LiveFrame(pixels(frame, self._channels), Fraction(arrived - first), arrived=arrived)
        finally:
            self._stopped.set()
            thread.join(0.5)  # one that waits for a pipe or a server ends after that, or with the program

    def _take(self) -> tuple[VideoFrame, float] | None:
        with self._news:
            while self._newest is None and not self._ended:
                self._news.wait(_TIMEOUT_S)
            if self._newest is not None and not self._ended and time.monotonic() - self._newest[1] > _FRESH_S:
                self._news.wait(_NEXT_S)
            newest, self._newest = self._newest, None
        if newest is None and self._error is not None:
            raise self._error
        return newest

    def _receive(self) -> None:
        try:
            self._connect_again_and_again()
        except BaseException as error:  # goes on in the thread that takes the frames
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify()

    def _connect_again_and_again(self) -> None:
        ever, waited, pause = False, 0.0, _FIRST_PAUSE_S
        while True:
            came, problem = self._connect()
            if came:
                self.reconnects += ever
                ever, waited, pause = True, 0.0, _FIRST_PAUSE_S
            if not ever:
                raise DataError(f"{self._name} brings no image ({problem or 'it is empty'}); check it and try again")
            if not problem or self._stopped.is_set():
                return
            if waited >= self._patience:
                self.lost = f"{self._name} was lost ({problem}) and did not come again within {waited:g} s"
                return
            log.warning("%s is lost (%s); trying again in %g s", self._name, problem, pause)
            self._stopped.wait(pause)
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE_S)

    def _connect(self) -> tuple[bool, str]:
        """Receive until it ends: whether a frame came, and why it ended; nothing if that was to be expected."""
        came = False
        try:
            with _open(self._source) as container:
                whole = self._source.kind in {"pipe", "file"} or bool(container.duration)
                for frame in self._decoded(container):
                    came = True
                    self._offer(frame)
                    if self._stopped.is_set():
                        return came, ""
        except import_av().error.FFmpegError as error:
            return came, reason(error)
        return came, "" if whole else "it ended"

    def _decoded(self, container: InputContainer) -> Iterator[VideoFrame]:
        """Whole frames; those of a stream that was joined in its middle begin at its next key frame."""
        if not container.streams.video:
            raise DataError(f"{self._name} brings no image, at most sound or text; give another source")
        stream, began = container.streams.video[0], time.monotonic()
        stream.thread_type = "SLICE"  # threads over frames would hold some back
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except import_av().error.InvalidDataError:
                continue
            for frame in frames:
                if self._source.kind == "file" and frame.time is not None:
                    self._stopped.wait(max(0.0, began + frame.time - time.monotonic()))
                if not frame.is_corrupt:
                    yield frame

    def _offer(self, frame: VideoFrame) -> None:
        with self._news:
            self.dropped += self._newest is not None
            self._newest = frame, time.monotonic()
            self._news.notify()

    @property
    def _name(self) -> str:
        return f"camera {self._source.word}" if self._source.kind == "camera" else self._source.name


def _open(source: VideoSource) -> InputContainer:
    av = import_av()
    if source.kind == "camera":
        if sys.platform not in _CAMERAS:
            raise DataError(f"camera {source.word}: cameras have numbers on Linux and macOS; give a stream's address")
        place, kind = _CAMERAS[sys.platform]
        return av.open(place.format(source.word), format=kind, timeout=_TIMEOUT_S)  # type: ignore[no-any-return]
    options = _OPTIONS if source.word.startswith("rtsp") else {k: v for k, v in _OPTIONS.items() if k[:4] != "rtsp"}
    timeout = None if source.kind == "pipe" else _TIMEOUT_S
    return av.open(source.word, options=options, timeout=timeout)  # type: ignore[no-any-return]
