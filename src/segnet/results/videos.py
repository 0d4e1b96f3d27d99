"""``segnet predict`` on videos and live sources: video files, images of frames, a progress bar, a report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segnet.errors import ConfigError, DataError
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.inference.video import draw, write_video
from segnet.inference.video_report import THREADS, VideoReport
from segnet.labels import ClassTable
from segnet.media.images.writing import write_image
from segnet.media.sources import VideoSource, is_video_file
from segnet.media.video.opening import open_video
from segnet.media.video.settings import VideoConfig
from segnet.media.video.window import Window
from segnet.media.video.writing import choose_codec
from segnet.results.images import keeping_faults, print_shares
from segnet.results.writer import ResultWriter, result_path
from segnet.system.progress import ProgressBar
from segnet.visualization.style import VIEWS, View

__all__ = ["VideoOutput", "list_video_results", "predict_videos", "require_fitting"]


@dataclass(frozen=True, kw_only=True)
class VideoOutput:
    """Which results of videos are written, and where.

    Attributes:
        out: a video file, or a folder that gets one folder per kind.
        kinds: of results. overlay, color and side are video files, or with ``config.frames`` images; others are images
            of each frame.
        config: frames, temporal smoothing, codec.
        writer: of kinds other than overlay, color and side; its style is that of all.
        each: called with each frame, in order.
        stop: called after each frame, and while a live source gives none; True completes the files with the frames so
            far, and no other source is opened.
    """

    out: Path
    kinds: tuple[str, ...]
    config: VideoConfig
    writer: ResultWriter
    each: Callable[[SegmentedFrame], Any] | None = None
    stop: Callable[[], bool] = lambda: False

    @property
    def views(self) -> list[View]:
        """The kinds for people: overlay, color, side."""
        return [view for view in VIEWS if view in self.kinds]

    def write_frame(self, labels: ClassTable, frame: SegmentedFrame) -> None:
        """Write the results of one frame, except for video files."""
        name = Path(frame.name)
        if self.config.frames:
            for view in self.views:
                path = result_path(self.out, view, name)
                with self.writer.noting(path):
                    write_image(path, draw(view, frame, labels, self.writer.style))
        if set(self.kinds) - set(VIEWS):
            self.writer.without_views().write(name, frame.image, frame.prediction)
        if self.each is not None:
            self.each(frame)


def require_fitting(
    sources: Sequence[VideoSource], *, out: Path, kinds: Sequence[str], config: VideoConfig, images: Sequence[Path] = ()
) -> None:
    """Check that the results of videos fit the output, before the model is loaded.

    Args:
        sources: at least one.
        out, kinds, config: see ``VideoOutput``.
        images: names of the results of the images in the same run.

    Raises:
        ConfigError: ``out`` is a video file and there is more than one result, or it cannot hold the codec.
        DataError: the results of two videos, or of an image and a frame, would have the same name.
    """
    one = len(sources) == len(kinds) == len(set(kinds) & set(VIEWS)) == 1 and not images and not config.frames
    if is_video_file(out) and not one:
        raise ConfigError(
            f"out={out} is one video file, and {len(sources)} videos and {len(images)} images as {','.join(kinds)} "
            "were requested; give one video and one of overlay, color, side, or a folder"
        )
    choose_codec(out if is_video_file(out) else Path("folder.mp4"), config.codec)
    name, count = Counter(source.name for source in sources).most_common(1)[0]
    if count > 1:
        same = [source.word for source in sources if source.name == name]
        raise DataError(f"{same[0]} and {same[1]} would be written to the same name; predict them in separate runs")
    if config.frames or set(kinds) - set(VIEWS):
        _require_other_names(sources, images)


def _require_other_names(sources: Sequence[VideoSource], images: Sequence[Path]) -> None:
    """Refuse an image whose results would have the names of those of a frame, such as ``clip/000012``."""
    words = {source.name: source.word for source in sources}
    for name in images:
        word = words.get(name.parent.as_posix())
        if word is not None and re.fullmatch(r"0\d{5}|[1-9]\d{5,}", name.name, re.ASCII):
            raise DataError(
                f"the image {name} and the frames of {word} would be written to the same name; predict them in "
                "separate runs"
            )


def list_video_results(
    sources: Sequence[VideoSource], *, out: Path, kinds: Sequence[str], config: VideoConfig
) -> Iterator[Path]:
    """What ``predict_videos`` writes: video files, and those images of frames that are there already."""
    for source in sources:
        yield from _video_files(source.name, out=out, kinds=kinds, config=config).values()
        of_frames = [kind for kind in kinds if config.frames or kind not in VIEWS]
        for kind in (*of_frames, *(f"{kind}_color" for kind in of_frames)):
            yield from (path for path in (out / kind / source.name).glob("*.png") if path.stem.isdecimal())


def predict_videos(
    predictor: Predictor, sources: Sequence[VideoSource], output: VideoOutput, figures: list[dict[str, Any]]
) -> list[str]:
    """Predict one source after the other, each with a progress bar and a report.

    Args:
        predictor: the model.
        sources: accepted by ``require_fitting``.
        output: where the results go.
        figures: gets the figures of each source.

    Returns:
        Sentences on what could not be read, or only in part.

    Raises:
        ConfigError, ModelError, OutputError, MissingPackageError: see ``keeping_faults``.
    """
    failures = []
    for source in sources:
        if output.stop():
            break
        report = VideoReport()
        faults: list[str] = []
        try:
            with keeping_faults(source.shown, faults):
                _predict_video(predictor, source, output, report)
        finally:
            report.troubles = [*report.troubles, *faults]
            failures += report.troubles
            figures.append({"source": source.name, **report.to_dict(predictor.labels)})
            if report.frames:
                _print_report(source, output, report, predictor.labels)
    return failures


def _video_files(name: str, *, out: Path, kinds: Sequence[str], config: VideoConfig) -> dict[View, Path]:
    views: list[View] = [view for view in VIEWS if view in kinds]
    if is_video_file(out):
        return dict.fromkeys(views, out)
    return {} if config.frames else {view: out / view / f"{name}.mp4" for view in views}


def _predict_video(predictor: Predictor, source: VideoSource, output: VideoOutput, report: VideoReport) -> None:
    video = open_video(source, output.config, channels=predictor.channels, stop=output.stop)
    bar = ProgressBar(source.name)
    with ExitStack() as stack:
        window = stack.enter_context(closing(Window(source.name))) if output.config.show else None

        def show(frame: SegmentedFrame) -> bool:
            bar.advance(f"{source.name}  {_speed(report)}")
            if window is not None:
                window.show(draw("overlay", frame, predictor.labels, output.writer.style))
            return not output.stop() and (window is None or not window.closed)

        bar.start(total=video.expected)
        stack.callback(bar.stop)
        files = _video_files(source.name, out=output.out, kinds=output.kinds, config=output.config)
        for path in files.values():
            stack.enter_context(output.writer.noting(path))
        write_video(
            predictor,
            video,
            files,
            config=output.config,
            report=report,
            style=output.writer.style,
            each=partial(output.write_frame, predictor.labels),
            go_on=show,
        )


def _speed(report: VideoReport) -> str:
    rate = f"{report.rate:.1f} frames/s"
    if not report.latencies_ms:
        return rate
    return f"{rate}, latency {report.latencies_ms[-1]:.0f} ms, {report.dropped} dropped"


def _print_stages(report: VideoReport) -> None:
    """Milliseconds per frame of each stage, by the threads that run side by side, and what limits the rate."""
    found = report.stages_ms()
    print("stages: milliseconds per frame, and in brackets those of processor time in the stage's own thread")
    for thread, names in THREADS.items():
        taken = [f"{name} {found[name]['ms']:.1f} ({found[name]['cpu_ms']:.1f})" for name in names if name in found]
        if taken:
            print(f"  {thread}: {', '.join(taken)}")
    for_frame, for_writer = (found.get(name, {"ms": 0.0})["ms"] for name in ("wait_for_frame", "wait_for_writer"))
    print(
        f"  the network waits {for_frame:.1f} for frames and {for_writer:.1f} for the writer: {report.slowest} limits"
        + (f"; it computes {report.at_once} frames at the same time" if report.at_once > 1 else "")
    )


def _print_report(source: VideoSource, output: VideoOutput, report: VideoReport, labels: ClassTable) -> None:
    print_shares(report.mean_shares(labels))
    print(f"{source.name}: {report.frames} frames, {report.rate:.2f} frames/s -> {output.out}")
    _print_stages(report)
    if (changed := report.flicker.share) is not None:
        along = report.flicker.share_along_motion
        motion = "" if along is None else f", {along:.2%} along the motion"
        print(f"flicker: {changed:.2%} of the pixels change their class from frame to frame{motion}")
    if report.latencies_ms:
        print(
            f"latency {report.latency_ms(50):.0f} ms (95 of 100: {report.latency_ms(95):.0f} ms); "
            f"{report.dropped} frames dropped, {report.reconnects} new connections"
        )
