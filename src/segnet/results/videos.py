"""What ``segnet predict`` does with videos and live sources: movies and images of frames, a bar, a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError
from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.inference.video import draw, write_video
from segnet.inference.video_report import VideoReport
from segnet.labels import ClassTable
from segnet.media.images.writing import write_image
from segnet.media.video.opening import open_video
from segnet.media.video.settings import VideoConfig
from segnet.media.video.sources import VideoSource
from segnet.media.video.window import Window
from segnet.media.video.writing import MOVIE_SUFFIXES, choose_codec
from segnet.results.shares import print_shares
from segnet.system.progress import ProgressBar
from segnet.visualization.style import VIEWS, OverlayStyle, View

__all__ = ["VideoOutput", "is_movie", "predict_videos", "require_fitting"]


@dataclass(frozen=True, kw_only=True)
class VideoOutput:
    """Where the results of videos go, and which kinds.

    Attributes:
        out: a movie file, or a folder that gets one folder for each kind.
        kinds: overlay, color and side are movies, or with ``config.frames`` images; others are images of each
            frame.
        look: of overlays and colors.
        config: which frames, how steady, which codec.
        write: called with a place, a frame and its prediction for the kinds that are images of numbers.
        each: called with each frame, in order.
    """

    out: Path
    kinds: tuple[str, ...]
    look: OverlayStyle
    config: VideoConfig
    write: Callable[[Path, NDArray[np.uint8], Prediction], Any]
    each: Callable[[SegmentedFrame], Any] | None = None

    @property
    def views(self) -> list[View]:
        """The kinds that show something to people."""
        return [view for view in VIEWS if view in self.kinds]

    def movies(self, name: str) -> dict[View, Path]:
        """The files of one video."""
        if is_movie(self.out):
            return dict.fromkeys(self.views, self.out)
        return {} if self.config.frames else {view: self.out / view / f"{name}.mp4" for view in self.views}

    def write_frame(self, labels: ClassTable, labeled: SegmentedFrame) -> None:
        """What is written of one frame besides movies."""
        place = Path(labeled.name)
        if self.config.frames:
            for view in self.views:
                image = draw(view, labeled, labels, self.look)
                write_image(self.out / view / place.with_suffix(".png"), image)
        if set(self.kinds) - set(VIEWS):
            self.write(place, labeled.image, labeled.prediction)
        if self.each is not None:
            self.each(labeled)


def is_movie(out: Path) -> bool:
    """Whether a place for results is the name of a movie, not of a folder."""
    return out.suffix.lower() in MOVIE_SUFFIXES and not out.is_dir()


def require_fitting(
    sources: Sequence[VideoSource], *, out: Path, kinds: Sequence[str], config: VideoConfig, images: int = 0
) -> None:
    """Fail before the model is loaded, not after.

    Args:
        sources: at least one.
        out, kinds, config: see ``VideoOutput``.
        images: how many are labeled in the same run.

    Raises:
        ConfigError: a movie file was named for more than one movie, or for images, or cannot hold the codec.
        DataError: two videos would be written to the same name.
    """
    one = len(sources) == len(kinds) == len(set(kinds) & set(VIEWS)) == 1 and not images and not config.frames
    if is_movie(out) and not one:
        raise ConfigError(
            f"out={out} is one movie, and {len(sources)} videos and {images} images as {','.join(kinds)} were "
            "asked for; give one video and one of overlay, color, side, or a folder"
        )
    choose_codec(out if is_movie(out) else Path("folder.mp4"), config.codec)
    name, count = Counter(source.name for source in sources).most_common(1)[0]
    if count > 1:
        same = [source.word for source in sources if source.name == name]
        raise DataError(f"{same[0]} and {same[1]} would be written to the same name; label them in separate runs")


def predict_videos(
    predictor: Predictor, sources: Sequence[VideoSource], output: VideoOutput, told: list[dict[str, Any]]
) -> list[str]:
    """Label one source after the other, with a bar while it goes on and a report after it.

    Args:
        predictor: the model.
        sources: what ``require_fitting`` has let through.
        output: where the results go.
        told: gets the figures of each source.

    Returns:
        Sentences on what was wrong.

    Raises:
        ConfigError, ModelError, OutputError, MissingPackageError: see ``write_video``.
    """
    failures = []
    for source in sources:
        tally = VideoReport()
        try:
            _label(predictor, source, output, tally)
        except DataError as error:
            tally.troubles = [*tally.troubles, str(error)]
        finally:
            failures += tally.troubles
            told.append({"source": source.name, **tally.to_dict(predictor.labels)})
            if tally.frames:
                _report(source, output, tally, predictor.labels)
    return failures


def _label(predictor: Predictor, source: VideoSource, output: VideoOutput, tally: VideoReport) -> None:
    video = open_video(source, output.config, channels=predictor.channels)
    bar = ProgressBar(source.name)
    with ExitStack() as stack:
        window = stack.enter_context(closing(Window(source.name))) if output.config.show else None

        def watch(labeled: SegmentedFrame) -> bool:
            bar.advance(f"{source.name}  {_pace(tally)}")
            if window is not None:
                window.show(draw("overlay", labeled, predictor.labels, output.look))
            return window is None or not window.closed

        bar.start(total=video.expected)
        stack.callback(bar.stop)
        write_video(
            predictor,
            video,
            output.movies(source.name),
            config=output.config,
            report=tally,
            look=output.look,
            each=partial(output.write_frame, predictor.labels),
            go_on=watch,
        )


def _pace(tally: VideoReport) -> str:
    pace = f"{tally.rate:.1f} frames/s"
    if not tally.latencies_ms:
        return pace
    return f"{pace}, latency {tally.latencies_ms[-1]:.0f} ms, {tally.dropped} dropped"


def _report(source: VideoSource, output: VideoOutput, tally: VideoReport, labels: ClassTable) -> None:
    print_shares(tally.mean_shares(labels))
    print(f"{source.name}: {tally.frames} frames, {tally.rate:.2f} frames/s -> {output.out}")
    if (changed := tally.flicker.share) is not None:
        along = tally.flicker.share_along_motion
        more = "" if along is None else f", {along:.2%} along the motion"
        print(f"flicker: {changed:.2%} of the pixels change their class from frame to frame{more}")
    if tally.latencies_ms:
        print(
            f"latency {tally.latency_ms(50):.0f} ms (95 of 100: {tally.latency_ms(95):.0f} ms); "
            f"{tally.dropped} frames dropped, {tally.reconnects} new connections"
        )
