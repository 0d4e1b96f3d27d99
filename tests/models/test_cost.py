"""What the networks cost: hand formulas, and the figures of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.cost import cost_of
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import MODELS, create_model


def windows(height: int, width: int) -> int:
    return -(-height // 2) * -(-width // 2)


def tiny(**decoder) -> SegNetConfig:
    """Two stages of 4 and 6 channels on three, two classes, 3x3 filters."""
    return SegNetConfig(
        name="tiny", encoder=EncoderConfig(widths=((4,), (6,))), decoder=DecoderConfig(**decoder), classes=2
    )


def test_plain_convolutions_are_counted_as_by_hand():
    config = tiny(widths=((4,), ()), classifier_kernel=1)
    size = (10, 7)
    pixels = [70, windows(10, 7), windows(5, 4)]
    macs = 9 * (3 * 4 * pixels[0] + 4 * 6 * pixels[1] + 6 * 4 * pixels[1]) + 4 * 2 * pixels[0]
    assert cost_of(config, size).macs == macs


def test_grouped_convolutions_are_counted_as_by_hand():
    config = tiny(widths=((6,), ()), depthwise=True, upsampling="bilinear", classifier_kernel=1)
    pixels = [70, windows(10, 7)]
    macs = 9 * (3 * 4 * pixels[0] + 4 * 6 * pixels[1] + 6 * pixels[1]) + 6 * 2 * pixels[0]
    assert cost_of(config, (10, 7)).macs == macs


def test_transposed_convolutions_are_counted_as_by_hand():
    config = tiny(widths=((), ()), upsampling="learned", compress=True)
    pixels = [70, windows(10, 7), windows(5, 4)]
    macs = 9 * (3 * 4 * pixels[0] + 4 * 6 * pixels[1]) + 6 * 2 * pixels[2]
    # Every pixel of the smaller map meets every number of the 8x8 filters once.
    macs += 64 * 2 * 2 * (pixels[2] + pixels[1])
    assert cost_of(config, (10, 7)).macs == macs


def test_codes_and_kept_maps_are_counted_as_by_hand():
    cost = cost_of(tiny(widths=((4,), (4,)), addition="maps"), (10, 7))
    codes = [-(-windows(10, 7) // 4), -(-windows(5, 4) // 4)]
    assert cost.code_bytes == 4 * codes[0] + 6 * codes[1]
    assert cost.kept_bytes == 4 * (4 * 70 + 4 * windows(10, 7))  # the second map is brought to the decoder's channels


def test_segnet_keeps_two_bits_a_window_where_indices_would_take_64():
    cost = cost_of(MODELS["segnet"])
    assert cost.code_bytes == 1_321_216
    assert cost.kept_bytes == 0
    channels = (64, 128, 256, 512, 512)
    sizes = [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)]
    indices = 8 * sum(many * windows(*size) for many, size in zip(channels, sizes, strict=True))
    assert indices / 1e6 == pytest.approx(42.3, abs=0.05)
    assert indices / cost.code_bytes == pytest.approx(32, rel=0.001)


@pytest.mark.parametrize(("name", "gmac"), [("segnet", 107), ("segnet_basic", 59)])
def test_the_published_nets_take_as_much_arithmetic_as_known(name: str, gmac: int):
    assert round(cost_of(MODELS[name]).macs / 1e9) == gmac


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("segnet", 29_449_355),
        ("bayesian_segnet_camvid", 29_486_411),
        ("segnet_webdemo", 29_449_932),
        ("segnet_sun", 29_464_934),
        ("segnet_pascal", 29_455_125),
        ("segnet_basic", 1_416_587),
    ],
)
def test_parameters_are_as_many_as_published(name: str, count: int):
    assert cost_of(MODELS[name]).parameters == count


def test_a_model_costs_what_its_settings_say_and_stays_as_it_is():
    model = create_model("fcn_basic").bfloat16()
    before = {name: (value.data_ptr(), value.clone()) for name, value in model.state_dict().items()}
    assert cost_of(model) == cost_of(MODELS["fcn_basic"])
    assert model.training
    assert not model.encoder._forward_hooks
    for name, value in model.state_dict().items():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1])


def test_counting_draws_no_random_numbers():
    state = torch.get_rng_state()
    cost_of(MODELS["segnet_basic"], (8, 8))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_around_a_module_is_counted_and_its_settings_alone_are_not():
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)])

        def forward(self, x: Tensor) -> list[Tensor]:
            whole = self.convs[0](x)
            return [whole, self.convs[1](whole)]

    model = create_model("segnet", encoder=Halves(), classes=2)
    cost = cost_of(model, (8, 8))
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.code_bytes == 4 * 4
    with pytest.raises(ConfigError, match="hand over the module"):
        cost_of(model.config)


def test_folded_norms_cost_no_parameters():
    model = SegNet(tiny(widths=((4,), (4,))))
    assert cost_of(model.folded()).parameters == cost_of(model).parameters - 2 * (4 + 6 + 4 + 4)
