"""Which settings suit a data set and a machine: rules without side effects, each with its reason.

``recommend`` decides before a run, ``fit_to_time`` after some steps were measured. Settings that the user gave are
never decided; the others follow from them. ``training/planning.py`` gathers the facts and applies the decisions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from segnet.data.sizing import LEAST_SIDE, Size, choose_batch, choose_crop, choose_resize, scale_size
from segnet.errors import describe_count

__all__ = [
    "VALIDATION_SHARE",
    "Decision",
    "Facts",
    "Pace",
    "Recipe",
    "Size",
    "Start",
    "choose_start",
    "fit_to_time",
    "recommend",
    "seconds_of_step",
]

Recipe = Literal["standard", "quick", "paper", "scratch"]
Start = Literal["model", "imagenet", "random"]

VALIDATION_SHARE = 0.15
"""Share of a limited time that validations may take."""

_SCALES = (0.68, 2.25)  # area of a crop in the image, as a multiple of the crop's: zoomed in 1.2 times, out 1.5 times
_STEPS = {"standard": 1500, "quick": 300}
_LONGER_FROM_RANDOM = 4
_VALIDATIONS = 10
_FEW_IMAGES = 2000
_PAPER_STEPS = 10_000

_MUON_SHARE = 0.25  # of a step's time; its update costs the same for any crop
_RATES = {"muon": (0.05, 0.01), "adamw": (3e-3, 2e-3), "sgd": (0.1, 0.01)}  # from random and from pretrained weights

_FEWEST_STEPS = 60  # a run that has fewer takes smaller crops, then smaller batches
_SMALLER_CROP = math.sqrt(0.5)  # each side: half the area
_LEAST_BATCH = 2
_HEADROOM = 4  # the time ends a run, not the number of epochs, unless steps become four times as fast

# Badrinarayanan, Kendall, Cipolla, PAMI 2017, section 3.2, as in recipes/paper_segnet_basic.yaml.
_PAPER: Mapping[str, Any] = {
    "batch": 12, "lr": 0.1, "optimizer": "sgd", "schedule": "constant", "warmup": 0.0, "weight_decay": 5e-4, "ema": 0.0,
    "clip": 0.0, "class_weights": "median", "flip": 0.0, "color": 0.0, "monitor": "global_accuracy",
    "precision": "float32",
}  # fmt: skip


class Decision(NamedTuple):
    """Values of settings by name, and why."""

    values: Mapping[str, Any]
    reason: str

    def __str__(self) -> str:
        """One line: the settings as one writes them on the command line, then the reason."""
        return f"{', '.join(f'{name} {_shown(value)}' for name, value in self.values.items())}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the decisions follow from.

    Attributes:
        train_images, val_images: Number of images.
        unlabeled_images: Number of training images without masks besides.
        size: Median (height, width) of the training images in pixels.
        one_size: Whether all have this size.
        both_orientations: Whether there are wide and tall images.
        classes: Number of classes.
        gpu: Whether a GPU computes.
        start: What the first weights are: those of a segmentation model, of ImageNet in the encoder, or random.
    """

    train_images: int
    val_images: int
    size: Size
    one_size: bool = True
    both_orientations: bool = False
    classes: int
    gpu: bool = False
    start: Start = "model"
    unlabeled_images: int = 0

    @property
    def machine(self) -> str:
        """``gpu`` or ``cpu``."""
        return "gpu" if self.gpu else "cpu"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What some steps took, in seconds of wall time.

    Attributes:
        crop: (height, width) of the images in these steps.
        batch: Images per step.
        step: A step with reading and augmentation.
        update: The optimizer's part of it, which no crop makes smaller.
        image: One validation image.
        ending: Everything after the last step: validation, report.
    """

    crop: Size
    batch: int
    step: float
    update: float
    image: float
    ending: float


def choose_start(recipe: Recipe, given: Mapping[str, Any], bundled: Mapping[str, Any]) -> list[Decision]:
    """Network and first weights.

    Args:
        recipe: The recipe.
        given: Settings that the user gave, by name.
        bundled: Bundled models by name.
    """
    if recipe == "paper":
        return _free(given, Decision({"model": "segnet_basic"}, "the network of the paper's Table 1"))
    model = given.get("model", "segnet_light")
    reason = "good scores at the least computation" if recipe != "scratch" else "the least computation"
    decisions = _free(given, Decision({"model": model}, f"{reason}; segnet models lists the others"))
    own_weights = any(given.get(name) for name in ("encoder", "encoder_weights"))
    if recipe == "scratch" or own_weights or model not in bundled:
        return decisions
    why = "the bundled weights know shapes and textures already; --recipe scratch starts from random ones"
    return [*decisions, *_free(given, Decision({"weights": model}, why))]


def recommend(recipe: Recipe, facts: Facts, given: Mapping[str, Any]) -> list[Decision]:
    """Settings of a run, in the order in which they follow from each other.

    Args:
        recipe: ``standard`` and ``quick`` decide from the facts; ``paper`` is the paper's recipe; ``scratch`` decides
            nothing, so that the defaults of ``TrainConfig`` hold.
        facts: Data and machine.
        given: Settings that the user gave, by name; they win, and the others follow from them.
    """
    if recipe == "scratch":
        return []
    if recipe == "paper":
        return _paper(facts, given)
    known, decisions = dict(given), []
    rules: list[Callable[[Recipe, Facts, Mapping[str, Any]], Decision | None]] = [
        _resize, _crop, _crop_area, _color, _batch, _epochs, _validations, _optimizer, _averaging, _loss,
    ]  # fmt: skip
    for rule in rules:
        decision = rule(recipe, facts, known)
        for left in _free(given, decision) if decision else []:
            decisions.append(left)
            known |= left.values
    return decisions


def fit_to_time(
    seconds: float, pace: Pace, facts: Facts, given: Mapping[str, Any], now: Mapping[str, Any]
) -> list[Decision]:
    """Crop, batch, epochs and validations of a run that must end after some time.

    Args:
        seconds: Time left for steps, validations and report; more than ``pace.ending``.
        pace: What was measured.
        facts: Data and machine.
        given: Settings that the user gave; they win.
        now: All settings so far: crop, batch, accumulate.
    """
    pace = replace(pace, step=pace.update + now["accumulate"] * (pace.step - pace.update))
    left = seconds - pace.ending
    cheaper = _cheaper_optimizer(pace, facts, given, now)
    if cheaper:
        pace = replace(pace, step=pace.step - pace.update, update=0.0)
    crop, batch = _fit_crop(left, pace, given, now)
    step = seconds_of_step(pace, crop, batch)
    steps, per_epoch = max(1, int(left / step)), _steps_per_epoch(facts, {**now, "batch": batch})
    if "epochs" in given:  # they may be over before the time is
        steps = min(steps, given["epochs"] * per_epoch)
    epochs = max(1, round(steps / per_epoch))
    every = math.ceil(facts.val_images * pace.image / (VALIDATION_SHARE * per_epoch * step))
    every = min(max(every, round(epochs / _VALIDATIONS), 1), epochs)
    fits = f"{steps} steps of {step:.2g} s fit into the time"
    before = {"crop": now["crop"] or pace.crop, "batch": now["batch"]}
    changed = {name: value for name, value in (("crop", crop), ("batch", batch)) if value != before[name]}
    smaller = Decision(changed, f"{int(left / pace.step)} steps of {pace.step:.2g} s would be too few")
    area = _crop_area("standard", facts, {**now, "crop": crop})
    decisions = [
        *cheaper,
        *([smaller] if changed else []),
        *([area] if "crop" in changed and area else []),
        Decision(
            {"epochs": _HEADROOM * epochs},
            f"at most; {fits}, about {describe_count(epochs, 'epoch')}, and the time ends them",
        ),
        Decision({"validate_every": every}, f"validating takes {facts.val_images * pace.image:.2g} s"),
        Decision({"ema": _ema(steps)}, "the average spans a twentieth of the run"),
    ]
    return [left_over for decision in decisions for left_over in _free(given, decision)]


def seconds_of_step(pace: Pace, crop: Size, batch: int) -> float:
    """Estimated seconds of a step with another crop and batch: all but the update grows with the pixels."""
    pixels = crop[0] * crop[1] * batch / (pace.crop[0] * pace.crop[1] * pace.batch)
    return pace.update + (pace.step - pace.update) * pixels


def _fit_crop(left: float, pace: Pace, given: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Size, int]:
    """Crop and batch for enough steps: the crop shrinks first, then the batch."""
    crop, batch = now["crop"] or pace.crop, now["batch"]

    def too_few() -> bool:
        return left / seconds_of_step(pace, crop, batch) < _FEWEST_STEPS

    while too_few() and "crop" not in given and min(smaller := scale_size(crop, _SMALLER_CROP)) >= LEAST_SIDE:
        crop = smaller
    while too_few() and "batch" not in given and batch > _LEAST_BATCH:
        batch = max(_LEAST_BATCH, batch // 2)
    return crop, batch


def _cheaper_optimizer(pace: Pace, facts: Facts, given: Mapping[str, Any], now: Mapping[str, Any]) -> list[Decision]:
    """AdamW where Muon's update was measured to take too much of a step."""
    share = pace.update / pace.step
    if now["optimizer"] != "muon" or share <= _MUON_SHARE or {"optimizer", "lr"} & set(given):
        return []
    lr = _RATES["adamw"][0 if facts.start == "random" else 1]
    return [Decision({"optimizer": "adamw", "lr": lr}, f"muon's update took {share:.0%} of a step")]


def _resize(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision | None:
    size = choose_resize(facts.size, both_orientations=facts.both_orientations, gpu=facts.gpu)
    if size is None or known.get("crop"):
        return None
    return Decision({"resize": size}, f"{_sides(facts.size)} pixels are too many to learn from on this {facts.machine}")


def _crop(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    size, square = known.get("resize") or facts.size, facts.both_orientations and not known.get("resize")
    crop, share = choose_crop(size, square=square, gpu=facts.gpu, cheap=recipe == "quick")
    if square:
        what = f"square, since images are wide and tall; {share:.0%} of a typical side"
    else:
        what = f"{share:.0%} of the sides of an image of {_sides(size)}"
    why = "so that a step is cheap and no two are alike" if share < 1 else "which is small enough for cheap steps"
    return Decision({"crop": crop}, f"{what}, {why}")


def _crop_area(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision | None:
    """Around the images' own scale, at which the model is used; a smaller crop sees less of a scene."""
    if not known.get("crop"):
        return None
    size = known.get("resize") or facts.size
    own = min(1.0, math.prod(known["crop"]) / math.prod(size))
    low, high = (max(0.001, round(min(1.0, factor * own), 3)) for factor in _SCALES)
    return Decision({"crop_area": (low, high)}, f"{own:.2g} is the images' own scale")


def _color(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    if facts.train_images < _FEW_IMAGES:
        reason = f"{facts.train_images} images show few lights and cameras"
        return Decision({"color": 0.3, "gray": 0.1, "blur": 0.1, "noise": 0.1}, reason)
    return Decision({"color": 0.2}, f"{facts.train_images} images show many lights and cameras themselves")


def _batch(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    batch = choose_batch(facts.train_images, gpu=facts.gpu)
    full = batch == choose_batch(sys.maxsize, gpu=facts.gpu)
    reason = f"a {facts.machine} computes so many at once" if full else "an epoch has four steps or more"
    return Decision({"batch": batch}, reason)


def _epochs(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    steps = _STEPS[recipe] * (_LONGER_FROM_RANDOM if facts.start == "random" else 1)
    per_epoch = _steps_per_epoch(facts, known)
    epochs = max(1 if recipe == "quick" else 3, round(steps / per_epoch))
    start = "random weights" if facts.start == "random" else "pretrained weights"
    return Decision({"epochs": epochs}, f"{epochs * per_epoch} steps for {start}; --time sets a time instead")


def _validations(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    every = max(1, round(known["epochs"] / _VALIDATIONS))
    count = math.ceil(known["epochs"] / every)
    return Decision({"validate_every": every}, f"{describe_count(count, 'validation')} in the run")


def _optimizer(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    """A rate for each optimizer and start; one that the user chose keeps its own."""
    random = facts.start == "random"
    optimizer = known.get("optimizer", "muon" if random else "adamw")
    lr = _RATES[optimizer][0 if random else 1]
    reason = (
        "random weights need large steps"
        if random
        else "pretrained weights need small steps, which adamw does cheapest"
    )
    return Decision({"optimizer": optimizer, "lr": lr, "warmup": 0.05}, reason)


def _averaging(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    steps = known["epochs"] * _steps_per_epoch(facts, known)
    return Decision({"ema": _ema(steps)}, "the average spans a twentieth of the run")


def _loss(recipe: Recipe, facts: Facts, known: Mapping[str, Any]) -> Decision:
    return Decision({"loss": "cross_entropy+0.5*lovasz"}, "lovasz is a smooth mIoU, which chooses the best weights")


def _paper(facts: Facts, given: Mapping[str, Any]) -> list[Decision]:
    settings = dict(_PAPER)
    batch = given.get("batch", min(settings["batch"], facts.train_images))
    per_epoch = _steps_per_epoch(facts, {**given, "batch": batch if isinstance(batch, int) else settings["batch"]})
    epochs = given.get("epochs", max(1, _PAPER_STEPS // per_epoch))
    rare = {"epochs": epochs, "validate_every": max(1, epochs // 10)}
    decisions = [
        Decision(settings | {"batch": batch}, "as in the paper and its released solver"),
        Decision(rare, f"{_PAPER_STEPS} steps as in its released solver, validated every thousand as in the paper"),
    ]
    return [left for decision in decisions for left in _free(given, decision)]


def _steps_per_epoch(facts: Facts, known: Mapping[str, Any]) -> int:
    """Updates of the weights in an epoch, each after some accumulated batches; ``auto`` counts as 8 images."""
    batch = known["batch"] if isinstance(known["batch"], int) else 8
    accumulate: int = known.get("accumulate", 1)
    return math.ceil(max(1, (facts.train_images + facts.unlabeled_images) // batch) / accumulate)


def _free(given: Mapping[str, Any], decision: Decision) -> list[Decision]:
    """The decision without what the user gave; nothing if that is all."""
    values = {name: value for name, value in decision.values.items() if name not in given}
    return [Decision(values, decision.reason)] if values else []


def _ema(steps: int) -> float:
    """Decay of an average over a twentieth of the run, 0.9 to 0.998."""
    return round(min(0.998, max(0.9, 1 - 20 / steps)), 4)


def _sides(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
