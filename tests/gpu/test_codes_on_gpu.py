"""Pooling codes on a GPU: equal to the CPU's, and the pair of operations equal to PyTorch's, bit for bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segnet
from segnet.nn.codes import max_pool, max_unpool

pytestmark = pytest.mark.filterwarnings("default")  # of PyTorch about its own code

LAYOUTS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(2, 3, 4, 6), (2, 40, 9, 7), (1, 5, 1, 1), (2, 33, 1, 6), (0, 3, 4, 5), (2, 64, 45, 60)]
NAN, INF = float("nan"), float("inf")


def drawn(kind: str, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    kinds = {"ties": x.round(), "nan": x.where(x <= 0.5, NAN), "-inf": x.where(x >= 0.5, -INF), "numbers": x}
    return kinds[kind].to(dtype).contiguous(memory_format=layout)


def there_and_back(x: Tensor) -> Tensor:
    values, code = max_pool(x)
    return max_unpool(values, code, (x.shape[2], x.shape[3]))


def with_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the gradient of a sum in which every output counts differently; both on the CPU."""
    x = x.detach().requires_grad_()
    y = there_and_back(x)
    factors = torch.arange(y.numel(), dtype=y.dtype, device=y.device).view(y.shape)
    (gradient,) = torch.autograd.grad(y, x, factors)
    return y.detach().cpu(), gradient.cpu()


def assert_same(a: Tensor, b: Tensor) -> None:
    """Equal, where NaN equals NaN."""
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["numbers", "ties", "nan", "-inf"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_and_gradients_equal_those_of_the_cpu(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format, kind: str
) -> None:
    for shape in SHAPES:
        x = drawn(kind, shape, dtype, layout)
        for ours, expected in zip(max_pool(x.to(device)), max_pool(x), strict=True):
            assert_same(ours.cpu(), expected)
        for ours, expected in zip(with_gradient(x.to(device)), with_gradient(x), strict=True):
            assert_same(ours, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padded_windows_of_minus_infinity_have_the_codes_of_the_cpu(
    device: torch.device, layout: torch.memory_format
) -> None:
    x = drawn("-inf", (2, 5, 9, 12), torch.float32, layout)
    pool = segnet.nn.MaxPool2d(2, padding=1, return_indices=True)
    for ours, expected in zip(pool(x.to(device)), pool(x), strict=True):
        assert_same(ours.cpu(), expected)


# Windows of -inf are left out: PyTorch's channels_last kernel gives them the first pixel of the map.
@pytest.mark.parametrize("kind", ["numbers", "ties", "nan"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pool_and_unpool_equal_pytorch_on_the_device(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format, kind: str
) -> None:
    pool, unpool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True), nn.MaxUnpool2d(2, 2)
    for shape in (shape for shape in SHAPES if shape[0]):
        x = drawn(kind, shape, dtype, layout).to(device)
        values, index = pool(x)
        assert_same(max_pool(x)[0], values)
        assert_same(there_and_back(x), unpool(values, index, output_size=x.shape[2:]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_kept_on_the_device(device: torch.device, layout: torch.memory_format) -> None:
    x = drawn("numbers", (2, 64, 45, 60), torch.bfloat16, layout).to(device)
    assert x.stride() == there_and_back(x).stride()
    assert max_pool(x)[0].stride() == F.max_pool2d(x, 2, 2, ceil_mode=True).stride()


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_run_where_pytorch_must_be_deterministic(device: torch.device, layout: torch.memory_format) -> None:
    x = drawn("ties", (2, 64, 45, 60), torch.bfloat16, layout)
    for ours, expected in zip(with_gradient(x.to(device)), with_gradient(x), strict=True):
        assert_same(ours, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_compiled_pair_equals_the_plain_one(device: torch.device, layout: torch.memory_format) -> None:
    # Inductor needs no C++ compiler for CUDA; on the CPU only the graph is tried.
    compiled = torch.compile(there_and_back, fullgraph=True, backend="inductor" if device.type == "cuda" else "eager")
    x = drawn("ties", (2, 33, 9, 7), torch.float32, layout).to(device)
    assert_same(compiled(x), there_and_back(x))
