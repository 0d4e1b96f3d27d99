"""The ENet of examples/enet: as published, for any size, and converted without a change of its outputs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import segnet

EXAMPLE = Path(__file__).parents[1] / "examples" / "enet"


@pytest.fixture
def enet(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLE)
    yield import_module("enet")
    del sys.modules["enet"]


def test_it_has_the_layers_and_the_size_of_the_paper(enet: Any) -> None:
    model = enet.build()
    bottlenecks = [part for part in model.modules() if isinstance(part, enet.Bottleneck | enet.Down | enet.Up)]
    assert len(bottlenecks) == 1 + 4 + 1 + 8 + 8 + 3 + 2
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(
        0.36e6, rel=0.03
    )  # table 3: 0.37
    assert {part.dilation for part in model.modules() if isinstance(part, nn.Conv2d)} == {
        (n, n) for n in (1, 2, 4, 8, 16)
    }


@pytest.mark.parametrize("size", [(32, 40), (37, 45)])
def test_it_takes_any_size_and_unpools_with_codes_to_the_same_bits(enet: Any, size: tuple[int, int]) -> None:
    model, image = enet.build().eval(), torch.rand(1, 3, *size)
    conversion = segnet.convert_unpooling(model, image)
    assert conversion.replaced == (
        "down1.pool -> up5.unpool (2x2, 2 bits)",
        "down2.pool -> up4.unpool (2x2, 2 bits)",
    )
    assert model(image).shape == (1, 11, *size)
    assert torch.equal(conversion.model(image), model(image))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
def test_the_converted_net_compiles_in_one_graph_and_trains_deterministically(
    enet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enet, "SECTION", (2, 0))  # each kind once: tracing takes as long as there are layers
    torch._dynamo.reset()
    image = torch.rand(2, 3, 32, 32)
    model = segnet.convert_unpooling(enet.ENet(3), image).model.eval()
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for network in (model, torch.compile(model, fullgraph=True, backend="eager")):
            model.zero_grad()
            network(image).square().mean().backward()
            gradients.append(model.full.weight.grad.clone())
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.allclose(*gradients)
