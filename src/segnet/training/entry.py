"""``segnet.train``: from a data set to a trained model, in Python and by the command.

Settings are keywords of their own, not one config object: only so it is known which of them were given.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import torch
from torch import nn

from segnet.data.augment_config import AugmentConfig
from segnet.data.check.report import refuse_known_faults
from segnet.data.dataset import ResizeMode, SegmentationDataset
from segnet.data.layouts import Source
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.inference.predictor import Predictor
from segnet.metrics.confusion import Scores
from segnet.models.segnet import SegNet
from segnet.system.clock import now
from segnet.system.field_types import check_type
from segnet.system.files import holding_folder
from segnet.system.hardware import versions
from segnet.training.network import (
    continued_network,
    image_channels,
    make_network,
    measure_input,
    own_channels,
)
from segnet.training.recommendation import Recipe
from segnet.training.run_config import NetworkConfig, RunInputs
from segnet.training.run_folder import check_unused
from segnet.training.settings import TrainConfig

if TYPE_CHECKING:
    from segnet.training.planning import Plan

__all__ = ["OpenRun", "TrainResult", "make_configs", "open_run", "start_run", "train"]

_PATHS = tuple[str, ...]
_SIZE = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainResult:
    """A finished training run.

    Attributes:
        out: folder of the run.
        scores: of the best weights on the validation images.
    """

    out: Path
    scores: Scores

    @property
    def model_file(self) -> Path:
        """The model file with the best weights, which every command and ``Predictor.load`` take."""
        return self.out / "best.safetensors"

    @property
    def report(self) -> Path:
        """The report, a page for a browser."""
        return self.out / "report.html"

    def predictor(self) -> Predictor:
        """A predictor with the best weights; ``Predictor.load(result.model_file, ...)`` takes settings.

        Raises:
            ModelError: the network is one around a module of your own; give ``segnet.load`` that module again.
        """
        return Predictor.load(self.model_file)

    def __repr__(self) -> str:
        return f"TrainResult({str(self.out)!r}, {self.scores!r})"


def train(
    data: str | Path | Source,
    *,
    model: str | Path | SegNet | None = None,
    out: str | Path = "runs/segnet",
    layout: str | None = None,
    map: str = "",  # noqa: A002  the flag's name
    only: Sequence[str] = (),
    add: str | Path | Sequence[str | Path] = (),
    resize: tuple[int, int] | None = None,
    resize_mode: ResizeMode = "letterbox",
    recipe: Recipe = "standard",
    resume: bool = False,
    device: str | torch.device = "auto",
    **settings: Any,
) -> TrainResult:
    """Train a model on labeled images, as ``segnet train`` does: the same settings under the same names and defaults.

    What is not given is chosen from the data and the machine; each decision is logged with its reason, and stands in
    ``config.yaml``.

    >>> result = segnet.train("mydata", time="10m", out="runs/mine")
    >>> result.predictor()("photo.jpg").overlay()

    The folder of the run gets ``best.safetensors``, ``last.ckpt``, ``metrics.csv``, ``config.yaml`` and
    ``report.html``. A terminal shows a progress bar; a notebook gets a line for each epoch. Where processes are spawned
    (macOS, Windows), a script calls it under ``if __name__ == "__main__":``, or gives ``workers=0``.

    Args:
        data: a folder, a pair list, a ``data.yaml``, ``"synthetic"``, or a ``Source``.
        model: name of a network, a model file, or a network of your own with the classes of the data; it is trained in
            place. None: the bundled ``segnet_light``.
        out: folder of the run.
        layout: the layout of the data set; None: the first that fits its files.
        map: classes that become others, such as ``"car,truck=vehicle; sky=ignore"``; see ``map_classes``.
        only: names of the classes that count; empty: all.
        add: other data sets whose training images are added. Their classes go by their names, and classes of other
            names are ignored.
        resize: (height, width) to which training images and masks are resized before they are cropped; None: their own
            size.
        resize_mode: ``letterbox`` keeps the aspect ratio and pads the image, ``stretch`` does not.
        recipe: what decides the settings that are not given: ``standard``, ``quick``, ``paper`` or ``scratch``.
        resume: continue the run in ``out``, with its settings where no others are given.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        settings: the other settings by their names: those of ``NetworkConfig``, ``TrainConfig`` and ``AugmentConfig``.

    Raises:
        ConfigError: a setting is unknown or out of range, settings contradict each other, ``out`` already holds a run,
            or there is no run to resume.
        DataError: the data set, an image or a mask cannot be used.
        ModelError: a model file cannot be used, or has other classes or layers.
        OutputError: ``out`` cannot be written, or another run writes into it.
        TrainingError: the loss is not finite, memory ran out, or another process of the run ended.
        MissingPackageError: Lightning, Kornia or the package of a logger is not installed.
    """
    _require_known(data, model)
    own = model if isinstance(model, SegNet) else None
    device = str(device)
    named = {} if model is None or own is not None else {"model": model}
    network, training = make_configs({**settings, **named})
    if own is not None and network != NetworkConfig():
        raise ConfigError("the network is given, so settings that create one have no effect; leave them out")
    if own is not None:
        network = replace(network, model=own.config.name)
    location = data.root if isinstance(data, Source) else data
    added, resize = _as_setting(add, several=not isinstance(add, list | tuple)), _as_setting(resize, several=False)
    given_types = {"map": (map, str), "recipe": (recipe, Recipe), "add": (added, _PATHS), "resize": (resize, _SIZE)}
    for name, (value, hint) in given_types.items():
        check_type(name, value, hint)
    out, started = Path(out), now()
    inputs = RunInputs(
        data=str(location),
        source=SourceConfig(layout=layout, map=map, only=tuple(only)),
        add=added,
        recipe=recipe,
        resize=resize,
        resize_mode=resize_mode,
        network=network,
    )
    given: Collection[str] = {*settings, *named, *_changed_inputs(inputs)}
    if resume:
        from segnet.training.planning import continue_run

        inputs, training, given = continue_run(out, inputs, training, given)
    else:
        check_folder(out)
    reading = inputs.source
    source = data.mapped(reading.map, reading.only) if isinstance(data, Source) else reading.open(data)
    resumed = out if resume else None
    run = open_run(inputs, training, given=given, device=device, resumed=resumed, source=source, model=own)
    return start_run(run, out=out, resume=resume, device=device, started=started)


def _require_known(data: object, model: object) -> None:
    """Refuse what only a training loop of one's own takes."""
    if not isinstance(data, str | Path | Source):
        raise ConfigError(
            f"the data is a {type(data).__name__}; give a folder or file, or a Source, such as segnet.open_source "
            "returns; any data set works in a training loop of your own (docs/how-to/training-loop.md)"
        )
    if isinstance(model, nn.Module) and not isinstance(model, SegNet):
        raise ConfigError(
            f"the model is a {type(model).__name__}; give a SegNet, which may have a module of yours as encoder "
            "(segnet.create_model); any network works in a training loop of your own (docs/how-to/training-loop.md)"
        )


def _changed_inputs(inputs: RunInputs) -> set[str]:
    """Names of the values that are not the defaults, and that of the data."""
    defaults = RunInputs(data="").to_dict()
    return {name for name, value in inputs.to_dict().items() if value != defaults[name]}


def make_configs(settings: Mapping[str, Any]) -> tuple[NetworkConfig, TrainConfig]:
    """The settings of network and run from one table of their names.

    Raises:
        ConfigError: a name is unknown, or a value has the wrong type or is out of range.
    """
    parts: dict[type, dict[str, Any]] = {NetworkConfig: {}, TrainConfig: {}, AugmentConfig: {}}
    known = {field.name: (kind, field.default) for kind in parts for field in fields(kind) if field.name != "augment"}
    for name, value in settings.items():
        if name not in known:
            if name in ("augment", "config"):
                raise ConfigError(f"there is no setting {name!r}; its fields are settings of their own: flip=0.5")
            near = " or ".join(map(repr, get_close_matches(name, known, n=2)))
            hint = f"did you mean {near}?" if near else "see segnet.NetworkConfig, TrainConfig and AugmentConfig"
            raise ConfigError(f"there is no setting {name!r}; {hint}")
        kind, default = known[name]
        parts[kind][name] = _as_setting(value, several=isinstance(default, tuple) and len(default) < 2)
        check_type(name, parts[kind][name], get_type_hints(kind)[name])
    augment = AugmentConfig(**parts[AugmentConfig])
    return NetworkConfig(**parts[NetworkConfig]), TrainConfig(**parts[TrainConfig], augment=augment)


def _as_setting(value: Any, *, several: bool) -> Any:
    """A value as settings hold it: paths as text, NumPy's numbers as Python's, several values, or one, as a tuple."""
    if isinstance(value, list | tuple):
        return tuple(_as_setting(item, several=False) for item in value)
    value = str(value) if isinstance(value, Path) else value.item() if isinstance(value, np.generic) else value
    return (value,) if several else value


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenRun:
    """Data, network and settings of a run that has not started.

    Attributes:
        plan: settings, given and chosen.
        source: the data set.
        model: the network.
        train_set: the training images.
    """

    plan: Plan
    source: Source
    model: SegNet
    train_set: SegmentationDataset


def check_folder(out: Path) -> None:
    """Refuse a folder that holds a run already, or is in use, before anything is read or measured.

    Raises:
        ConfigError: it holds a run.
        OutputError: another run writes into it.
    """
    from segnet.training.distributed import is_first_process

    check_unused(out)
    if out.is_dir() and is_first_process():
        with holding_folder(out):
            pass


def open_run(
    inputs: RunInputs,
    training: TrainConfig,
    *,
    given: Collection[str] = (),
    device: str = "auto",
    resumed: Path | None = None,
    source: Source | None = None,
    model: SegNet | None = None,
) -> OpenRun:
    """Open the data set, choose the settings that are not given, and create the network.

    Args:
        inputs, training, given, device: see ``make_plan``; of a run to continue those of ``continue_run``.
        resumed: folder of a run to continue.
        source: the data set, if it is open.
        model: the network, if it exists.

    Raises:
        ConfigError, DataError, ModelError: see ``open_source``, ``make_plan`` and ``make_network``.
    """
    from segnet.training.planning import make_plan

    source = source or inputs.source.open(inputs.data)
    channels = image_channels(inputs.network, source) if model is None else own_channels(model, source)
    source = replace(source, channels=channels)
    refuse_known_faults(source, check=inputs.source.command("check", inputs.data))
    source = _with_added(source, inputs)
    plan = make_plan(inputs, training, source, given=given, device=device, model=model)
    torch.manual_seed(plan.training.seed)
    if model is None:
        network = continued_network(plan.inputs.network, resumed) if resumed else plan.inputs.network
        model = make_network(network, source)
    elif not (model.pretrained or model.config.bands.indices):
        measure_input(model, source.channels, source)
    return OpenRun(plan=plan, source=source, model=model, train_set=plan.open_set(source, "train", model))


def _with_added(source: Source, inputs: RunInputs) -> Source:
    """The data set with the training images of others."""
    for location in inputs.add:
        added = replace(SourceConfig().open(location), channels=source.channels)
        refuse_known_faults(added, check=SourceConfig().command("check", location))
        source = source.with_training_images(added, inputs.source.map)
    return source


def start_run(run: OpenRun, *, out: Path, resume: bool, device: str, started: float) -> TrainResult:
    """Train; see ``segnet.training.run.train``.

    Args:
        run: from ``open_run``.
        out, resume, device: as there.
        started: when the run began, as ``clock.now`` tells it; its time counts from then.

    Raises:
        OutputError: another run writes into ``out``.
    """
    from segnet.training.distributed import is_first_process

    with holding_folder(out) if is_first_process() else nullcontext():
        return _train_in(run, out=out, resume=resume, device=device, started=started)


def _train_in(run: OpenRun, *, out: Path, resume: bool, device: str, started: float) -> TrainResult:
    from segnet.training.planning import fit_plan
    from segnet.training.run import train as run_training

    sets = run.train_set, run.plan.open_set(run.source, "val", run.model)
    plan = fit_plan(run.plan, run.model, *sets, device=device, started=started)
    packages = {"python": platform.python_version(), **versions("segnet", "torch", "lightning", "kornia", "numpy")}
    scores = run_training(
        run.model,
        *sets,
        out=out,
        config=plan.training,
        resume=resume,
        device=device,
        provenance={"data": run.source.layout, "versions": packages},
        inputs=plan.inputs,
        started=started,
    )
    return TrainResult(out=out, scores=scores)
