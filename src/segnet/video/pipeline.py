"""Decoding, model and encoding side by side: a source in, labelled frames or movies out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet import visualize
from segnet.inference import Prediction, Predictor
from segnet.labels import Labels
from segnet.video.flicker import FlickerMeter
from segnet.video.live import LiveFrame
from segnet.video.opening import Video, open_video
from segnet.video.queues import Background
from segnet.video.settings import VideoConfig, View
from segnet.video.smoothing import SmoothRuntime
from segnet.video.tally import VideoTally
from segnet.video.writing import Movie, choose_codec, writing

__all__ = ["LabelledFrame", "draw", "label_video", "stream", "write_video"]


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame and what the model says of it.

    Attributes:
        image: uint8 (H, W, C), upright; RGB for 3 channels, grey for 1.
        prediction: of this frame; smoothed if that was asked for.
        time: seconds since the first frame, or since ``VideoConfig.start``.
        aspect: width of a pixel over its height.
        latency_ms: of a live source, from the moment that the frame was there to the prediction; else None.
    """

    image: NDArray[np.uint8]
    prediction: Prediction
    time: Fraction
    aspect: Fraction = Fraction(1)
    latency_ms: float | None = None


def stream(
    predictor: Predictor, source: str | Path | int | Video, *, config: VideoConfig | None = None
) -> Generator[LabelledFrame]:
    """Label the frames of a video or a live source, one by one, as they are asked for.

    Reading goes on in a thread, so that the model does not wait for it. Close the generator, or take all, to end it.

    Args:
        predictor: the model.
        source: a video file, ``frames/%06d.jpg``, a camera's number, a stream's address, or what ``open_video`` gave.
        config: which frames, and how steady.

    Raises:
        DataError: there is no such video, or not one frame of it can be read.
        ConfigError: see ``open_video``.
        ModelError: smoothing was asked of a model that gives masks alone.
        MissingPackageError: PyAV is not installed.
    """
    config = config or VideoConfig()
    video = source if isinstance(source, Video) else open_video(source, config, channels=predictor.channels)
    steady = _steadied(predictor, config.smooth)
    with closing(video.frames()) as frames:
        for frame in frames:
            prediction = steady(frame.image)
            latency = (time.monotonic() - frame.arrived) * 1000 if isinstance(frame, LiveFrame) else None
            yield LabelledFrame(frame.image, prediction, frame.time, frame.aspect, latency)


def label_video(
    predictor: Predictor,
    source: str | Path | int,
    out: str | Path,
    *,
    view: View = "overlay",
    config: VideoConfig | None = None,
) -> VideoTally:
    """Label a video or a live source into a movie, with its times, its shape of pixels and its sound.

    Ctrl-C ends the movie where it is, so that it can be played, and is raised again.

    Args:
        predictor: the model.
        source: see ``stream``.
        out: ending in .mp4, .m4v, .mov, .mkv, .webm or .gif.
        view: what the movie shows.
        config: which frames, how steady, which codec.

    Raises:
        OutputError: the movie cannot be written.
        ConfigError: see ``open_video`` and ``choose_codec``.
        DataError, ModelError, MissingPackageError: see ``stream``.
    """
    tally, config = VideoTally(), config or VideoConfig()
    video = open_video(source, config, channels=predictor.channels)
    write_video(predictor, video, {view: Path(out)}, config=config, tally=tally)
    return tally


def write_video(
    predictor: Predictor,
    video: Video,
    movies: Mapping[View, Path],
    *,
    config: VideoConfig,
    tally: VideoTally,
    opacity: float = 0.5,
    each: Callable[[int, LabelledFrame], Any] | None = None,
    watch: Callable[[LabelledFrame], bool] | None = None,
) -> None:
    """Label a video into a movie for each view; see ``label_video``.

    Args:
        predictor: the model.
        video: of ``open_video``.
        movies: the file of each view; may be empty.
        config: that of the video.
        tally: is kept up to date.
        opacity: of the colours.
        each: called in a thread with each frame and its number, such as to write it as a picture.
        watch: called with each frame after the model; False ends the labelling.
    """
    for path in movies.values():
        choose_codec(path, config.codec)
    tally.flicker = FlickerMeter(motion=config.flicker)
    began = time.monotonic()
    interrupted = None
    with ExitStack() as stack:
        opened: dict[View, Movie] = {}

        def write(labelled: LabelledFrame) -> None:
            for view, path in movies.items():
                picture = draw(view, labelled, predictor.labels, opacity=opacity)
                if view not in opened:
                    form = replace(video.form, aspect=labelled.aspect)
                    opened[view] = stack.enter_context(writing(path, picture.shape[:2], form))
                opened[view].add(picture, labelled.time)
            if each is not None:
                each(tally.frames, labelled)
            tally.add(labelled.image, labelled.prediction.mask, predictor.labels)

        with Background(write) as writer:
            try:
                for labelled in stream(predictor, video, config=config):
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


def draw(view: View, labelled: LabelledFrame, labels: Labels, *, opacity: float = 0.5) -> NDArray[np.uint8]:
    """What a movie shows of a frame: uint8 (H, W, 3) RGB; ``side`` has twice the width."""
    if view == "color":
        return visualize.colorize(labelled.prediction.mask, labels)
    image = labelled.image if labelled.image.shape[2] == 3 else np.repeat(labelled.image, 3, axis=2)
    over = visualize.overlay(image, labelled.prediction.mask, labels, opacity=opacity)
    return over if view == "overlay" else np.concatenate([image, over], axis=1)


def _steadied(predictor: Predictor, smooth: float) -> Predictor:
    """The same, with a memory of the frames before."""
    if not smooth:
        return predictor
    return Predictor(
        SmoothRuntime(predictor.runtime, smooth),
        confidence=predictor.confidence,
        uncertainty=predictor.measure is not None,
        measure=predictor.measure,
        longest=predictor.longest,
    )
