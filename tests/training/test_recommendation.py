"""The rules that choose settings: pure, so each is shown by facts and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from segnet.data.augment_config import AugmentConfig
from segnet.training.recommendation import (
    Decision,
    Facts,
    Pace,
    Recipe,
    choose_start,
    fit_to_time,
    recommend,
    seconds_of_step,
)
from segnet.training.run_config import NetworkConfig
from segnet.training.settings import TrainConfig

DECIDED = frozenset({
    "model", "weights", "resize", "crop", "crop_area", "color", "gray", "blur", "noise", "batch", "epochs",
    "validate_every", "optimizer", "lr", "warmup", "ema", "loss",
})  # fmt: skip  # by the recipes standard and quick
RECIPES = Path(__file__).parents[2] / "recipes"
PHOTOS = Facts(train_images=400, val_images=100, size=(360, 480), classes=23)
PACE = Pace(crop=(240, 320), batch=4, step=2.0, update=0.2, image=0.5, ending=30.0)
NOW = {"crop": (240, 320), "batch": 4, "accumulate": 1, "optimizer": "adamw"}


def values(decisions: list[Decision]) -> dict[str, Any]:
    return {name: value for decision in decisions for name, value in decision.values.items()}


def standard(facts: Facts = PHOTOS, **given: Any) -> dict[str, Any]:
    return values(recommend("standard", facts, given))


def fitted(seconds: float, pace: Pace = PACE, given: Mapping[str, Any] | None = None, **now: Any) -> dict[str, Any]:
    return values(fit_to_time(seconds, pace, PHOTOS, given or {}, {**NOW, **now}))


def test_photographs_are_fine_tuned_on_crops_around_their_own_scale() -> None:
    chosen = standard()
    assert chosen["crop"] == (240, 320)
    low, high = chosen["crop_area"]
    assert low < 240 * 320 / (360 * 480) < high
    assert (chosen["optimizer"], chosen["lr"], chosen["batch"]) == ("adamw", 2e-3, 4)
    assert chosen["epochs"] * (400 // chosen["batch"]) == pytest.approx(1500, rel=0.05)
    assert chosen["epochs"] // chosen["validate_every"] in range(5, 21)
    assert "resize" not in chosen


def test_images_without_masks_make_epochs_longer_and_fewer() -> None:
    assert standard(replace(PHOTOS, unlabeled_images=400))["epochs"] == pytest.approx(standard()["epochs"] / 2, abs=0.5)


def test_every_decided_setting_is_a_setting_and_has_a_reason() -> None:
    known = {field.name for config in (TrainConfig, AugmentConfig, NetworkConfig) for field in fields(config)} | {
        "resize"
    }
    large = replace(PHOTOS, size=(3000, 4000))
    decisions = [*choose_start("standard", {}, {"segnet_light": ""}), *recommend("standard", large, {})]
    assert values(decisions).keys() | {"crop"} == DECIDED
    assert known >= DECIDED
    assert all(decision.reason for decision in decisions)
    assert str(Decision({"crop": (240, 320), "flip": 0.5}, "why")) == "crop 240 320, flip 0.5: why"


@pytest.mark.parametrize("name", sorted(DECIDED - {"model", "weights", "resize"}))
def test_what_is_given_is_never_decided(name: str) -> None:
    given = {"crop": (100, 100), "crop_area": (0.5, 0.6), "batch": 8, "epochs": 7, "optimizer": "sgd"}.get(name, 0.123)
    assert name not in standard(**{name: given})


def test_what_is_given_decides_the_rest() -> None:
    assert standard(crop=(120, 160))["crop_area"][1] < standard()["crop_area"][1]
    assert standard(batch=8)["epochs"] == pytest.approx(standard(batch=4)["epochs"] * 2, abs=2)
    assert standard(optimizer="muon")["lr"] == 0.01
    assert standard(resize=(180, 240))["crop"] == (128, 160)


@pytest.mark.parametrize("recipe", ["standard", "quick", "paper"])
def test_accumulated_batches_are_one_step(recipe: Recipe) -> None:
    whole, parts = (values(recommend(recipe, PHOTOS, given)) for given in ({"batch": 8}, {"batch": 2, "accumulate": 4}))
    assert all(parts[name] == value for name, value in whole.items() if name in {"epochs", "validate_every", "ema"})


def test_random_weights_learn_longer_and_faster() -> None:
    scratch = standard(replace(PHOTOS, start="random"))
    assert (scratch["optimizer"], scratch["lr"]) == ("muon", 0.05)
    assert scratch["epochs"] > 3 * standard()["epochs"]


def test_small_images_are_taken_whole_and_large_ones_are_resized() -> None:
    assert standard(replace(PHOTOS, size=(80, 112)))["crop"] == (80, 112)
    large = standard(replace(PHOTOS, size=(3000, 4000)))
    assert large["resize"] == (480, 640)
    assert math.prod(large["crop"]) <= 1.1 * 240 * 320


def test_tiny_images_get_crops_that_leave_batch_norm_a_variance() -> None:
    assert standard(replace(PHOTOS, size=(24, 36), train_images=1))["crop"] == (48, 48)


def test_wide_and_tall_images_share_square_crops() -> None:
    height, width = standard(replace(PHOTOS, both_orientations=True))["crop"]
    assert height == width


def test_few_images_still_make_steps() -> None:
    assert standard(replace(PHOTOS, train_images=8))["batch"] == 2
    assert standard(replace(PHOTOS, train_images=1))["batch"] == 1
    assert standard(replace(PHOTOS, train_images=1_000_000))["epochs"] == 3


def test_many_images_are_changed_less_and_a_gpu_takes_more_at_once() -> None:
    assert standard(replace(PHOTOS, train_images=5000))["color"] < standard()["color"]
    assert standard(replace(PHOTOS, gpu=True))["batch"] == 16


def test_quick_is_a_fifth_of_standard_on_smaller_crops() -> None:
    quick = values(recommend("quick", PHOTOS, {}))
    assert quick["epochs"] <= standard()["epochs"] / 4
    assert math.prod(quick["crop"]) < math.prod(standard()["crop"])


def test_scratch_decides_nothing_but_the_network() -> None:
    assert recommend("scratch", PHOTOS, {}) == []
    assert values(choose_start("scratch", {}, {"segnet_light": ""})) == {"model": "segnet_light"}


def test_paper_is_the_recipe_of_the_paper() -> None:
    written = yaml.safe_load((RECIPES / "paper_segnet_basic.yaml").read_text(encoding="utf-8"))
    defaults = {"loss_divisor": TrainConfig().loss_divisor, "recipe": "scratch"}
    camvid = replace(PHOTOS, train_images=367)
    chosen = values([*choose_start("paper", {}, {}), *recommend("paper", camvid, {})])
    assert defaults | chosen == written
    assert recommend("paper", camvid, chosen) == []


def test_the_bundled_weights_are_taken_unless_the_user_says_otherwise() -> None:
    bundled = {"segnet_light": "", "segnet_basic": ""}
    assert values(choose_start("standard", {}, bundled)) == {"model": "segnet_light", "weights": "segnet_light"}
    assert values(choose_start("quick", {"model": "segnet_basic"}, bundled)) == {"weights": "segnet_basic"}
    for given in ({"weights": None}, {"encoder_weights": "imagenet"}, {"encoder": "vgg11"}, {"model": "fcn_basic"}):
        assert "weights" not in values(choose_start("standard", given, bundled))


def test_enough_time_changes_the_epochs_alone() -> None:
    chosen = fitted(30 + 1000 * PACE.step)
    assert chosen.keys() == {"epochs", "validate_every", "ema"}
    assert chosen["epochs"] == 4 * 10  # 1000 steps of 4 of 400 images, and headroom
    assert fitted(30 + 2000 * PACE.step)["epochs"] == 2 * chosen["epochs"]


def test_accumulated_batches_take_the_time_of_one_step() -> None:
    step = PACE.update + 4 * (PACE.step - PACE.update)
    chosen, plain = fitted(30 + 250 * step, accumulate=4), fitted(30 + 250 * PACE.step)
    assert chosen["epochs"] == 4 * 10  # 250 steps of 4 times 4 of 400 images, and headroom
    assert chosen["ema"] == plain["ema"]


def test_little_time_takes_smaller_crops_then_smaller_batches() -> None:
    some, less = fitted(30 + 40 * PACE.step), fitted(30 + 10 * PACE.step)
    assert math.prod(some["crop"]) < 240 * 320
    assert "batch" not in some
    own = math.prod(some["crop"]) / math.prod(PHOTOS.size)
    assert some["crop_area"][0] < own < some["crop_area"][1] < 2.5 * own
    assert less["batch"] == fitted(30 + 10 * PACE.step, replace(PACE, batch=3), batch=3)["batch"] == 2
    assert min(less["crop"]) >= 96
    kept = fitted(30 + 10 * PACE.step, given={"crop": (240, 320), "batch": 4})
    assert not {"crop", "batch"} & kept.keys()


def test_little_time_crops_whole_images_too() -> None:
    """The recipes scratch and paper have no crop."""
    seconds = 30 + 40 * PACE.step
    whole, cropped = fitted(seconds, crop=None), fitted(seconds, crop=PACE.crop)
    assert whole == cropped
    assert math.prod(whole["crop"]) < math.prod(PACE.crop)
    assert "crop" not in fitted(30 + 2000 * PACE.step, crop=None)


def test_validations_take_a_small_part_of_the_time() -> None:
    chosen = fitted(30 + 5000 * PACE.step, replace(PACE, image=10.0))
    epoch, validation = 100 * PACE.step, 100 * 10.0
    assert validation / (chosen["validate_every"] * epoch) <= 0.15


def test_epochs_that_are_over_before_the_time_is_are_all_validated_and_averaged_over() -> None:
    chosen = fitted(30 + 10_000 * PACE.step, replace(PACE, image=0.1), given={"epochs": 5})
    assert chosen["validate_every"] == 1
    assert chosen["ema"] == fitted(30 + 500 * PACE.step)["ema"] < fitted(30 + 10_000 * PACE.step)["ema"]


def test_muon_gives_way_where_its_update_takes_too_much() -> None:
    slow = replace(PACE, update=1.0)
    assert fitted(5000, slow, optimizer="muon")["optimizer"] == "adamw"
    assert "optimizer" not in fitted(5000, replace(PACE, update=0.1), optimizer="muon")
    assert "optimizer" not in fitted(5000, slow, given={"lr": 0.01}, optimizer="muon")


def test_a_step_is_its_update_and_a_part_that_grows_with_the_pixels() -> None:
    assert seconds_of_step(PACE, PACE.crop, PACE.batch) == pytest.approx(PACE.step)
    assert seconds_of_step(PACE, (120, 160), 4) == pytest.approx(0.2 + 1.8 / 4)
    assert seconds_of_step(PACE, (240, 320), 2) == pytest.approx(0.2 + 1.8 / 2)
