"""A plan applies decisions to what the user gave, from facts about files."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from segnet.data.layouts import Source, open_source
from segnet.errors import ConfigError
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.pace import measure_pace
from segnet.training.planning import Plan, continue_run, fit_plan, gather_facts, make_plan
from segnet.training.run_config import NetworkConfig, RunInputs
from segnet.training.settings import TrainConfig

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((4,), (6,))), decoder=DecoderConfig(widths=((4,), (4,))), classes=11
)
INPUTS = RunInputs(data="somewhere")
CPU = torch.device("cpu")


def planned(source: Source, *given: str, training: TrainConfig | None = None, inputs: RunInputs = INPUTS) -> Plan:
    return make_plan(inputs, training or TrainConfig(), source, given=given, device="cpu")


def test_facts_come_from_the_headers_turned_upright(tmp_path: Path) -> None:
    sizes = {"a": (40, 30), "b": (44, 30), "c": (30, 48)}
    for name, size in sizes.items():
        for folder, mode in (("images", "RGB"), ("masks", "L")):
            path = tmp_path / folder / "train" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = 6 if name == "a" else 1  # stored lying, and shown upright
            Image.new(mode, size).save(path, exif=exif)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    facts = gather_facts(open_source(tmp_path), INPUTS, CPU)
    assert (facts.train_images, facts.classes, facts.gpu) == (3, 2, False)
    assert facts.size == (40, 30)
    assert facts.both_orientations
    assert not facts.one_size
    resized = gather_facts(open_source(tmp_path), replace(INPUTS, resize=(24, 32)), CPU)
    assert (resized.size, resized.one_size) == ((24, 32), True)


def test_decisions_are_printed_with_reasons_and_applied(camvid: Source, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="segnet"):
        plan = planned(camvid)
    assert plan.inputs.network == NetworkConfig(model="segnet_light", weights="segnet_light")
    assert plan.training.augment.crop == (48, 64)
    assert plan.training.lr == 2e-3
    assert any(line.startswith("weights segnet_light: the bundled weights") for line in caplog.messages)
    assert all(": " in line for line in caplog.messages)


def test_what_is_given_stays(camvid: Source, caplog: pytest.LogCaptureFixture) -> None:
    training = TrainConfig(lr=0.123, epochs=3)
    with caplog.at_level(logging.INFO, logger="segnet"):
        plan = planned(camvid, "lr", "epochs", training=training)
    assert (plan.training.lr, plan.training.epochs) == (0.123, 3)
    assert not any(line.startswith(("lr", "epochs")) for line in caplog.messages)


def test_scratch_is_the_defaults_and_random_weights(camvid: Source) -> None:
    plan = planned(camvid, "recipe", inputs=replace(INPUTS, recipe="scratch"))
    assert plan.training == TrainConfig()
    assert plan.inputs.network.weights is None
    assert plan.facts.start == "random"


def test_a_plan_given_its_own_settings_is_the_same_plan(camvid: Source) -> None:
    first = planned(camvid)
    again = planned(camvid, *first.to_dict(), training=first.training, inputs=first.inputs)
    assert (again.training, again.inputs) == (first.training, first.inputs)


def test_a_resumed_run_keeps_its_settings_where_none_are_given(camvid: Source, tmp_path: Path) -> None:
    first = planned(camvid, "lr", training=TrainConfig(lr=0.7))
    settings = {**first.inputs.to_dict(), **first.training.to_dict(), "batch": 3, "unfreeze_at": [1, 2], "devices": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    inputs, training, given = continue_run(tmp_path, INPUTS, TrainConfig(epochs=9), {"epochs"})
    plan = make_plan(inputs, training, camvid, given=given, device="cpu")
    assert (plan.training.lr, plan.training.batch, plan.training.epochs) == (0.7, 3, 9)
    assert (plan.training.unfreeze_at, plan.training.devices) == ((1, 2), 1)
    assert plan.training.augment == first.training.augment


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("lr", "banana", "lr cannot be 'banana'; set it back"),
        ("epochs", None, "epochs cannot be None; set it back"),
        ("crop", 3, "crop cannot be 3; set it back"),
        ("lr", -3.0, "lr=-3.0 is not possible; "),
    ],
)
def test_a_value_that_was_spoiled_is_named(name: str, value: object, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**TrainConfig().to_dict(), name: value}))
    with pytest.raises(ConfigError, match=f"config.yaml: {told}"):
        continue_run(tmp_path, INPUTS, TrainConfig(), {"data"})


def test_steps_are_measured_and_the_network_stays(camvid: Source) -> None:
    model = SegNet(TOY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainConfig(batch=4, precision="float32", optimizer="adamw")
    pace = measure_pace(model, camvid.dataset("train"), camvid.dataset("val"), config, CPU, most=0.0)
    assert (pace.crop, pace.batch) == ((48, 64), 4)
    assert 0 < pace.update < pace.step
    assert pace.ending > pace.image > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_time_is_fitted_once(camvid: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = camvid.dataset("train"), camvid.dataset("val")
    plan = planned(camvid, "time", "precision", training=TrainConfig(time="10h", precision="float32"))
    monkeypatch.setattr("segnet.training.planning.now", lambda: 10.0)
    fitted = fit_plan(plan, SegNet(TOY), *sets, device="cpu", started=0.0)
    assert fitted.training.epochs > plan.training.epochs
    monkeypatch.setattr("segnet.training.planning.measure_pace", None)
    every = replace(fitted, given=frozenset(fitted.to_dict()))
    assert fit_plan(every, SegNet(TOY), *sets, device="cpu", started=0.0) is every


def test_a_time_that_is_over_is_refused(camvid: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = camvid.dataset("train"), camvid.dataset("val")
    plan = planned(camvid, "time", "precision", training=TrainConfig(time="10s", precision="float32"))
    monkeypatch.setattr("segnet.training.planning.now", lambda: 9.5)
    with pytest.raises(ConfigError, match="leaves no time to learn"):
        fit_plan(plan, SegNet(TOY), *sets, device="cpu", started=0.0)


def test_a_plan_knows_how_many_images_without_masks_there_are(camvid: Source) -> None:
    frames = tuple(str(sample.image) for sample in camvid.dataset("val").samples)
    training = TrainConfig(teacher=("segnet_light",), unlabeled=frames)
    assert planned(camvid, "teacher", "unlabeled", training=training).facts.unlabeled_images == 3
