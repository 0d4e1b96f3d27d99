"""Foreign encoders: what keeps to the contract gets index unpooling, what does not is refused with a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.backbones import Backbone, timm_backbone
from segnet.models.decoders import NoSkip
from segnet.models.zoo import create_model
from segnet.nn.codes import max_unpool


class Pyramid(nn.Module):
    """Maps of some channels, each half as large as the one before it, after a stem of some stride."""

    def __init__(
        self, channels: tuple[int, ...] = (4, 6, 8), *, stem: int = 1, padding: int = 1, inputs: int = 3
    ) -> None:
        super().__init__()
        strides = (stem, *(2 for _ in channels[1:]))
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=stride, padding=1 if stride == stem == 1 else padding)
            for i, o, stride in zip((inputs, *channels), channels, strides, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for conv in self.convs:
            x = conv(x).relu()
            maps.append(x)
        return maps


class Broken(nn.Module):
    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: Tensor) -> object:
        return self.result


class Floored(nn.Module):
    """The image, and two halvings of it that leave out what is odd."""

    def forward(self, x: Tensor) -> list[Tensor]:
        half = F.max_pool2d(x, 2)
        return [x, half, F.max_pool2d(half, 2)]


class RoundedBothWays(nn.Module):
    """The image, and its halvings: two that are rounded up as in a padded stem, and then some that are rounded down."""

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for rounded_up in (True, True, False, False, False):
            maps.append(F.max_pool2d(maps[-1], 2, ceil_mode=rounded_up))
        return maps


def kept_of(body: nn.Module, x: Tensor):
    backbone = Backbone(body, x.shape[1], codes=True)
    return backbone(x, [NoSkip()] * len(backbone.channels))[1]


@pytest.mark.parametrize("size", [(24, 32), (37, 45), (9, 9)])
@pytest.mark.parametrize("stem", [1, 2])
@torch.no_grad()
def test_where_the_resolution_halves_the_positions_of_the_larger_map_are_kept(stem: int, size: tuple[int, int]):
    body = Pyramid(stem=stem)
    x = torch.rand(2, 3, *size)
    for entry, features in zip(kept_of(body, x), body(x), strict=False):
        values, index = F.max_pool2d(features, 2, ceil_mode=True, return_indices=True)
        expected = F.max_unpool2d(values, index, 2, output_size=features.shape[2:])
        assert entry.size == entry.covered == features.shape[2:]
        assert torch.equal(max_unpool(values, entry.code, entry.covered), expected)


@torch.no_grad()
def test_where_a_backbone_rounds_down_no_window_covers_the_last_row_and_column():
    kept = kept_of(Floored(), torch.rand(1, 3, 37, 45))
    assert [entry.size for entry in kept] == [(37, 45), (18, 22)]
    assert [entry.covered for entry in kept] == [(36, 44), (18, 22)]
    assert [entry.code.shape for entry in kept] == [(1, 3, 18 * 22 // 4), (1, 3, 25)]


@torch.no_grad()
def test_each_halving_may_round_in_its_own_way():
    kept = kept_of(RoundedBothWays(), torch.rand(1, 3, 138, 79))
    assert [entry.size for entry in kept] == [(138, 79), (69, 40), (35, 20), (17, 10), (8, 5)]
    assert [entry.covered for entry in kept] == [(138, 79), (69, 40), (34, 20), (16, 10), (8, 4)]


@torch.no_grad()
def test_where_the_resolution_does_not_halve_nothing_is_kept_and_the_decoder_interpolates():
    kept = kept_of(Pyramid(padding=0), torch.rand(1, 3, 36, 45))  # 36 -> 17
    assert [entry.code for entry in kept] == [None, None]


@pytest.mark.parametrize("body", [Pyramid(), Pyramid(stem=2), Pyramid(stem=4), Pyramid(padding=0), Floored()])
@pytest.mark.parametrize("size", [(24, 32), (37, 45)])
def test_logits_have_the_size_of_the_image(body: nn.Module, size: tuple[int, int]):
    model = create_model("segnet", encoder=body, classes=5)
    logits = model(torch.rand(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["fcn_basic", "bilinear", "segnet_basic_encoder_addition", "fcn_basic_no_addition"])
def test_any_decoder_stands_on_a_foreign_encoder(name: str):
    assert create_model(name, encoder=Pyramid())(torch.rand(1, 3, 21, 30)).shape == (1, 11, 21, 30)


def test_learned_upsampling_wants_every_stage_to_halve():
    with pytest.raises(ConfigError, match="learned upsampling doubles"):
        create_model("fcn_basic", encoder=Pyramid(padding=0))


def test_the_module_is_left_as_it_was():
    body = Pyramid().train()
    body.convs[0].eval()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    Backbone(body, 3, codes=True)
    assert body.training
    assert not body.convs[0].training
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())


@torch.no_grad()
def test_a_saved_model_wants_its_module_again(tmp_path: Path, five_labels: ClassTable):
    model = create_model("segnet", encoder=Pyramid(), classes=5).eval()
    path = checkpoint.save(model, five_labels, tmp_path / "mine.safetensors")
    x = torch.rand(1, 3, 19, 23)
    assert torch.equal(checkpoint.load(path, encoder=Pyramid()).model(x), model(x))
    with pytest.raises(ModelError, match="built around a module of its author's"):
        checkpoint.load(path)
    with pytest.raises(ModelError, match="encoder stage 1 ends in 5"):
        checkpoint.load(path, encoder=Pyramid((5, 6, 8)))


@pytest.mark.parametrize(
    "result",
    [
        torch.rand(1, 4, 8, 8),
        [torch.rand(1, 4, 8, 8)],
        [torch.rand(4, 8, 8)] * 2,
        [torch.zeros(1, 4, 8, 8).long()] * 2,
        None,
    ],
)
def test_what_returns_no_list_of_maps_is_refused(result: object):
    with pytest.raises(ConfigError, match="must return a list of at least two maps"):
        Backbone(Broken(result), 3, codes=True)


class ChannelsLast(Pyramid):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [features.permute(0, 2, 3, 1) for features in super().forward(x)]


def test_maps_whose_channels_are_last_are_refused():
    with pytest.raises(ConfigError, match=r"expected maps \(N, C, H, W\), not \(N, H, W, C\)"):
        Backbone(ChannelsLast(), 3, codes=True)


def test_what_takes_other_channels_is_refused():
    with pytest.raises(ConfigError, match="cannot take an image of 97x131 with 4 channels"):
        Backbone(Pyramid(), 4, codes=True)


def test_without_timm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match="timm"):
        timm_backbone("resnet18", 3)
