"""Photometric augmentation: each effect does what it is named for, to as many images as wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segnet.data.augment_config import AugmentConfig
from segnet.data.augmentation import Augmentation
from segnet.data.photometric import EFFECTS, apply_effect


@pytest.fixture
def image() -> Tensor:
    torch.manual_seed(3)
    return torch.rand(8, 3, 24, 33) * 0.6 + 0.1


@pytest.mark.parametrize("name", list(EFFECTS))
def test_an_effect_changes_as_many_images_as_its_probability(name: str):
    torch.manual_seed(0)
    image = torch.rand(400, 3, 6, 5)
    found = apply_effect(image, name, 0.25)
    changed = (found != image).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(0.25, abs=0.08)
    assert 0 <= found.min() <= found.max() <= 1
    assert apply_effect(image, name, 0.0) is image


def test_white_balance_is_one_factor_for_each_channel(image: Tensor):
    factors = EFFECTS["white_balance"](image) / image
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(factors))
    torch.testing.assert_close(factors.mean(dim=(1, 2, 3)), torch.ones(8))
    assert 0.02 < factors[:, :, 0, 0].std() < 0.3


def test_gains_and_fog_stay_in_the_ranges_that_their_help_names():
    torch.manual_seed(0)
    gains = EFFECTS["white_balance"](torch.ones(50_000, 3, 1, 1))
    assert (gains.min().item(), gains.max().item()) == pytest.approx((0.7, 1.36), abs=0.02)
    shares = []
    for black_or_white in (0.0, 1.0):
        torch.manual_seed(0)
        shares.append(EFFECTS["fog"](torch.full((4000, 3, 12, 12), black_or_white)))
    fog = 1 - (shares[1] - shares[0])
    assert 0.048 < fog.min() < 0.06
    assert 0.7 < fog.max() < 0.794  # bicubic thickness is at most 1.25


def test_fog_brings_all_colors_nearer_to_one_light_gray(image: Tensor):
    found = EFFECTS["fog"](image)
    assert (found.flatten(1).std(1) < image.flatten(1).std(1)).all()
    assert (found.flatten(1).amin(1) > image.flatten(1).amin(1)).all()
    assert found.max() < 0.95


def test_a_shadow_has_a_part_in_the_light_and_a_part_with_less(image: Tensor):
    share = (EFFECTS["shadow"](image) / image)[:, 0]
    assert 0.29 < share.min() < 0.71
    assert share.max() <= 1
    assert ((share.flatten(1) > 0.9).any(1) & (share.flatten(1) < 0.9).any(1)).float().mean() > 0.7


def test_night_leaves_a_half_to_a_sixteenth_of_the_light():
    found = EFFECTS["night"](torch.full((64, 3, 16, 16), 0.8))
    light = (found**2.2).mean(dim=(1, 2, 3)) / 0.8**2.2
    assert 1 / 17 < light.min() < 1 / 8
    assert 1 / 4 < light.max() < 1 / 1.9
    assert found.std(dim=(2, 3)).min() > 0  # noise


def test_fourier_changes_amplitudes_and_keeps_phases_and_brightness(image: Tensor):
    before, after = torch.fft.rfft2(image), torch.fft.rfft2(EFFECTS["fourier"](image))
    torch.testing.assert_close(after[..., 0, 0].real, before[..., 0, 0].real, rtol=1e-4, atol=1e-3)
    inside = (slice(None), slice(None), slice(1, None), slice(1, -1))  # the border columns mirror themselves
    kept = after.abs()[inside] > 0.05
    turned = torch.angle(after[inside] / before[inside])[kept].abs()
    assert turned.max() < 1e-2
    assert ((after / before).abs()[inside] - 1).abs().mean() > 0.1


@pytest.mark.parametrize("name", [*EFFECTS, "jpeg"])
def test_settings_apply_an_effect_to_color_images_only(name: str):
    augment, mask = Augmentation(AugmentConfig(flip=0.0, **{name: 1.0})), torch.randint(5, (2, 32, 40))
    for channels in (1, 3):
        image = torch.rand(2, channels, 32, 40)
        changed, same_mask = augment(image, mask)
        assert torch.equal(same_mask, mask)
        assert torch.equal(changed, image) == (channels == 1)
        assert 0 <= changed.min() <= changed.max() <= 1
