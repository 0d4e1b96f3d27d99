"""Reads the frames of a video file or of numbered images, in order, upright and in RGB."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import DataError
from segnet.media.sources import NUMBERED, numbered
from segnet.media.video.library import import_av, location, new_reformatter, reason
from segnet.media.video.pixels import pixel_aspect, pixels

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Clip", "Frame", "FrameReader", "ImageSequence", "describe_size_change", "open_clip"]

# Other formats are lists of further files and addresses, or images, or text drawn as images.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,mjpeg,obu,ivf,flv,ogg,gif,asf,mxf,dv,yuv4mpegpipe,wtv,m4v,webp"
)
_SLACK_FRAMES, _SLACK_SHARE = 4, Fraction(1, 100)  # by which a file may end before its duration


@dataclass(frozen=True, eq=False)
class Frame:
    """An image with its time.

    Attributes:
        image: uint8 (H, W, C), upright; RGB for 3 channels, gray for 1.
        time: seconds since the first requested frame, or since ``start``.
        aspect: width of a pixel divided by its height.
    """

    image: NDArray[np.uint8]
    time: Fraction
    aspect: Fraction = Fraction(1)


@dataclass(kw_only=True)
class Clip:
    """Metadata of a video, and after reading its problems.

    Attributes:
        path: the file, or the pattern of the image names.
        rate: mean frames per second.
        tick: unit of the time stamps in seconds.
        frames: number of frames; 0: unknown.
        seconds: duration; 0: unknown.
        audio: whether there is an audio stream.
        troubles: sentences on problems, added while reading.
    """

    path: Path
    rate: Fraction
    tick: Fraction
    frames: int = 0
    seconds: float = 0.0
    audio: bool = False
    troubles: list[str] = field(default_factory=list)

    def expected(self, *, start: float, end: float | None, every: int) -> int:
        """Approximate number of frames; 0: unknown."""
        seconds = self.seconds or float(self.frames / self.rate)
        left = min(seconds, seconds if end is None else end) - start
        return max(0, round(left * self.rate / every))

    def read(
        self, *, start: float = 0.0, end: float | None = None, every: int = 1, channels: int = 3
    ) -> Generator[Frame]:
        """Every ``every``-th frame from ``start`` to before ``end``, in seconds.

        Damaged frames are left out, or partly restored by the decoder; see ``troubles``.

        Raises:
            DataError: there is no frame.
        """
        reader = FrameReader(self, start=start, end=end, every=every, channels=channels)
        with self._open() as container:
            if reader.seek(container):
                yield from reader.frames(container)
                return
        with self._open() as container:
            yield from reader.frames(container)

    def _open(self) -> InputContainer:
        container: InputContainer = import_av().open(location(self.path), options={"format_whitelist": _FORMATS})
        return container


class ImageSequence(Clip):
    """Numbered images, read as a video."""

    def read(
        self, *, start: float = 0.0, end: float | None = None, every: int = 1, channels: int = 3
    ) -> Generator[Frame]:
        """As ``Clip.read``; gaps in the numbers of the names are no gaps in time. Each other size is noted once."""
        from segnet.media.images.reading import read_image

        first = -(-_seconds(start) // self.tick)
        last = self.frames if end is None else min(self.frames, -(-_seconds(end) // self.tick))
        numbers = range(int(first), int(last), every)
        sizes: dict[tuple[int, int], None] = {}
        for number, path in zip(numbers, numbered(self.path)[int(first) : int(last) : every], strict=False):
            try:
                image = read_image(path, channels=channels)
            except DataError as error:
                self.troubles.append(str(error))
            else:
                size = image.shape[1], image.shape[0]
                if sizes and size not in sizes:
                    self.troubles.append(describe_size_change(self.path, next(iter(sizes)), size, number * self.tick))
                sizes[size] = None
                yield Frame(image, (number - first) * self.tick)
        if not sizes:
            raise DataError(f"{self.path}: no image of it can be read between {start} s and its end")


def open_clip(path: Path, *, rate: float = 25.0) -> Clip:
    """Open a video file, or the images of a pattern such as ``frames/%06d.jpg``, and read the metadata.

    Args:
        path: the file or pattern.
        rate: frames per second of numbered images; files have their own.

    Raises:
        DataError: there is no such file, it is no video, is damaged from its beginning, or holds audio only.
        MissingPackageError: PyAV is not installed.
    """
    if NUMBERED.search(path.name) and not path.exists():
        return _open_sequence(path, rate)
    av = import_av()
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a video; check the path")
    try:
        with av.open(location(path), options={"format_whitelist": _FORMATS}) as container:
            return _describe(path, container)
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path} cannot be read as a video ({reason(error)}): it is of another kind, or was cut off before its "
            "index was written; copy it again, or convert it to MP4"
        ) from error


def _open_sequence(pattern: Path, rate: float) -> Clip:
    if not (frames := len(numbered(pattern))):
        raise DataError(f"{pattern}: there are no such images; give the folder and pattern, as in frames/%06d.jpg")
    exact = Fraction(rate).limit_denominator(1001)
    return ImageSequence(path=pattern, rate=exact, tick=1 / exact, frames=frames, seconds=frames / rate)


def _describe(path: Path, container: InputContainer) -> Clip:
    if not container.streams.video:
        raise DataError(f"{path} has no video stream, at most audio or text; give a video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise DataError(f"{path} has a video stream that this PyAV cannot decode; convert it to MP4 (H.264)")
    tick = stream.time_base or Fraction(1, 90000)
    duration = container.duration or 0
    return Clip(
        path=path,
        rate=Fraction(stream.average_rate or stream.guessed_rate or 25),
        tick=tick,
        frames=stream.frames,
        seconds=float(stream.duration * tick) if stream.duration else duration / 1e6,
        audio=bool(container.streams.audio),
    )


class FrameReader:
    """Decodes one video stream, and records its problems.

    Args:
        clip: gets the problems.
        start, end, every, channels: see ``Clip.read``.
    """

    def __init__(self, clip: Clip, *, start: float, end: float | None, every: int, channels: int) -> None:
        self._clip = clip
        self._start, self._end = _seconds(start), None if end is None else _seconds(end)
        self._every = every
        self._channels = channels
        self._reformatter = new_reformatter()
        self._packets = self._damaged = 0
        self._reached = Fraction(0)  # end of the last packet of any stream
        self._incomplete = False  # whether the last packet is
        self._longest = 1 / clip.rate  # time between two frames
        self._last: Fraction | None = None
        self._leap = Fraction(0)
        self._size: tuple[int, int] | None = None

    def seek(self, container: InputContainer) -> bool:
        """Go to a key frame at or before the start, from which ``frames`` reads on.

        Seeking may end behind the last one: MPEG-TS has no index. Then it is tried again from ever further before.

        Returns:
            False if none was found, or the format cannot seek; then the file is to be read from its beginning.
        """
        begin, back = Fraction(container.start_time or 0, 10**6), Fraction(0)
        try:
            while self._start > back:
                target = int((begin + self._start - back) * 10**6)
                container.seek(target)
                if self._is_before_start(container, begin):
                    container.seek(target)
                    return True
                back = 2 * back or Fraction(1)
        except import_av().error.FFmpegError:
            return False
        return not self._start

    def frames(self, container: InputContainer) -> Iterator[Frame]:
        """The requested frames.

        Raises:
            DataError: there is none.
        """
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        begin = Fraction(container.start_time or 0, 10**6)
        count = 0
        for frame in self._decode(container, stream):
            time = self._time(frame.pts) - begin
            if self._end is not None and time >= self._end:
                break
            if time < self._start:
                continue
            count += 1
            if (count - 1) % self._every == 0:
                self._note_size(frame, time)
                image = pixels(frame, self._channels, self._reformatter)
                yield Frame(image, time - self._start, pixel_aspect(frame, stream))
        else:
            self._note_shortage(container, stream)
        self._note_damage()
        if not count:
            self._raise_no_frame(begin)

    def _is_before_start(self, container: InputContainer, begin: Fraction) -> bool:
        """Whether the next key frame is at or before the start."""
        for packet in container.demux(container.streams.video[0]):
            if packet.is_keyframe and packet.pts is not None:
                return packet.pts * self._clip.tick - begin <= self._start
        return False

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        errors = import_av().error
        packets = self._packets_of(container, stream)
        for packet in packets:
            try:
                frames = stream.codec_context.decode(packet)
            except errors.EOFError:
                return
            except errors.FFmpegError:
                self._damaged += 1
                continue
            for frame in frames:
                self._damaged += frame.is_corrupt
                yield frame

    def _packets_of(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any] | None]:
        """Packets up to the end or to damage, then None, which flushes the decoder."""
        try:
            for packet in container.demux():  # audio may last longer than the images
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    self._reached = max(self._reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.size and packet.stream is stream:
                    self._packets += 1
                    self._incomplete = packet.is_corrupt
                    yield packet
        except import_av().error.FFmpegError:
            self._damaged += 1
        yield None

    def _time(self, stamp: int | None) -> Fraction:
        """Time of a frame; always later than the previous one, also where joined recordings restart at zero."""
        if stamp is None:
            time = Fraction(0) if self._last is None else self._last + 1 / self._clip.rate
        else:
            time = stamp * self._clip.tick + self._leap
        if self._last is not None and time <= self._last:
            self._leap += self._last + 1 / self._clip.rate - time
            time = self._last + 1 / self._clip.rate
        if self._last is not None:
            self._longest = max(self._longest, time - self._last)
        self._last = time
        return time

    def _note_size(self, frame: VideoFrame, time: Fraction) -> None:
        if self._size not in (None, (frame.width, frame.height)):
            size = frame.width, frame.height
            self._clip.troubles.append(describe_size_change(self._clip.path, self._size or (0, 0), size, time))
        self._size = frame.width, frame.height

    def _note_shortage(self, container: InputContainer, stream: VideoStream) -> None:
        """Note that a file has fewer frames, ends earlier than its metadata says, or ends within a frame."""
        counted = stream.frames > 0 and not self._drops_frames(container)
        if counted and not self._start and stream.frames > self._packets:
            held = f"it holds {self._packets} of the {stream.frames} frames in its metadata"
        elif not counted and (seconds := self._missing_seconds(container)):
            held = f"it ends {seconds:.2f} s before the end in its metadata"
        elif self._incomplete and not self._damaged:
            held = "it ends within its last frame"
        else:
            return
        self._clip.troubles.append(f"{self._clip.path} is cut off: {held}; copy it again to have the rest")

    def _missing_seconds(self, container: InputContainer) -> float:
        """Seconds between the end of all packets and that in the metadata; 0 if a long last frame may fill them.

        Only Matroska, WebM, MP4 and AVI write a duration; others are estimated from the size of the file.
        """
        duration = Fraction(container.duration or 0, 10**6)
        missing = duration - self._reached
        slack = max(_SLACK_FRAMES * self._longest, _SLACK_SHARE * duration)
        written = {"matroska", "mov", "avi"} & set(container.format.name.split(","))
        return float(missing) if written and missing > slack else 0.0

    def _drops_frames(self, container: InputContainer) -> bool:
        """Whether a camera left frames out of an AVI, whose metadata counts them nevertheless."""
        return container.format.name == "avi" and self._longest * self._clip.rate > Fraction(3, 2)

    def _note_damage(self) -> None:
        if self._damaged:
            self._clip.troubles.append(
                f"{self._clip.path} is damaged: {self._damaged} frames were left out or restored in part; copy it again"
            )

    def _raise_no_frame(self, begin: Fraction) -> None:
        reached = None if self._last is None else self._last - begin
        asked = f" from {float(self._start)} s on" if self._start else ""
        if self._end is None or reached is None or reached < self._end:
            seconds = "" if reached is None else f", which ends after {float(reached):.2f} s"
            remedy = "give another video or start"
        else:
            seconds = f" and before {float(self._end)} s; the next one is at {float(reached):.2f} s"
            remedy = "give another end"
        raise DataError(f"{self._clip.path} holds no frame that can be read{asked}{seconds}; {remedy}")


def describe_size_change(
    name: object, before: tuple[int, int], size: tuple[int, int], seconds: float | Fraction
) -> str:
    """A sentence on frames of a source that change their size, (width, height)."""
    return (
        f"{name}: the image changes from {before[0]}x{before[1]} to {size[0]}x{size[1]} at {float(seconds):.2f} s; the "
        "written video keeps its first size, to which later frames are resized"
    )


def _seconds(number: float) -> Fraction:
    """The decimal value as it is written: 0.1 is a tenth, not the nearest binary fraction."""
    return Fraction(str(number))
