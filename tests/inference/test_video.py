from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from segnet.errors import ConfigError, DataError, MissingPackageError, ModelError, OutputError, ShapeError
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.inference.stream import stream
from segnet.inference.video import draw, segment_video, write_video
from segnet.inference.video_report import VideoReport
from segnet.media.video.library import import_av
from segnet.media.video.opening import open_video
from segnet.media.video.settings import VideoConfig
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output
from segnet.system.files import announcing
from segnet.system.queues import Background, prefetch
from segnet.system.stages import StageTime
from segnet.visualization import overlay as visualize
from segnet.visualization.style import OverlayStyle
from video_clips import Brightness, InPairs, border, clip_images, decoded, noise, predictor, write_clip


def widths(segmented: Iterator[SegmentedFrame]) -> list[int]:
    return [int((frame.prediction.mask[24] == 1).sum()) for frame in segmented]


def test_a_stream_gives_each_frames_own_prediction_with_its_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 6)
    frames = list(stream(predictor(), path))
    assert widths(iter(frames)) == [8, 10, 12, 14, 16, 18]
    assert [frame.time for frame in frames] == [Fraction(number, 25) for number in range(6)]
    for frame in frames:
        np.testing.assert_array_equal(frame.prediction.mask, predictor()(frame.image).mask)
        assert frame.latency_ms is None


def test_the_report_has_the_time_of_each_stage_and_what_limits_the_rate(tmp_path: Path) -> None:
    config = VideoConfig(end=0.2)
    report = segment_video(predictor(max_size=32), write_clip(tmp_path / "a.mp4", 6), tmp_path / "b.mp4", config=config)
    found = report.to_dict(predictor().labels)
    waits = {"wait_for_frame", "wait_for_writer"}
    assert set(found["stages"]) == {"decode", "resize", "network", "upsample", "overlay", "encode", "count", *waits}
    assert all(times["ms"] >= 0 for times in found["stages"].values())
    assert found["stages"]["network"]["ms"] > 0
    assert found["cpu_ms"] > 0


@pytest.mark.parametrize(
    ("for_frame", "for_writer", "slowest"), [(0.5, 0.5, "network"), (2, 1, "reading"), (1, 2, "writing")]
)
def test_what_the_network_waits_for_is_the_slowest(for_frame: float, for_writer: float, slowest: str) -> None:
    report = VideoReport()
    report.stages.times |= {
        "resize": StageTime(2), "network": StageTime(5), "upsample": StageTime(1),
        "wait_for_frame": StageTime(for_frame), "wait_for_writer": StageTime(for_writer),
    }  # fmt: skip
    assert report.slowest == slowest


def test_a_stream_that_is_left_early_ends_its_thread(tmp_path: Path) -> None:
    frames = stream(predictor(), write_clip(tmp_path / "a.mp4", 12))
    assert widths(iter([next(frames)])) == [8]
    frames.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "segnet-read"]


@pytest.mark.parametrize(("view", "width"), [("overlay", 64), ("color", 64), ("side", 128)])
def test_a_video_shows_what_was_asked_for(view: str, width: int, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 6, sound="aac", aspect=Fraction(4, 3))
    report = segment_video(predictor(), source, tmp_path / "b.mp4", view=view)
    found = decoded(tmp_path / "b.mp4")
    assert [time for time, _ in found] == [Fraction(number, 25) for number in range(6)]
    labels = predictor().labels
    for (_, shown), image in zip(found, clip_images(6), strict=True):
        mask = (image[..., 0] > 127).astype(np.uint8)
        over = visualize.overlay(image, mask, labels)
        wanted = {"overlay": over, "color": visualize.colorize(mask, labels), "side": np.hstack([image, over])}[view]
        assert shown.shape == (48, width, 3)
        assert np.abs(shown.astype(int) - wanted).mean() < 12  # thin lines lose some color
    assert (report.frames, report.troubles, report.files) == (6, [], [tmp_path / "b.mp4"])
    with import_av().open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert container.streams.audio


def test_a_video_has_the_look_that_was_asked_for(tmp_path: Path) -> None:
    style = OverlayStyle(show_classes=("bright",), palette="colorblind", opacity=1, outline_width=0)
    segment_video(predictor(), write_clip(tmp_path / "a.mp4", 3), tmp_path / "b.mp4", style=style)
    safe = predictor().labels.colorblind().colors[1]
    for (_, shown), image in zip(decoded(tmp_path / "b.mp4"), clip_images(3), strict=True):
        wanted = np.where(image[..., :1] > 127, safe, image)
        assert np.abs(shown.astype(int) - wanted).mean() < 12


def test_a_legend_below_a_video_is_the_same_below_every_frame(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3)
    segment_video(predictor(), source, tmp_path / "b.mp4", style=OverlayStyle(legend="below"))
    shown = [image for _, image in decoded(tmp_path / "b.mp4")]
    assert {image.shape for image in shown} == {shown[0].shape}
    assert shown[0].shape[0] > 48 + 20
    frames = [
        draw("overlay", frame, predictor().labels, OverlayStyle(legend="below"))
        for frame in stream(predictor(), source)
    ]
    assert all((frame[48:] == frames[0][48:]).all() for frame in frames)
    plain = [draw("overlay", frame, predictor().labels) for frame in stream(predictor(), source)]
    assert all((legend[:48, :64] == frame).all() for legend, frame in zip(frames, plain, strict=True))


def test_an_unknown_view_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="view='mask' is unknown; choose one of overlay, color, side"):
        segment_video(predictor(), tmp_path / "a.mp4", tmp_path / "b.mp4", view="mask")  # type: ignore[arg-type]


def test_a_look_with_an_unknown_class_is_refused_before_the_video_begins(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 2)
    with pytest.raises(ConfigError, match="there is no class 'brigth'; did you mean 'bright'"):
        segment_video(predictor(), source, tmp_path / "b.mp4", style=OverlayStyle(show_classes=("brigth",)))
    assert not (tmp_path / "b.mp4").exists()


def test_the_report_has_shares_and_flicker(tmp_path: Path) -> None:
    report = segment_video(predictor(), write_clip(tmp_path / "a.mp4", 6), tmp_path / "b.mp4")
    bright = np.mean([8, 10, 12, 14, 16, 18]) / 64
    assert report.mean_shares(predictor().labels) == pytest.approx({"dark": 1 - bright, "bright": bright})
    assert report.flicker.share == pytest.approx(2 / 64)
    assert report.rate > 0
    assert report.latency_ms(50) is None


def test_several_videos_and_each_frame_at_once(tmp_path: Path) -> None:
    video = open_video(write_clip(tmp_path / "a.mp4", 4), VideoConfig())
    files, seen = {"overlay": tmp_path / "o.mp4", "side": tmp_path / "s.webm"}, []
    report = VideoReport()
    write_video(
        predictor(),
        video,
        files,
        config=VideoConfig(),
        report=report,
        each=lambda segmented: seen.append(segmented.number),
    )
    assert [len(decoded(path)) for path in files.values()] == [4, 4]
    assert seen == [0, 1, 2, 3]
    assert video.expected == 4


def test_a_callback_ends_the_video_and_the_file_is_complete(tmp_path: Path) -> None:
    video = open_video(write_clip(tmp_path / "a.mp4", 12), VideoConfig())
    report = VideoReport()
    watched = iter([True, True, False])
    write_video(
        predictor(),
        video,
        {"overlay": tmp_path / "b.mp4"},
        config=VideoConfig(),
        report=report,
        go_on=lambda _: next(watched),
    )
    assert (report.frames, len(decoded(tmp_path / "b.mp4"))) == (3, 3)


class Interrupted(Brightness):
    """Ctrl-C, or an error, comes during inference on the fifth frame."""

    calls = 0

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        self.calls += 1
        if self.calls == 5:
            raise self.error
        return super().run(batch, probabilities=probabilities, measure=measure)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ShapeError], ids=["ctrl-c", "another size"])
def test_ctrl_c_or_a_frame_that_does_not_fit_the_model_ends_the_video_where_it_is(
    error: type[BaseException], tmp_path: Path
) -> None:
    source = write_clip(tmp_path / "a.mp4", 12, sound="aac")
    with pytest.raises(error):
        segment_video(Predictor(Interrupted(error)), source, tmp_path / "b.mp4")
    assert [time for time, _ in decoded(tmp_path / "b.mp4")] == [Fraction(number, 25) for number in range(4)]
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_while_the_video_is_finished_waits_for_it(tmp_path: Path) -> None:
    source, out = write_clip(tmp_path / "a.mp4", 4), tmp_path / "b.mp4"
    with announcing(out, lambda _: signal.raise_signal(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        segment_video(predictor(), source, out)
    assert len(decoded(out)) == 4


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_while_the_last_frames_are_written_drops_them_and_ends_the_thread() -> None:
    leaving, interrupted, begun = threading.Event(), threading.Event(), []

    def write(item: int) -> None:
        begun.append(item)
        leaving.wait(10)
        if len(begun) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        interrupted.wait(0.3)  # the thread outlasts Ctrl-C, if nobody waits for it

    def put_all() -> None:
        with Background(write) as writer:
            for item in range(3):
                writer.put(item)
            leaving.set()

    with pytest.raises(KeyboardInterrupt):
        put_all()
    ended = not [thread for thread in threading.enumerate() if thread.name == "segnet-write"]
    interrupted.set()
    assert (ended, begun[:1]) == (True, [0])


def test_a_cut_off_video_gives_a_playable_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise(12), sound="aac", options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    report = segment_video(predictor(), path, tmp_path / "b.mp4")
    assert 4 <= report.frames == len(decoded(tmp_path / "b.mp4")) < 12
    assert any("is cut off" in trouble for trouble in report.troubles)


def test_a_change_of_size_keeps_the_videos_first_size(tmp_path: Path) -> None:
    first, second = write_clip(tmp_path / "a.ts", 4), write_clip(tmp_path / "b.ts", clip_images(4, (24, 32)))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    report = segment_video(predictor(), first, tmp_path / "c.mp4")
    assert {shown.shape for _, shown in decoded(tmp_path / "c.mp4")} == {(48, 64, 3)}
    assert report.frames == 8
    assert "changes from 64x48 to 32x24" in report.troubles[0]


def test_an_animation_becomes_an_animation(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.gif", 4, codec="gif", times=[0, 100, 300, 400])
    segment_video(predictor(), source, tmp_path / "b.gif", view="color")
    assert [time for time, _ in decoded(tmp_path / "b.gif")] == [0, Fraction(1, 10), Fraction(3, 10), Fraction(2, 5)]


def test_no_frame_leaves_no_video(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 4)
    with pytest.raises(DataError, match="holds no frame"):
        segment_video(predictor(), source, tmp_path / "b.mp4", config=VideoConfig(start=5))
    assert not (tmp_path / "b.mp4").exists()


def test_a_video_is_not_replaced_by_its_own_segmentation(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 2)
    (tmp_path / "b.mp4").symlink_to(path)
    before = path.read_bytes()
    for out in (path, tmp_path / "b.mp4"):
        with pytest.raises(OutputError, match="is the video itself"):
            segment_video(predictor(), path, out)
    assert path.read_bytes() == before


def test_smoothing_needs_probabilities(tmp_path: Path) -> None:
    runtime = Brightness()
    runtime.info = replace(runtime.info, output="mask")
    source = write_clip(tmp_path / "a.mp4", 2)
    with pytest.raises(ModelError, match="outputs class indices only"):
        list(stream(Predictor(runtime), source, config=VideoConfig(smoothing=0.5)))


def test_smoothing_keeps_the_predictors_other_results(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3)
    asked = predictor(confidence=True, uncertainty=True, max_size=32)
    for frame in stream(asked, source, config=VideoConfig(smoothing=0.5)):
        assert frame.prediction.mask.shape == (48, 64)
        assert frame.prediction.confidence is not None
        assert frame.prediction.uncertainty is not None


def test_a_written_video_has_its_frames_in_order_where_two_are_segmented_at_the_same_time(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 6)
    report = segment_video(Predictor(InPairs()), source, tmp_path / "b.mp4", view="color")
    alone = segment_video(predictor(), source, tmp_path / "c.mp4", view="color")
    assert (report.at_once, alone.at_once) == (2, 1)
    assert [border(shown) for _, shown in decoded(tmp_path / "b.mp4")] == [8, 10, 12, 14, 16, 18]
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()
    assert report.shares == pytest.approx(alone.shares)


@pytest.mark.parametrize("config", [VideoConfig(smoothing=0.5), VideoConfig(live=True)])
def test_live_frames_and_those_that_depend_on_others_are_segmented_one_by_one(
    config: VideoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Brightness, "concurrent", lambda self: nullcontext(2))
    report = segment_video(predictor(), write_clip(tmp_path / "a.mp4", 3), tmp_path / "b.mp4", config=config)
    assert report.at_once == 1
    assert report.frames


def test_a_gray_model_gets_gray_frames_and_a_colored_video(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3)
    gray = Predictor(Brightness(channels=1))
    segment_video(gray, source, tmp_path / "b.mp4", view="side")
    assert [border(shown[:, :64]) for _, shown in decoded(tmp_path / "b.mp4")] == [8, 10, 12]
    frame = next(stream(gray, source))
    assert draw("overlay", frame, gray.labels).shape == (48, 64, 3)


def test_a_word_for_several_videos_or_none_is_refused(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, 1)
    with pytest.raises(ConfigError, match="stands for 2 videos"):
        open_video(tmp_path / "*.mp4", VideoConfig())
    with pytest.raises(ConfigError, match="stands for 0 videos"):
        open_video("a.png", VideoConfig())


def test_what_the_work_raises_comes_out(tmp_path: Path) -> None:
    def fail(item: int) -> None:
        raise DataError("of the work")

    def put_all() -> None:
        with Background(fail) as writer:
            for item in range(20):  # more than the queue takes
                writer.put(item)

    with pytest.raises(DataError, match="of the work"):
        put_all()

    def items() -> Iterator[int]:
        yield 1
        raise DataError("of the items")

    taken = prefetch(items())
    assert next(taken) == 1
    with pytest.raises(DataError, match="of the items"):
        next(taken)


def test_reading_ahead_is_bounded() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    taken = prefetch(items())
    assert [next(taken) for _ in range(3)] == [0, 1, 2]
    taken.close()
    assert len(made) <= 3 + 4 + 2


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"segnet\[video\]"):
        import_av()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -1.0}, "start=-1.0"),
        ({"start": 2.0, "end": 1.0}, "end=1.0"),
        ({"every": 0}, "every=0"),
        ({"smoothing": 1.0}, "smoothing=1.0"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"reconnect_timeout": -1.0}, "reconnect_timeout=-1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoConfig(**settings)
