"""Movie files: compressed images with their own times, and the sound of where they came from."""

from __future__ import annotations

import logging
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
from segnet.media.video.audio import Sound
from segnet.media.video.library import import_av, reason
from segnet.media.video.settings import Codec
from segnet.system.files import replacing

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["MOVIE_SUFFIXES", "Movie", "MovieFormat", "choose_codec", "writing"]

log = logging.getLogger("segnet")

# Codecs that each kind of file holds here, the first by default.
_HOLDS: dict[str, tuple[Codec, ...]] = {
    ".mp4": ("h264", "vp9", "av1"),
    ".m4v": ("h264",),
    ".mov": ("h264",),
    ".mkv": ("h264", "vp9", "av1"),
    ".webm": ("vp9", "av1"),
    ".gif": ("auto",),
}

MOVIE_SUFFIXES = frozenset(_HOLDS)
"""The endings of movies that can be written."""

# Encoders of a codec, the best first; builds of PyAV differ. The settings are each one's for quick work and good looks;
# without frames that look ahead (bf) the length of a movie of variable rate is right, too.
_ENCODERS: dict[Codec, tuple[tuple[str, dict[str, str]], ...]] = {
    "h264": (
        ("libx264", {"preset": "superfast", "crf": "20", "bf": "0"}),
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
_HD = 720  # rows from which players take the colors for those of ITU-R BT.709
_SPACES = {True: ("ITU709", 1), False: ("ITU601", 6)}  # PyAV's name, and the number that the file tells players
_TICKS = {"gif": Fraction(1, 100), "mpeg4": Fraction(1, 60000)}  # the finest that the encoder knows


@dataclass(frozen=True, kw_only=True)
class MovieFormat:
    """What a movie is to be.

    Attributes:
        codec: of the images.
        rate: frames a second on average.
        tick: seconds; times are rounded to whole numbers of it.
        aspect: width of a pixel over its height.
        sound: the file to take it from, if any.
        start: second of that file at which the movie begins.
    """

    codec: Codec = "auto"
    rate: Fraction = Fraction(25)
    tick: Fraction = Fraction(1, 90000)
    aspect: Fraction = Fraction(1)
    sound: Path | None = None
    start: float = 0.0


def choose_codec(path: Path, codec: Codec) -> Codec:
    """What the images of this file will be compressed with.

    Raises:
        ConfigError: no movie ends like this, or such a file cannot hold the codec.
    """
    held = _HOLDS.get(path.suffix.lower())
    if held is None:
        raise ConfigError(f"{path} cannot be written as a movie; give a name that ends in {' '.join(_HOLDS)}")
    if codec == "auto":
        return held[0]
    if codec not in held:
        raise ConfigError(f"{path} cannot hold {codec}; choose --codec auto, or a name that ends in .mkv")
    return codec


@contextmanager
def writing(path: Path, size: tuple[int, int], form: MovieFormat) -> Iterator[Movie]:
    """A movie that gets its name when the block is left, and leaves nothing behind if the block raises.

    Args:
        path: ending in .mp4, .m4v, .mov, .mkv, .webm or .gif.
        size: (height, width) of the images.
        form: what it is to be.

    Raises:
        ConfigError: see ``choose_codec``.
        OutputError: it cannot be written.
        MissingPackageError: PyAV is not installed.
    """
    codec = choose_codec(path, form.codec)
    errors = import_av().error
    with replacing(path) as temporary:
        try:
            movie = Movie(temporary, size, codec, form)
            try:
                yield movie
            finally:
                movie.close()
        except errors.FFmpegError as error:
            if isinstance(error, OSError):  # what ``replacing`` has words for
                raise
            raise OutputError(f"{path} cannot be written ({reason(error)}); choose another codec or name") from error
    if movie.told:
        log.info("%s: %s", path, movie.told)


class Movie:
    """A movie that is being written; see ``writing``.

    Args:
        path: the file.
        size: (height, width) of the images.
        codec: of ``choose_codec``.
        form: what it is to be.

    Attributes:
        told: what became of the sound, or which codec had to stand in, if there is something to say.
    """

    def __init__(self, path: Path, size: tuple[int, int], codec: Codec, form: MovieFormat) -> None:
        self._size = size
        self._gif = path.suffix.lower() == ".gif"
        encoder, settings, stood_in = _encoder(codec)
        self._tick = max(form.tick, _TICKS.get(encoder, form.tick))
        # A frame's length, which the last one has; the others end where the next begins.
        self._step = max(1, round(1 / form.rate / self._tick))
        self._last = -1
        options = {"movflags": "+faststart"} if path.suffix.lower() in {".mp4", ".m4v", ".mov"} else {}
        self._file = import_av().open(str(path), "w", container_options=options)
        self._video = self._new_stream(encoder, settings, form)
        self._sound = None if form.sound is None else Sound(form.sound, self._file, start=form.start)
        heard = f"sound {self._sound.how}" if self._sound is not None and self._sound.how != "copied" else ""
        self.told = "; ".join(filter(None, (stood_in, heard)))

    def add(self, image: NDArray[np.uint8], time: Fraction) -> None:
        """Write an image, uint8 (H, W, 3), to be seen from this second on; scaled if it has another size.

        A time that is not later than the one before becomes the next possible one.
        """
        if image.shape[:2] != self._size:
            height, width = self._size
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        frame = self._paletted(image) if self._gif else self._planar(image)
        self._last = max(round(time / self._tick), self._last + 1)
        frame.pts, frame.time_base, frame.duration = self._last, self._tick, self._step
        self._file.mux(self._video.encode(frame))
        if self._sound is not None:
            self._sound.up_to(time)

    def close(self) -> None:
        """Write what the encoder still keeps, the sound up to the last image's end, and the file's index."""
        try:
            if self._video.codec_context.is_open:
                self._file.mux(self._video.encode(None))
            if self._sound is not None:
                self._sound.up_to((self._last + self._step) * self._tick)
                self._sound.close()
        finally:
            self._file.close()

    def _new_stream(self, encoder: str, settings: dict[str, str], form: MovieFormat) -> Any:
        stream = self._file.add_stream(encoder, rate=form.rate.limit_denominator(1001), options=settings)
        height, width = self._size
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "pal8" if self._gif else "yuv420p"
        if self._gif:
            stream.height, stream.width = height, width
        else:
            stream.codec_context.colorspace = _SPACES[height >= _HD][1]
            stream.codec_context.color_range = 1  # 16 to 235
        stream.codec_context.time_base = self._tick
        stream.codec_context.sample_aspect_ratio = form.aspect
        return stream

    def _planar(self, image: NDArray[np.uint8]) -> VideoFrame:
        """Luma and half as much chroma; a side of odd length gets its last row or column twice."""
        height, width = self._size
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame: VideoFrame = import_av().VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return frame.reformat(format="yuv420p", dst_colorspace=_SPACES[height >= _HD][0])

    def _paletted(self, frame_rgb: NDArray[np.uint8]) -> VideoFrame:
        """With the 256 colors that suit the image best."""
        image = Image.fromarray(frame_rgb).quantize(256)
        palette = np.zeros((256, 4), dtype=np.uint8)
        palette[:, 0] = 255  # opaque
        colors = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        palette[: len(colors), 1:] = colors
        frame: VideoFrame = import_av().VideoFrame.from_ndarray((np.array(image), palette), format="pal8")
        return frame


def _encoder(codec: Codec) -> tuple[str, dict[str, str], str]:
    """Its name and settings, and a word if it is not the one that was meant."""
    av = import_av()
    for name, settings in _ENCODERS[codec]:
        if name in av.codecs_available:
            first = _ENCODERS[codec][0][0]
            return name, settings, "" if name == first else f"this PyAV lacks {first}; written with {name}"
    names = " or ".join(name for name, _ in _ENCODERS[codec])
    raise ConfigError(f"this build of PyAV cannot write {codec} (it lacks {names}); choose another --codec")
