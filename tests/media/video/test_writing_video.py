from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from full_disk import little_room
from segnet.errors import ConfigError, OutputError
from segnet.media.sources import WRITABLE_VIDEO_SUFFIXES
from segnet.media.video.settings import Codec
from segnet.media.video.writing import VideoFormat, choose_codec, open_video_writer
from video_clips import border, clip_images, decoded, noise, write_clip


def write(path: Path, images: list[np.ndarray], times: list[Fraction] | None = None, **options: object) -> Path:
    with open_video_writer(path, images[0].shape[:2], VideoFormat(**options)) as writer:
        for number, image in enumerate(images):
            writer.add(image, times[number] if times else Fraction(number, 25))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "held"),
    [
        ("a.mp4", "auto", "h264"),
        ("a.m4v", "auto", "h264"),
        ("a.mov", "auto", "h264"),
        ("a.mkv", "auto", "h264"),
        ("a.webm", "auto", "vp9"),
        ("a.mp4", "av1", "libdav1d"),
        ("a.gif", "auto", "gif"),
    ],
)
def test_the_name_and_the_codec_decide_what_is_written(name: str, codec: Codec, held: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, clip_images(5), codec=codec)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == held
    found = decoded(path)
    assert [time for time, _ in found] == pytest.approx([number / 25 for number in range(5)], abs=0.001)
    assert [border(image) for _, image in found] == pytest.approx([8, 10, 12, 14, 16], abs=1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_times_shape_of_pixels_and_length_are_kept(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 2), Fraction(9, 10)]
    path = write(tmp_path / "a.mp4", clip_images(4), times, tick=Fraction(1, 12800), aspect=Fraction(4, 3))
    assert [time for time, _ in decoded(path)] == times
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert container.duration == pytest.approx(940_000, abs=2000)  # the last frame lasts a twenty-fifth


def test_av1_takes_any_rate_and_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    times = [Fraction(number, 1000) for number in range(5)]
    path = write(tmp_path / "a.mp4", clip_images(5), times, codec="av1", rate=Fraction(1000))
    assert [time for time, _ in decoded(path)] == pytest.approx(times, abs=0.0001)
    assert capfd.readouterr() == ("", "")


def test_frames_too_small_for_av1_are_refused_instead_of_never_ending(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"frames have 400x24 pixels.* at least 32 .*choose --codec vp9"):
        write(tmp_path / "a.mp4", clip_images(1, (24, 400)), codec="av1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("height", [48, 720])
def test_colors_are_those_that_players_show(height: int, tmp_path: Path) -> None:
    image = np.full((height, 64, 3), (220, 40, 30), dtype=np.uint8)
    _, shown = decoded(write(tmp_path / "a.mp4", [image]))[0]
    assert np.abs(shown.astype(int) - image).max() < 6


def test_an_odd_side_gets_its_last_row_and_column_twice(tmp_path: Path) -> None:
    found = decoded(write(tmp_path / "a.mp4", clip_images(2, (47, 63))))
    assert found[0][1].shape == (48, 64, 3)
    assert border(found[1][1]) == 10


def test_an_image_of_another_size_is_scaled_and_a_time_that_goes_back_is_mended(tmp_path: Path) -> None:
    images = [*clip_images(2), np.repeat(np.repeat(clip_images(3)[2], 2, axis=0), 2, axis=1)]
    found = decoded(write(tmp_path / "a.mp4", images, [Fraction(0), Fraction(1), Fraction(1, 2)]))
    assert [border(image) for _, image in found] == [8, 10, 12]
    assert 1 < found[2][0] < 1.001


def heard(path: Path) -> tuple[str, float, float]:
    """Codec, first and last second of the audio."""
    with av.open(str(path)) as container:
        name = container.streams.audio[0].codec_context.name
        frames = list(container.decode(audio=0))
    return name, frames[0].time, frames[-1].time + frames[-1].samples / frames[-1].sample_rate


@pytest.mark.parametrize(("name", "codec"), [("b.mp4", "aac"), ("b.mkv", "aac"), ("b.webm", "opus")])
def test_audio_is_copied_where_the_file_can_hold_it_and_else_re_encoded(
    name: str, codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_clip(tmp_path / "a.mp4", 25, sound="aac")
    with caplog.at_level("INFO", "segnet"):
        path = write(tmp_path / name, clip_images(25), audio=source)
    found, first, last = heard(path)
    assert found == codec
    assert first == pytest.approx(0, abs=0.03)
    assert last == pytest.approx(1, abs=0.06)
    assert ("re-encoded as opus" in caplog.text) == (codec == "opus")


@pytest.mark.parametrize(("source", "sound", "name"), [("a.avi", "pcm_s16le", "b.mp4"), ("a.mkv", "libopus", "b.mov")])
def test_audio_that_the_file_cannot_hold_in_this_form_is_re_encoded(
    source: str, sound: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MP4 knows PCM, but refuses it without a layout of its channels, and only at the end; MOV refuses Opus."""
    clip = write_clip(tmp_path / source, 25, sound=sound)
    with caplog.at_level("INFO", "segnet"):
        path = write(tmp_path / name, clip_images(25), audio=clip)
    assert heard(path) == ("aac", pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.06))
    assert "re-encoded as aac" in caplog.text


def test_audio_begins_and_ends_with_the_frames(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 50, sound="aac")
    path = write(tmp_path / "b.mp4", clip_images(10), audio=source, start=1.0)
    assert heard(path)[1:] == pytest.approx((0, 0.4), abs=0.05)


@pytest.mark.parametrize("name", ["b.mp4", "b.webm"])
def test_audio_of_joined_recordings_goes_on(name: str, tmp_path: Path) -> None:
    """Copied and re-encoded: the times of the second recording begin at zero again."""
    part = write_clip(tmp_path / "part.ts", 25, sound="aac")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    path = write(tmp_path / name, clip_images(50), audio=joined)
    assert heard(path)[1:] == pytest.approx((0, 2), abs=0.08)


def test_audio_that_changes_its_channels_is_re_encoded(tmp_path: Path) -> None:
    parts = [write_clip(tmp_path / f"{form}.ts", 25, sound="aac", layout=form) for form in ("mono", "stereo")]
    changing = tmp_path / "changing.ts"
    changing.write_bytes(b"".join(part.read_bytes() for part in parts))
    path = write(tmp_path / "b.webm", clip_images(50), audio=changing)
    assert heard(path) == ("opus", pytest.approx(0, abs=0.03), pytest.approx(2, abs=0.08))


def test_audio_with_long_ticks_is_re_encoded(tmp_path: Path) -> None:
    """AVI counts the audio in frames of MP3, which are longer than those of AAC."""
    path = write(tmp_path / "b.m4v", clip_images(25), audio=write_clip(tmp_path / "a.avi", 25, sound="libmp3lame"))
    assert heard(path) == ("aac", pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.08))


def test_audio_of_an_unknown_codec_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_clip(tmp_path / "a.mkv", 4, sound="aac")
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with caplog.at_level("INFO", "segnet"):
        path = write(tmp_path / "b.mkv", clip_images(4), audio=source)
    assert len(decoded(path)) == 4
    assert "audio left out: this PyAV does not know its codec" in caplog.text


def test_a_gif_reports_that_it_has_no_audio(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_clip(tmp_path / "a.mp4", 4, sound="aac")
    with caplog.at_level("INFO", "segnet"):
        write(tmp_path / "b.gif", clip_images(4), audio=source)
    assert "audio left out: gif cannot hold aac" in caplog.text


def test_another_encoder_stands_in_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with caplog.at_level("INFO", "segnet"):
        path = write(tmp_path / "a.mp4", clip_images(2))
    assert "lacks libx264; written with mpeg4" in caplog.text
    monkeypatch.undo()
    assert [border(image) for _, image in decoded(path)] == [8, 10]


def test_a_codec_that_no_encoder_is_there_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", set())
    with pytest.raises(ConfigError, match="cannot write vp9"):
        write(tmp_path / "a.webm", clip_images(2))
    assert not list(tmp_path.iterdir())


def test_names_and_codecs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.avi cannot be written as a video"):
        choose_codec(Path("a.avi"), "auto")
    with pytest.raises(ConfigError, match=r"a\.webm cannot hold h264"):
        choose_codec(Path("a.webm"), "h264")
    assert {choose_codec(Path(f"a{suffix}"), "auto") for suffix in WRITABLE_VIDEO_SUFFIXES} == {"h264", "vp9", "auto"}


def test_a_block_that_raises_leaves_the_old_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match="data type"):
        write(path, [*clip_images(1), np.zeros((2, 2, 5), dtype=np.uint8)])
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_full_disk_is_reported_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with little_room(), pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
        write(tmp_path / name, noise(30))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file" / "a.mp4", clip_images(1))
