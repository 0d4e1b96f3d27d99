from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segnet.errors import ModelError
from segnet.inference.predictor import Predictor
from segnet.inference.smoothing import SmoothedRuntime
from segnet.inference.tiling import TileConfig
from segnet.inference.video import with_smoothing
from segnet.metrics.flicker import FlickerMeter, find_motion, move
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output, Runtime, argmax
from video_clips import Brightness

RANDOM = np.random.default_rng(0)


def street(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Smooth light and shade, (1, 3, H, W)."""
    rows, columns = np.linspace(0, 3, size[0]), np.linspace(0, 5, size[1])
    light = 0.5 + 0.25 * np.sin(rows)[:, None] + 0.25 * np.cos(columns)
    return np.repeat(light[None, None], 3, axis=1).astype(np.float32)


def probabilities_of(runtime: Runtime, batch: np.ndarray) -> np.ndarray:
    found = runtime.run(batch, probabilities=True).probabilities
    assert found is not None
    return found


def naive(frames: list[np.ndarray], smooth: float) -> np.ndarray:
    """The formula of the docstring, pixel by pixel."""
    kept = frames[0].astype(np.float64)
    for new in frames[1:]:
        blended = np.empty_like(kept)
        for place in np.ndindex(kept.shape[2:]):
            old, seen = kept[(0, slice(None), *place)], new[(0, slice(None), *place)].astype(np.float64)
            apart = sum(abs(a - b) for a, b in zip(old, seen, strict=True)) / 2
            weight = smooth * (1 - apart**2)
            blended[(0, slice(None), *place)] = weight * old + (1 - weight) * seen
        kept = blended
    return kept


def test_probabilities_are_blended_by_the_formula() -> None:
    noise = 0.03 * RANDOM.standard_normal((4, 1, 3, 18, 20))
    frames = [np.clip(street((18, 20)) + noise[number], 0, 1).astype(np.float32) for number in range(4)]
    frames[2][..., 3:5, 3:5] = 1 - frames[2][..., 3:5, 3:5]
    smooth = SmoothedRuntime(Brightness(), 0.7)
    for frame in frames:
        blended = probabilities_of(smooth, frame)
    expected = naive([probabilities_of(Brightness(), frame) for frame in frames], 0.7)
    np.testing.assert_allclose(blended, expected, atol=1e-6)
    np.testing.assert_allclose(blended.sum(axis=1), 1, atol=1e-6)


def test_uncertain_pixels_are_smoothed_and_a_certain_change_is_followed_at_once() -> None:
    before, after = street(), street()
    before[..., 10, 10], after[..., 10, 10] = 0.55, 0.45  # uncertain: would flip
    before[..., 20, 20], after[..., 20, 20] = 0.98, 0.02  # something has moved
    smooth = SmoothedRuntime(Brightness(), 0.8)
    assert smooth.run(before).mask[0, 10, 10] == smooth.run(after).mask[0, 10, 10] == 1
    assert smooth.run(after).mask[0, 20, 20] == 0


def test_smoothing_0_is_the_model_itself() -> None:
    smooth = SmoothedRuntime(Brightness(), 0.0)
    for _ in range(3):
        frame = RANDOM.random((1, 3, 6, 8), dtype=np.float32)
        np.testing.assert_array_equal(probabilities_of(smooth, frame), probabilities_of(Brightness(), frame))


@pytest.mark.parametrize("cut", [1 - street(), np.zeros_like(street()), street((24, 32))], ids=["cut", "black", "size"])
def test_a_scene_cut_and_another_size_start_anew(cut: np.ndarray) -> None:
    smooth = SmoothedRuntime(Brightness(), 0.9)
    probabilities_of(smooth, street())
    np.testing.assert_array_equal(probabilities_of(smooth, cut), probabilities_of(Brightness(), cut))


def test_images_without_contrast_of_like_brightness_are_one_scene() -> None:
    even = np.full((1, 3, 8, 8), 0.5, dtype=np.float32)
    smooth = SmoothedRuntime(Brightness(), 0.5)
    probabilities_of(smooth, even)
    assert probabilities_of(smooth, even + 0.05).mean(axis=(2, 3))[0, 1] == pytest.approx(0.525, abs=0.001)


def test_a_movement_of_the_camera_is_no_cut() -> None:
    wide = street((48, 80))
    smooth = SmoothedRuntime(Brightness(), 0.5)
    probabilities_of(smooth, wide[..., :64])
    moved = wide[..., 3:67]
    assert np.abs(probabilities_of(smooth, moved) - probabilities_of(Brightness(), moved)).max() > 0.01


def test_outputs_are_blended_and_keep_the_frames_own_uncertainty() -> None:
    first, second = street(), np.clip(street() + 0.1, 0, 1)
    smooth, alike = SmoothedRuntime(Brightness(), 0.6), SmoothedRuntime(Brightness(), 0.6)
    smooth.run(first, measure="entropy"), alike.run(first)
    output, blended = smooth.run(second, measure="entropy"), probabilities_of(alike, second)
    np.testing.assert_array_equal(output.probabilities, blended)
    np.testing.assert_array_equal(output.mask, argmax(blended))
    np.testing.assert_array_equal(output.uncertainty, Brightness().run(second, measure="entropy").uncertainty)
    assert smooth.measures == Brightness().measures


def test_an_overflow_in_one_frame_is_not_blended_into_the_next() -> None:
    class Once(Brightness):
        frames = 0

        def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
            output = super().run(batch, probabilities=probabilities, measure=measure)
            self.frames += 1
            if self.frames == 2:
                assert output.probabilities is not None
                output.probabilities[..., 3:5] = np.nan
            return output

    smooth, frame = SmoothedRuntime(Once(), 0.8), street()
    for _ in range(3):
        blended = probabilities_of(smooth, frame)
    np.testing.assert_allclose(blended, probabilities_of(Brightness(), frame), atol=1e-6)


def test_a_model_that_outputs_class_indices_only_cannot_be_smoothed() -> None:
    runtime = Brightness()
    runtime.info = replace(runtime.info, output="mask")
    with pytest.raises(ModelError, match="brightness: outputs class indices only"):
        SmoothedRuntime(runtime, 0.5)


def test_flicker_is_the_mean_share_of_changed_pixels() -> None:
    meter = FlickerMeter()
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    assert meter.share is None
    masks = [RANDOM.integers(0, 3, (4, 5)).astype(np.uint8) for _ in range(4)]
    for mask in masks:
        meter.add(image, mask)
    changed = [np.mean(masks[number] != masks[number + 1]) for number in range(3)]
    assert meter.share == pytest.approx(np.mean(changed))
    assert meter.share_along_motion is None
    meter.add(image[:2], masks[0][:2])  # another size is no change
    assert meter.share == pytest.approx(np.mean(changed))


@pytest.mark.parametrize("offset", [(0, 0), (2, -3), (-6, 6), (5, 0)])
def test_motion_is_found_where_there_is_something_to_see(offset: tuple[int, int]) -> None:
    wide = RANDOM.random((80, 96)).astype(np.float32)
    before = wide[8:72, 8:88]
    after = wide[8 + offset[0] :, 8 + offset[1] :][:64, :80]  # what is here came from further down and right
    found = find_motion(before, after)
    assert found.shape == (8, 10, 2)
    assert (found[1:-1, 1:-1] == offset).all()


def test_what_moves_with_the_image_does_not_flicker_along_the_motion() -> None:
    wide = RANDOM.integers(0, 255, (120, 200, 3), dtype=np.uint8)
    labels = (np.add.outer(np.arange(120) // 10, np.arange(200) // 10) % 3).astype(np.uint8)
    meter = FlickerMeter(motion=True)
    for step in range(3):
        meter.add(wide[:, 4 * step :][:, :160], labels[:, 4 * step :][:, :160])
    assert meter.share is not None
    assert meter.share_along_motion is not None
    assert meter.share > 0.3
    assert meter.share_along_motion < 0.06  # the border that came into view


@pytest.mark.parametrize("size", [(1, 241), (3, 2000), (2048, 1)])
def test_motion_is_found_in_frames_of_few_rows_or_columns(size: tuple[int, int]) -> None:
    meter = FlickerMeter(motion=True)
    for _ in range(2):
        meter.add(np.zeros((*size, 3), dtype=np.uint8), np.ones(size, dtype=np.uint8))
    assert meter.share_along_motion == 0


def test_a_large_mask_moves_as_far_as_the_reduced_image_says() -> None:
    mask = RANDOM.integers(0, 5, (90, 130)).astype(np.uint8)
    offsets = np.zeros((4, 6, 2), dtype=np.intp)
    offsets[..., 1] = 2
    moved = move(mask, offsets, (30, 43))
    np.testing.assert_array_equal(moved[:, :-10], mask[:, 6:-4])


def test_each_tile_is_blended_with_the_tile_at_the_same_position() -> None:
    first = (street(), 1 - street())
    second = tuple(np.clip(tile + 0.05, 0, 1) for tile in first)
    smooth = SmoothedRuntime(Brightness(), 0.5)
    found = []
    for tiles in (first, second):
        smooth.start_image((48, 128))
        found.append([probabilities_of(smooth, part) for part in tiles])
    for tile in range(2):
        alone = SmoothedRuntime(Brightness(), 0.5)
        np.testing.assert_array_equal(found[0][tile], probabilities_of(alone, first[tile]))
        np.testing.assert_array_equal(found[1][tile], probabilities_of(alone, second[tile]))
        assert np.abs(found[1][tile] - probabilities_of(Brightness(), second[tile])).max() > 0.01


def test_nothing_is_blended_into_the_first_frame_in_tiles() -> None:
    image = np.random.default_rng(1).integers(0, 256, (96, 200, 3), dtype=np.uint8)
    predictor = Predictor(Brightness(), confidence=True, tiles=TileConfig(tile=96, overlap=16))
    smoothed = with_smoothing(predictor, 0.9)
    np.testing.assert_array_equal(smoothed(image).confidence, predictor(image).confidence)
    np.testing.assert_allclose(smoothed(image).confidence, predictor(image).confidence, atol=1e-6)


def test_tiles_are_not_blended_with_those_of_a_frame_of_another_size() -> None:
    wide = np.random.default_rng(1).integers(90, 110, (64, 128, 3), dtype=np.uint8)
    tall = np.concatenate([wide[:, :64], wide[:, :64]])
    predictor = Predictor(Brightness(), confidence=True, max_size=None)
    predictor.runtime.info = replace(predictor.runtime.info, size=(64, 64))
    smoothed = with_smoothing(predictor, 0.9)
    smoothed(wide)
    np.testing.assert_array_equal(smoothed(tall).confidence, predictor(tall).confidence)


def test_no_tile_is_kept_over_a_frame_of_another_size() -> None:
    smooth = SmoothedRuntime(Brightness(), 0.7)
    first, second = street(), street() * np.float32(0.9)
    frames = {(48, 128): [first, first], (24, 32): [street((24, 32))], (96, 64): [second, second]}  # in tiles, or whole
    for size, tiles in frames.items():
        smooth.start_image(size)
        found = [probabilities_of(smooth, tile) for tile in tiles]
    for blended in found:
        np.testing.assert_array_equal(blended, probabilities_of(Brightness(), second))
