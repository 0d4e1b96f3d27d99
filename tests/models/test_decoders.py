"""The eight decoders of the paper's Table 1, each against one of plain PyTorch operators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.decoders import Decoder, DecoderConfig, LearnedUpsampling
from segnet.models.encoders import Kept
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.nn.codes import max_pool

EIGHT = [
    "bilinear",
    "segnet_basic",
    "segnet_basic_encoder_addition",
    "segnet_basic_single_channel_decoder",
    "fcn_basic",
    "fcn_basic_no_addition",
    "fcn_basic_no_dim_reduction",
    "fcn_basic_no_addition_no_dim_reduction",
]
# The paper's storage multiplier: channels that are kept of every encoder map; 1 stands for the codes alone.
STORAGE = {"segnet_basic_encoder_addition": 64, "fcn_basic": 11, "fcn_basic_no_dim_reduction": 64}
UNPOOLING = {name for name in EIGHT if name.startswith("segnet")}


@pytest.fixture(scope="module", params=EIGHT)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> SegNet:
    """Its norms are as after training, none of them neutral, and its upsampling is no more bilinear."""
    torch.manual_seed(3)
    model = create_model(name)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
        elif isinstance(part, nn.ConvTranspose2d):
            nn.init.normal_(part.weight, std=0.02)
        elif isinstance(part, nn.Conv2d):
            nn.init.normal_(part.bias)
    return model.eval()


@pytest.fixture(scope="module")
def kept(model: SegNet) -> list[Kept]:
    with torch.no_grad():
        return model.encoder(torch.rand(1, 3, 37, 42) * 255, model.decoder.skips)[1]


class PlainEncoder:
    """SegNet-Basic's encoder on PyTorch's own pooling: what it meets on the way down, shallowest first."""

    def __init__(self, model: SegNet, image: Tensor) -> None:
        self.maps: list[Tensor] = []
        self.indices: list[Tensor] = []
        self.pooled: list[Tensor] = []  # the first of them is above the second stage
        x = F.local_response_norm(image * 255, 5, alpha=1e-4, beta=0.75, k=1.0)
        for unit in convolutions(model.encoder):
            self.maps.append(after_norm(unit, x).relu())
            x, index = F.max_pool2d(self.maps[-1], 2, 2, ceil_mode=True, return_indices=True)
            self.indices.append(index)
            self.pooled.append(x)


def convolutions(module: nn.Module) -> list[nn.Sequential]:
    """The units of convolution and batch norm, in order."""
    return [part for part in module.modules() if isinstance(part, nn.Sequential) and hasattr(part, "bn")]


def after_norm(unit: nn.Sequential, x: Tensor) -> Tensor:
    conv, norm = unit.conv, unit.bn
    x = F.conv2d(x, conv.weight, conv.bias, padding=3, groups=conv.groups)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


def projected(skip: nn.Module, x: Tensor) -> Tensor:
    project = skip.project
    return x if isinstance(project, nn.Identity) else F.conv2d(x, project.weight, project.bias)


def deconvolved(weight: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Stride 2 by hand: zeros between the pixels, then the turned 8x8 filter; cut at the bottom and on the right."""
    spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
    spread[:, :, ::2, ::2] = x
    return F.conv2d(spread, weight.transpose(0, 1).flip(2, 3), padding=4)[:, :, : size[0], : size[1]]


def plain_segnet_basic(model: SegNet, image: Tensor, *, add_maps: bool) -> Tensor:
    """Unpool, convolve without ReLU; in EncoderAddition the encoder's map is added last (K = 64)."""
    below = PlainEncoder(model, image)
    x = below.pooled[-1]
    for unit, features, index in zip(
        convolutions(model.decoder), reversed(below.maps), reversed(below.indices), strict=True
    ):
        x = after_norm(unit, F.max_unpool2d(x, index, 2, 2, output_size=features.shape[2:]))
        x = x + features if add_maps else x
    return F.conv2d(x, model.classifier.weight, model.classifier.bias)


def plain_bilinear(model: SegNet, image: Tensor) -> Tensor:
    below = PlainEncoder(model, image)
    x = F.conv2d(below.pooled[-1], model.decoder.entrance.weight, model.decoder.entrance.bias)
    for features in reversed(below.maps):
        x = F.interpolate(x, size=features.shape[2:], mode="bilinear")
    return x


def plain_fcn(model: SegNet, image: Tensor, *, add: bool, compress: bool) -> Tensor:
    """Upsample with the learned filters, then add the pooled map of the same size; none at full resolution."""
    below, decoder = PlainEncoder(model, image), model.decoder
    x = below.pooled[-1]
    if compress:
        x = F.conv2d(x, decoder.entrance.weight, decoder.entrance.bias)
    for stage, upsampling in zip((3, 2, 1, 0), decoder.upsamplings, strict=True):
        x = deconvolved(upsampling.deconv.weight, x, below.maps[stage].shape[2:])
        if add and stage:
            x = x + projected(decoder.skips[stage], below.pooled[stage - 1])
    return x if compress else F.conv2d(x, model.classifier.weight, model.classifier.bias)


def plain(name: str, model: SegNet, image: Tensor) -> Tensor:
    if name == "bilinear":
        return plain_bilinear(model, image)
    if name in UNPOOLING:
        return plain_segnet_basic(model, image, add_maps="addition" in name)
    return plain_fcn(model, image, add="no_addition" not in name, compress="no_dim_reduction" not in name)


@pytest.mark.parametrize("size", [(32, 48), (27, 22)])
@torch.no_grad()
def test_a_decoder_equals_one_of_plain_operators(name: str, model: SegNet, size: tuple[int, int]):
    image = torch.rand(1, 3, *size)
    logits = model(image)
    torch.testing.assert_close(logits, plain(name, model, image), rtol=1e-3, atol=1e-5 * logits.abs().max().item())


def test_codes_are_kept_for_unpooling_alone(name: str, kept: list[Kept]):
    assert [entry.code is not None for entry in kept] == [name in UNPOOLING] * 4


def test_maps_are_kept_as_the_storage_multiplier_says(name: str, kept: list[Kept]):
    sizes = [(37, 42), (19, 21), (10, 11), (5, 6)]
    assert [entry.size for entry in kept] == sizes
    channels = STORAGE.get(name)
    wanted: list[tuple[int, ...] | None] = [(1, channels, *size) if channels else None for size in sizes]
    if name.startswith("fcn"):
        wanted[0] = None  # above full resolution there is no pooling
    assert [entry.features if entry.features is None else tuple(entry.features.shape) for entry in kept] == wanted


def test_the_single_channel_decoder_has_filters_of_one_channel():
    decoder = create_model("segnet_basic_single_channel_decoder").decoder
    shapes = [tuple(unit.conv.weight.shape) for unit in convolutions(decoder)]
    assert shapes == [(64, 1, 7, 7)] * 4


def test_dimension_reduction_leaves_one_channel_per_class():
    for name in EIGHT:
        model = create_model(name, classes=5)
        reduced = name in {"bilinear", "fcn_basic", "fcn_basic_no_addition"}
        assert model.decoder.out_channels == (5 if reduced else 64)
        assert isinstance(model.classifier, nn.Identity) is reduced


@pytest.mark.parametrize("size", [(14, 18), (13, 18), (14, 17), (13, 17)])
@torch.no_grad()
def test_learned_upsampling_begins_as_bilinear_interpolation(size: tuple[int, int]):
    x = torch.randn(2, 3, 7, 9)
    found = LearnedUpsampling(3)(x, size)
    assert found.shape == (2, 3, *size)
    wanted = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[:, :, : size[0], : size[1]]
    # On the border interpolation repeats the outermost pixels, a convolution sees zeros.
    torch.testing.assert_close(found[:, :, 1:13, 1:17], wanted[:, :, 1:13, 1:17])


@torch.no_grad()
def test_learned_upsampling_equals_a_convolution_of_spread_pixels():
    upsampling = LearnedUpsampling(3)
    nn.init.normal_(upsampling.deconv.weight)
    x = torch.randn(2, 3, 4, 5)
    for size in [(8, 10), (7, 9)]:
        wanted = deconvolved(upsampling.deconv.weight, x, size)
        torch.testing.assert_close(upsampling(x, size), wanted, rtol=1e-4, atol=1e-4)


def test_learned_upsampling_learns_across_channels():
    upsampling = LearnedUpsampling(3)
    upsampling(torch.randn(1, 3, 4, 5), (8, 10)).square().sum().backward()
    assert upsampling.deconv.weight.grad.count_nonzero() == upsampling.deconv.weight.numel()


class Halved:
    """What a decoder wants to know of an encoder with one stage of two channels, whose deepest map has eight."""

    channels, pooled_channels, deepest_channels, halving = (2,), (0,), 8, True


@torch.no_grad()
def test_several_channels_share_a_code_where_the_decoder_has_a_multiple():
    decoder = Decoder(DecoderConfig(widths=((),)), Halved(), classes=3, dropout=0.0)
    features, x = torch.rand(1, 2, 5, 7), torch.rand(1, 6, 3, 4)
    code, positions = max_pool(features)[1], F.max_pool2d(features, 2, ceil_mode=True, return_indices=True)[1]
    found = decoder.upsample(0, x, Kept(code, (5, 7), (5, 7)))
    assert torch.equal(found, F.max_unpool2d(x, positions.repeat(1, 3, 1, 1), 2, output_size=(5, 7)))


def test_a_number_of_channels_that_cannot_share_codes_is_refused():
    class Uneven(Halved):
        channels, pooled_channels = (2, 3), (0, 2)

    with pytest.raises(ConfigError, match="or a multiple of them: encoder stage 1 ends in 2, decoder stage 1 begins"):
        Decoder(DecoderConfig(widths=((5,), ())), Uneven(), classes=3, dropout=0.0)


@torch.no_grad()
def test_added_maps_may_be_normalized():
    decoder = Decoder(
        DecoderConfig(widths=((2,),), addition="maps", addition_norm=True), Halved(), classes=3, dropout=0
    )
    features = 100 * torch.randn(4, 2, 16, 16)
    added = decoder.skips[0](features, features)
    assert added.std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1], rel=1e-2)
