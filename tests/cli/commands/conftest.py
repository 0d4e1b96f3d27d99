"""A model file that is small, quick, and of CamVid's classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segnet.labels import CAMVID, ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((4,), (6,))), decoder=DecoderConfig(widths=((4,), (4,))), classes=11
)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    return checkpoint.save(SegNet(TOY), CAMVID, tmp_path_factory.mktemp("model") / "toy.safetensors")


@pytest.fixture(scope="module")
def one_stage_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To export: the time that it takes grows fast with the number of stages."""
    torch.manual_seed(1)
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    model = SegNet(replace(TOY, encoder=encoder, decoder=decoder))
    return checkpoint.save(model, CAMVID, tmp_path_factory.mktemp("model") / "toy.safetensors")


@pytest.fixture(scope="session")
def bayesian_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    config = replace(TOY, name="bayes", encoder=replace(TOY.encoder, dropout_after_pooling=(2,)), dropout=0.5)
    return checkpoint.save(SegNet(config), CAMVID, tmp_path_factory.mktemp("model") / "bayes.safetensors")


@pytest.fixture(scope="session")
def two_class_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = SegNet(
        SegNetConfig(
            name="two", encoder=EncoderConfig(widths=((4,),)), decoder=DecoderConfig(widths=((4,),)), classes=2
        )
    )
    return checkpoint.save(
        model, ClassTable.from_names(["a", "b"]), tmp_path_factory.mktemp("model") / "two.safetensors"
    )
