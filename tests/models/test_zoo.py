"""The models by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.models.zoo import ENCODERS, MODELS, create_model, list_encoders, list_models


def test_models_are_listed_by_pattern():
    assert list_models() == sorted(MODELS)
    assert list_models("segnet_b*") == [
        "segnet_basic", "segnet_basic_encoder_addition", "segnet_basic_single_channel_decoder"
    ]  # fmt: skip
    assert list_models("unet*") == []


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_carries_the_name_it_is_listed_under(name: str):
    assert MODELS[name].name == name


def test_a_model_is_made_as_asked():
    with torch.device("meta"):
        model = create_model("segnet_basic", classes=3, in_channels=1, dropout=0.25)
    assert isinstance(model, SegNet)
    assert (model.config.classes, model.config.in_channels, model.config.dropout) == (3, 1, 0.25)
    assert model.training
    assert model.frozen_stages == 0


def test_making_a_model_leaves_the_table_alone():
    with torch.device("meta"):
        create_model("segnet_basic", classes=3)
    assert MODELS["segnet_basic"].classes == 11


def test_a_frozen_encoder_has_no_gradients_and_the_decoder_has():
    with torch.device("meta"):
        model = create_model("segnet_basic", freeze_encoder=True)
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())
    assert not any(part.training for part in model.encoder.stages)
    assert model.decoder.training


def test_a_near_miss_is_answered_with_the_right_name():
    with pytest.raises(ConfigError, match="no model 'segnet_basix'; did you mean 'segnet_basic'"):
        create_model("segnet_basix")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="no model 'xyz'; known are bayesian_segnet, "):
        create_model("xyz")


@pytest.mark.parametrize("option", [{"classes": 0}, {"in_channels": 0}, {"dropout": 1.5}])
def test_values_out_of_range_are_refused(option: dict[str, float]):
    with pytest.raises(ConfigError, match=next(iter(option))):
        create_model("segnet_basic", **option)  # type: ignore[arg-type]


def test_encoder_weights_that_are_not_there_are_refused(tmp_path: Path):
    with torch.device("meta"), pytest.raises(ModelError, match="no such file"):
        create_model("segnet_basic", encoder_weights=str(tmp_path / "vgg16.pth"))


def test_the_eight_decoders_of_table_1_are_there():
    assert set(MODELS) >= {
        "bilinear", "segnet_basic", "segnet_basic_encoder_addition", "segnet_basic_single_channel_decoder",
        "fcn_basic", "fcn_basic_no_addition", "fcn_basic_no_dim_reduction", "fcn_basic_no_addition_no_dim_reduction",
    }  # fmt: skip


def test_mirroring_vgg16_gives_the_published_decoder():
    with torch.device("meta"):
        model = create_model("segnet", encoder="vgg16_bn")
    assert model.config.encoder == MODELS["segnet"].encoder
    assert model.config.decoder == MODELS["segnet"].decoder
    assert model.config.name == "segnet-vgg16_bn"


@pytest.mark.parametrize(
    ("encoder", "convolutions"),
    [("vgg11", 8), ("vgg13_bn", 10), ("vgg16", 13), ("vgg19_bn", 16), ("squeezenet1_1", 25)],
)
def test_an_encoder_has_the_convolutions_of_its_name(encoder: str, convolutions: int):
    with torch.device("meta"):
        model = create_model("segnet", encoder=encoder)
    found = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(found) == convolutions
    assert len(norms) == (convolutions if encoder.endswith("_bn") else 0)


@pytest.mark.parametrize("name", ["segnet", "bilinear", "fcn_basic", "segnet_basic_encoder_addition", "segnet_pascal"])
@pytest.mark.parametrize("encoder", ["vgg11", "squeezenet1_1_bn", "efficientnet_lite0"])
def test_any_decoder_stands_on_any_encoder(name: str, encoder: str):
    with torch.device("meta"):
        model = create_model(name, encoder=encoder, classes=5)
        assert model(torch.rand(2, 3, 37, 45)).shape == (2, 5, 37, 45)


@pytest.mark.parametrize("stages", [-1, 5])
def test_only_stages_that_there_are_can_be_frozen(stages: int):
    with pytest.raises(ConfigError, match=f"stages={stages} is not possible; give 0 to 4"):
        create_model("fcn_basic").freeze_encoder(stages)


def test_an_unknown_encoder_is_answered_with_the_right_name():
    with pytest.raises(ConfigError, match="no encoder 'vgg17'; did you mean 'vgg1"):
        create_model("segnet", encoder="vgg17")


def test_encoders_are_listed():
    assert list_encoders() == list(ENCODERS)
    assert len(list_encoders()) == 11


@pytest.mark.parametrize("weights", ["vgg16", "imagenet"])
def test_encoder_weights_are_not_for_a_module_that_brings_its_own(weights: str):
    with pytest.raises(ConfigError, match="a module brings its own"):
        create_model("segnet", encoder=TwoMaps(), encoder_weights=weights)


class TwoMaps(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, nn.functional.avg_pool2d(x, 2, ceil_mode=True)]


def test_whole_numbers_of_numpy_are_taken_and_saved(tmp_path: Path) -> None:
    mask = np.array([[0, 2]])
    model = create_model("segnet_basic", classes=mask.max() + 1, in_channels=np.int64(4))
    path = checkpoint.save(model, ClassTable.numbered(3), tmp_path / "a.safetensors")
    assert checkpoint.load(path).model.config == model.config
    assert type(model.config.classes) is type(model.config.in_channels) is int


def test_names_of_classes_are_no_number() -> None:
    with pytest.raises(ConfigError, match=r"classes is a list; give how many, or segnet.ClassTable.from_names"):
        create_model("segnet_basic", classes=["road", "sky"])  # type: ignore[arg-type]


def test_a_network_is_made_of_its_config() -> None:
    with pytest.raises(ConfigError, match=r"a str is no SegNetConfig; segnet.create_model takes names"):
        SegNet("segnet_basic")  # type: ignore[arg-type]
