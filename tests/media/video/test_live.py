from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import av
import pytest
from PIL import Image

from segnet.errors import DataError
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.stream import stream
from segnet.inference.video import segment_video
from segnet.media.sources import VideoSource
from segnet.media.video.live import LiveSource
from segnet.media.video.settings import VideoConfig
from video_clips import border, clip_images, decoded, predictor, serving, tone, write_clip


def until(happened: Callable[[], bool]) -> None:
    """Give the other threads time until it has."""
    for _ in range(20_000):
        if happened():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never happened")


def streams(*bodies: bytes) -> type[BaseHTTPRequestHandler]:
    """A stream that breaks off after each of these; after that nobody answers."""

    class Handler(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            type(self).asked += 1
            if self.asked > len(bodies):
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            self.wfile.write(bodies[self.asked - 1])

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a hundredth of a second."""
    monkeypatch.setattr("segnet.media.video.live._FIRST_PAUSE_S", 0.01)


def test_a_file_stands_in_for_a_camera_and_the_newest_frame_is_given(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20, rate=50)
    source = LiveSource(VideoSource(str(path), "file", "a"))
    frames = source.frames()
    first = next(frames)
    missed = source.dropped  # before the first was taken
    until(lambda: source.dropped >= missed + 10)
    later = next(frames)
    assert border(later.image) - border(first.image) >= 2 * 11
    assert (first.time, first.arrived < later.arrived) == (0, True)
    rest = list(frames)
    assert border((rest or [later])[-1].image) == 8 + 2 * 19
    assert 2 + len(rest) + source.dropped == 20
    assert source.troubles == []


def test_numbered_images_stand_in_for_a_camera_at_their_rate(tmp_path: Path) -> None:
    for number in (7, 9, 20):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "15.png").write_bytes(b"no image")
    images = VideoSource(str(tmp_path / "%d.png"), "images", "a")
    slow = LiveSource(images, rate=0.001)
    with closing(slow.frames()) as frames:
        assert next(frames).image[0, 0, 0] == 7
    assert slow.dropped == 0  # the next one comes after a thousand seconds
    quick = LiveSource(images, rate=1000)
    *_, last = quick.frames()
    assert last.image[0, 0, 0] == 20
    assert ["15.png" in trouble for trouble in quick.troubles] == [True]


def test_a_live_video_file_holds_the_predicted_frames_and_latency_is_reported(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20, rate=200)
    tally = segment_video(predictor(), path, tmp_path / "b.mp4", config=VideoConfig(live=True))
    assert tally.frames + tally.dropped == 20
    times = [time for time, _ in decoded(tmp_path / "b.mp4")]
    assert len(times) == tally.frames
    assert times == sorted(set(times))
    assert len(tally.latencies_ms) == tally.frames
    assert 0 <= (tally.latency_ms(50) or -1) <= (tally.latency_ms(95) or -1)
    assert tally.troubles == []


@pytest.mark.usefixtures("quick")
def test_a_stream_that_breaks_off_is_connected_to_again_and_then_given_up(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "a.ts", 4).read_bytes()
    with serving(streams(data, data)) as address:
        config = VideoConfig(reconnect_timeout=0.05)
        tally = segment_video(predictor(), f"{address}/live", tmp_path / "b.mp4", config=config)
    assert tally.reconnects == 1
    assert 6 <= tally.frames + tally.dropped <= 8  # a break takes along what the decoder kept
    assert len(decoded(tmp_path / "b.mp4")) == tally.frames
    assert len(tally.troubles) == 1
    assert "127.0.0.1_live was lost" in tally.troubles[0]
    assert "was not reconnected within" in tally.troubles[0]


@pytest.mark.usefixtures("quick")
def test_a_stream_that_has_no_images_after_a_break_is_lost_and_its_video_stays(tmp_path: Path) -> None:
    images, sound = write_clip(tmp_path / "a.ts", 4).read_bytes(), tmp_path / "b.ts"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        container.mux([*stream.encode(tone(1)), *stream.encode(None)])
    with serving(streams(images, sound.read_bytes())) as address:
        config = VideoConfig(reconnect_timeout=0.015)
        tally = segment_video(predictor(), f"{address}/live", tmp_path / "c.mp4", config=config)
    assert len(decoded(tmp_path / "c.mp4")) == tally.frames > 0
    assert ["live was lost" in trouble for trouble in tally.troubles] == [True]


def test_end_stops_a_pipe_that_gives_no_frame_any_more_which_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("segnet.media.video.live._SILENCE_S", 0.05)
    monkeypatch.setattr("segnet.media.video.live._ASK_S", 0.01)
    os.mkfifo(pipe := tmp_path / "pipe")
    data, left, in_time = write_clip(tmp_path / "a.ts", 50).read_bytes(), threading.Event(), []

    def feed() -> None:
        with pipe.open("wb") as file:
            file.write(data)
            file.flush()
            in_time.append(left.wait(30))

    feeder = threading.Thread(target=feed)
    feeder.start()
    tally = segment_video(predictor(), pipe, tmp_path / "b.mp4", config=VideoConfig(end=0.3))
    left.set()
    feeder.join()
    assert in_time == [True]
    assert caplog.messages == ["pipe has given no frame for 0.05 s; waiting for the next one"]
    assert len(decoded(tmp_path / "b.mp4")) == tally.frames > 0


def test_each_other_size_of_a_live_source_is_reported_once(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{height}.ts", clip_images(3, (height, 32)), rate=200) for height in (48, 24)]
    (tmp_path / "both.ts").write_bytes(b"".join(path.read_bytes() for path in clips) * 2)
    tally = segment_video(predictor(), tmp_path / "both.ts", tmp_path / "c.mp4", config=VideoConfig(live=True))
    assert ["changes from 32x48 to 32x24" in trouble for trouble in tally.troubles] == [True]


def test_a_recording_on_a_server_ends_at_its_end(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 4, options={"movflags": "+faststart"})
    with serving(tmp_path) as address:
        tally = segment_video(predictor(), f"{address}/a.mp4", tmp_path / "b.mp4")
    assert tally.frames + tally.dropped == 4
    assert (tally.reconnects, tally.troubles) == (0, [])


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "a.ts", 6).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=pipe.write_bytes, args=(data,))
    feeder.start()
    tally = segment_video(predictor(), pipe, tmp_path / "b.mp4")
    feeder.join()
    assert tally.frames + tally.dropped == 6
    assert tally.troubles == []


def test_end_stops_a_live_source_and_start_and_every_choose(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 20, rate=50)
    frames = list(stream(predictor(), path, config=VideoConfig(live=True, start=0.05, end=0.15)))
    assert len(frames) < 12
    assert all(0 <= frame.time < 0.1 for frame in frames)  # seconds since the start, as of a file


def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "10:30.mp4", 2)
    assert list(stream(predictor(), "10:30.mp4", config=VideoConfig(live=True)))


def test_a_recording_whose_time_stamps_begin_late_is_played_at_once(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", 4, times=[3_600_000, 3_600_040, 3_600_080, 3_600_120])
    frames = stream(predictor(), path, config=VideoConfig(live=True))
    received: list[SegmentedFrame] = []
    reader = threading.Thread(target=lambda: received.extend(frames), daemon=True)
    reader.start()
    reader.join(30)
    assert received


@pytest.mark.parametrize(("rotation", "aspect"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_a_live_source_keeps_the_shape_of_its_pixels(rotation: int, aspect: Fraction, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 3, aspect=Fraction(4, 3), rotation=rotation)
    segment_video(predictor(), path, tmp_path / "b.mp4", config=VideoConfig(live=True))
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (VideoSource("127", "camera", "camera127"), "camera 127 gives no frame"),
        (VideoSource("http://127.0.0.1:9/x", "stream", "here"), "here gives no frame .Connection refused"),
        (VideoSource("rtsp://127.0.0.1:9/x", "stream", "here"), "here gives no frame .Connection refused"),
    ],
)
def test_a_source_without_a_frame_is_refused(source: VideoSource, message: str) -> None:
    with pytest.raises(DataError, match=message):
        next(LiveSource(source, reconnect_timeout=0).frames())


def test_a_stream_without_frames_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 4, sound="aac")
    path = tmp_path / "b.ts"
    path.write_bytes(b"")
    with serving(tmp_path) as address, pytest.raises(DataError, match="gives no frame"):
        next(stream(predictor(), f"{address}/b.ts"))


def test_a_server_that_sends_nothing_is_refused_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segnet.media.video.live._TIMEOUT_S", 0.1)
    left = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            left.wait(30)

    with serving(Silent) as address:
        with pytest.raises(DataError, match=r"gives no frame \(nothing has come for 0.1 s\)"):
            next(stream(predictor(), f"{address}/live"))
        left.set()
