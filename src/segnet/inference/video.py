"""Decoding, model and encoding side by side: a source in, labeled frames or movies out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from copy import copy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.inference.smoothing import SmoothRuntime
from segnet.inference.video_report import VideoTally
from segnet.labels import ClassTable
from segnet.media.video.live import LiveFrame
from segnet.media.video.opening import Video, open_video
from segnet.media.video.settings import VideoConfig
from segnet.media.video.writing import VideoWriter, choose_codec, open_video_writer
from segnet.metrics.flicker import FlickerMeter
from segnet.system.queues import Background
from segnet.visualization import overlay as visualize
from segnet.visualization.style import OverlayStyle, View

__all__ = ["draw", "segment_frames", "segment_video", "steadied", "write_video"]


def segment_frames(predictor: Predictor, video: Video, *, config: VideoConfig) -> Generator[SegmentedFrame]:
    """Label the frames of an open video, one by one, as they are asked for.

    Reading goes on in a thread, so that the model does not wait for it.

    Args:
        predictor: the model.
        video: of ``open_video``.
        config: how steady; that of the video.

    Raises:
        DataError: not one frame can be read.
        ModelError: smoothing was asked of a model that gives masks alone.
    """
    steady = steadied(predictor, config.smooth)
    with closing(video.frames()) as frames:
        for number, frame in enumerate(frames):
            prediction = steady(frame.image)
            yield SegmentedFrame(
                frame.image,
                prediction,
                time=frame.time,
                aspect=frame.aspect,
                latency_ms=(time.monotonic() - frame.arrived) * 1000 if isinstance(frame, LiveFrame) else None,
                source=video.source.shown,
                name=f"{video.source.name}/{number:06}",
                number=number,
            )


def segment_video(
    predictor: Predictor,
    source: str | Path | int,
    out: str | Path,
    *,
    view: View = "overlay",
    config: VideoConfig | None = None,
    look: OverlayStyle | None = None,
) -> VideoTally:
    """Label a video or a live source into a movie, with its times, its shape of pixels and its sound.

    Ctrl-C ends the movie where it is, so that it can be played, and is raised again.

    Args:
        predictor: the model.
        source: a video file, ``frames/%06d.jpg``, a camera's number, or a stream's address.
        out: ending in .mp4, .m4v, .mov, .mkv, .webm or .gif.
        view: what the movie shows.
        config: which frames, how steady, which codec.
        look: of overlays and colors.

    Raises:
        OutputError: the movie cannot be written.
        ConfigError: the look names a class that the model does not know; see ``open_video`` and ``choose_codec``.
        DataError, ModelError, MissingPackageError: see ``segnet.stream``.
    """
    tally, config = VideoTally(), config or VideoConfig()
    video = open_video(source, config, channels=predictor.channels)
    write_video(predictor, video, {view: Path(out)}, config=config, tally=tally, look=look)
    return tally


def write_video(
    predictor: Predictor,
    video: Video,
    movies: Mapping[View, Path],
    *,
    config: VideoConfig,
    tally: VideoTally,
    look: OverlayStyle | None = None,
    each: Callable[[SegmentedFrame], Any] | None = None,
    watch: Callable[[SegmentedFrame], bool] | None = None,
) -> None:
    """Label a video into a movie for each view; see ``segment_video``.

    Args:
        predictor: the model.
        video: of ``open_video``.
        movies: the file of each view; may be empty.
        config: that of the video.
        tally: is kept up to date.
        look: of overlays and colors.
        each: called in a thread with each frame, such as to write it as an image.
        watch: called with each frame after the model; False ends the labeling.
    """
    for path in movies.values():
        choose_codec(path, config.codec)
    look = look or OverlayStyle()
    tally.flicker = FlickerMeter(motion=config.flicker)
    began = time.monotonic()
    interrupted = None
    with ExitStack() as stack:
        opened: dict[View, VideoWriter] = {}

        def write(labeled: SegmentedFrame) -> None:
            for view, path in movies.items():
                image = draw(view, labeled, predictor.labels, look)
                if view not in opened:
                    form = replace(video.format, aspect=labeled.aspect)
                    opened[view] = stack.enter_context(open_video_writer(path, image.shape[:2], form))
                opened[view].add(image, labeled.time or Fraction(0))
            if each is not None:
                each(labeled)
            tally.add(labeled.image, labeled.mask, predictor.labels)

        with Background(write) as writer:
            try:
                for labeled in segment_frames(predictor, video, config=config):
                    writer.put(labeled)
                    tally.seconds = time.monotonic() - began
                    if labeled.latency_ms is not None:
                        tally.latencies_ms.append(labeled.latency_ms)
                    video.account(tally)
                    if watch is not None and not watch(labeled):
                        break
            except KeyboardInterrupt as error:  # first the movies get their end
                interrupted = error
        video.account(tally)
    tally.seconds = time.monotonic() - began
    tally.files += movies.values()
    if interrupted is not None:
        raise interrupted


def draw(
    view: View, labeled: SegmentedFrame, labels: ClassTable, look: OverlayStyle | None = None
) -> NDArray[np.uint8]:
    """What a movie shows of a frame: uint8 (H, W, 3) RGB; ``side`` has twice the width.

    With ``OverlayStyle.legend`` "below" it is higher by a legend of all shown classes, the same below every frame.
    """
    look = look or OverlayStyle()
    image = visualize.view(view, labeled.image, labeled.mask, labels, look)
    return visualize.add_class_names(image, labels, look) if look.legend == "below" else image


def steadied(predictor: Predictor, smooth: float) -> Predictor:
    """The same, with a memory of the frames before, which have this weight; see ``SmoothRuntime``."""
    if not smooth:
        return predictor
    steady = copy(predictor)
    steady.runtime = SmoothRuntime(predictor.runtime, smooth)
    return steady
