"""The figures of docs/explanation/memory.md: the page says what the JSON says, and the benchmark measures rightly."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segnet.models.zoo import MODELS, create_model

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield import_module("bench_memory")
        for name in ("bench_memory", "bench_ops"):
            del sys.modules[name]


@pytest.fixture
def figures(bench: Any) -> Any:
    return json.loads(bench.RESULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["kept", "predict", "train"])
def test_the_page_has_the_tables_of_the_last_figures(bench: Any, figures: Any, name: str) -> None:
    page = (ROOT / "docs" / "explanation" / "memory.md").read_text(encoding="utf-8")
    assert bench.tables(figures)[name] in page, "run: python benchmarks/bench_memory.py --table"


def test_figures_of_all_models_are_those_counted_from_their_layers(bench: Any, figures: Any) -> None:
    counted = {name: bench.counted_bytes(config, bench.SIZE) for name, config in MODELS.items()}
    assert {row["model"]: (row["codes"], row["maps"]) for row in figures["kept"]} == counted


@pytest.mark.parametrize("name", MODELS)
def test_encoders_hand_over_as_many_bytes_as_their_layers_say(bench: Any, name: str) -> None:
    kept = bench.kept_bytes(name, (45, 61))
    assert (kept["codes"], kept["maps"]) == bench.counted_bytes(MODELS[name], (45, 61))


@pytest.mark.parametrize("name", ["segnet", "segnet_basic"])
def test_the_reference_implementation_computes_the_same(bench: Any, name: str) -> None:
    ours, reference = create_model(name).eval(), bench.ReferenceSegNet(MODELS[name]).eval()
    with torch.no_grad():
        for there, here in zip(reference.parameters(), ours.parameters(), strict=True):
            there.copy_(here)
        image = torch.rand(1, 3, 45, 61)
        torch.testing.assert_close(reference((image - ours.mean) / ours.std), ours(image), atol=1e-3, rtol=1e-3)


def test_live_tensors_count_what_is_held_and_no_view_twice(bench: Any) -> None:
    given = torch.zeros(1000)
    with bench.LiveTensors([given]) as live:
        held = given + 1  # 4000 bytes
        for _ in range(3):
            view = (held * 2)[:10]  # as many for as long as the view lives
        given.add_(view.sum())
    assert live.peak == 12000  # a new product is there before the name lets go of the old one


def test_live_tensors_count_what_the_graph_holds(bench: Any) -> None:
    class Hold(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x * 2)
            return x.sum()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return ctx.saved_tensors[0] * grad

    x = nn.Parameter(torch.zeros(1000))
    with bench.LiveTensors([x]) as live:
        total = Hold.apply(x)
        torch.zeros(1000)
    assert live.peak == 8004
    del total
