"""EfficientNet-Lite0 against the original network: strided filters and TensorFlow padding, in PyTorch operators."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from segnet.errors import ModelError
from segnet.models.efficientnet import CHANNELS, EfficientNetLite0, InvertedResidual, enlarge_filters
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.nn.codes import max_pool

# The published table: repeats, kernel, stride, channels; the first row does not expand, all others by six.
ROWS = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
BLOCKS = [(kernel, stride if number == 0 else 1, out) for n, kernel, stride, out in ROWS for number in range(n)]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Made-up weights and statistics under the original's names, the whole network with its head."""
    torch.manual_seed(0)
    made: dict[str, Tensor] = {}

    def add(conv: str, norm: str, shape: tuple[int, int, int, int]) -> None:
        made[f"{conv}.weight"] = (torch.randn(shape) * (2 / (shape[1] * shape[2] ** 2)) ** 0.5).half()
        for kind, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            made[f"{norm}.{kind}"] = low + torch.rand(shape[0])
        made[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    inputs = 32
    for number, (kernel, _, outputs) in enumerate(BLOCKS):
        inside, block = inputs * (6 if number else 1), f"_blocks.{number}."
        if number:
            add(f"{block}_expand_conv", f"{block}_bn0", (inside, inputs, 1, 1))
        add(f"{block}_depthwise_conv", f"{block}_bn1", (inside, 1, kernel, kernel))
        add(f"{block}_project_conv", f"{block}_bn2", (outputs, inside, 1, 1))
        inputs = outputs
    add("_conv_head", "_bn1", (1280, inputs, 1, 1))
    return made


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(state, path)
    return str(path)


@pytest.fixture(scope="module")
def model(weights: str) -> SegNet:
    return create_model("segnet_light", encoder_weights=weights).eval()


def same_padded(x: Tensor, filters: Tensor, *, stride: int, groups: int = 1) -> Tensor:
    """A convolution with TensorFlow's padding "same"."""
    side, borders = filters.shape[-1], []
    for length in (x.shape[3], x.shape[2]):
        total = max((-(-length // stride) - 1) * stride + side - length, 0)
        borders += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, borders), filters, stride=stride, groups=groups)


def original_maps(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The maps before each stride behind the stem, and that of the fifteenth block."""

    def unit(x: Tensor, conv: str, norm: str, *, stride: int = 1, groups: int = 1, relu: bool = True) -> Tensor:
        x = same_padded(x, state[f"{conv}.weight"].to(x), stride=stride, groups=groups)
        mean, var, gain, bias = (
            state[f"{norm}.{kind}"].to(x)[:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-3).sqrt() * gain + bias
        return x.clamp(0, 6) if relu else x

    x, maps = unit(x, "_conv_stem", "_bn0", stride=2), []
    for number, (_, stride, outputs) in enumerate(BLOCKS[:15]):
        before, block = x, f"_blocks.{number}."
        if stride == 2:
            maps.append(x)
        if number:
            x = unit(x, f"{block}_expand_conv", f"{block}_bn0")
        x = unit(x, f"{block}_depthwise_conv", f"{block}_bn1", stride=stride, groups=x.shape[1])
        x = unit(x, f"{block}_project_conv", f"{block}_bn2", relu=False)
        x = x + before if stride == 1 and before.shape[1] == outputs else x
    return [*maps, x]


@torch.no_grad()
def test_every_map_is_the_originals(state: dict[str, Tensor], model: SegNet):
    x = torch.randn(1, 3, 64, 96)
    maps = model.encoder.body(x)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, 64 // side, 96 // side) for channels, side in zip(CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]
    for ours, theirs in zip(maps, original_maps(state, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_image_is_normalized_as_the_original_wants_it(model: SegNet):
    image = torch.randint(256, (1, 3, 5, 7)).float()
    torch.testing.assert_close(model.normalized(image / 255), (image - 127) / 128)


@pytest.mark.parametrize("kernel", [3, 5])
@torch.no_grad()
def test_a_strided_filter_has_the_windows_of_even_sides_on_odd_ones_too(kernel: int):
    block, x = InvertedResidual(4, 6, kernel=kernel, stride=2), torch.rand(1, 24, 9, 13)
    conv, filters = block.depthwise.conv, torch.randn(24, 1, kernel, kernel)
    conv.weight.copy_(enlarge_filters(filters, conv.kernel_size[0]))
    even = F.pad(x, (0, 1, 0, 1))
    torch.testing.assert_close(conv(x), same_padded(even, filters, stride=2, groups=24), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_codes_are_of_the_map_before_each_stride(model: SegNet):
    x = torch.rand(1, 3, 50, 70)
    _, kept = model.encoder(x, model.decoder.skips)
    for entry, features in zip(kept, model.encoder.body(x), strict=False):
        assert entry.code is not None
        assert torch.equal(entry.code, max_pool(features)[1])


@torch.no_grad()
def test_filters_are_adapted_to_gray_images(weights: str, model: SegNet):
    gray = create_model("segnet_light", in_channels=1, encoder_weights=weights).eval()
    x = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(
        gray.encoder.body(x)[0], model.encoder.body(x.expand(-1, 3, -1, -1))[0], rtol=1e-4, atol=1e-4
    )


def test_a_gap_in_the_file_is_named(state: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "gap.safetensors"
    save_file({name: value for name, value in state.items() if name != "_blocks.4._bn2.bias"}, path)
    with pytest.raises(ModelError, match=r"gap\.safetensors: has no _blocks\.4\._bn2\.bias"):
        create_model("segnet_light", encoder_weights=str(path))


def test_larger_filters_are_refused_instead_of_cut(state: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "large.safetensors"
    save_file(state | {"_conv_stem.weight": torch.randn(32, 3, 7, 7)}, path)
    with pytest.raises(ModelError, match=r"_conv_stem\.weight of shape \(32, 3, 7, 7\)"):
        create_model("segnet_light", encoder_weights=str(path))


def test_another_encoder_refuses_the_file(weights: str):
    with pytest.raises(ModelError, match="holds EfficientNet-Lite0, which this encoder is not"):
        create_model("segnet", encoder_weights=weights)


def test_the_whole_network_stays_small(model: SegNet):
    assert sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    tensors = model.state_dict().values()
    assert sum(value.numel() * (2 if value.ndim == 4 else 4) for value in tensors) <= 6 * 2**20
    assert isinstance(model.encoder.body, EfficientNetLite0)


@pytest.mark.parametrize("size", [(1, 1), (37, 64), (64, 45)])
def test_the_shapes_of_the_maps_are_those_of_the_maps(size: tuple[int, int]) -> None:
    with torch.no_grad():
        maps = EfficientNetLite0(3).eval()(torch.zeros(1, 3, *size))
    assert EfficientNetLite0.map_shapes(size) == [tuple(each.shape[1:]) for each in maps]
