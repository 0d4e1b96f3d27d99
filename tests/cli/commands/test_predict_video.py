from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.cli.main import main
from segnet.inference.predictor import Predictor
from segnet.labels import CAMVID
from video_clips import clip_images, decoded, feed_and_interrupt, noise, serving, terminate_once, write_clip


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["predict", *map(str, words)])
    return int(left.value.code or 0)


def written(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("[!.]*") if path.is_file()}


def test_a_video_becomes_an_overlay_video_file(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_clip(tmp_path / "clip.mp4", 6), tmp_path / "out"
    assert leave(source, "--model", model_file, "--out", out, "--json", tmp_path / "told.json") == 0
    assert written(out) == {"overlay/clip.mp4"}
    assert len(decoded(out / "overlay/clip.mp4")) == 6
    told = capsys.readouterr().out
    assert "clip: 6 frames" in told
    assert "of the pixels change their class from frame to frame" in told
    figures = json.loads((tmp_path / "told.json").read_text())
    assert (figures["images"], figures["failures"]) == (0, [])
    (video,) = figures["videos"]
    assert (video["source"], video["frames"]) == ("clip", 6)
    assert sum(video["shares"].values()) == pytest.approx(1)
    assert 0 <= video["flicker"] <= 1


def test_out_names_the_video_file_and_flags_choose_frames(model_file: Path, tmp_path: Path) -> None:
    source, out = write_clip(tmp_path / "clip.mp4", 12), tmp_path / "short.webm"
    words = ("--save", "side", "--start", "0.08", "--end", "0.4", "--every", "2", "--smoothing", "0.8", "--flicker")
    assert leave(source, "--model", model_file, "--out", out, *words) == 0
    found = decoded(out)
    assert [round(1000 * time) for time, _ in found] == [0, 80, 160, 240]
    assert found[0][1].shape == (48, 128, 3)


def test_masks_of_a_video_are_numbers_and_frames_are_images(model_file: Path, tmp_path: Path) -> None:
    source, out = write_clip(tmp_path / "clip.mp4", 2), tmp_path / "out"
    assert leave(source, "--model", model_file, "--out", out, "--save", "mask,overlay,confidence", "--frames") == 0
    kinds = ("mask", "overlay", "confidence", "confidence_color")
    assert written(out) == {f"{kind}/clip/{number:06}.png" for kind in kinds for number in range(2)}
    own = Predictor.load(model_file)(decoded(source)[1][1]).mask
    np.testing.assert_array_equal(np.array(Image.open(out / "mask/clip/000001.png")), own)
    assert np.array(Image.open(out / "overlay/clip/000001.png")).shape == (48, 64, 3)


def test_flags_of_the_look_reach_frames_and_video_files(model_file: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", 2)
    words = (
        source,
        "--model",
        model_file,
        "--show-classes",
        "Fence",
        "--opacity",
        "1",
        "--outline-width",
        "0",
        "--legend",
    )
    assert leave(*words, "none", "--out", tmp_path / "a", "--frames") == 0
    assert leave(*words, "below", "--out", tmp_path / "b.mp4") == 0
    image, fence = decoded(source)[0][1], CAMVID.names.index("Fence")
    wanted = np.where((Predictor.load(model_file)(image).mask == fence)[..., None], CAMVID.colors[fence], image)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "a/overlay/clip/000000.png")), wanted)
    assert decoded(tmp_path / "b.mp4")[0][1].shape[0] > 48


def test_images_and_videos_in_one_run(model_file: Path, tmp_path: Path) -> None:
    Image.fromarray(clip_images(1)[0]).save(tmp_path / "a.png")
    write_clip(tmp_path / "b.mp4", 2), write_clip(tmp_path / "c.mp4", 2)
    out = tmp_path / "out"
    assert leave(tmp_path / "a.png", tmp_path / "*.mp4", "--model", model_file, "--out", out) == 0
    assert written(out) == {"mask/a.png", "overlay/a.png", "overlay/b.mp4", "overlay/c.mp4"}


def test_numbered_images_become_a_video_file(model_file: Path, tmp_path: Path) -> None:
    for number, image in enumerate(clip_images(3)):
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    assert leave(tmp_path / "%03d.png", "--rate", "10", "--model", model_file, "--out", tmp_path / "a.mp4") == 0
    assert [float(time) for time, _ in decoded(tmp_path / "a.mp4")] == pytest.approx([0, 0.1, 0.2])


def test_a_gif_is_a_video_if_a_video_file_is_written_and_else_an_image(model_file: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.gif", 3, codec="gif", times=[0, 100, 200])
    assert leave(source, "--model", model_file, "--out", tmp_path / "b.gif") == 0
    assert len(decoded(tmp_path / "b.gif")) == 3
    assert leave(source, "--model", model_file, "--out", tmp_path / "out") == 0
    assert written(tmp_path / "out") == {"mask/a.png", "overlay/a.png"}


def test_a_stream_tells_latency_and_drops(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "a.mp4", 4, options={"movflags": "+faststart"})
    with serving(tmp_path) as address:
        assert leave(f"{address}/a.mp4", "--model", model_file, "--out", tmp_path / "b.mp4") == 0
    told = capsys.readouterr().out
    assert "frames dropped, 0 new connections" in told
    assert "latency " in told


def test_standard_input_is_a_live_source(model_file: Path, tmp_path: Path) -> None:
    kept = os.dup(0)
    with write_clip(tmp_path / "a.ts", 4).open("rb") as given:
        os.dup2(given.fileno(), 0)
        try:
            assert leave("-", "--model", model_file, "--out", tmp_path / "b.mp4") == 0
        finally:
            os.dup2(kept, 0)
            os.close(kept)
    assert decoded(tmp_path / "b.mp4")


def cut_off(path: Path) -> None:
    write_clip(path, noise(12), options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])


def damaged(path: Path) -> None:
    data = bytearray(write_clip(path, noise(12), options={"movflags": "+faststart"}).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)


def resized(path: Path) -> None:
    first, second = write_clip(path.with_suffix(".ts"), 3), write_clip(path.with_name("b.ts"), clip_images(3, (24, 32)))
    path.write_bytes(first.read_bytes() + second.read_bytes())


@pytest.mark.parametrize(
    ("make", "told"), [(cut_off, "is cut off"), (damaged, "is damaged"), (resized, "the image changes from")]
)
def test_a_video_with_a_fault_is_labeled_told_in_a_line_and_code_2(
    make: object, told: str, model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "a.mp4"
    make(source)
    assert leave(source, "--model", model_file, "--out", tmp_path / "out.mp4") == 2
    assert len(decoded(tmp_path / "out.mp4")) >= 4
    lines = [record.message for record in caplog.records]
    assert [told in line for line in lines].count(True) == 1
    assert all(line.count("\n") == 0 for line in lines)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["TEXT"], "cannot be read as a video"),
        (["99"], "camera 99 gives no frame"),
        (["http://127.0.0.1:9/live"], "127.0.0.1_live gives no frame (Connection refused)"),
        (["CLIP", "--start", "9"], "holds no frame that can be read"),
    ],
)
def test_a_source_that_brings_nothing_is_told_in_a_line(
    words: list[str], told: str, model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    places = {"TEXT": tmp_path / "text.mp4", "CLIP": write_clip(tmp_path / "clip.mp4", 2)}
    assert leave(*(places.get(word, word) for word in words), "--model", model_file, "--out", tmp_path / "o.mp4") == 2
    assert [told in record.message for record in caplog.records] == [True]
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--save", "overlay,color"], "is one video file"),
        (["--save", "mask"], "is one video file"),
        (["--frames"], "is one video file"),
        (["IMAGE"], "is one video file"),
        (["--codec", "h264"], "cannot hold h264"),
        (["--smoothing", "1"], "smoothing=1.0 is not possible"),
        (["--show"], "show needs"),
    ],
)
def test_flags_that_do_not_fit_are_told_in_a_line(
    words: list[str],
    told: str,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    Image.fromarray(clip_images(1)[0]).save(tmp_path / "a.png")
    more = [tmp_path / "a.png" if word == "IMAGE" else word for word in words]
    source = write_clip(tmp_path / "clip.mp4", 2)
    assert leave(source, *more, "--model", model_file, "--out", tmp_path / "o.webm") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o.webm").exists()


def test_two_videos_of_one_name_are_refused(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = write_clip(tmp_path / "a.mp4", 2), write_clip(tmp_path / "a.mkv", 2)
    assert leave(*sources, "--model", model_file, "--out", tmp_path / "out") == 2
    assert "would be written to the same name" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--save", "mask"), ("--save", "overlay", "--frames")])
def test_an_image_that_has_the_name_of_a_frame_is_refused(
    flags: tuple[str, ...], model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/a").mkdir(parents=True)
    Image.fromarray(clip_images(1)[0]).save(tmp_path / "data/a/000001.png")
    words = tmp_path / "data", write_clip(tmp_path / "a.mp4", 2), "--model", model_file, "--out", tmp_path / "out"
    assert leave(*words, *flags) == 2
    assert "the image a/000001 and the frames of" in capsys.readouterr().err
    assert leave(*words) == 0  # no frame is an image
    assert written(tmp_path / "out") == {"mask/a/000001.png", "overlay/a/000001.png", "overlay/a.mp4"}


def test_a_full_disk_is_told_and_leaves_nothing(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "a.mp4", noise(20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        code = leave(source, "--model", model_file, "--out", tmp_path / "out", "--save", "side")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "cannot be written (File too large)" in capsys.readouterr().err
    assert not written(tmp_path / "out")


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_ends_a_live_video_file_so_that_it_plays(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    video = out / "overlay" / "pipe.mp4"
    os.mkfifo(pipe)
    data = write_clip(tmp_path / "a.ts", 50).read_bytes()

    feeder = feed_and_interrupt(pipe, data, once=out / "mask" / "pipe" / "000000.png", until=video)
    assert leave(pipe, "--model", model_file, "--out", out, "--save", "mask,overlay") == 130
    feeder.join(10)
    told = capsys.readouterr()
    assert "segnet: interrupted" in told.err
    assert "frames/s" in told.out
    assert re.search(r"network: network [\d.]+ \([\d.]+\).*\n  writing: overlay .*save", told.out)
    assert decoded(video)


def test_sigterm_completes_the_video_and_opens_no_other(model_file: Path, tmp_path: Path) -> None:
    sources = [write_clip(tmp_path / f"{name}.mp4", 150) for name in "ab"]
    out = tmp_path / "out"
    thread = terminate_once(out / "mask/a/000000.png")
    assert leave(*sources, "--model", model_file, "--out", out, "--save", "mask,overlay") == 143
    thread.join()
    masks = list((out / "mask/a").glob("[!.]*.png"))
    assert 0 < len(masks) < 150
    assert len(decoded(out / "overlay/a.mp4")) == len(masks)
    assert not list(out.rglob("b*"))


def test_the_terminal_closes_and_the_video_is_completed(model_file: Path, tmp_path: Path) -> None:
    clip, out, frames = write_clip(tmp_path / "a.mp4", 300), tmp_path / "out", tmp_path / "out/mask/a"
    terminal, end = os.openpty()
    words = [sys.executable, "-m", "segnet", "predict", clip, "--model", model_file, "--out", out, "--device", "cpu"]
    in_terminal = (  # the terminal of the session, whose end is heard even if the tests run under nohup
        "import os, signal, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", in_terminal, *map(str, words), "--save", "mask,overlay"],
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    while not (frames / "000000.png").exists() and running.poll() is None:
        time.sleep(0.01)
    os.close(terminal)
    assert running.wait(60) == 143
    masks = list(frames.glob("[!.]*.png"))
    assert 0 < len(masks) < 300
    assert len(decoded(out / "overlay/a.mp4")) == len(masks)


def test_sigterm_leaves_a_pipe_that_gives_no_frame(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    left, in_time = threading.Event(), []

    def feed() -> None:
        with pipe.open("wb"):  # it is open as soon as it is read
            os.kill(os.getpid(), signal.SIGTERM)
            in_time.append(left.wait(30))

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert leave(pipe, "--model", model_file, "--out", tmp_path / "out.mp4") == 143
    left.set()
    feeder.join()
    assert in_time == [True]
    assert "stopped by SIGTERM" in caplog.text
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_video_that_is_read_and_frames_of_others_are_not_replaced(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    before = clip.read_bytes()
    assert leave(clip, "--model", model_file, "--out", clip) == 2
    assert f"{clip} would be replaced by a result, and is read in this run" in capsys.readouterr().err
    assert clip.read_bytes() == before
    out = tmp_path / "out"
    for frames in ([], ["--frames"]):
        for _ in range(2):
            assert leave(clip, "--model", model_file, "--out", out, "--save", "mask,overlay", *frames) == 0
    (out / "mask/clip/000001.png").write_text("theirs")
    assert leave(clip, "--model", model_file, "--out", out, "--save", "mask,overlay") == 2
    assert "000001.png was not written" in capsys.readouterr().err


def test_numbered_images_that_are_read_are_not_replaced(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", model_file, "--out", tmp_path / "out", "--save", "side", "--frames")
    assert leave(write_clip(tmp_path / "clip.mp4", 2), *words) == 0
    frames = tmp_path / "out/side/clip"
    before = {path: path.read_bytes() for path in frames.iterdir()}
    assert leave(frames / "%06d.png", *words) == 2
    assert f"{frames / '000000.png'}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in frames.iterdir()} == before


def test_whatever_one_video_raises_is_its_own_failure(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from segnet.results import videos

    clips = [write_clip(tmp_path / f"{name}.mp4", 2) for name in ("a", "bad", "z")]
    predict = videos._predict_video

    def raising(predictor: object, source: object, *rest: object) -> None:
        if "bad" in str(source):
            raise RuntimeError("nobody thought of it")
        predict(predictor, source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(videos, "_predict_video", raising)
    assert leave(*clips, "--model", model_file, "--out", tmp_path / "out") == 2
    assert written(tmp_path / "out") == {"overlay/a.mp4", "overlay/z.mp4"}
    assert "bad.mp4 cannot be predicted (RuntimeError: nobody thought of it)" in caplog.text
