"""Augmentation: image and mask stay together, and no class is invented."""

from __future__ import annotations

import sys

import pytest
import torch

from segnet.data.augment_config import AugmentConfig
from segnet.data.augmentation import Augmentation
from segnet.errors import ConfigError, MissingPackageError
from segnet.labels import IGNORE_INDEX

pytest.importorskip("kornia")

EVERYTHING = AugmentConfig(flip=0.5, color=0.4, gray=0.3, blur=0.5, noise=0.5, fog=0.5, fourier=0.5, jpeg=0.5, mix=0.5)
NOTHING = AugmentConfig(flip=0.0)


def images_of_their_masks(side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of a few rectangles and void, and images that show the mask's value / 255 in every channel."""
    mask = torch.full((6, side, side), 1)
    for index in range(6):
        mask[index, index * 3 : 20 + index, 5:30] = 4
        mask[index, 30:, 20 + 2 * index :] = IGNORE_INDEX
    return (mask[:, None] / 255).expand(-1, 3, -1, -1).contiguous(), mask


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
def test_image_and_mask_stay_together(flip: float):
    image, mask = images_of_their_masks()
    changed_image, changed_mask = Augmentation(AugmentConfig(flip=flip))(image, mask)
    torch.testing.assert_close(changed_image[:, 0] * 255, changed_mask.float())


@pytest.mark.parametrize("seed", range(5))
def test_masks_hold_only_values_they_held(seed: int):
    torch.manual_seed(seed)
    mask = torch.tensor([2, 10, IGNORE_INDEX])[torch.randint(3, (4, 30, 40))]
    _, changed = Augmentation(EVERYTHING)(torch.rand(4, 3, 30, 40), mask)
    assert changed.dtype == torch.int64
    assert set(changed.unique().tolist()) <= {2, 10, IGNORE_INDEX}


def test_flip_mirrors_left_and_right():
    image, mask = images_of_their_masks()
    turned, turned_mask = Augmentation(AugmentConfig(flip=1.0))(image, mask)
    torch.testing.assert_close(turned, image.flip(3))
    assert torch.equal(turned_mask, mask.flip(2))


def test_each_image_has_its_own_draw():
    image, mask = images_of_their_masks()
    same = image[:1].expand_as(image).contiguous(), mask[:1].expand_as(mask).contiguous()
    changed, _ = Augmentation(AugmentConfig(flip=0.0, color=0.5))(*same)
    assert not torch.equal(changed[0], changed[1])


def test_the_same_seed_gives_the_same_result_and_another_does_not():
    image, mask = torch.rand(3, 3, 24, 32), torch.randint(5, (3, 24, 32))
    results = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        results.append(Augmentation(EVERYTHING)(image, mask))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


def test_what_is_given_is_not_changed():
    image, mask = torch.rand(2, 3, 24, 32), torch.randint(5, (2, 24, 32))
    kept = image.clone(), mask.clone()
    Augmentation(EVERYTHING)(image, mask)
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])


def test_nothing_asked_changes_nothing():
    image, mask = torch.rand(2, 3, 9, 7), torch.randint(5, (2, 9, 7))
    same, same_mask = Augmentation(NOTHING)(image, mask)
    assert torch.equal(same, image)
    assert torch.equal(same_mask, mask)


@pytest.mark.parametrize("part", ["color", "gray", "blur", "noise"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_appearance_leaves_the_mask_and_the_range(part: str, channels: int):
    config = AugmentConfig(flip=0.0, **{part: 0.9})
    image, mask = torch.rand(8, channels, 16, 16), torch.randint(5, (8, 16, 16))
    changed, same_mask = Augmentation(config)(image, mask)
    assert torch.equal(same_mask, mask)
    assert changed.shape == image.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    if part != "gray" or channels == 3:
        assert not torch.equal(changed, image)


def test_gray_takes_all_color():
    changed, _ = Augmentation(AugmentConfig(flip=0.0, gray=1.0))(torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8).long())
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    torch.testing.assert_close(changed[:, 0], changed[:, 2])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        *[
            ({name: value}, f"{name}={value}")
            for name in ("flip", "gray", "blur", "noise", "fog", "jpeg")
            for value in (-0.1, 1.1)
        ],
        ({"crop_area": (0.0, 1.0)}, "lowest and highest share"),
        ({"crop_area": (0.9, 0.5)}, "lowest and highest share"),
        ({"crop_area": (0.5, 17)}, "lowest and highest share, above 0 and up to 16"),
        ({"crop_stretch": 0.9}, "crop_stretch=0.9"),
        ({"crop_stretch": float("nan")}, "crop_stretch=nan"),
        ({"color": 1.0}, "color=1.0"),
        ({"color": -0.1}, "color=-0.1"),
        ({"crop": (0, 8)}, "height and width of at least 1"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], told: str):
    with pytest.raises(ConfigError, match=told):
        AugmentConfig(**change)  # type: ignore[arg-type]


def test_without_kornia_the_line_to_install_it_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    with pytest.raises(MissingPackageError, match=r"kornia is not installed; run: pip install 'segnet\[train\]'"):
        Augmentation(EVERYTHING)


def test_mix_pastes_whole_classes_of_the_image_before():
    torch.manual_seed(2)
    mask = torch.randint(6, (4, 6, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    mask[mask == 5] = IGNORE_INDEX
    here = torch.arange(4).view(4, 1, 1)
    image = torch.stack([mask, here.expand_as(mask), mask], dim=1) / 255
    mixed, mixed_mask = Augmentation(AugmentConfig(flip=0.0, mix=1.0))(image, mask)
    source = (mixed[:, 1] * 255).round().int()  # which image a pixel is from
    before = (here - 1) % 4
    assert ((source == here) | (source == before)).all()
    assert torch.equal((mixed[:, 0] * 255).round().long(), mixed_mask)
    for index in range(4):
        pasted = source[index] == before[index]
        theirs = mask[before[index, 0, 0]]
        for value in theirs.unique().tolist():
            assert pasted[theirs == value].float().mean() in (0.0, 1.0)
        assert not pasted[theirs == IGNORE_INDEX].any()
    assert 0.2 < (source == before).float().mean() < 0.8


def test_mix_changes_about_as_many_images_as_its_probability():
    torch.manual_seed(0)
    mask = torch.arange(400).remainder(11).view(400, 1, 1).expand(-1, 2, 2).contiguous()
    _, mixed = Augmentation(AugmentConfig(flip=0.0, mix=0.4))(torch.rand(400, 3, 2, 2), mask)
    assert (mixed != mask).any(2).any(1).float().mean().item() == pytest.approx(0.2, abs=0.06)


def test_noise_differs_in_strength_from_image_to_image():
    torch.manual_seed(0)
    noisy, _ = Augmentation(AugmentConfig(flip=0.0, noise=0.5))(
        torch.full((200, 3, 16, 16), 0.5), torch.zeros(200, 16, 16, dtype=torch.int64)
    )
    deviation = noisy.flatten(1).std(1)
    assert (deviation > 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert 0.09 < deviation.max() < 0.105
    assert deviation[deviation > 0].mean().item() == pytest.approx(0.05, abs=0.01)


def test_bands_are_not_changed_as_colors_are() -> None:
    """What is known of colors is left out; mirroring, exposure, blur and noise stay."""
    image, mask = torch.rand(4, 3, 16, 16) / 4, torch.zeros(4, 16, 16).long()
    of_colors = AugmentConfig(flip=0.0, gray=1.0, white_balance=1.0, fog=1.0, night=1.0, fourier=1.0, jpeg=1.0)
    assert torch.equal(Augmentation(of_colors, bands=True)(image, mask)[0], image)
    turned = Augmentation(AugmentConfig(flip=1.0), bands=True)(image, mask)[0]
    torch.testing.assert_close(turned, image.flip(3))
    exposed = Augmentation(AugmentConfig(flip=0.0, color=0.4), bands=True)(image, mask)[0] / image
    torch.testing.assert_close(exposed, exposed[:, :1, :1, :1].expand_as(exposed))


def test_noise_follows_the_spread_of_each_band() -> None:
    image = 0.5 + torch.randn(8, 4, 32, 32) * torch.tensor([1e-4, 1e-3, 1e-2, 5e-2])[:, None, None]
    noisy, _ = Augmentation(AugmentConfig(flip=0.0, noise=1.0), bands=True)(image, torch.zeros(8, 32, 32).long())
    share = (noisy - image).std(dim=(0, 2, 3)) / image.std(dim=(0, 2, 3))
    assert share.max() < 1.2 * share.min()
    assert 0.1 < share.mean() < 0.45
