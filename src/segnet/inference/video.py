"""Video inference: decoding, model and encoding run side by side; segmented frames or video files come out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing, nullcontext
from copy import copy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Pixels
from segnet.errors import ConfigError, OutputError, SegNetError
from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.inference.predictor import Predictor, require_predictor
from segnet.inference.smoothing import SmoothedRuntime
from segnet.inference.video_report import VideoReport
from segnet.labels import ClassTable
from segnet.media.video.live import LiveFrame
from segnet.media.video.opening import Video, open_video
from segnet.media.video.reading import Frame
from segnet.media.video.settings import VideoConfig
from segnet.media.video.writing import VideoWriter, choose_codec, open_video_writer
from segnet.metrics.flicker import FlickerMeter
from segnet.system.field_types import require_kind
from segnet.system.queues import Background
from segnet.system.signals import deferring_interrupt
from segnet.system.stages import stage
from segnet.system.threads import map_ahead
from segnet.visualization import overlay as visualize
from segnet.visualization.legends import add_class_names
from segnet.visualization.style import VIEWS, OverlayStyle, View

__all__ = ["draw", "segment_frames", "segment_video", "with_smoothing", "write_video"]


def segment_frames(
    predictor: Predictor, video: Video, *, config: VideoConfig, at_once: int = 1
) -> Generator[SegmentedFrame]:
    """Segment the frames of an open video, one by one, when the next one is requested.

    Frames are read and resized in a background thread.

    Args:
        predictor: the model.
        video: of ``open_video``.
        config: that of the video; its temporal smoothing counts here.
        at_once: number of frames that are segmented at the same time, ahead of the request; 1: none is.

    Raises:
        DataError: not one frame can be read.
        ModelError: smoothing is requested, and the model outputs class indices only.
    """
    smoothed = with_smoothing(predictor, config.smoothing)

    def predict(read: tuple[Frame, Pixels]) -> Prediction:
        return smoothed.predict_pixels(read[0].image, resized=read[1])

    with closing(video.frames(smoothed.resize_pixels)) as frames:
        for number, ((frame, _), prediction) in enumerate(map_ahead(frames, predict, threads=at_once)):
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
    style: OverlayStyle | None = None,
) -> VideoReport:
    """Segment a video or a live source, and write the result as a video file with its timing, aspect and audio.

    Ctrl-C, or an error of the source or the model, finishes the file after the last frame before it, so that it can be
    played, and is raised again. Ctrl-C while the file is being finished waits for that; another one does not.

    Args:
        predictor: the model.
        source: a video file, ``frames/%06d.jpg``, a camera's number, or a stream's address.
        out: ending in .mp4, .m4v, .mov, .mkv, .webm or .gif.
        view: what the video shows.
        config: which frames, temporal smoothing, codec.
        style: of overlays.

    Returns:
        Figures of the video, such as ``frames``, ``seconds`` and ``files``.

    Raises:
        OutputError: the file cannot be written, or is the source itself.
        ConfigError: the view is unknown, or the style names a class that the model does not have; see ``open_video``
            and ``choose_codec``.
        DataError, ModelError, MissingPackageError: see ``segnet.stream``.
    """
    require_predictor(predictor)
    if view not in VIEWS:
        raise ConfigError(f"view={view!r} is unknown; choose one of {', '.join(VIEWS)}")
    report, config = VideoReport(), VideoConfig() if config is None else config
    require_kind("config", config, VideoConfig, example="every=5")
    require_kind("style", style or OverlayStyle(), OverlayStyle, example="opacity=0.7")
    video = open_video(source, config, channels=predictor.channels)
    if Path(out).exists() and Path(video.source.word).exists() and Path(out).samefile(video.source.word):
        raise OutputError(f"{out} is the video itself, which the result would replace; give another name")
    write_video(predictor, video, {view: Path(out)}, config=config, report=report, style=style)
    return report


def write_video(
    predictor: Predictor,
    video: Video,
    files: Mapping[View, Path],
    *,
    config: VideoConfig,
    report: VideoReport,
    style: OverlayStyle | None = None,
    each: Callable[[SegmentedFrame], Any] | None = None,
    go_on: Callable[[SegmentedFrame], bool] | None = None,
) -> None:
    """Segment a video, and write one video file per view; see ``segment_video``.

    Args:
        predictor: the model.
        video: of ``open_video``.
        files: the file of each view; may be empty.
        config: that of the video.
        report: is updated with every frame.
        style: of overlays.
        each: called in a background thread with each frame, to write it as an image for instance.
        go_on: called with each frame after inference; False ends the video.
    """
    for path in files.values():
        choose_codec(path, config.codec)
    report.flicker = FlickerMeter(motion=config.flicker)
    one_by_one = video.live or config.smoothing
    ended: KeyboardInterrupt | SegNetError | None = None
    with ExitStack() as ending:
        with (
            nullcontext(1) if one_by_one else predictor.runtime.concurrent() as report.at_once,
            report.stages.measure(),
            _VideoFiles(files, video, predictor.labels, style or OverlayStyle()) as written,
        ):
            began, cpu = time.monotonic(), time.process_time()
            with Background(_write_and_count(written, each, report, predictor.labels)) as writer:
                try:
                    for frame in segment_frames(predictor, video, config=config, at_once=report.at_once):
                        with stage("wait_for_writer"):
                            writer.put(frame)
                        report.seconds = time.monotonic() - began
                        if frame.latency_ms is not None:
                            report.latencies_ms.append(frame.latency_ms)
                        video.update_report(report)
                        if go_on is not None and not go_on(frame):
                            break
                except (KeyboardInterrupt, SegNetError) as error:  # first the files are finished
                    ended = error
                ending.enter_context(deferring_interrupt())
            video.update_report(report)
        report.seconds, report.cpu_seconds = time.monotonic() - began, time.process_time() - cpu
        report.files += files.values()
        if ended is not None:
            raise ended


def _write_and_count(
    written: _VideoFiles, each: Callable[[SegmentedFrame], Any] | None, report: VideoReport, labels: ClassTable
) -> Callable[[SegmentedFrame], None]:
    """What the background thread does with each frame."""

    def write(frame: SegmentedFrame) -> None:
        written.add(frame)
        if each is not None:
            with stage("save"):
                each(frame)
        with stage("count"):
            report.add(frame.image, frame.mask, labels)

    return write


class _VideoFiles(ExitStack):
    """One video file per view, opened with the first frame and closed with the context."""

    def __init__(self, paths: Mapping[View, Path], video: Video, labels: ClassTable, style: OverlayStyle) -> None:
        super().__init__()
        self._paths, self._video, self._labels, self._style = paths, video, labels, style
        self._opened: dict[View, VideoWriter] = {}

    def add(self, frame: SegmentedFrame) -> None:
        """Draw a frame and write it to each file."""
        for view, path in self._paths.items():
            with stage("overlay"):
                image = draw(view, frame, self._labels, self._style)
            if view not in self._opened:
                form = replace(self._video.format, aspect=frame.aspect)
                self._opened[view] = self.enter_context(open_video_writer(path, image.shape[:2], form))
            with stage("encode"):
                self._opened[view].add(image, frame.time or Fraction(0))


def draw(view: View, frame: SegmentedFrame, labels: ClassTable, style: OverlayStyle | None = None) -> NDArray[np.uint8]:
    """Draw a frame as a video shows it: uint8 (H, W, 3) RGB; ``side`` has twice the width.

    With ``OverlayStyle.legend`` "below", a legend of all shown classes is added below, the same for every frame.
    """
    style = style or OverlayStyle()
    image = visualize.view(view, frame.image, frame.mask, labels, style)
    return add_class_names(image, labels, style) if style.legend == "below" else image


def with_smoothing(predictor: Predictor, smoothing: float) -> Predictor:
    """A copy of the predictor with temporal smoothing, for one video; the predictor itself if ``smoothing`` is 0.

    Raises:
        ModelError: the model outputs class indices only.
    """
    if not smoothing:
        return predictor
    smoothed = copy(predictor)
    smoothed.runtime = SmoothedRuntime(predictor.runtime, smoothing)
    return smoothed
