"""One call for all that can be labeled one by one: images, videos, cameras, and frames that a program has."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.errors import ConfigError, ShapeError
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.inference.video import segment_frames, steadied
from segnet.media.images.reading import pixels_of, read_image
from segnet.media.sources import find_images, find_videos
from segnet.media.video.opening import Video, open_video
from segnet.media.video.settings import VideoConfig
from segnet.system.threads import read_ahead

__all__ = ["Order", "stream"]

Order = Literal["rgb", "bgr"]
"""Of the channels of an array: red first, as everywhere here, or blue first, as in OpenCV."""


def stream(
    predictor: Predictor,
    source: str | Path | int | Video | Iterable[NDArray[np.uint8] | Image.Image],
    *,
    order: Order = "rgb",
    config: VideoConfig | None = None,
) -> Generator[SegmentedFrame]:
    """Label images, the frames of a video, or those that a program has, one by one, as they are asked for.

    Files are read in threads, so that the model does not wait for them. Close the generator, or take all, to end it.

    Args:
        predictor: the model.
        source: an image, a folder or a glob of images; a video (a .gif is one) or a glob of some,
            ``frames/%06d.jpg``, a camera's number, a stream's address; or frames, in any number and of any sizes:
            arrays uint8 (H, W, C) or Pillow's images, of which the pixels are those that reading their file gives.
        order: of the channels of arrays; "bgr" for those of OpenCV. The frames that come out are RGB.
        config: which frames of a video, and how steady; of frames that a program has ``every`` and ``smooth`` count, of
            images nothing.

    Raises:
        DataError: there is no such image or video, or it cannot be read; of a video: not one frame of it; of an
            image: values outside the range of its mode.
        ConfigError: ``order`` or ``config`` do not fit the source, or it is one array or image, which ``predictor``
            itself labels.
        ShapeError: a frame is neither uint8 (H, W, C) nor an image.
        ModelError: smoothing was asked of a model that gives masks alone.
        MissingPackageError: PyAV, which reads videos, is not installed.
    """
    config = config or VideoConfig()
    if order not in ("rgb", "bgr"):
        raise ConfigError(f"order={order!r} is unknown; give 'rgb', or 'bgr' for the arrays of OpenCV")
    if isinstance(source, str | Path | int | Video):
        if order != "rgb":
            raise ConfigError(f"order={order!r} is for arrays, and {source} is read as RGB; leave order out")
        yield from _read(predictor, source, config)
    elif isinstance(source, Image.Image) or (isinstance(source, np.ndarray) and source.ndim < 4):
        raise ConfigError("one image was given, and a stream takes many; call predictor(image), or stream([image])")
    elif not isinstance(source, Iterable):
        given = type(source).__name__
        raise ConfigError(
            f"{given} is no source; give a path, a camera's number, an address, or frames to iterate over"
        )
    else:
        yield from _given(predictor, source, order, config)


def _read(predictor: Predictor, source: str | Path | int | Video, config: VideoConfig) -> Generator[SegmentedFrame]:
    """Of files, cameras and addresses."""
    if isinstance(source, Video):
        yield from segment_frames(predictor, source, config=config)
        return
    videos = find_videos(str(source), animations=True)
    for video in videos:
        opened = open_video(video, config, channels=predictor.channels)
        yield from segment_frames(predictor, opened, config=config)
    if not videos:
        yield from _images(predictor, str(source))


def _images(predictor: Predictor, source: str) -> Generator[SegmentedFrame]:
    read = partial(read_image, channels=predictor.channels)
    places = dict(find_images(source))
    for path, decoded in read_ahead(places, read):
        image = decoded.result()
        name = places[path].with_suffix("").as_posix()
        yield SegmentedFrame(image, predictor(image), source=str(path), name=name)


def _given(predictor: Predictor, frames: Iterable[Any], order: Order, config: VideoConfig) -> Generator[SegmentedFrame]:
    if config.start or config.end is not None:
        raise ConfigError("start and end are seconds of a video, and frames of a program have no times; choose frames")
    steady = steadied(predictor, config.smooth)
    for number, frame in enumerate(islice(frames, 0, None, config.every)):
        image = _as_rgb(frame, number * config.every, order, predictor.channels)
        yield SegmentedFrame(image, steady(image), name=f"{number:06}", number=number)


def _as_rgb(frame: Any, number: int, order: Order, channels: int) -> NDArray[np.uint8]:
    """uint8 (H, W, C), as the model wants it."""
    if isinstance(frame, Image.Image):
        return pixels_of(frame, channels=channels, name=f"frame {number}")
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != channels:
        given = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise ShapeError(f"frame {number} is {given}; expected an array uint8 (H, W, {channels}) or an image of Pillow")
    return np.ascontiguousarray(frame[..., ::-1]) if order == "bgr" else frame
