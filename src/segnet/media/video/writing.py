"""Writes video files: compressed frames with their own times, and the audio of the source."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.errors import ConfigError, OutputError
from segnet.media.video.audio import AudioTrack
from segnet.media.video.library import import_av, location, new_reformatter, reason
from segnet.media.video.settings import Codec
from segnet.system.files import replacing

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["VideoFormat", "VideoWriter", "choose_codec", "open_video_writer"]

log = logging.getLogger("segnet")

# Codecs of each suffix in ``WRITABLE_VIDEO_SUFFIXES``, the first by default.
_CODECS: dict[str, tuple[Codec, ...]] = {
    ".mp4": ("h264", "vp9", "av1"),
    ".m4v": ("h264",),
    ".mov": ("h264",),
    ".mkv": ("h264", "vp9", "av1"),
    ".webm": ("vp9", "av1"),
    ".gif": ("auto",),
}

# Encoders of a codec, the best first; builds of PyAV differ. The settings are fast at good quality. Without B-frames
# (bf) the duration of a video with a variable frame rate is right, too. For overlays of a drive in 960x540 H.264's
# ultrafast at 19 takes less than half the time of superfast at 20, an eighth more bytes, and has a PSNR 0.6 dB higher.
# Plain colors take 43 % more bytes.
_ENCODERS: dict[Codec, tuple[tuple[str, dict[str, str]], ...]] = {
    "h264": (
        ("libx264", {"preset": "ultrafast", "crf": "19", "bf": "0"}),
        ("libopenh264", {"b": "8M"}),
        ("mpeg4", {"b": "8M"}),
    ),
    "vp9": (("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0", "row-mt": "1"}),),
    "av1": (
        ("libsvtav1", {"preset": "11", "crf": "32"}),
        ("libaom-av1", {"usage": "realtime", "cpu-used": "9", "crf": "32", "b": "0"}),
    ),
    "auto": (("gif", {}),),
}
_LEAST_AV1_SIDE = 32  # libsvtav1 4.1 hangs at the end of videos of 24x1000
_MOST_AV1_RATE = 240  # libsvtav1 refuses more; frames have their own times
_HD = 720  # rows from which players assume ITU-R BT.709 colors
_SPACES = {True: (1, 1), False: (5, 6)}  # swscale's number (SWS_CS_ITU709, SWS_CS_ITU601), and that in the file
_TICKS = {"gif": Fraction(1, 100), "mpeg4": Fraction(1, 60000)}  # the finest of the encoder


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """Format of a written video file.

    Attributes:
        codec: of the frames.
        rate: mean frames per second.
        tick: unit of the time stamps in seconds; times are rounded to it.
        aspect: width of a pixel divided by its height.
        audio: file whose audio is copied; None: no audio.
        start: second of that file at which the video begins.
    """

    codec: Codec = "auto"
    rate: Fraction = Fraction(25)
    tick: Fraction = Fraction(1, 90000)
    aspect: Fraction = Fraction(1)
    audio: Path | None = None
    start: float = 0.0


def choose_codec(path: Path, codec: Codec) -> Codec:
    """The codec of a written video file.

    Raises:
        ConfigError: the suffix is not one of ``WRITABLE_VIDEO_SUFFIXES``, or such a file cannot hold the codec.
    """
    possible = _CODECS.get(path.suffix.lower())
    if possible is None:
        raise ConfigError(f"{path} cannot be written as a video; give a name that ends in {' '.join(_CODECS)}")
    if codec == "auto":
        return possible[0]
    if codec not in possible:
        raise ConfigError(f"{path} cannot hold {codec}; choose --codec auto, or a name that ends in .mkv")
    return codec


@contextmanager
def open_video_writer(path: Path, size: tuple[int, int], video_format: VideoFormat) -> Iterator[VideoWriter]:
    """Open a video file for writing; it gets its name at the end, and an error in the block leaves nothing behind.

    Args:
        path: ending in .mp4, .m4v, .mov, .mkv, .webm or .gif.
        size: (height, width) of the frames.
        video_format: codec, rate and audio.

    Raises:
        ConfigError: see ``choose_codec``; or the frames are too small for the codec.
        OutputError: the file cannot be written.
        MissingPackageError: PyAV is not installed.
    """
    codec = choose_codec(path, video_format.codec)
    _check_size(path, size, codec)
    errors = import_av().error
    with replacing(path) as temporary:
        try:
            writer = VideoWriter(temporary, size, codec, video_format)
            try:
                yield writer
            finally:
                writer.close()
        except errors.FFmpegError as error:
            if isinstance(error, OSError):  # explained by ``replacing``
                raise
            raise OutputError(f"{path} cannot be written ({reason(error)}); choose another codec or name") from error
    if writer.notes:
        log.info("%s: %s", path, writer.notes)


class VideoWriter:
    """Writes a video file; see ``open_video_writer``.

    Args:
        path: the file.
        size: (height, width) of the frames.
        codec: of ``choose_codec``.
        video_format: rate, aspect and audio.

    Attributes:
        notes: whether the audio was re-encoded or left out, and which encoder replaced a missing one.
    """

    def __init__(self, path: Path, size: tuple[int, int], codec: Codec, video_format: VideoFormat) -> None:
        self._size = size
        self._gif = path.suffix.lower() == ".gif"
        encoder, settings, replacement = _choose_encoder(codec)
        self._tick = max(video_format.tick, _TICKS.get(encoder, video_format.tick))
        # Duration of the last frame; the others end where the next begins.
        self._step = max(1, round(1 / video_format.rate / self._tick))
        self._last = -1
        self._reformatter = new_reformatter()
        options = {"movflags": "+faststart"} if path.suffix.lower() in {".mp4", ".m4v", ".mov"} else {}
        self._file = import_av().open(location(path), "w", container_options=options)
        self._video = self._new_stream(encoder, settings, video_format)
        self._audio = (
            None if video_format.audio is None else AudioTrack(video_format.audio, self._file, start=video_format.start)
        )
        audio = f"audio {self._audio.status}" if self._audio is not None and self._audio.status != "copied" else ""
        self.notes = "; ".join(filter(None, (replacement, audio)))

    def add(self, image: NDArray[np.uint8], time: Fraction) -> None:
        """Write a frame, uint8 (H, W, 3) RGB, shown from this second on; resized if it has another size.

        A time that is not later than the previous one becomes the next possible time.
        """
        if image.shape[:2] != self._size:
            height, width = self._size
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        frame = self._to_palette(image) if self._gif else self._to_yuv(image)
        self._last = max(round(time / self._tick), self._last + 1)
        frame.pts, frame.time_base, frame.duration = self._last, self._tick, self._step
        self._file.mux(self._video.encode(frame))
        if self._audio is not None:
            self._audio.up_to(time)

    def close(self) -> None:
        """Write what the encoder still holds, the audio up to the end of the last frame, and the index."""
        try:
            if self._video.codec_context.is_open:
                self._file.mux(self._video.encode(None))
            if self._audio is not None:
                self._audio.up_to((self._last + self._step) * self._tick)
                self._audio.close()
        finally:
            self._file.close()

    def _new_stream(self, encoder: str, settings: dict[str, str], video_format: VideoFormat) -> Any:
        rate = video_format.rate.limit_denominator(1001)
        if encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only
            rate = min(rate, Fraction(_MOST_AV1_RATE))
        stream = self._file.add_stream(encoder, rate=rate, options=settings)
        height, width = self._size
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "pal8" if self._gif else "yuv420p"
        if self._gif:
            stream.height, stream.width = height, width
        else:
            stream.codec_context.colorspace = _SPACES[height >= _HD][1]
            stream.codec_context.color_range = 1  # 16 to 235
        stream.codec_context.time_base = self._tick
        stream.codec_context.sample_aspect_ratio = video_format.aspect
        return stream

    def _to_yuv(self, image: NDArray[np.uint8]) -> VideoFrame:
        """Convert to YUV 4:2:0; an odd last row or column is repeated."""
        height, width = self._size
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame: VideoFrame = import_av().VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="rgb24")
        return self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=_SPACES[height >= _HD][0])

    def _to_palette(self, frame_rgb: NDArray[np.uint8]) -> VideoFrame:
        """Convert to a palette of the 256 best colors."""
        image = Image.fromarray(frame_rgb).quantize(256)
        palette = np.zeros((256, 4), dtype=np.uint8)
        palette[:, 0] = 255  # opaque
        colors = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        palette[: len(colors), 1:] = colors
        frame: VideoFrame = import_av().VideoFrame.from_ndarray((np.array(image), palette), format="pal8")
        return frame


def _check_size(path: Path, size: tuple[int, int], codec: Codec) -> None:
    if codec == "av1" and min(size) < _LEAST_AV1_SIDE:
        height, width = size
        raise ConfigError(
            f"{path} cannot be written as av1: its frames have {width}x{height} pixels, and av1 needs at least "
            f"{_LEAST_AV1_SIDE} on each side; choose --codec vp9"
        )


def _choose_encoder(codec: Codec) -> tuple[str, dict[str, str], str]:
    """The encoder of a codec, its settings, and a note if it replaces a missing one."""
    av = import_av()
    for name, settings in _ENCODERS[codec]:
        if name in av.codecs_available:
            first = _ENCODERS[codec][0][0]
            return name, settings, "" if name == first else f"this PyAV lacks {first}; written with {name}"
    names = " or ".join(name for name, _ in _ENCODERS[codec])
    raise ConfigError(f"this build of PyAV cannot write {codec} (it lacks {names}); choose another --codec")
