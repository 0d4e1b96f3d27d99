"""Copies the audio of a video into the written video file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet.media.video.library import import_av, location

if TYPE_CHECKING:
    from av.container import OutputContainer

__all__ = ["AudioTrack"]

_ENCODERS = ("aac", "libopus", "opus", "libvorbis", "mp3")
_RATE = 48000  # accepted by Opus and by every player


class AudioTrack:
    """Copies the first audio stream of a file, packet by packet; re-encodes it if the output cannot hold its codec.

    Args:
        source: the file.
        into: the written video file, before its first packet.
        start: second of ``source`` at which the written video begins.

    Attributes:
        status: "copied", "re-encoded as ..." or "left out: ...".
    """

    def __init__(self, source: Path, into: OutputContainer, *, start: float) -> None:
        av = import_av()
        self._into = into
        self._failure = av.error.FFmpegError
        self._input = av.open(location(source))
        self._from = self._input.streams.audio[0]
        begin = Fraction(self._input.start_time or 0, 10**6)
        self._shift = begin + Fraction(str(start))
        self._last: int | None = None  # time stamp of the last packet, in ticks
        self._end = self._leap = 0  # its end; what is added to the time stamps
        self._encoded = Fraction(0)  # end of the last encoded frame
        self._form: tuple[str, str, int] | None = None  # of the frames that the resampler takes
        self._to, self.status = self._new_stream(source, into)
        if start:
            self._input.seek(int(self._shift * 10**6))
        self._packets = self._shift_packets()
        self._next: tuple[Fraction, Any] | None = next(self._packets, None)

    def up_to(self, time: Fraction) -> None:
        """Write the audio before this time, in seconds, of the written video."""
        while self._next is not None and self._next[0] < time:
            self._into.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Write what the encoder still holds, and close the source."""
        if self._to is not None and not self._copied and self._to.codec_context.is_open:
            self._into.mux(self._to.encode(None))
        self._packets.close()
        self._input.close()

    def _new_stream(self, source: Path, into: OutputContainer) -> tuple[Any, str]:
        if self._from.codec_context is None:
            return None, "left out: this PyAV does not know its codec"
        codec = self._from.codec_context.name
        self._copied = _can_hold(into, codec) and _can_copy(source, into.format.name)
        if self._copied:
            return into.add_stream_from_template(self._from), "copied"
        usable = [name for name in _ENCODERS if _can_hold(into, name.removeprefix("lib")) and _can_encode(name)]
        if not usable:
            return None, f"left out: {into.format.name} cannot hold {codec}, nor any codec that this PyAV can write"
        return into.add_stream(usable[0], rate=_RATE), f"re-encoded as {usable[0].removeprefix('lib')}"

    def _shift_packets(self) -> Generator[tuple[Fraction, Any]]:
        """Packets of the written video with their times; ends where the source is damaged."""
        if self._to is None:
            return
        try:
            for packet in self._input.demux(self._from):
                if packet.pts is None or packet.time_base is None:
                    continue
                self._shift_times(packet)
                yield from self._copy(packet) if self._copied else self._encode(packet)
        except self._failure:
            return

    def _shift_times(self, packet: Any) -> None:
        """Count times from the start of the written video, and on where joined recordings restart at zero."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if self._last is not None and stamp + self._leap <= self._last:
            self._leap = self._end - stamp
        shift = self._leap - round(self._shift / packet.time_base)
        self._last, self._end = stamp + self._leap, stamp + self._leap + max(1, packet.duration or 0)
        packet.pts, packet.dts = packet.pts + shift, stamp + shift

    def _copy(self, packet: Any) -> Iterator[tuple[Fraction, Any]]:
        if packet.pts >= 0:
            packet.stream = self._to
            yield packet.pts * packet.time_base, packet

    def _encode(self, packet: Any) -> Iterator[tuple[Fraction, Any]]:
        for frame in packet.decode():
            rate, time = frame.sample_rate, self._encoded if frame.pts is None else frame.pts * frame.time_base
            if time >= 0:  # in samples: the ticks of AVI are too long for the frames of an encoder
                frame.pts, frame.time_base = round(max(time, self._encoded) * rate), Fraction(1, rate)
                self._encoded = Fraction(frame.pts + frame.samples, rate)
                packets = [packet for part in self._resample(frame) for packet in self._to.encode(part)]
                yield Fraction(frame.pts, rate), packets

    def _resample(self, frame: Any) -> list[Any]:
        """The frame in the form of the encoder. A resampler takes one form, which changes within recordings of TV."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            self._form, to = form, self._to
            self._resampler = import_av().AudioResampler(format=to.format, layout=to.layout, rate=to.rate)
        resampled: list[Any] = self._resampler.resample(frame)
        return resampled


def _can_hold(container: OutputContainer, codec: str) -> bool:
    return codec in container.supported_codecs


def _can_copy(source: Path, form: str) -> bool:
    """Whether a format takes the audio as it is, by a trial: MP4 refuses PCM without a layout, and MOV Opus."""
    av = import_av()
    try:
        with av.open(location(source)) as file, av.open(BytesIO(), "w", format=form) as trial:
            stream = trial.add_stream_from_template(file.streams.audio[0])
            if (packet := next(file.demux(file.streams.audio[0]), None)) is not None:
                packet.stream = stream
                trial.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _can_encode(encoder: str) -> bool:
    try:
        import_av().codec.Codec(encoder, "w")
    except ValueError:
        return False
    return True
