"""The drop-in modules against PyTorch's own, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segnet
from segnet.errors import ConfigError, ShapeError
from segnet.nn.codes import COMPILES

INF, NAN = float("inf"), float("nan")
SETTINGS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": 2, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "ceil_mode": True, "padding": (1, 0)},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": (1, 5)},
]


def pairs(settings: dict[str, Any]) -> tuple[tuple[nn.Module, nn.Module], tuple[nn.Module, nn.Module]]:
    """PyTorch's pair and ours."""
    unpool = {name: value for name, value in settings.items() if name != "ceil_mode"}
    return (nn.MaxPool2d(**settings, return_indices=True), nn.MaxUnpool2d(**unpool)), (
        segnet.nn.MaxPool2d(**settings, return_indices=True),
        segnet.nn.MaxUnpool2d(**unpool),
    )


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(*(torch.where(x.isnan(), NAN, x.detach()).contiguous().view(torch.uint8) for x in (a, b)))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_directions_and_gradients_equal_pytorch(
    settings: dict[str, Any], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    for size in [(17, 22), (15, 7)]:
        x = torch.randn(2, 5, *size).mul_(2).round_().to(dtype).contiguous(memory_format=layout)
        x = torch.where(x > 2, NAN, torch.where(x < 0, -INF, x))
        results = []
        for pool, unpool in pairs(settings):
            given = x.clone().requires_grad_()
            values, code = pool(given)
            y = unpool(values, code, output_size=given.shape)
            y.backward(torch.arange(float(y.numel())).view(y.shape).to(dtype))
            assert given.grad is not None
            results.append((values, y, given.grad))
        assert all(map(same_bits, *results))


def test_calls_are_those_of_pytorch() -> None:
    x = torch.randn(2, 3, 8, 10)
    theirs, ours = pairs({"kernel_size": 2})
    (values, indices), (same, code) = theirs[0](x), ours[0](x)
    for words in ({}, {"output_size": (8, 10)}, {"output_size": [9, 11]}, {"output_size": x.shape}):
        if words.get("output_size") == [9, 11]:  # PyTorch puts them elsewhere, ours stay in their windows
            assert torch.equal(ours[1](same, code, **words)[:, :, :8, :10], theirs[1](values, indices))
        else:
            assert torch.equal(ours[1](same, code, **words), theirs[1](values, indices, **words))
    single, single_code = ours[0](x[0])
    assert torch.equal(ours[1](single, single_code), theirs[1](*theirs[0](x[0])))
    assert torch.equal(segnet.nn.MaxPool2d(3, 2, 1)(x), nn.MaxPool2d(3, 2, 1)(x))


@pytest.mark.parametrize(
    ("kernel", "bits"), [(2, 2), ((2,), 2), (np.int64(2), 2), ((1, 3), 2), (3, 4), (4, 4), (5, 8), (16, 8)]
)
def test_a_code_has_few_bits_for_each_window(kernel: Any, bits: int) -> None:
    values, code = segnet.nn.MaxPool2d(kernel, return_indices=True)(torch.randn(2, 3, 48, 48))
    windows = values.shape[2] * values.shape[3]
    assert code.dtype == torch.uint8
    assert code.nbytes == 2 * 3 * -(-windows * bits // 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 3, "stride": 2}, "windows of 3x3 at a stride of 2x2 overlap"),
        ({"kernel_size": 2, "dilation": 2}, "dilation 2 is not possible with a code"),
        ({"kernel_size": 17}, "more than 256 positions"),
        ({"kernel_size": 1}, "a window of one pixel"),
        ({"kernel_size": 2, "padding": 2}, "are no pooling"),
    ],
)
def test_windows_without_a_code_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        segnet.nn.MaxPool2d(**settings, return_indices=True)


def test_an_unpooling_refuses_windows_sizes_and_codes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="overlap"):
        segnet.nn.MaxUnpool2d(3, 2)
    (pool, _), (ours, unpool) = pairs({"kernel_size": 2})
    values, code = ours(torch.randn(1, 2, 8, 8))
    with pytest.raises(ShapeError, match=r"size .* does not fit values of 4x4"):
        unpool(values, code, output_size=(12, 8))
    with pytest.raises(ShapeError, match=r"output_size .* is not possible"):
        unpool(values, code, output_size=(8, 8, 8))
    with pytest.raises(ShapeError, match=r"code is torch\.int64"):
        unpool(values, pool(torch.randn(1, 2, 8, 8))[1])


class Pair(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.pool, self.unpool = pairs(settings)[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.unpool(*self.pool(x), output_size=x.shape)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class There(nn.Module):
    """A convolution, and there and back."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = segnet.nn.MaxPool2d(**settings, return_indices=True)
        self.unpool = segnet.nn.MaxUnpool2d(**settings)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.unpool(*self.pool(x), output_size=x.shape[2:])


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize(
    "settings",
    [{"kernel_size": 2}, {"kernel_size": 2, "ceil_mode": True}, {"kernel_size": 3, "padding": 1}],
)
def test_a_trace_serves_all_sizes(settings: dict[str, Any]) -> None:
    net = There(**settings).eval()
    traced = torch.jit.trace(net, torch.rand(1, 3, 12, 15))
    for size in ((12, 15), (11, 14), (13, 13)):
        x = torch.rand(2, 3, *size)
        assert torch.equal(traced(x), net(x))


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
def test_a_trace_refuses_windows_whose_number_it_would_fix() -> None:
    with pytest.raises(ConfigError, match=r"torch\.jit\.trace takes no ceil_mode with padding or gaps"):
        torch.jit.trace(There(kernel_size=2, stride=3, ceil_mode=True), torch.rand(1, 3, 12, 15))


@pytest.mark.usefixtures("deterministic")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize("settings", [{"kernel_size": 2}, {"kernel_size": 3, "padding": 1}], ids=str)
def test_it_compiles_in_one_graph_and_is_deterministic(settings: dict[str, Any]) -> None:
    torch._dynamo.reset()
    pair, x = Pair(**settings), torch.randn(2, 4, 9, 12)
    gradients = []
    for network in (pair, torch.compile(pair, fullgraph=True, backend="aot_eager")):
        given = x.clone().requires_grad_()
        network(given).square().sum().backward()
        gradients.append(given.grad)
    assert torch.equal(*gradients)


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.skipif(not COMPILES, reason="PyTorch 2.12 is the first that compiles it")
def test_compiled_windows_of_minus_infinity_remember_no_place_in_the_padding() -> None:
    torch._dynamo.reset()
    pool = segnet.nn.MaxPool2d(3, padding=1, return_indices=True)
    x = torch.full((1, 2, 9, 12), -INF)
    x[0, 0, 4, 5] = 1.0
    for compiled, eager in zip(torch.compile(pool, fullgraph=True)(x), pool(x), strict=True):
        assert torch.equal(compiled, eager)


def test_a_program_with_dynamic_sizes_holds_standard_operators() -> None:
    free = torch.export.Dim.DYNAMIC
    net = Pair(kernel_size=2)
    program = torch.export.export(net, (torch.randn(2, 3, 8, 10),), dynamic_shapes=({0: free, 2: free, 3: free},))
    assert all(str(node.target).startswith(("aten.", "<built-in")) for node in program.graph.nodes if "call" in node.op)
    for shape in [(3, 3, 8, 10), (2, 3, 9, 7)]:
        x = torch.randn(shape)
        assert torch.equal(program.module()(x), net(x))
