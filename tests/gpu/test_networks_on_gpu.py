"""Networks, training and prediction on a GPU: as on the CPU, up to rounding."""

from __future__ import annotations

import csv
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file

from segnet.data.augment_config import AugmentConfig
from segnet.data.layouts import Source
from segnet.data.synthetic.scenes import render_scene
from segnet.inference.predictor import Predictor
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.training.run import train
from segnet.training.settings import TrainConfig

pytestmark = pytest.mark.filterwarnings("default")  # of PyTorch about its own code

CONFIG = TrainConfig(
    epochs=2,
    batch=2,
    lr=0.01,
    schedule="constant",  # other epochs change no step then
    warmup=0.0,
    ema=0.5,
    loss="cross_entropy+0.5*lovasz",
    precision="float32",
    workers=2,
    augment=AugmentConfig(crop=(24, 32), color=0.3, gray=0.1, blur=0.5, noise=0.5),
)


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def one_step(model: SegNet, device: torch.device, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The parameters after one step of SGD on one batch, on the CPU."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 45, 60, generator=generator).to(device, memory_format=torch.channels_last)
    mask = torch.randint(0, 5, (2, 45, 60), generator=generator).to(device)
    model = deepcopy(model).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(image)
    F.cross_entropy(logits.float(), mask).backward()
    optimizer.step()
    return {name: value.detach().cpu() for name, value in model.named_parameters()}


@pytest.mark.usefixtures("exact_float32")
def test_a_training_step_equals_that_of_the_cpu(device: torch.device, narrow: SegNet) -> None:
    ours, expected = one_step(narrow, device), one_step(narrow, torch.device("cpu"))
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_training_step_in_bf16_is_near_that_in_float32(device: torch.device, narrow: SegNet) -> None:
    ours, expected = one_step(narrow, device, dtype=torch.bfloat16), one_step(narrow, torch.device("cpu"))
    for name, value in expected.items():
        assert (ours[name] - value).norm() <= 0.1 * value.norm() + 0.01, name


@pytest.mark.parametrize("name", ["segnet_basic", "segnet_light"])
def test_compiled_networks_equal_plain_ones(device: torch.device, name: str) -> None:
    model = create_model(name, classes=5).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(1, 3, 45, 60, device=device)
    compiled = torch.compile(model, dynamic=False, backend="inductor" if device.type == "cuda" else "eager")
    with torch.inference_mode():
        plain = model(image)
        assert (compiled(image) - plain).norm() <= 1e-2 * plain.norm()


@pytest.mark.usefixtures("exact_float32")
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    device: torch.device, camvid: Source, narrow_config: SegNetConfig, tmp_path: Path
) -> None:
    def run(out: Path, *, epochs: int, resume: bool = False) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = SegNet(replace(narrow_config, classes=11))
        sets = camvid.dataset("train"), camvid.dataset("val")
        config = replace(CONFIG, epochs=epochs)
        train(model, *sets, out=out, config=config, device=str(device), resume=resume)
        return load_file(out / "best.safetensors")

    whole = run(tmp_path / "whole", epochs=2)
    run(tmp_path / "parts", epochs=1)
    parts = run(tmp_path / "parts", epochs=2, resume=True)
    rows = [read_metrics(tmp_path / name) for name in ("whole", "parts")]
    assert [row["epoch"] for row in rows[1]] == ["1", "2"]
    for ours, expected in zip(*rows, strict=True):
        assert float(ours["train_loss"]) == pytest.approx(float(expected["train_loss"]), rel=1e-3)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-2, atol=1e-3, msg=name)


def test_a_run_in_bf16_learns(
    device: torch.device, camvid: Source, narrow_config: SegNetConfig, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=8, precision="bf16", validate_every=4)
    model = SegNet(replace(narrow_config, classes=11))
    train(model, camvid.dataset("train"), camvid.dataset("val"), out=tmp_path, config=config, device=str(device))
    first, last = read_metrics(tmp_path)
    assert float(last["train_loss"]) < float(first["train_loss"])


def share_of_equal_pixels(device: torch.device, name: str) -> float:
    return float(np.mean(masks_of(name, str(device)) == masks_on_cpu(name)))


def masks_of(name: str, device: str) -> NDArray[np.uint8]:
    predictor = Predictor.load(name, device=device)
    return np.stack([predictor(image).mask for image in street_images()])


@cache
def masks_on_cpu(name: str) -> NDArray[np.uint8]:
    return masks_of(name, "cpu")


@cache
def street_images() -> list[NDArray[np.uint8]]:
    return [render_scene(seed, size=(90, 120))[0] for seed in range(3)]


@pytest.mark.usefixtures("exact_float32")
@pytest.mark.parametrize("name", ["segnet_light", "segnet_basic"])
def test_predictions_equal_those_of_the_cpu(device: torch.device, name: str) -> None:
    assert share_of_equal_pixels(device, name) >= 0.999


def test_predictions_with_tf32_are_near_those_of_the_cpu(device: torch.device) -> None:
    """PyTorch's default for convolutions."""
    assert share_of_equal_pixels(device, "segnet_light") >= 0.99
