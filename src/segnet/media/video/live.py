"""Cameras and streams: gives the newest frame, and reconnects when the connection is lost."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.errors import DataError
from segnet.media.sources import VideoSource
from segnet.media.video.library import import_av, location, new_reformatter, reason
from segnet.media.video.pixels import pixel_aspect, pixels
from segnet.media.video.reading import Frame, describe_size_change, open_clip

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

__all__ = ["LiveFrame", "LiveSource"]

log = logging.getLogger("segnet")

_TIMEOUT_S = 5.0
_SILENCE_S = 10.0  # without a frame, after which that is said once
_ASK_S = 0.2  # between two questions whether to stop, while no frame comes
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 8.0
# FFmpeg detects the format of a stream from one second instead of five. RTSP over TCP: no lost packets.
_OPTIONS = {"analyzeduration": "1000000", "rtsp_transport": "tcp"}
# An older frame is skipped for the next one if that comes soon: a lower frame rate buys a lower latency, and earlier
# frames are written meanwhile.
_FRESH_S = 0.01
_NEXT_S = 0.045
_STDIN = "pipe:0"
_CAMERAS = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}", "avfoundation")}


@dataclass(frozen=True, eq=False)
class LiveFrame(Frame):
    """A frame of a live source.

    Attributes:
        arrived: time at which it was decoded, in seconds of ``time.monotonic``.
    """

    arrived: float = 0.0


class _Received(NamedTuple):
    """A decoded frame or a read image, the aspect of its pixels, and when it arrived."""

    frame: VideoFrame | NDArray[np.uint8]
    aspect: Fraction
    arrived: float


class LiveSource:
    """Receives frames in a thread and keeps the newest; slow readers miss frames.

    Args:
        source: a camera, a stream, a pipe, or a file or numbered images that are read like a camera.
        rate: frames per second of numbered images.
        channels: 3 (RGB) or 1 (gray).
        end: seconds after the first frame at which the source ends, also while no frame comes; None: it has no end.
        reconnect_timeout: seconds of pauses between reconnections after which a lost source ends.
        stop: asked while no frame comes; True ends the source.

    Attributes:
        dropped: frames that were replaced by a newer one before they were read.
        reconnects: number of reconnections.
        troubles: why the source was lost, each other size of its frames, or which numbered images differ from the rest.
    """

    def __init__(
        self,
        source: VideoSource,
        *,
        rate: float = 25.0,
        channels: int = 3,
        end: float | None = None,
        reconnect_timeout: float = 10.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source = source
        self._rate = rate
        self._channels = channels
        self._end = end
        self._reconnect_timeout = reconnect_timeout
        self._stop = stop
        self._changed = Condition()
        self._newest: _Received | None = None
        self._first: float | None = None  # when the first frame was decoded
        self._sizes: dict[tuple[int, int], None] = {}
        self._stopped = Event()
        self._ended = self._silent = False
        self._error: BaseException | None = None
        self.dropped = self.reconnects = 0
        self.troubles: list[str] = []

    def frames(self) -> Generator[LiveFrame]:
        """Yield the newest frame on each request; waits for a frame that was not yielded yet.

        Raises:
            DataError: the source cannot be opened, or its first connection brings no frame.
        """
        thread = Thread(target=self._receive, name="segnet-live", daemon=True)
        thread.start()
        reformatter = new_reformatter()
        try:
            while (newest := self._take()) is not None:
                frame, aspect, arrived = newest
                self._first = first = arrived if self._first is None else self._first
                image = frame if isinstance(frame, np.ndarray) else pixels(frame, self._channels, reformatter)
                yield LiveFrame(image, Fraction(arrived - first), aspect, arrived=arrived)
        finally:
            self._stopped.set()
            thread.join(0.5)  # a thread that waits for a pipe or a server ends later, or with the program

    def _take(self) -> _Received | None:
        with self._changed:
            asked = time.monotonic()
            while self._newest is None and not (self._ended or self._is_over() or self._stop()):
                self._changed.wait(_ASK_S)
                if not self._silent and self._newest is None and time.monotonic() - asked > _SILENCE_S:
                    self._silent = True
                    log.warning("%s has given no frame for %g s; waiting for the next one", self._name, _SILENCE_S)
            if self._newest is not None and not self._ended and time.monotonic() - self._newest.arrived > _FRESH_S:
                self._changed.wait(_NEXT_S)
            newest, self._newest = self._newest, None
        if newest is None and self._error is not None:
            raise self._error
        return newest

    def _is_over(self) -> bool:
        """Whether the end has come."""
        return self._end is not None and self._first is not None and time.monotonic() - self._first >= self._end

    def _receive(self) -> None:
        try:
            self._reconnect()
        except BaseException as error:  # raised again in the thread that reads the frames
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _reconnect(self) -> None:
        connected, waited, pause = False, 0.0, _FIRST_PAUSE_S
        while True:
            received, problem = self._connect()
            if received:
                self.reconnects += connected
                connected, waited, pause = True, 0.0, _FIRST_PAUSE_S
            if not connected:
                raise DataError(f"{self._name} gives no frame ({problem or 'it is empty'}); check it and try again")
            if not problem or self._stopped.is_set():
                return
            if waited >= self._reconnect_timeout:
                self.troubles.append(f"{self._name} was lost ({problem}) and was not reconnected within {waited:g} s")
                return
            log.warning("%s is lost (%s); reconnecting in %g s", self._name, problem, pause)
            self._stopped.wait(pause)
            waited, pause = waited + pause, min(2 * pause, _MAX_PAUSE_S)

    def _connect(self) -> tuple[bool, str]:
        """Receive frames until the connection ends; returns whether a frame came, and why it ended ("" if expected)."""
        if self._source.kind == "images":
            self._play()
            return True, ""
        received = False
        try:
            with _open(self._source) as container:
                if not container.streams.video:
                    return False, "it has no video stream, at most audio or text"
                ends = self._source.kind in {"pipe", "file"} or bool(container.duration)
                for frame, aspect in self._decode(container):
                    received = True
                    self._offer(frame, aspect)
                    if self._stopped.is_set():
                        return received, ""
        except import_av().error.ExitError:
            return received, f"nothing has come for {_TIMEOUT_S:g} s"
        except import_av().error.FFmpegError as error:
            return received, reason(error)
        return received, "" if ends else "it ended"

    def _decode(self, container: InputContainer) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Intact frames with the aspect of their pixels; a running stream begins at its next key frame."""
        stream, began = container.streams.video[0], time.monotonic()
        stream.thread_type = "SLICE"  # frame threads would delay frames
        start: float | None = None  # time stamps of a recording may begin at any time
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except import_av().error.InvalidDataError:
                continue
            for frame in frames:
                if self._source.kind == "file" and frame.time is not None:
                    start = frame.time if start is None else start
                    self._stopped.wait(max(0.0, began + frame.time - start - time.monotonic()))
                if not frame.is_corrupt:
                    self._note_size(frame)
                    yield frame, pixel_aspect(frame, stream)

    def _note_size(self, frame: VideoFrame) -> None:
        """Note each other size once: a source that changes it at each reconnection may run for weeks."""
        size = frame.width, frame.height
        if self._sizes and size not in self._sizes:
            seconds = time.monotonic() - (self._first or time.monotonic())
            self.troubles.append(describe_size_change(self._name, next(iter(self._sizes)), size, seconds))
        self._sizes[size] = None

    def _play(self) -> None:
        """Offer numbered images in real time."""
        clip, began = open_clip(Path(self._source.word), rate=self._rate), time.monotonic()
        self.troubles = clip.troubles
        for frame in clip.read(channels=self._channels):
            if self._stopped.wait(max(0.0, began + float(frame.time) - time.monotonic())):
                return
            self._offer(frame.image, frame.aspect)

    def _offer(self, frame: VideoFrame | NDArray[np.uint8], aspect: Fraction) -> None:
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = _Received(frame, aspect, time.monotonic())
            self._changed.notify()

    @property
    def _name(self) -> str:
        return f"camera {self._source.word}" if self._source.kind == "camera" else self._source.name


def _open(source: VideoSource) -> InputContainer:
    av = import_av()
    if source.kind == "camera":
        if sys.platform not in _CAMERAS:
            raise DataError(
                f"camera {source.word}: cameras have numbers on Linux and macOS only; give the address of a stream"
            )
        device, driver = _CAMERAS[sys.platform]
        return av.open(device.format(source.word), format=driver, timeout=_TIMEOUT_S)  # type: ignore[no-any-return]
    options = _OPTIONS if source.word.startswith("rtsp") else {k: v for k, v in _OPTIONS.items() if k[:4] != "rtsp"}
    timeout = None if source.kind == "pipe" else _TIMEOUT_S
    word = source.word if source.kind == "stream" or source.word == _STDIN else location(source.word)
    return av.open(word, options=options, timeout=timeout)  # type: ignore[no-any-return]
