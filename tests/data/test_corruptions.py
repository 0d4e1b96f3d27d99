"""Spoiled images: what is done to them, and that it is the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.data.corruptions import CORRUPTIONS, corrupt
from segnet.data.dataset import SegmentationDataset
from segnet.data.samples import Sample
from segnet.data.synthetic.scenes import render_scene
from segnet.errors import ConfigError
from segnet.labels import CAMVID

SCENE = render_scene(3)[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_changed_in_the_same_way_each_time_and_itself_left_alone(name):
    before = SCENE.copy()
    spoiled = corrupt(SCENE, name, key="a")
    assert np.array_equal(SCENE, before)
    assert spoiled.dtype == np.uint8
    assert spoiled.shape[2] == 3
    assert np.array_equal(spoiled, corrupt(SCENE, name, key="a"))
    assert spoiled.shape != SCENE.shape or not np.array_equal(spoiled, SCENE)
    assert spoiled.std() > 1


@pytest.mark.parametrize("name", ["night", "rain", "noise"])
def test_each_image_has_noise_of_its_own(name):
    assert not np.array_equal(corrupt(SCENE, name, key="a"), corrupt(SCENE, name, key="b"))


def test_gray_is_the_luminance_of_itu_r_601():
    red, green, blue = np.moveaxis(SCENE.astype(float), 2, 0)
    spoiled = corrupt(SCENE, "gray")
    assert np.abs(spoiled[..., 0] - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1
    assert np.array_equal(spoiled[..., 0], spoiled[..., 2])


def test_night_leaves_a_twelfth_of_the_light():
    plain = np.full((64, 64, 3), 200, np.uint8)
    light = ((corrupt(plain, "night") / 255) ** 2.2).mean()
    assert light == pytest.approx((200 / 255) ** 2.2 / 12, rel=0.02)


def test_noise_has_its_standard_deviation():
    plain = np.full((200, 200, 3), 128, np.uint8)
    assert (corrupt(plain, "noise") / 255).std() == pytest.approx(0.08, rel=0.02)


def test_blur_spreads_a_point_by_two_pixels():
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    column = np.arange(41) - 20.0
    weights = corrupt(point, "blur")[..., 0].sum(0).astype(float)
    assert np.sqrt((weights * column**2).sum() / weights.sum()) == pytest.approx(2, rel=0.15)


def test_rain_brightens_some_pixels_and_hides_none_but_a_few():
    black = np.zeros((120, 160, 3), np.uint8)
    rain = corrupt(black, "rain")[..., 0] / 255
    assert rain.min() == pytest.approx(0.075, abs=0.01)
    assert 0.005 < (rain > 0.2).mean() < 0.2


def test_jpeg_makes_blocks_of_eight_pixels():
    step = np.abs(np.diff(corrupt(SCENE, "jpeg").astype(float).mean(2), axis=1)).mean(0)
    at_blocks, elsewhere = step[7::8].mean(), np.delete(step, np.s_[7::8]).mean()
    assert at_blocks > 1.1 * elsewhere


@pytest.mark.parametrize(("name", "factor"), [("half", 0.5), ("double", 2)])
def test_another_resolution_takes_the_mask_along(tmp_path, name, factor):
    mask = np.zeros((90, 120), np.uint8)
    mask[:, 60:] = 3
    Image.fromarray(np.repeat(mask[..., None] * 80, 3, axis=2)).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    sample = Sample(tmp_path / "a.png", tmp_path / "m.png", "a")
    item = SegmentationDataset([sample], CAMVID, corruption=name)[0]
    shape = (round(90 * factor), round(120 * factor))
    assert item["mask"].shape == shape
    assert item["image"].shape == (3, *shape)
    shown = (item["image"][0] > 0.5) == (item["mask"] == 3)
    assert shown.float().mean() > 0.99
    assert torch.equal(item["mask"][0] == 3, torch.arange(shape[1]) >= shape[1] // 2)


def test_a_data_set_of_fewer_samples_is_spoiled_too(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    Image.fromarray(np.zeros(SCENE.shape[:2], np.uint8)).save(tmp_path / "m.png")
    sample = Sample(tmp_path / "a.png", tmp_path / "m.png", "a")
    item = SegmentationDataset([sample, sample], CAMVID, corruption="night").only([1])[0]
    expected = corrupt(SCENE, "night", key="a")
    assert np.array_equal((item["image"].permute(1, 2, 0) * 255).round().byte().numpy(), expected)


def test_random_numbers_are_those_of_the_file_s_name_on_every_machine():
    """The table of a model card can be made again elsewhere."""
    noisy = corrupt(np.full((8, 8, 3), 128, np.uint8), "noise", key="0001TP_006690")
    assert hashlib.sha256(noisy.tobytes()).hexdigest()[:16] == "ae1d48bfc728211a"


def test_what_cannot_be_spoiled_is_told():
    with pytest.raises(ConfigError, match="no corruption 'fog'; known are gray, night"):
        corrupt(SCENE, "fog")
    with pytest.raises(ConfigError, match="RGB images"):
        corrupt(SCENE[..., 0], "gray")
