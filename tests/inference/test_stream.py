from __future__ import annotations

import io
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.errors import ConfigError, DataError, ModelError, ShapeError
from segnet.inference.predictor import Predictor
from segnet.inference.smoothing import SmoothedRuntime
from segnet.inference.stream import stream
from segnet.inference.video import segment_video
from segnet.media.sources import find_videos
from segnet.media.video.settings import VideoConfig
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output
from video_clips import Brightness, predictor, write_clip


def noise(seed: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


class Redness(Brightness):
    """The probability of bright is the first channel alone."""

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        return super().run(batch[:, :1], probabilities=probabilities, measure=measure)


def test_the_images_of_a_folder_come_in_order_with_their_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.jpg", "b/10.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(len(name))).save(tmp_path / name)
    found = list(stream(predictor(confidence=True), tmp_path))
    assert [segmented.name for segmented in found] == ["a", "b/10", "b/2"]
    assert [segmented.source for segmented in found] == [
        str(tmp_path / name) for name in ("a.jpg", "b/10.png", "b/2.png")
    ]
    for segmented in found:
        own = predictor(confidence=True)(np.array(Image.open(segmented.source)))
        np.testing.assert_array_equal(segmented.mask, own.mask)
        np.testing.assert_array_equal(segmented.confidence, own.confidence)
        assert (segmented.number, segmented.time, segmented.uncertainty) == (None, None, None)


def test_a_video_comes_with_names_numbers_and_times(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 4)
    found = list(stream(predictor(), path, config=VideoConfig(every=2)))
    assert [segmented.name for segmented in found] == ["a/000000", "a/000001"]
    assert [segmented.number for segmented in found] == [0, 1]
    assert [segmented.time for segmented in found] == [0, Fraction(2, 25)]
    assert {segmented.source for segmented in found} == {str(path)}


def test_the_videos_of_a_glob_follow_each_other(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 2), write_clip(tmp_path / "b.mp4", 1)
    found = [segmented.name for segmented in stream(predictor(), tmp_path / "*.mp4")]
    assert found == ["a/000000", "a/000001", "b/000000"]


def test_a_frame_is_represented_by_its_name_and_prediction() -> None:
    (frame,) = stream(predictor(), [noise(0)])
    assert repr(frame) == f"SegmentedFrame('000000', {frame.prediction!r})"


def test_frames_of_a_program_may_have_any_size() -> None:
    frames = [noise(0), noise(1, (9, 5)), noise(2)]
    found = list(stream(predictor(), (frame for frame in frames)))
    assert [segmented.mask.shape for segmented in found] == [(6, 8), (9, 5), (6, 8)]
    assert [(segmented.name, segmented.number, segmented.source) for segmented in found] == [
        ("000000", 0, ""), ("000001", 1, ""), ("000002", 2, "")
    ]  # fmt: skip
    for frame, segmented in zip(frames, found, strict=True):
        np.testing.assert_array_equal(segmented.image, frame)
        np.testing.assert_array_equal(segmented.mask, predictor()(frame).mask)


def test_opencvs_order_and_pillows_images_give_the_same_as_rgb() -> None:
    model, frames = Predictor(Redness(), confidence=True), [noise(0), noise(1)]
    rgb = list(stream(model, frames))
    bgr = list(stream(model, [frame[..., ::-1] for frame in frames], order="bgr"))
    pillow = list(stream(model, [Image.fromarray(frame).convert("RGBA") for frame in frames], order="bgr"))
    for own, *others in zip(rgb, bgr, pillow, strict=True):
        for other in others:
            np.testing.assert_array_equal(other.image, own.image)
            np.testing.assert_array_equal(other.confidence, own.confidence)


def test_an_array_of_many_images_is_a_stream() -> None:
    assert [segmented.mask.shape for segmented in stream(predictor(), np.zeros((2, 4, 5, 3), dtype=np.uint8))] == [
        (4, 5)
    ] * 2


def test_a_gray_model_takes_pillows_images_as_gray() -> None:
    (segmented,) = stream(Predictor(Brightness(channels=1)), [Image.new("RGB", (3, 2), (0, 255, 0))])
    np.testing.assert_array_equal(segmented.image, np.full((2, 3, 1), 150))


def test_pillows_images_are_those_that_reading_their_files_gives(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(0)).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(noise(1)[..., 0].astype(np.uint16) * 257).save(tmp_path / "b.png")
    read = list(stream(predictor(), tmp_path))
    given = list(stream(predictor(), (Image.open(tmp_path / name) for name in ("a.png", "b.png"))))
    for own, other in zip(read, given, strict=True):
        np.testing.assert_array_equal(other.image, own.image)


def test_frames_of_a_program_can_be_smoothed_and_skipped() -> None:
    bright = noise(0).astype(np.float32)  # one scene, that grows darker
    frames = [np.rint(bright * part).astype(np.uint8) for part in (1, 0.9, 0.8, 0.7, 0.6, 0.5)]
    smoothed = SmoothedRuntime(Brightness(), 0.8)
    found = list(stream(predictor(confidence=True), frames, config=VideoConfig(smoothing=0.8, every=2)))
    assert len(found) == 3
    for frame, segmented in zip(frames[::2], found, strict=True):
        output = smoothed.run(frame.transpose(2, 0, 1)[None] / np.float32(255))
        assert output.probabilities is not None
        own = output.probabilities.max(axis=1)[0]
        np.testing.assert_allclose(segmented.confidence, own, rtol=1e-6)
        np.testing.assert_array_equal(segmented.image, frame)
    assert np.abs(found[2].confidence - predictor(confidence=True)(frames[4]).confidence).max() > 0.01


def test_smoothing_keeps_the_predictors_settings(tmp_path: Path) -> None:
    config, frames = VideoConfig(smoothing=0.5), [noise(0, (40, 60))]
    (segmented,) = stream(predictor(max_size=6, uncertainty=True), frames, config=config)
    own = predictor(max_size=6, uncertainty=True)(frames[0])
    np.testing.assert_array_equal(segmented.mask, own.mask)
    np.testing.assert_array_equal(segmented.uncertainty, own.uncertainty)


def test_a_stream_of_images_that_is_left_early_ends_its_threads(tmp_path: Path) -> None:
    for number in range(9):
        Image.fromarray(noise(number)).save(tmp_path / f"{number}.png")
    before = threading.active_count()
    found = stream(predictor(), tmp_path)
    next(found)
    found.close()
    assert threading.active_count() == before


def test_of_an_address_the_name_is_shown_and_no_password() -> None:
    (source,) = find_videos("rtsp://me:secret@yard.local/cam")
    assert source.shown == "yard.local_cam"


WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("nothing/here.png", {}, DataError, "nothing/here.png does not exist"),
    (noise(0), {}, ConfigError, r"ndarray is not a source of frames; .*; for one image call predictor\(image\)"),
    (torch.zeros(3, 8, 9), {}, ConfigError, "Tensor is not a source of frames"),
    (Image.new("RGB", (2, 2)), {}, ConfigError, "Image is not a source of frames"),
    ({"a.png": noise(0)}, {}, ConfigError, "dict is not a source of frames"),
    (io.BytesIO(b"image"), {}, ConfigError, "BytesIO is not a source of frames"),
    (None, {}, ConfigError, "NoneType is not a source of frames; give a path"),
    ([noise(0), None], {}, DataError, "frame 1 is of type NoneType; expected a path, a Pillow image, a NumPy array"),
    ([noise(0)[..., :2]], {}, ShapeError, r"frame 0 is an array of shape \(6, 8, 2\); expected"),
    ([noise(0) / 2.0], {}, DataError, "frame 0 holds floating numbers from 0 to"),
    ([Image.new("F", (2, 2), 7.0)], {}, DataError, "frame 0 holds values from 7 to 7; expected 0 to 1"),
    ([noise(0)], {"order": "gbr"}, ConfigError, "order='gbr' is unknown"),
    ("a.png", {"order": "bgr"}, ConfigError, "order='bgr' is for arrays, and a.png is read as RGB"),
    ([noise(0)], {"config": VideoConfig(end=3)}, ConfigError, "frames of a program have no times"),
    ([noise(0)], {"config": {"every": 2}}, ConfigError, r"config={'every': 2} is not possible; give segnet.VideoConf"),
]


@pytest.mark.parametrize(("source", "settings", "kind", "message"), WRONG)
def test_what_is_no_source_is_an_error(
    source: Any, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        list(stream(predictor(), source, **settings))


def test_a_network_is_no_predictor() -> None:
    for call in (lambda model: list(stream(model, [noise(0)])), lambda model: segment_video(model, "a.mp4", "b.mp4")):
        with pytest.raises(ModelError, match=r"a Conv2d is no predictor; give Predictor\.load of a file or a name"):
            call(torch.nn.Conv2d(3, 2, 1))
