from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import segnet
from segnet.cli.main import main
from segnet.data.layouts import Source
from segnet.data.synthetic.scenes import write_scenes
from segnet.errors import ConfigError, DataError, ModelError
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.entry import make_configs
from segnet.training.run_config import NetworkConfig
from segnet.training.settings import TrainConfig

QUICK: dict[str, Any] = {"epochs": 1, "batch": 2, "precision": "float32", "workers": 0, "device": "cpu"}


@pytest.fixture
def tiny() -> SegNet:
    return SegNet(
        SegNetConfig(
            name="tiny",
            encoder=EncoderConfig(widths=((4,), (6,))),
            decoder=DecoderConfig(widths=((4,), (4,))),
            classes=11,
        )
    )


def test_a_data_set_is_added_by_its_path(tiny: SegNet, camvid_root: Path, camvid: Source, tmp_path: Path) -> None:
    result = segnet.train(camvid_root, model=tiny, add=camvid_root, out=tmp_path / "run", crop=[24, 32], **QUICK)
    assert yaml.safe_load((result.out / "config.yaml").read_text())["add"] == [str(camvid_root)]
    last = (result.out / "metrics.csv").read_text().splitlines()[-1]
    assert int(last.split(",")[1]) == len(camvid.splits["train"])  # steps of two images


def test_added_and_unlabeled_images_may_move_before_a_run_is_resumed(
    tiny: SegNet, camvid: Source, camvid_root: Path, tmp_path: Path
) -> None:
    teacher = checkpoint.save(tiny, camvid.labels, tmp_path / "teacher.safetensors")
    settings = {**QUICK, "teacher": teacher, "out": tmp_path / "run"}
    here, there = write_scenes(tmp_path / "here", train=1, val=1, size=(48, 64), seed=100), tmp_path / "there"
    segnet.train(camvid_root, model=tiny, add=here, unlabeled=here / "val", **settings)
    here.rename(there)
    moved = {**settings, "epochs": 2, "resume": True}
    result = segnet.train(camvid_root, model=tiny, add=there, unlabeled=there / "val", **moved)
    assert len((result.out / "metrics.csv").read_text().splitlines()) == 3


def test_python_and_the_command_train_the_same_model(
    tiny: SegNet, camvid_root: Path, camvid: Source, tmp_path: Path
) -> None:
    start = checkpoint.save(tiny, camvid.labels, tmp_path / "start.safetensors")
    result = segnet.train(camvid_root, model=start, out=tmp_path / "a", crop=[24, 32], seed=5, **QUICK)
    quick = (f"--{name}={value}" for name, value in QUICK.items())
    words = [*quick, "--crop", "24", "32", "--seed", "5"]
    with pytest.raises(SystemExit) as left:
        main(["train", str(camvid_root), "--model", str(start), "--out", str(tmp_path / "b"), *words])
    assert not left.value.code
    first, second = (load_file(tmp_path / name / "best.safetensors") for name in "ab")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    configs = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in "ab"]
    assert configs[0] == configs[1]

    assert (result.model_file, result.report) == (tmp_path / "a/best.safetensors", tmp_path / "a/report.html")
    assert result.report.is_file()
    assert result.scores.miou == checkpoint.load(result.model_file).scores["miou"]
    assert repr(result).startswith(f"TrainResult('{tmp_path / 'a'}', Scores(mIoU 0.")
    image = segnet.render_scene(1, size=(48, 64))[0]
    assert result.predictor()(image).names == camvid.labels.names


def test_a_source_and_a_network_of_the_callers_are_taken(tiny: SegNet, camvid: Source, tmp_path: Path) -> None:
    before = tiny.classifier.weight.detach().clone()  # type: ignore[union-attr]
    result = segnet.train(camvid, model=tiny, out=tmp_path / "a", resize=(24, 32), **QUICK)
    kept = checkpoint.load(result.model_file)
    assert kept.model.config == tiny.config
    assert yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())["model"] == "tiny"
    assert not torch.equal(kept.model.classifier.weight, before)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="already holds a run; add --resume"):
        segnet.train(camvid, model=tiny, out=tmp_path / "a", **QUICK)
    with pytest.raises(ConfigError, match="the network is given, so settings that create one have no effect"):
        segnet.train(camvid, model=tiny, out=tmp_path / "b", encoder_weights="imagenet", **QUICK)


class Halves(nn.Module):
    """An encoder of the caller's."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        first = self.convs[0](x)
        return [first, self.convs[1](first)]


def test_a_network_around_a_module_of_the_callers_is_trained_to_the_end(camvid: Source, tmp_path: Path) -> None:
    model = segnet.create_model("segnet", encoder=Halves(), classes=11)
    result = segnet.train(camvid, model=model, out=tmp_path / "a", resize=(24, 32), **QUICK)
    kept = checkpoint.load(result.model_file, encoder=Halves())
    assert result.scores.miou == kept.scores["miou"]
    with pytest.raises(ModelError, match="built around a module of its author's"):
        result.predictor()


def test_settings_have_the_defaults_of_the_command() -> None:
    assert make_configs({}) == (NetworkConfig(), TrainConfig())
    network, training = make_configs({"weights": Path("a.safetensors"), "epochs": 3, "crop": [8, 9]})
    assert network == NetworkConfig(weights="a.safetensors")
    assert (training.epochs, training.augment.crop) == (3, (8, 9))
    _, training = make_configs(
        {
            "teacher": [Path("a"), "b"],
            "unfreeze_at": 2,
            "loggers": "wandb",
            "crop_area": [0.1, 1],
            "teacher_scales": 2.0,
        }
    )
    assert training.teacher_scales == (2.0,)
    assert (training.teacher, training.unfreeze_at, training.loggers) == (("a", "b"), (2,), ("wandb",))
    assert training.augment.crop_area == (0.1, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("epoch", "there is no setting 'epoch'; did you mean 'epochs'"),
        ("augment", "there is no setting 'augment'; its fields are settings of their own"),
        ("zzz", "there is no setting 'zzz'; see segnet.NetworkConfig, TrainConfig and AugmentConfig"),
    ],
)
def test_an_unknown_setting_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        segnet.train("nowhere", **{name: 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1.5}, "epochs=1.5 is not possible: a whole number wanted"),
        ({"lr": "x"}, "lr='x' is not possible: a finite number wanted"),
        ({"time": 60}, "time=60 is not possible: a text or None wanted"),
        ({"crop": 5}, "crop=5 is not possible: a list of 2 items, each item a whole number, or None wanted"),
        ({"crop": (1, 2, 3)}, "crop=.* a list of 2 items"),
        ({"batch": 1.5}, "batch=1.5 is not possible: a whole number or one of 'auto' wanted"),
        ({"encoder": nn.Sequential(nn.ReLU())}, "^encoder=a Sequential is not possible: a text or None wanted$"),
        ({"model": nn.ReLU()}, "the model is a ReLU; give a SegNet, which may have a module of yours as encoder"),
        ({"data": [1]}, "the data is a list; give a folder or file, or a Source"),
        ({"resize": 5}, "resize=5 is not possible: a list of 2 items"),
        ({"recipe": "fast"}, "recipe='fast' is not possible: one of 'standard', 'quick', 'paper', 'scratch' wanted"),
        ({"map": {"a": "b"}}, "map=.* a text wanted"),
        ({"add": 5}, "add=.* a list, each item a text, wanted"),
    ],
)
def test_a_setting_of_another_type_is_an_error_before_the_run(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        segnet.train(**{"data": "nowhere", "out": tmp_path / "run", **settings})
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_become_plain_ones_that_files_can_hold() -> None:
    network, training = make_configs(
        {"lr": np.float64(0.5), "epochs": np.int64(3), "crop": (np.int64(8), 9), "dropout": np.float32(0.5)}
    )
    values = (training.lr, training.epochs, *(training.augment.crop or ()), network.dropout)
    assert values == (0.5, 3, 8, 9, 0.5)
    assert {type(value) for value in values} == {int, float}


def test_a_resumed_run_reads_its_data_as_before(
    tiny: SegNet, camvid: Source, camvid_root: Path, tmp_path: Path
) -> None:
    start = checkpoint.save(tiny, camvid.labels, tmp_path / "start.safetensors")
    mapping = {"map": "Car,Bicyclist=vehicle", "resize": [24, 32]}
    first = segnet.train(camvid_root, model=start, out=tmp_path / "a", **mapping, **QUICK)
    start.unlink()  # the checkpoint has all that is needed
    for epochs, data in ((2, camvid_root), (3, camvid)):
        again = segnet.train(data, out=tmp_path / "a", resume=True, **{**QUICK, "epochs": epochs})
        assert again.scores.labels == first.scores.labels
    settings = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
    assert (settings["map"], settings["resize"]) == tuple(mapping.values())
    other = {"model": "segnet_basic", "weights": start}  # of other layers
    for changed, name in (
        ({"map": "Car=vehicle"}, "classes"),
        ({"resize_mode": "stretch"}, "resize mode"),
        (other, "model"),
    ):
        with pytest.raises(ConfigError, match=f"this run was started with {name} "):
            segnet.train(camvid, out=tmp_path / "a", resume=True, **changed, **QUICK)


@pytest.mark.parametrize("call", [segnet.recalibrate, segnet.fit_temperature])
def test_a_path_or_a_predictor_is_no_object_to_work_on(call: Any, tiny: SegNet, camvid: Source) -> None:
    with pytest.raises(ModelError, match=r"a str is no SegNet; give segnet.load\(path\).model of a file or a name"):
        call("segnet_basic", camvid.dataset("val"))
    with pytest.raises(DataError, match="the data is a Source; give a SegmentationDataset"):
        call(tiny, camvid)
