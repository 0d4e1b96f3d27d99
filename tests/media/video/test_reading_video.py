from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from segnet.errors import ConfigError, DataError
from segnet.inference.video import segment_video
from segnet.media.sources import is_video_file
from segnet.media.video.opening import open_video
from segnet.media.video.reading import Clip, open_clip
from segnet.media.video.settings import VideoConfig
from video_clips import border, clip_images, decoded, noise, predictor, tone, write_clip


def borders(clip: Clip, **asked: object) -> list[int]:
    return [border(frame.image) for frame in clip.read(**asked)]


def cut_off(path: Path, share: float) -> Path:
    """The file's first part; its index is in it."""
    whole = path.read_bytes()
    assert whole.find(b"moov") < whole.find(b"mdat")
    path.write_bytes(whole[: int(share * len(whole))])
    return path


def test_frames_come_in_order_with_their_times_and_colors(tmp_path: Path) -> None:
    colored = np.zeros((48, 64, 3), dtype=np.uint8)
    colored[:, :32], colored[:, 32:] = (220, 40, 30), (20, 60, 200)
    clip = open_clip(write_clip(tmp_path / "a.mp4", [colored] * 3))
    assert (clip.frames, clip.rate, clip.audio) == (3, 25, False)
    frames = list(clip.read())
    assert [frame.time for frame in frames] == [0, Fraction(1, 25), Fraction(2, 25)]
    assert all(np.abs(frame.image[:, 8:24].astype(int) - (220, 40, 30)).max() < 8 for frame in frames)
    assert not clip.troubles


def test_a_variable_frame_rate_keeps_every_time(tmp_path: Path) -> None:
    times = [0, 40, 200, 210, 700]
    clip = open_clip(write_clip(tmp_path / "a.mkv", 5, times=times))
    assert [round(frame.time * 1000) for frame in clip.read()] == times


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"start": 0.2}, range(5, 12)),
        ({"end": 0.2}, range(5)),
        ({"start": 0.1, "end": 0.3}, range(3, 8)),
        ({"every": 5}, (0, 5, 10)),
        ({"start": 0.12, "every": 3}, (3, 6, 9)),
    ],
)
def test_start_end_and_every_choose_frames(asked: dict[str, float], expected: range, tmp_path: Path) -> None:
    clip = open_clip(write_clip(tmp_path / "a.mp4", 12))
    frames = list(clip.read(**asked))
    assert [border(frame.image) for frame in frames] == [8 + 2 * number for number in expected]
    first = Fraction(str(asked.get("start", 0)))
    assert [round(float(frame.time), 6) for frame in frames] == [
        round(float(Fraction(number, 25) - first), 6) for number in expected
    ]
    whole = {"start": 0.0, "end": None, "every": 1}
    assert abs(clip.expected(**{**whole, **asked}) - len(frames)) <= 1


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".m2ts", ".h264"])
@pytest.mark.parametrize("start", [0.4, 1.0, 1.5])
def test_start_loses_no_frame_between_key_frames(suffix: str, start: float, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "20"})  # a key frame every two seconds
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 6 * number, dtype=np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    begin = Fraction(str(start))
    whole = [frame for frame in open_clip(path).read() if frame.time >= begin]
    seen = list(open_clip(path).read(start=start))
    assert [frame.time for frame in seen] == [frame.time - begin for frame in whole]
    for frame, expected in zip(seen, whole, strict=True):
        np.testing.assert_array_equal(frame.image, expected.image)


@pytest.mark.parametrize("suffix", [".mjpeg", ".MJPG"])
def test_every_frame_of_motion_jpeg_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * number, dtype=np.uint8))))
        container.mux(stream.encode(None))
    assert is_video_file(path)
    frames = list(open_clip(path).read())
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [0, 60, 120]
    assert [frame.time for frame in frames] == [Fraction(number, 25) for number in range(3)]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_turned_video_is_read_upright(rotation: int, tmp_path: Path) -> None:
    image = clip_images(1)[0]
    image[:16] = 255
    path = write_clip(tmp_path / "a.mp4", [image] * 2, rotation=rotation, aspect=Fraction(4, 3))
    frame = next(open_clip(path).read())
    upright = np.rot90(image, rotation // 90)  # both count counterclockwise
    assert frame.image.shape == upright.shape
    assert np.abs(frame.image.astype(int) - upright).mean() < 6
    assert frame.aspect == (Fraction(4, 3) if rotation == 180 else Fraction(3, 4))


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    ],
)
def test_a_mirrored_video_is_shown_as_players_show_it(
    matrix: tuple[int, ...], upright: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    image = clip_images(1)[0]
    image[:16], image[:, :16] = 255, 0
    path = write_clip(tmp_path / "a.mp4", [image] * 2, aspect=Fraction(4, 3))
    data = bytearray(path.read_bytes())
    a, b, c, d = (65536 * number for number in matrix)  # (x, y) is shown at (a x + c y, b x + d y)
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, a, b, 0, c, d)
    path.write_bytes(data)
    frame = next(open_clip(path).read())
    assert frame.image.shape == upright(image).shape
    assert np.abs(frame.image.astype(int) - upright(image)).mean() < 6
    assert frame.aspect == (Fraction(3, 4) if matrix[0] == 0 else Fraction(4, 3))


def test_gray_frames_for_models_of_one_channel(tmp_path: Path) -> None:
    frame = next(open_clip(write_clip(tmp_path / "a.mp4", 2)).read(channels=1))
    assert frame.image.shape == (48, 64, 1)
    with pytest.raises(ConfigError, match="2 channels"):
        next(open_clip(tmp_path / "a.mp4").read(channels=2))


def test_an_animation_is_a_video(tmp_path: Path) -> None:
    clip = open_clip(write_clip(tmp_path / "a.gif", 4, codec="gif", times=[0, 100, 200, 300]))
    assert borders(clip) == [8, 10, 12, 14]


def test_numbered_images_are_a_video(tmp_path: Path) -> None:
    for number, image in zip((1, 2, 10, 11), clip_images(4), strict=True):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    clip = open_clip(tmp_path / "%d.png", rate=10)
    assert [(border(frame.image), frame.time) for frame in clip.read()] == [
        (8 + 2 * number, Fraction(number, 10)) for number in range(4)
    ]
    assert borders(clip, start=0.1, end=0.3) == [10, 12]
    (tmp_path / "2.png").write_bytes(b"no image")
    assert borders(clip) == [8, 12, 14]
    assert len(clip.troubles) == 1
    assert "2.png" in clip.troubles[0]
    with pytest.raises(DataError, match="no image of it can be read"):
        borders(clip, start=5.0)


def test_a_percent_sign_in_the_name_of_a_video_is_no_number(tmp_path: Path) -> None:
    for name in ("100%.mp4", "%d.mp4"):
        video = open_video(write_clip(tmp_path / name, 2), VideoConfig())
        assert len(list(video.frames(border))) == 2


def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("10:30")
    folder.mkdir()
    write_clip(folder.absolute() / "a.mp4", 4, sound="aac")
    assert segment_video(predictor(), folder / "a.mp4", folder / "b.mp4").frames == 4
    assert len(decoded(folder.absolute() / "b.mp4")) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"end": math.inf}, "end=inf is not possible: a finite number or None wanted"),
        ({"rate": 0.0003}, r"rate=0\.0003 is not possible; give frames per second, from 0\.001 to 1000"),
    ],
)
def test_impossible_times_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoConfig(**settings)


def test_numbered_images_of_another_size_are_reported(tmp_path: Path) -> None:
    for number, size in enumerate([(48, 64), (48, 64), (32, 48), (48, 64), (32, 48)]):
        Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    clip = open_clip(tmp_path / "%d.png", rate=10)
    assert [frame.image.shape[:2] for frame in clip.read(start=0.1)] == [(48, 64), (32, 48), (48, 64), (32, 48)]
    assert len(clip.troubles) == 1
    assert "%d.png: the image changes from 64x48 to 48x32 at 0.20 s" in clip.troubles[0]


def test_the_lowest_rate_of_numbered_images_can_be_read(tmp_path: Path) -> None:
    Image.fromarray(clip_images(1)[0]).save(tmp_path / "1.png")
    assert open_clip(tmp_path / "%d.png", rate=VideoConfig(rate=0.001).rate).rate == Fraction(1, 1000)


def test_a_video_that_was_cut_off_gives_the_frames_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [*clip_images(2), *noise(10)], options={"movflags": "+faststart"})
    clip = open_clip(cut_off(path, 0.75))
    found = borders(clip)
    assert 4 <= len(found) < 12
    assert found[:2] == [8, 10]
    assert any("is cut off: it holds" in trouble and "of the 12 frames" in trouble for trouble in clip.troubles)


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize(
    ("name", "codec", "options", "message"),
    [
        ("a.mkv", "libx264", {}, "is cut off: it ends 0.28 s before"),
        ("a.webm", "libvpx-vp9", {}, "is cut off: it ends 0.28 s before"),
        ("a.mp4", "libx264", FRAGMENTED, "is cut off: it ends within its last frame"),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"start": 0.04}, {"every": 2}])
def test_a_video_without_a_count_of_frames_that_was_cut_off_is_reported(
    name: str, codec: str, options: dict[str, str], message: str, asked: dict[str, float], tmp_path: Path
) -> None:
    path = write_clip(tmp_path / name, noise(12), codec=codec, options=options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    clip = open_clip(path)
    assert 0 < len(list(clip.read(**asked))) < 8
    assert len(clip.troubles) == 1
    assert message in clip.troubles[0]
    early = open_clip(path)
    assert len(list(early.read(end=0.08))) == 2
    assert not early.troubles


def test_frames_that_a_camera_left_out_of_an_avi_are_no_cut(tmp_path: Path) -> None:
    """The index counts a frame each millisecond, of which there is one in forty."""
    path = write_clip(tmp_path / "a.avi", noise(40), codec="mpeg4")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > 1000
    clip = open_clip(path)
    assert len(list(clip.read())) == 40
    assert not clip.troubles
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    clip = open_clip(path)
    assert 15 < len(list(clip.read())) < 30
    assert "is cut off: it ends" in clip.troubles[0]


def test_damage_after_which_a_file_holds_no_frame_is_reported(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.webm", noise(12), codec="libvpx-vp9")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 1000] = bytes(1000)
    path.write_bytes(data)
    clip = open_clip(path)
    assert len(list(clip.read())) < 8
    assert "is cut off: it ends" in clip.troubles[0]


@pytest.fixture(
    scope="module",
    params=[("a.mkv", "libx264", {}), ("a.webm", "libvpx-vp9", {}), ("a.mp4", "libx264", FRAGMENTED)],
    ids=lambda param: param[0],
)
def long_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its last frame lasts for five seconds, and its audio for longer; not to be changed."""
    name, codec, options = request.param
    path = tmp_path_factory.mktemp("long") / name
    with av.open(str(path), "w", container_options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        heard = container.add_stream("libopus" if name.endswith("webm") else "aac", rate=48000)
        packets = []
        for image, time in zip(clip_images(6), (0, 40, 700, 740, 3000, 3040), strict=True):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        packets[-1].duration = 5000
        for packet in packets:
            container.mux(packet)
        container.mux(heard.encode(tone(10)))
        container.mux(heard.encode(None))
    return path


@pytest.mark.parametrize("asked", [{}, {"start": 3.0}, {"end": 1.0}, {"every": 2}])
def test_a_last_frame_that_lasts_and_longer_audio_are_no_cut(asked: dict[str, float], long_file: Path) -> None:
    clip = open_clip(long_file)
    assert list(clip.read(**asked))
    assert not clip.troubles


def test_damage_in_the_middle_is_reported_and_the_rest_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise(12), options={"movflags": "+faststart"})
    data = bytearray(path.read_bytes())
    begin = data.find(b"mdat") + 4
    middle = begin + (len(data) - begin) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    clip = open_clip(path)
    frames = list(clip.read())
    assert 8 <= len(frames) <= 12
    assert frames[-1].time == Fraction(11, 25)
    assert len(clip.troubles) == 1
    assert "is damaged" in clip.troubles[0]


def test_a_change_of_size_is_reported_and_each_frame_has_its_own(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", 4).read_bytes()
    second = write_clip(tmp_path / "b.ts", clip_images(4, (32, 48))).read_bytes()
    (tmp_path / "both.ts").write_bytes(first + second)
    clip = open_clip(tmp_path / "both.ts")
    frames = list(clip.read())
    assert {frame.image.shape[:2] for frame in frames} == {(48, 64), (32, 48)}
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))  # although the second part counts from zero again
    assert "changes from 64x48 to 48x32" in clip.troubles[0]


def no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        container.mux(stream.encode(tone(0.1)))
        container.mux(stream.encode(None))


def text(path: Path) -> None:
    path.write_text("hello\n" * 100)


def image(path: Path) -> None:
    Image.fromarray(clip_images(1)[0]).save(path, format="PNG")


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")


def unknown_codec(path: Path) -> None:
    matroska = write_clip(path.with_suffix(".mkv"), 2).read_bytes()
    path.write_bytes(matroska.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))


def without_index(path: Path) -> None:
    write_clip(path, noise(6))
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_frames, "has no video stream"),
        (audio_only, "has no video stream, at most audio"),
        (text, "cannot be read as a video"),
        (image, "cannot be read as a video"),
        (playlist, "cannot be read as a video"),
        (unknown_codec, "has a video stream that this PyAV cannot decode"),
        (without_index, "cut off before its index was written"),
        (lambda path: None, "does not exist"),
    ],
)
def test_a_file_that_is_no_video_is_refused(make: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        list(open_clip(path).read())
    assert str(path) in str(caught.value)


def test_missing_images_and_a_start_beyond_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no such images"):
        open_clip(tmp_path / "%06d.jpg")
    clip = open_clip(write_clip(tmp_path / "a.mp4", 4))
    with pytest.raises(DataError, match=r"no frame that can be read from 9.0 s on, which ends after 0.12 s"):
        list(clip.read(start=9.0))


def test_a_time_between_two_frames_is_refused_with_that_of_the_next_one(tmp_path: Path) -> None:
    clip = open_clip(write_clip(tmp_path / "a.mp4", 3, times=[0, 5000, 10000]))
    with pytest.raises(DataError, match=r"from 1.0 s on and before 4.0 s; the next one is at 5.00 s; give another end"):
        list(clip.read(start=1.0, end=4.0))
