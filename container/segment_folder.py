"""The default of the container image: a folder of images or videos in, masks, overlays, a clip and a GIF out.

Inference is ``segnet predict`` with the arguments of the container. The images of the folder become one clip in the
order of their names, and each video one of its own; a GIF of each clip stands beside it.

    SEGNET_IN     folder of the input, /in by default
    SEGNET_OUT    folder of the results, /out by default
    SEGNET_RATE   frames per second of a clip of images, 10 by default
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, SegNetError, one_line
from segnet.media.images.reading import read_image
from segnet.media.images.resizing import resize_image
from segnet.media.sources import VIDEO_SUFFIXES, find_images_below
from segnet.media.video.opening import open_video
from segnet.media.video.settings import VideoConfig
from segnet.media.video.writing import VideoFormat, open_video_writer
from segnet.system.earlier import EarlierResults

GIF_SIDE, GIF_RATE = 480, 10

Frames = Iterable[tuple[Fraction, NDArray[np.uint8]]]


def main() -> int:
    """The exit code: that of ``segnet predict``, or 2 with a line that says what is wrong."""
    try:
        source, out = Path(os.environ.get("SEGNET_IN", "/in")), Path(os.environ.get("SEGNET_OUT", "/out"))
        return segment(source, out, sys.argv[1:], rate=read_rate(os.environ.get("SEGNET_RATE", "10")))
    except SegNetError as error:
        print(f"segnet: {one_line(error)}", file=sys.stderr)
        return 2


def segment(source: Path, out: Path, arguments: list[str], *, rate: Fraction) -> int:
    """Segment what the folder holds, and write the clips."""
    if not source.is_dir():
        raise DataError(f"{source} is no folder; mount one with images or videos: --volume ./frames:{source}:ro")
    images = [image.name for image in find_images_below(source)]
    videos = sorted(path for path in source.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not images and not videos:
        raise DataError(f"{source} holds no image and no video; mount a folder that does")
    clips = ([out / "overlay.mp4"] if images else []) + [out / "overlay" / f"{path.stem}.mp4" for path in videos]
    earlier = EarlierResults(out, force="--force" in arguments)
    earlier.require_replaceable([*clips[: bool(images)], *(clip.with_suffix(".gif") for clip in clips)], inputs=[])
    sources = [*([source] if images else []), *videos]
    code = subprocess.run(
        [
            sys.executable,
            "-m",
            "segnet",
            "predict",
            *sources,
            "--out",
            out,
            "--save",
            "mask,overlay",
            "--legend",
            "none",
            *arguments,
        ],
        check=False,
    ).returncode
    if images:
        overlays = [path for name in sorted(images) if (path := overlay_of(out, name)).exists()]
        write_clip(clips[0], ((number / rate, read_image(path)) for number, path in enumerate(overlays)), rate, earlier)
    for clip in filter(Path.exists, clips):
        write_clip(clip.with_suffix(".gif"), for_gif(clip), Fraction(GIF_RATE), earlier)
    return code


def read_rate(text: str) -> Fraction:
    """Frames per second."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 100:
        raise ConfigError(f"SEGNET_RATE={text} is not possible; give frames per second, above 0 and at most 100")
    return rate


def overlay_of(out: Path, name: Path) -> Path:
    """Where ``segnet predict`` wrote the overlay of an image; names that differ in the suffix only keep it."""
    path = out / "overlay" / name.with_suffix(".png")
    return path if path.exists() else out / "overlay" / f"{name}.png"


def for_gif(clip: Path) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """The frames of a clip, fewer and smaller."""
    following = Fraction(0)
    for frame, _ in open_video(clip, VideoConfig()).frames(lambda image: None):
        if frame.time >= following:
            following += Fraction(1, GIF_RATE)
            height, width = frame.image.shape[:2]
            scale = min(1.0, GIF_SIDE / max(height, width))
            yield frame.time, resize_image(frame.image, (max(1, round(height * scale)), max(1, round(width * scale))))


def write_clip(path: Path, frames: Frames, rate: Fraction, earlier: EarlierResults) -> None:
    """Write a video file of at least one frame."""
    timed = iter(frames)
    first = next(timed, None)
    if first is None:
        return
    size = (first[1].shape[0], first[1].shape[1])
    with earlier.noting(path), open_video_writer(path, size, VideoFormat(rate=rate)) as writer:
        writer.add(first[1], first[0])
        for time, image in timed:
            writer.add(image, time)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
