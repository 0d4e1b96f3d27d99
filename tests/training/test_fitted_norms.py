"""New batch norms of a pretrained encoder leave its features as a plain chain of its convolutions has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.models.segnet import SegNet, normed_convolutions
from segnet.training.fitted_norms import fit_batch_norms
from segnet.training.network import make_network
from segnet.training.run_config import EncoderNorms, NetworkConfig


def strange(model: SegNet) -> SegNet:
    """Filters and biases whose maps have channels of very different means and deviations."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _, _, conv, _ in normed_convolutions(model.encoder):
            conv.weight *= torch.rand(len(conv.weight), 1, 1, 1, generator=generator) * 20
            assert conv.bias is not None
            conv.bias.copy_(torch.randn(len(conv.bias), generator=generator) * 5)
    return model


def plain_features(model: SegNet, image: Tensor) -> list[Tensor]:
    """What the convolutions give without any batch norm."""
    x, maps = (image - model.mean) / model.std, []
    for stage in model.encoder.stages:
        for unit in stage:
            x = F.relu(F.conv2d(x, unit.conv.weight, unit.conv.bias, padding=1))
            maps.append(x)
        x = F.max_pool2d(x, 2, ceil_mode=True)
    return maps


def features(model: SegNet, image: Tensor) -> list[Tensor]:
    maps: list[Tensor] = []
    hooks = [
        unit.register_forward_hook(lambda _, __, output: maps.append(output.clone()))
        for _, unit, _, _ in normed_convolutions(model.encoder)
    ]
    model(image)
    for hook in hooks:
        hook.remove()
    return maps


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_features_stay_as_they_are_but_for_a_factor_of_each_layer(
    training: bool, narrow: SegNet, camvid: Source
) -> None:
    model, data = strange(narrow).train(), camvid.dataset("train")
    images = torch.stack([data[index]["image"] for index in range(len(data))])
    assert len(images) <= 8  # so that all are looked at
    before = plain_features(model, images)
    assert fit_batch_norms(model, data)
    assert model.training
    model.train(training)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    for exact, found in zip(before, features(model, images), strict=True):
        factor = (exact.norm() / found.norm()).item()
        torch.testing.assert_close(found * factor, exact, rtol=1e-3, atol=1e-3 * exact.std().item())
        assert 0.1 < found.std() < 3
        assert exact.std() > 3


def test_batch_norms_with_statistics_are_left_alone(toy: SegNet, camvid: Source) -> None:
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    assert not fit_batch_norms(toy, camvid.dataset("train"))
    assert all(torch.equal(value, before[name]) for name, value in toy.state_dict().items())


@pytest.mark.parametrize("choice", ["fitted", "new"])
def test_a_run_from_weights_without_batch_norm_fits_them(choice: EncoderNorms, camvid: Source, tmp_path: Path) -> None:
    widths = ((64,), (128,), (256, 256), (512, 512), (512, 512))
    state, channels, position = {}, 3, 0
    random = np.random.default_rng(0)
    for stage in widths:
        for width in stage:
            filters = random.standard_normal((width, channels, 3, 3), np.float32) / (3 * channels**0.5)
            state[f"features.{position}.weight"] = torch.from_numpy(filters)
            state[f"features.{position}.bias"] = torch.zeros(width)
            channels, position = width, position + 2
        position += 1
    save_file(state, path := tmp_path / "vgg11.safetensors")
    config = NetworkConfig(model="segnet", encoder="vgg11_bn", encoder_weights=str(path), encoder_norms=choice)
    model = make_network(config, camvid)
    norms = [norm for _, _, _, norm in normed_convolutions(model.encoder)]
    assert len(norms) == 8
    assert all(norm.running_mean.any().item() == (choice == "fitted") for norm in norms)
    assert all(not norm.running_mean.any() for _, _, _, norm in normed_convolutions(model.decoder))


def test_another_kind_of_norms_is_refused() -> None:
    with pytest.raises(ConfigError, match="encoder_norms='old' is unknown; choose one of fitted, new"):
        NetworkConfig(encoder_norms="old")  # type: ignore[arg-type]
