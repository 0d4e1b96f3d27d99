from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import segnet
from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.pytorch import TorchRuntime


@pytest.fixture
def used(narrow: SegNet) -> SegNet:
    """A network whose batch norm has seen images, so that folding has something to fold."""
    narrow.train()
    with torch.no_grad():
        for _ in range(3):
            narrow(torch.rand(2, 3, 24, 32))
    return narrow


@pytest.mark.parametrize("size", [(24, 32), (17, 23), (1, 1)])
def test_a_runtime_gives_the_plain_models_logits(used: SegNet, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        plain = used.eval()(image)
    logits = TorchRuntime(used, device="cpu").logits(image)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_in_another_precision_computes_in_float32(used: SegNet, dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 17, 23)
    expected = TorchRuntime(used.to(dtype).to(torch.float32), device="cpu").logits(image)
    torch.testing.assert_close(TorchRuntime(used.to(dtype), device="cpu").logits(image), expected)


def test_another_class_table_is_refused(used: SegNet) -> None:
    with pytest.raises(ModelError, match="the network has 5 classes but the class table 2"):
        TorchRuntime(used, ClassTable.numbered(2), device="cpu")


def test_another_network_and_a_list_of_names_are_refused(used: SegNet, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a Conv2d is no SegNet; segnet\.evaluate and segnet.export_module take it"):
        TorchRuntime(torch.nn.Conv2d(3, 2, 1))  # type: ignore[arg-type]
    names: Any = [*"abcde"]
    calls: list[Callable[[], object]] = [
        lambda: TorchRuntime(used, names),
        lambda: segnet.export(used, names, tmp_path / "a.onnx"),
        lambda: segnet.save(used, names, tmp_path / "a.safetensors"),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=r"a list was given as class table; give segnet\.ClassTable.from_names"):
            call()


def test_a_flipped_image_and_one_that_cannot_be_written_are_taken(used: SegNet) -> None:
    runtime, image = TorchRuntime(used, device="cpu"), torch.rand(1, 3, 17, 23).numpy()
    expected, flipped = runtime.run(image).mask, image[:, ::-1].copy()
    assert (runtime.run(flipped[:, ::-1]).mask == expected).all()
    flipped = image.copy()
    flipped.setflags(write=False)
    assert (runtime.run(flipped).mask == expected).all()


def test_the_model_stays_as_it_is(used: SegNet) -> None:
    before = {name: value.clone() for name, value in used.state_dict().items()}
    TorchRuntime(used, device="cpu").logits(torch.rand(1, 3, 16, 16))
    assert used.training
    assert all(torch.equal(value, before[name]) for name, value in used.state_dict().items())
    assert before.keys() == used.state_dict().keys()


def test_a_network_has_dropout_whether_it_draws_samples_or_not(narrow_config: SegNetConfig) -> None:
    model = SegNet(replace(narrow_config, dropout=0.5))
    assert [TorchRuntime(model, device="cpu", samples=samples).has_dropout for samples in (0, 2)] == [True, True]
    assert not TorchRuntime(SegNet(narrow_config), device="cpu").has_dropout


def test_bf16_is_near_float32_and_comes_back_as_float32(used: SegNet) -> None:
    image = torch.rand(1, 3, 24, 32)
    exact = TorchRuntime(used, device="cpu").logits(image)
    rough = TorchRuntime(used, device="cpu", precision="bf16").logits(image)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    # Rounding moves some of a random network's maxima to another place of their window.
    assert (rough - exact).abs().mean() < 0.5 * exact.std()


def test_compiling_with_an_old_pytorch_is_refused(used: SegNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segnet.nn.codes.COMPILES", False)
    with pytest.raises(ConfigError, match=r"compiled needs PyTorch 2\.12"):
        TorchRuntime(used, device="cpu", compiled=True)
