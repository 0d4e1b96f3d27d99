"""The models by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segnet.errors import ConfigError, ModelError
from segnet.models.segnet import SegNet
from segnet.models.zoo import MODELS, create_model, list_models


def test_models_are_listed_by_pattern():
    assert list_models() == ["segnet", "segnet_basic"]
    assert list_models("*basic*") == ["segnet_basic"]
    assert list_models("fcn*") == []


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_carries_the_name_it_is_listed_under(name: str):
    assert MODELS[name].name == name


def test_a_model_is_made_as_asked():
    with torch.device("meta"):
        model = create_model("segnet_basic", classes=3, in_channels=1, dropout=0.25)
    assert isinstance(model, SegNet)
    assert (model.config.classes, model.config.in_channels, model.config.dropout) == (3, 1, 0.25)
    assert model.training
    assert not model.encoder_frozen


def test_making_a_model_leaves_the_table_alone():
    with torch.device("meta"):
        create_model("segnet_basic", classes=3)
    assert MODELS["segnet_basic"].classes == 11


def test_a_frozen_encoder_has_no_gradients_and_the_decoder_has():
    with torch.device("meta"):
        model = create_model("segnet_basic", freeze_encoder=True)
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())
    assert not model.encoder.training
    assert model.decoder.training


def test_a_near_miss_is_answered_with_the_right_name():
    with pytest.raises(ConfigError, match="no model 'segnet_basix'; did you mean 'segnet_basic'"):
        create_model("segnet_basix")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="no model 'xyz'; known are segnet, segnet_basic"):
        create_model("xyz")


@pytest.mark.parametrize("option", [{"classes": 0}, {"in_channels": 0}, {"dropout": 1.5}])
def test_values_out_of_range_are_refused(option: dict[str, float]):
    with pytest.raises(ConfigError, match=next(iter(option))):
        create_model("segnet_basic", **option)  # type: ignore[arg-type]


def test_encoder_weights_that_are_not_there_are_refused(tmp_path: Path):
    with torch.device("meta"), pytest.raises(ModelError, match="no such file"):
        create_model("segnet_basic", encoder_weights=str(tmp_path / "vgg16.pth"))
