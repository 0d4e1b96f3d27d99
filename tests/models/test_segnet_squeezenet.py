"""segnet_squeezenet's own parts: a stem that strides, and context."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segnet.errors import ConfigError
from segnet.models.context import Context
from segnet.models.decoders import Decoder, DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.squeezenet import squeezenet_channels, squeezenet_stages
from segnet.models.zoo import create_model


def test_context_adds_nothing_at_first_and_learns() -> None:
    torch.manual_seed(0)
    context, x = Context(16, 4), torch.rand(2, 16, 9, 11)
    assert torch.equal(context(x), x)
    context(x).square().sum().backward()
    assert context.expand.bn.weight.grad.abs().sum() > 0


def test_context_is_its_formula() -> None:
    torch.manual_seed(0)
    context = Context(16, 4).eval()
    for part in context.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias)
    x = torch.rand(2, 16, 9, 11)
    seen = context.reduce(x)
    for unit, dilation in zip(context.around, (1, 2, 4), strict=True):
        conv = unit.conv
        plain = nn.functional.conv2d(seen, conv.weight, conv.bias, padding=dilation, dilation=dilation)
        seen = seen + torch.relu(unit.bn(plain))
    mean = seen.flatten(2).mean(dim=2)[:, :, None, None]
    torch.testing.assert_close(context(x), x + context.expand(seen + context.everywhere(mean)))


def test_every_place_sees_the_whole_image() -> None:
    context = Context(8, 32).eval()
    nn.init.ones_(context.expand.bn.weight)
    x = torch.rand(1, 8, 20, 30, requires_grad=True)
    context(x)[0, :, 0, 0].sum().backward()
    assert (x.grad[0].abs().sum(dim=0) > 0).float().mean() > 0.99  # in some places all 32 may be below zero


def test_a_striding_stem_has_one_stage_less_and_the_same_filters() -> None:
    full, half = (squeezenet_stages(3, batch_norm=True, stem_stride=stride) for stride in (1, 2))
    assert (len(full), len(half)) == (5, 4)
    assert (squeezenet_channels(1), squeezenet_channels(2)) == ((64, 64, 128, 256, 512), (64, 128, 256, 512))
    shapes = [[tuple(p.shape) for stage in stages for p in stage.parameters()] for stages in (full, half)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("size", [(1, 1), (5, 4), (37, 42), (64, 96)])
def test_logits_have_the_images_size(size: tuple[int, int]) -> None:
    model = create_model("segnet_squeezenet", classes=3).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_every_pooling_has_its_code_and_every_upsampling_uses_it() -> None:
    model = create_model("segnet_squeezenet").eval()
    with torch.no_grad():
        _, kept = model.encoder(torch.rand(1, 3, 64, 96), model.decoder.skips)
    assert [entry.size for entry in kept] == [(32, 48), (16, 24), (8, 12), (4, 6)]
    assert all(entry.code is not None for entry in kept)
    assert model.config.decoder.upsampling == "indices"


def test_a_stride_is_for_squeezenet_alone() -> None:
    with pytest.raises(ConfigError, match="stem_stride=2 with an encoder of kind 'convolutions' is not possible"):
        EncoderConfig(widths=((8,),), stem_stride=2)
    with pytest.raises(ConfigError, match="stem_stride=3"):
        EncoderConfig(kind="squeezenet1_1", stem_stride=3)


@pytest.mark.parametrize("wrong", [{"context": -1}, {"context": 4, "compress": True, "upsampling": "bilinear"}])
def test_context_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="context="):
        DecoderConfig(widths=((),), **wrong)  # type: ignore[arg-type]


def test_context_stands_before_the_projection_of_a_foreign_map() -> None:
    class Body:
        channels, pooled_channels, deepest_channels, halving = (4, 6), (0, 4), 10, True

    decoder = Decoder(DecoderConfig(widths=((4,), (4,)), context=3), Body(), classes=2, dropout=0.0)
    assert [type(part) for part in decoder.entrance] == [Context, nn.Sequential]
    assert decoder.entrance(torch.rand(2, 10, 4, 5)).shape == (2, 6, 4, 5)


def test_memory_is_saved_with_the_same_gradients() -> None:
    torch.manual_seed(0)
    model = create_model("segnet_squeezenet", classes=2)
    twin = copy.deepcopy(model)
    twin.save_memory()
    image = torch.rand(2, 3, 32, 48)
    for one in (model, twin):
        one.train()(image).square().mean().backward()
    for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
