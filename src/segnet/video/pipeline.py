"""Decoding, model and encoding side by side: a source in, labelled frames or movies out."""

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

from segnet import visualize
from segnet.inference import Predictor
from segnet.labels import Labels
from segnet.look import Look, View
from segnet.prediction import LabelledFrame
from segnet.video.flicker import FlickerMeter
from segnet.video.live import LiveFrame
from segnet.video.opening import Video, open_video
from segnet.video.queues import Background
from segnet.video.settings import VideoConfig
from segnet.video.smoothing import SmoothRuntime
from segnet.video.tally import VideoTally
from segnet.video.writing import Movie, choose_codec, writing

__all__ = ["draw", "label_frames", "label_video", "steadied", "write_video"]


def label_frames(predictor: Predictor, video: Video, *, config: VideoConfig) -> Generator[LabelledFrame]:
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
            yield LabelledFrame(
                frame.image,
                prediction,
                time=frame.time,
                aspect=frame.aspect,
                latency_ms=(time.monotonic() - frame.arrived) * 1000 if isinstance(frame, LiveFrame) else None,
                source=video.source.shown,
                name=f"{video.source.name}/{number:06}",
                number=number,
            )


def label_video(
    predictor: Predictor,
    source: str | Path | int,
    out: str | Path,
    *,
    view: View = "overlay",
    config: VideoConfig | None = None,
    look: Look | None = None,
) -> VideoTally:
    """Label a video or a live source into a movie, with its times, its shape of pixels and its sound.

    Ctrl-C ends the movie where it is, so that it can be played, and is raised again.

    Args:
        predictor: the model.
        source: a video file, ``frames/%06d.jpg``, a camera's number, or a stream's address.
        out: ending in .mp4, .m4v, .mov, .mkv, .webm or .gif.
        view: what the movie shows.
        config: which frames, how steady, which codec.
        look: of overlays and colours.

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
    look: Look | None = None,
    each: Callable[[LabelledFrame], Any] | None = None,
    watch: Callable[[LabelledFrame], bool] | None = None,
) -> None:
    """Label a video into a movie for each view; see ``label_video``.

    Args:
        predictor: the model.
        video: of ``open_video``.
        movies: the file of each view; may be empty.
        config: that of the video.
        tally: is kept up to date.
        look: of overlays and colours.
        each: called in a thread with each frame, such as to write it as a picture.
        watch: called with each frame after the model; False ends the labelling.
    """
    for path in movies.values():
        choose_codec(path, config.codec)
    look = look or Look()
    tally.flicker = FlickerMeter(motion=config.flicker)
    began = time.monotonic()
    interrupted = None
    with ExitStack() as stack:
        opened: dict[View, Movie] = {}

        def write(labelled: LabelledFrame) -> None:
            for view, path in movies.items():
                picture = draw(view, labelled, predictor.labels, look)
                if view not in opened:
                    form = replace(video.form, aspect=labelled.aspect)
                    opened[view] = stack.enter_context(writing(path, picture.shape[:2], form))
                opened[view].add(picture, labelled.time or Fraction(0))
            if each is not None:
                each(labelled)
            tally.add(labelled.image, labelled.mask, predictor.labels)

        with Background(write) as writer:
            try:
                for labelled in label_frames(predictor, video, config=config):
                    writer.put(labelled)
                    tally.seconds = time.monotonic() - began
                    if labelled.latency_ms is not None:
                        tally.latencies_ms.append(labelled.latency_ms)
                    video.account(tally)
                    if watch is not None and not watch(labelled):
                        break
            except KeyboardInterrupt as error:  # first the movies get their end
                interrupted = error
        video.account(tally)
    tally.seconds = time.monotonic() - began
    tally.files += movies.values()
    if interrupted is not None:
        raise interrupted


def draw(view: View, labelled: LabelledFrame, labels: Labels, look: Look | None = None) -> NDArray[np.uint8]:
    """What a movie shows of a frame: uint8 (H, W, 3) RGB; ``side`` has twice the width.

    With ``Look.legend`` "below" it is higher by a legend of all shown classes, the same below every frame.
    """
    look = look or Look()
    picture = visualize.view(view, labelled.image, labelled.mask, labels, look)
    return visualize.add_class_names(picture, labels, look) if look.legend == "below" else picture


def steadied(predictor: Predictor, smooth: float) -> Predictor:
    """The same, with a memory of the frames before, which have this weight; see ``SmoothRuntime``."""
    if not smooth:
        return predictor
    steady = copy(predictor)
    steady.runtime = SmoothRuntime(predictor.runtime, smooth)
    return steady
