"""What a run is made of, from what the user gave: facts are gathered, and the decisions of ``recommendation`` applied.

Each decision is logged in one line with its reason, and stands in ``config.yaml`` with everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from segnet.data.dataset import SegmentationDataset
from segnet.data.image_sizes import read_sizes
from segnet.data.layouts import Source
from segnet.data.sizing import MOST_HEADERS, describe_sizes
from segnet.data.unlabeled import find_unlabeled
from segnet.errors import ConfigError
from segnet.models.bundled import bundled_models
from segnet.models.segnet import SegNet
from segnet.system.clock import now
from segnet.system.devices import pick_device
from segnet.training.distributed import is_first_process
from segnet.training.pace import measure_pace
from segnet.training.recommendation import Decision, Facts, Start, choose_start, fit_to_time, recommend
from segnet.training.resume import earlier_settings, newest_checkpoint
from segnet.training.run_config import NetworkConfig, RunInputs
from segnet.training.run_folder import check_unchanged, read_settings
from segnet.training.settings import TrainConfig
from segnet.training.setup import check_config, resolve_config
from segnet.training.time_limit import too_short

__all__ = ["Plan", "continue_run", "fit_plan", "gather_facts", "make_plan"]

log = logging.getLogger("segnet")

T = TypeVar("T")

_UNKNOWN_SIZE = (360, 480)
_FITTED = ("crop", "batch", "epochs", "validate_every", "ema", "optimizer")
_OF_THE_MACHINE = ("devices", "nodes", "strategy", "workers")  # a run may be resumed on another
_MEASURING_SHARE = 0.06  # of the time


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run before its network is made.

    Attributes:
        inputs: Data and network.
        training: Settings.
        given: Names of the settings that the user gave, or that a resumed run has already.
        facts: Data and machine.
    """

    inputs: RunInputs
    training: TrainConfig
    given: frozenset[str]
    facts: Facts

    def open_set(self, source: Source, split: str, model: SegNet) -> SegmentationDataset:
        """The images of a split with the channels of the network; those of train at the size of the run.

        Raises:
            DataError: The data set has no split of that name.
        """
        size = self.inputs.resize if split == "train" else None
        return source.dataset(
            split, size=size, resize_mode=self.inputs.resize_mode, channels=model.config.image_channels
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        augment = self.training.augment
        parts = (self.inputs, self.inputs.source, self.inputs.network, self.training, augment)
        return {field.name: getattr(part, field.name) for part in parts for field in fields(part)}


def continue_run(
    out: Path, inputs: RunInputs, training: TrainConfig, given: Collection[str]
) -> tuple[RunInputs, TrainConfig, frozenset[str]]:
    """What the user gave, completed by the settings of a run to continue.

    Args:
        out: Folder of the run.
        inputs, training: Settings of the user, and defaults elsewhere.
        given: Names of the settings that the user gave.

    Returns:
        Inputs, settings, and the names of all that are not to be decided.

    Raises:
        ConfigError: ``config.yaml`` in the folder is damaged or holds a value that cannot be used, there is neither
            that nor a checkpoint, or the user gave another network.
    """
    settings = read_settings(out) or earlier_settings(newest_checkpoint(out))
    network = {field.name for field in fields(NetworkConfig)} & set(given)  # another one could fail to be created
    check_unchanged(out / "config.yaml", settings, {name: inputs.to_dict()[name] for name in sorted(network)})
    earlier = {name: _as_tuple(value) for name, value in settings.items() if name not in _OF_THE_MACHINE}
    kept = {name: value for name, value in earlier.items() if name not in given}
    try:
        return _changed(inputs, kept), _changed(training, kept), frozenset(given) | earlier.keys()
    except ConfigError as error:
        raise ConfigError(f"{out / 'config.yaml'}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"{out / 'config.yaml'}: {_of_another_kind(kept)}; set it back") from error


def make_plan(
    inputs: RunInputs,
    training: TrainConfig,
    source: Source,
    *,
    given: Collection[str],
    device: str = "auto",
    model: SegNet | None = None,
) -> Plan:
    """Decide what the user did not, by the recipe of ``inputs``.

    Args:
        inputs, training: Settings of the user, and defaults elsewhere.
        source: The data set.
        given: Names of the settings that the user gave, or that a resumed run has already.
        device: Device of the run.
        model: The network, if it exists already.

    Raises:
        DataError: The data set has no split train.
    """
    if not is_first_process():
        log.setLevel(logging.ERROR)
    facts = gather_facts(source, inputs, pick_device(device))
    facts = replace(facts, unlabeled_images=len(find_unlabeled(training.unlabeled)))
    plan = Plan(inputs=inputs, training=training, given=frozenset(given), facts=facts)
    if model is None:
        plan = _apply(plan, choose_start(inputs.recipe, _given_values(plan), bundled_models()))
    plan = replace(plan, facts=replace(facts, start=_start_of(plan.inputs.network, model)))
    return _apply(plan, recommend(inputs.recipe, plan.facts, _given_values(plan)))


def fit_plan(
    plan: Plan,
    model: SegNet,
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    *,
    device: str,
    started: float,
) -> Plan:
    """Measure some steps and fit the run to its time; the same plan if it has none, or nothing is left to decide.

    Args:
        plan: From ``make_plan``.
        model: The network; it is not changed.
        train_set, val_set: The data.
        device: Device of the run.
        started: When the run began, as ``clock.now`` tells it.

    Raises:
        ConfigError: The time is too short for a step, or settings contradict each other.
    """
    seconds = plan.training.seconds
    if seconds is None or plan.given.issuperset(_FITTED):
        return plan
    target = pick_device(device)
    check_config(plan.training, model, target)
    plan = replace(plan, training=resolve_config(plan.training, {}, target, model, train_set))
    log.info("measuring some steps to fit the run into %s", plan.training.time)
    pace = measure_pace(model, train_set, val_set, plan.training, target, most=_MEASURING_SHARE * seconds)
    left = seconds - (now() - started)
    if left < pace.ending + pace.step:
        raise ConfigError(too_short(seconds, now() - started, pace.ending, pace.step))
    values = plan.to_dict()
    return _apply(plan, fit_to_time(left, pace, plan.facts, _given_values(plan), values))


def gather_facts(source: Source, inputs: RunInputs, device: torch.device) -> Facts:
    """Facts about data and machine, from the headers of at most 300 training images.

    Raises:
        DataError: The data set has no split train.
    """
    images = source.dataset("train", size=inputs.resize)
    found = [size for size in read_sizes(images, most=MOST_HEADERS) if size is not None]
    sizes = found or [_UNKNOWN_SIZE]  # whoever reads the images names those that are unreadable
    typical = describe_sizes(sizes)
    return Facts(
        train_images=len(images),
        val_images=len(source.splits.get("val", ())),
        size=typical.size,
        one_size=typical.one_size,
        both_orientations=typical.both_orientations,
        classes=source.labels.classes,
        gpu=device.type != "cpu",
    )


def _start_of(network: NetworkConfig, model: SegNet | None) -> Start:
    if model is not None:
        return "model" if model.pretrained else "random"
    if network.names_file or network.weights:
        return "model"
    return "imagenet" if network.encoder_weights else "random"


def _given_values(plan: Plan) -> dict[str, Any]:
    """The settings that are not to be decided, by name."""
    return {name: value for name, value in plan.to_dict().items() if name in plan.given}


def _apply(plan: Plan, decisions: list[Decision]) -> Plan:
    """The plan with these values; each decision is logged."""
    values: dict[str, Any] = {}
    for decision in decisions:
        log.info("%s", decision)
        values |= decision.values
    return replace(plan, inputs=_changed(plan.inputs, values), training=_changed(plan.training, values))


def _changed(config: T, values: Mapping[str, Any]) -> T:
    """A dataclass, and those within it, with the values of its own fields."""
    changes = {
        field.name: _changed(old, values) if is_dataclass(old) else values.get(field.name, old)
        for field in fields(cast(Any, config))
        for old in (getattr(config, field.name),)
    }
    return cast(T, replace(cast(Any, config), **changes))


def _of_another_kind(settings: Mapping[str, Any]) -> str:
    """The first setting that cannot be used for its kind, such as a text that should be a number."""
    for name, value in settings.items():
        try:
            with suppress(ConfigError):
                _changed(TrainConfig(), {name: value})
        except TypeError:
            return f"{name} cannot be {value!r}"
    return "a value is of another kind than its setting"


def _as_tuple(value: Any) -> Any:
    """Lists of a YAML file as settings hold them."""
    return tuple(value) if isinstance(value, list) else value
