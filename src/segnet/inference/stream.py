"""Streaming inference over images, videos, cameras, and frames from a program."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from segnet.errors import ConfigError
from segnet.inference.inputs import ImageSource, Order, check_order, is_one_image, read_input
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor, require_predictor
from segnet.inference.video import segment_frames, with_smoothing
from segnet.media.images.stored import read_pixels
from segnet.media.sources import ImageFile, VideoSource, find_sources
from segnet.media.video.opening import Video, open_video
from segnet.media.video.settings import VideoConfig
from segnet.system.field_types import require_kind
from segnet.system.threads import read_ahead

__all__ = ["stream"]


def stream(
    predictor: Predictor,
    source: str | Path | int | Video | Iterable[ImageSource],
    *,
    order: Order = "rgb",
    config: VideoConfig | None = None,
) -> Generator[SegmentedFrame]:
    """Segment images or video frames, one by one, when the next one is requested.

    Files are read in background threads. Exhaust or close the generator to end them.

    Args:
        predictor: the model.
        source: an image, a folder or a glob of images; a video (a .gif is one) or a glob of videos;
            ``frames/%06d.jpg``; a camera's number; a stream's address; or an iterable of frames of any sizes and kinds
            that ``predictor`` takes, such as arrays and Pillow images.
        order: channel order of arrays; "bgr" for those of OpenCV. The resulting frames are RGB.
        config: which frames of a video, and temporal smoothing. For frames from a program only ``every`` and
            ``smoothing`` count; for images nothing.

    Raises:
        DataError: the image or video does not exist or cannot be read, or not one frame of a video can; or an image
            has values outside the range of its mode.
        ConfigError: ``order`` or ``config`` does not fit the source; or the source is one array, tensor or image,
            which ``predictor`` itself takes.
        ShapeError: an array or a tensor has another shape or type than ``predictor`` takes.
        ModelError: smoothing is requested, and the model outputs class indices only; or ``predictor`` is none.
        MissingPackageError: PyAV, which reads videos, is not installed.
    """
    require_predictor(predictor)
    config = VideoConfig() if config is None else config
    require_kind("config", config, VideoConfig, example="every=5")
    check_order(order)
    if isinstance(source, str | Path | int | Video):
        if order != "rgb":
            raise ConfigError(f"order={order!r} is for arrays, and {source} is read as RGB; leave order out")
        yield from _stream_files(predictor, source, config)
    elif is_one_image(source) and getattr(source, "ndim", 0) < 4:  # arrays and tensors of four axes hold many
        given = type(source).__name__
        raise ConfigError(
            f"{given} is not a source of frames; give a path, a camera's number, an address, or frames to iterate over"
            "; for one image call predictor(image), or stream([image])"
        )
    else:
        yield from _stream_frames(predictor, source, order, config)


def _stream_files(
    predictor: Predictor, source: str | Path | int | Video, config: VideoConfig
) -> Generator[SegmentedFrame]:
    """Frames of files, cameras and addresses."""
    if isinstance(source, Video):
        yield from segment_frames(predictor, source, config=config)
        return
    found = find_sources(str(source), animations=True)
    for video in (one for one in found if isinstance(one, VideoSource)):
        opened = open_video(video, config, channels=predictor.channels)
        yield from segment_frames(predictor, opened, config=config)
    yield from _stream_images(predictor, [one for one in found if isinstance(one, ImageFile)])


def _stream_images(predictor: Predictor, images: Sequence[ImageFile]) -> Generator[SegmentedFrame]:
    for file, decoded in read_ahead(images, lambda file: read_pixels(file.path, predictor.channels)):
        prediction = predictor.predict_pixels(decoded.result())
        name = file.name.with_suffix("").as_posix()
        assert prediction.image is not None
        yield SegmentedFrame(prediction.image, prediction, source=str(file.path), name=name)


def _stream_frames(
    predictor: Predictor, frames: Iterable[Any], order: Order, config: VideoConfig
) -> Generator[SegmentedFrame]:
    """Frames from a program."""
    if config.start or config.end is not None:
        raise ConfigError("start and end are seconds of a video, and frames of a program have no times; choose frames")
    smoothed = with_smoothing(predictor, config.smoothing)
    for number, frame in enumerate(islice(frames, 0, None, config.every)):
        pixels = read_input(frame, channels=predictor.channels, order=order, name=f"frame {number * config.every}")
        prediction = smoothed.predict_pixels(pixels)
        assert prediction.image is not None
        yield SegmentedFrame(prediction.image, prediction, name=f"{number:06}", number=number)
