"""Index unpooling under encoders of timm, for real."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import segnet
from segnet.errors import ConfigError
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet

# Rounding up at every halving; rounding down from a stem of stride four; few channels.
NAMES = ["resnet18", "convnext_atto", "mobilenetv3_small_050"]


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> SegNet:
    torch.manual_seed(0)
    return segnet.create_model("segnet", encoder=f"timm/{request.param}", classes=4, dropout=0.1).eval()


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (33, 50)])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(model: SegNet, size: tuple[int, int]) -> None:
    logits = model(torch.rand(2, 3, *size))
    assert logits.shape == (2, 4, *size)
    assert logits.isfinite().all()


@torch.no_grad()
def test_every_halving_is_unpooled_with_codes(model: SegNet) -> None:
    x = torch.rand(1, 3, 97, 131)
    maps = model.encoder.body(x)
    _, kept = model.encoder(x, model.decoder.skips)
    assert len(kept) == len(maps) - 1
    for entry, features, deeper in zip(kept, maps, maps[1:], strict=False):
        assert entry.size == features.shape[2:]
        windows = deeper.shape[2] * deeper.shape[3]
        assert entry.code.shape == (1, features.shape[1], (windows + 3) // 4)
        assert entry.code.dtype == torch.uint8


def test_backward_reaches_every_parameter(model: SegNet) -> None:
    model.train()
    model(torch.rand(2, 3, 64, 64)).square().mean().backward()
    missed = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model.zero_grad()
    model.eval()
    assert missed == []


@torch.no_grad()
def test_a_saved_model_is_the_same_when_loaded(model: SegNet, tmp_path: Path) -> None:
    labels = ClassTable.from_names(["a", "b", "c", "d"])
    path = segnet.save(model, labels, tmp_path / "model.safetensors")
    x = torch.rand(1, 3, 50, 61)
    assert torch.equal(segnet.load(path).model(x), model(x))


@torch.no_grad()
def test_one_exported_program_takes_every_size(model: SegNet) -> None:
    auto = torch.export.Dim.AUTO
    example = torch.rand(2, 3, 64, 96)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    for shape in [(1, 3, 97, 131), (3, 3, 64, 64)]:
        x = torch.rand(*shape)
        torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4, 13])
@torch.no_grad()
def test_other_input_channels(channels: int) -> None:
    model = segnet.create_model("segnet", encoder="timm/mobilenetv3_small_050", in_channels=channels).eval()
    assert model(torch.rand(1, channels, 40, 40)).shape == (1, 11, 40, 40)


def test_mean_and_std_are_those_the_model_was_trained_with() -> None:
    model = segnet.create_model("segnet", encoder="timm/mobilenetv3_small_050")
    about = model.encoder.body.pretrained_cfg
    assert model.config.mean == tuple(about["mean"])
    assert model.config.std == tuple(about["std"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet1", "timm has no model 'resnet1'; such are "),
        ("no_such_net", "timm has no model 'no_such_net'; see timm.list_models"),
        ("hf-hub:someone/something", "timm has no model 'hf-hub:someone/something'"),
        ("vit_tiny_patch16_224", "cannot take an image of 97x131 .* must take any size"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        segnet.create_model("segnet", encoder=f"timm/{name}")


def test_a_frozen_encoder_learns_nothing(model: SegNet) -> None:
    model.freeze_encoder()
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    model.train()
    assert not any(module.training for module in model.encoder.modules() if isinstance(module, nn.BatchNorm2d))
    model.encoder.requires_grad_(True)
    model.frozen_stages = 0
    model.eval()
