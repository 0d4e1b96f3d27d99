"""max_pool and max_unpool against PyTorch's own pair, bit for bit, and what they promise beyond it."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from segnet.errors import ConfigError, ShapeError
from segnet.nn import codes as ops
from segnet.nn.codes import max_pool, max_unpool
from segnet.nn.unpooling import Windows, portable_pool, portable_unpool

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = [
    (2, 3, 4, 6),
    (2, 3, 5, 7),
    (1, 1, 3, 2),
    (1, 5, 1, 1),
    (2, 5, 2, 2),
    (1, 33, 1, 6),
    (2, 40, 9, 1),
    (0, 3, 4, 5),
]

NAN, INF = float("nan"), float("inf")


def pytorch_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    return F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)


def pytorch_there_and_back(x: Tensor) -> Tensor:
    values, index = pytorch_pool(x)
    return F.max_unpool2d(values, index, 2, 2, output_size=x.shape[2:])


def there_and_back(x: Tensor) -> Tensor:
    values, code = max_pool(x)
    return max_unpool(values, code, (x.shape[2], x.shape[3]))


def assert_same_bits(a: Tensor, b: Tensor) -> None:
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    assert a.dtype == b.dtype
    # One NaN is as good as another: PyTorch's own kernels differ in the bits of a bfloat16 NaN.
    a, b = (torch.where(x.isnan(), NAN, x.detach()) for x in (a, b))
    assert torch.equal(a.view(integers), b.view(integers))


def drawn(kind: str, shape: tuple[int, ...]) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if kind == "ties":
        return x.round()
    if kind == "nan":
        return torch.where(x > 0.5, NAN, x)
    if kind == "-inf":
        return torch.where(x < 0.5, -INF, x)
    return x


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class DtypesOf(TorchDispatchMode):
    """Notes the types of all tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        made = operator(*arguments, **(options or {}))
        self.found |= {each.dtype for each in torch.utils._pytree.tree_leaves(made) if isinstance(each, Tensor)}
        return made


@pytest.mark.parametrize("windows", [ops.TWO_BY_TWO, Windows((3, 3), (3, 3))])
@pytest.mark.parametrize(("height", "narrow"), [(2**15 - 1, True), (2**15, False)])
def test_offsets_have_32_bits_only_where_these_hold_all_pixels(height: int, narrow: bool, windows: Windows) -> None:
    with DtypesOf() as dtypes:
        max_pool(torch.empty(1, 1, height, 2**16, device="meta"), windows)
    assert (torch.int32 in dtypes.found) == narrow


@pytest.mark.parametrize("kind", ["numbers", "ties", "nan", "-inf"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pool_unpool_and_gradients_equal_pytorch_bit_for_bit(
    dtype: torch.dtype, layout: torch.memory_format, kind: str
) -> None:
    for shape in SHAPES:
        x = drawn(kind, shape).to(dtype).contiguous(memory_format=layout)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        assert_same_bits(max_pool(ours)[0], pytorch_pool(theirs)[0])
        y, expected = there_and_back(ours), pytorch_there_and_back(theirs)
        assert_same_bits(y, expected)
        downstream = drawn("numbers", shape).to(y)
        y.backward(downstream)
        expected.backward(downstream)
        assert ours.grad is not None
        assert theirs.grad is not None
        assert_same_bits(ours.grad, theirs.grad)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_maps_equal_pytorch(layout: torch.memory_format) -> None:
    x = drawn("numbers", (1, 40, 201, 200)).contiguous(memory_format=layout)
    assert_same_bits(max_pool(x)[0], pytorch_pool(x)[0])
    assert_same_bits(there_and_back(x), pytorch_there_and_back(x))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0]])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_kept(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    if shape[1] == 1:
        layout = torch.contiguous_format  # one channel: the two layouts are the same
    x = drawn("numbers", shape).contiguous(memory_format=layout).requires_grad_()
    values, code = max_pool(x)
    y = max_unpool(values, code, (shape[2], shape[3]))
    gradient = torch.autograd.grad(y, x, torch.ones_like(y))[0]
    assert values.stride() == pytorch_pool(x)[0].stride()
    assert y.stride() == gradient.stride() == x.stride()


@pytest.mark.parametrize(
    ("window", "position"),
    [
        ([1.0, 1.0, 1.0, 1.0], 0),
        ([0.0, 1.0, 1.0, 0.0], 1),
        ([-0.0, 0.0, 0.0, 0.0], 0),
        ([-INF, -INF, -INF, -INF], 0),
        ([-INF, -INF, -5.0, -INF], 2),
        ([NAN, 9.0, NAN, INF], 2),
        ([NAN, NAN, NAN, NAN], 3),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_maximum_counts_and_the_last_nan(
    dtype: torch.dtype, layout: torch.memory_format, window: list[float], position: int
) -> None:
    x = torch.tensor(window, dtype=dtype).view(1, 1, 2, 2).expand(1, 32, 2, 2).contiguous(memory_format=layout)
    values, code = max_pool(x)
    assert_same_bits(values, x.flatten(2)[:, :, position, None, None])
    assert code.unique().tolist() == [position]


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 5, 7, 9), (2, 2, 1, 1)])
def test_the_code_takes_two_bits_for_each_window(shape: tuple[int, int, int, int]) -> None:
    values, code = max_pool(torch.zeros(shape))
    windows = values.shape[2] * values.shape[3]
    assert code.dtype == torch.uint8
    assert code.nbytes == shape[0] * shape[1] * -(-windows // 4)
    assert code.is_contiguous()


def test_backward_keeps_the_code_and_nothing_else() -> None:
    kept: list[Tensor] = []

    def keep(saved: Tensor) -> Tensor:
        kept.append(saved)
        return saved

    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        values, code = max_pool(x)
        y = max_unpool(values, code, (5, 7))
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert gradient.shape == x.shape
    assert len(kept) >= 2
    assert all(saved.data_ptr() == code.data_ptr() for saved in kept)


def test_gradients_of_gradients_are_right() -> None:
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def squares(x: Tensor) -> Tensor:
        values, code = max_pool(x)
        return max_unpool(values**2, code, (3, 4)) ** 2

    assert torch.autograd.gradcheck(squares, x)
    assert torch.autograd.gradgradcheck(squares, x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_may_be_changed_in_place_in_training(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 5, 7).contiguous(memory_format=layout).requires_grad_()
    values, code = max_pool(x)
    max_unpool(values.relu_(), code, (5, 7)).mul_(2).sum().backward()
    pooled, index = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    (expected,) = torch.autograd.grad(F.max_unpool2d(pooled.relu_(), index, 2, 2, output_size=(5, 7)).mul(2).sum(), x)
    assert torch.equal(x.grad, expected)


def test_one_code_serves_twice() -> None:
    x = torch.randn(1, 2, 5, 5)
    values, code = max_pool(x)
    index = pytorch_pool(x)[1]
    for given in (values, torch.randn_like(values)):
        assert_same_bits(max_unpool(given, code, (5, 5)), F.max_unpool2d(given, index, 2, 2, output_size=(5, 5)))


def test_code_and_values_may_differ_in_layout_and_dtype() -> None:
    x = torch.randn(2, 6, 5, 4)
    index = pytorch_pool(x)[1]
    given = torch.randn(2, 6, 3, 2).bfloat16()
    expected = F.max_unpool2d(given, index, 2, 2, output_size=(5, 4))
    for layout in LAYOUTS:
        code = max_pool(x.contiguous(memory_format=layout))[1]
        for other in LAYOUTS:
            assert_same_bits(max_unpool(given.contiguous(memory_format=other), code, (5, 4)), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_are_pooled_like_their_copies(layout: torch.memory_format) -> None:
    x = torch.randn(4, 6, 9, 8).contiguous(memory_format=layout)
    for view in (x[:, :, 1::2, ::3], x[::2, 1:4], x.transpose(2, 3), x[:1].expand(3, 6, 9, 8), x[:, :1].expand_as(x)):
        assert_same_bits(there_and_back(view), there_and_back(view.contiguous()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_torch_func_maps_over_maps_and_their_gradients(layout: torch.memory_format) -> None:
    maps = drawn("ties", (4, 2, 3, 5, 7)).flatten(0, 1).contiguous(memory_format=layout).unflatten(0, (4, 2))
    weight = drawn("numbers", (3, 3, 1, 1))

    def loss(weight: Tensor, x: Tensor) -> Tensor:
        return there_and_back(F.conv2d(x, weight)).square().sum()

    def expected(x: Tensor) -> Tensor:
        leaf = weight.clone().requires_grad_()
        pytorch_there_and_back(F.conv2d(x, leaf)).square().sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    assert torch.equal(torch.vmap(there_and_back)(maps), torch.stack([*map(pytorch_there_and_back, maps)]))
    gradients = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(weight, maps)
    torch.testing.assert_close(gradients, torch.stack([*map(expected, maps)]))
    _, code = max_pool(maps[0])
    values = drawn("numbers", (2, 3, 3, 4, 6))  # mapped over the last axis, with one code for all
    unpooled = torch.vmap(lambda each: max_unpool(each, code, (5, 7)), in_dims=-1)(values)
    assert torch.equal(unpooled[1], max_unpool(values[..., 1], code, (5, 7)))


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_gradients_equal_pytorch(layout: torch.memory_format) -> None:
    x = drawn("ties", (2, 3, 5, 7)).contiguous(memory_format=layout)
    tangent = torch.randn(2, 3, 5, 7)
    given, expected = (torch.func.jvp(run, (x,), (tangent,)) for run in (there_and_back, pytorch_there_and_back))
    assert torch.equal(given[1], expected[1])

    def hessian(run: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.func.hessian(lambda each: run(each).pow(3).sum())(x[:1, :, :3, :3].contiguous())

    assert torch.equal(hessian(there_and_back), hessian(pytorch_there_and_back))
    assert torch.autograd.gradcheck(
        there_and_back, torch.rand(2, 2, 5, 3).double().requires_grad_(), check_forward_ad=True
    )


@pytest.mark.usefixtures("deterministic")
def test_it_runs_where_pytorch_must_be_deterministic() -> None:
    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    y = there_and_back(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (y != 0).float())


def test_autocast_leaves_the_dtype_alone() -> None:
    x = torch.randn(1, 2, 4, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert there_and_back(x).dtype == torch.bfloat16
        assert there_and_back(x.float()).dtype == torch.float32


# torch.compile. The two filters are for warnings that PyTorch 2.13 raises about its own code.
compiles = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning", "ignore:.*torch.jit:DeprecationWarning"
)


def assert_compiled_equals_eager(compiled: nn.Module, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = drawn("ties", shape).contiguous(memory_format=layout)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = compiled(ours), there_and_back(theirs)
    downstream = torch.randn_like(expected)
    y.backward(downstream)
    expected.backward(downstream)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(y, expected)
    assert torch.equal(ours.grad, theirs.grad)
    assert y.stride() == ours.grad.stride() == x.stride()


@compiles
@pytest.mark.usefixtures("quick_compiler")
def test_compiled_code_equals_eager_code() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(there_and_back, fullgraph=True, backend="inductor" if ops.COMPILES else "aot_eager")
    assert_compiled_equals_eager(compiled, (2, 4, 5, 6), torch.channels_last)


@compiles
@pytest.mark.skipif(not ops.COMPILES, reason="PyTorch 2.12 is the first that compiles it")
def test_one_graph_serves_all_sizes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(there_and_back, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for shape in [(2, 4, 5, 6), (3, 5, 8, 7), (2, 3, 9, 4)]:
            assert_compiled_equals_eager(compiled, shape, torch.contiguous_format)


class TwoStages(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values, code = max_pool(x)
        deep_values, deep_code = max_pool(values)
        values = max_unpool(deep_values, deep_code, (values.shape[2], values.shape[3]))
        return max_unpool(values, code, (x.shape[2], x.shape[3]))


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (5, 6)])
def test_the_exported_program_equals_eager(size: tuple[int, int]) -> None:
    x = drawn("ties", (2, 3, *size))
    program = torch.export.export(TwoStages(), (x,)).module()
    assert torch.equal(program(x), TwoStages()(x))


def test_one_exported_program_serves_all_sizes() -> None:
    dynamic = torch.export.Dim.DYNAMIC
    example = torch.randn(2, 3, 9, 13)
    exported = torch.export.export(TwoStages(), (example,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},))
    program = exported.module()
    for shape in [(1, 3, 9, 13), (2, 3, 8, 8), (3, 3, 5, 6), (1, 3, 33, 7), (1, 3, 12, 17)]:
        x = drawn("ties", shape)
        assert torch.equal(program(x), TwoStages()(x))


def test_the_exported_program_holds_standard_operators_only() -> None:
    exported = torch.export.export(TwoStages(), (torch.randn(1, 3, 9, 13),))
    targets = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert all(target.startswith("aten.") for target in targets)
    assert not any("unpool" in target or "index" in target or "scatter" in target for target in targets)


def exported_there_and_back(x: torch.Tensor) -> torch.Tensor:
    """In the form that exporters see."""
    values, code = portable_pool(x, ops.TWO_BY_TWO)
    assert code.shape == values.shape
    assert torch.equal(values, max_pool(x)[0])
    return portable_unpool(values, code, (x.shape[2], x.shape[3]), ops.TWO_BY_TWO)


@pytest.mark.parametrize("kind", ["numbers", "ties", "-inf"])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0]])
def test_the_exported_form_gives_the_same_numbers(shape: tuple[int, ...], kind: str) -> None:
    x = drawn(kind, shape)
    found = exported_there_and_back(x)
    assert kind == "-inf" or not found.isnan().any()  # zero times infinity, beside an infinite maximum
    assert torch.equal(found.nan_to_num(nan=0.0, neginf=-math.inf), there_and_back(x))


@pytest.mark.parametrize("shape", [(1, 1, 4187, 1), (1, 1, 1, 4187), (1, 1, 4096, 1), (1, 1, 6000, 1)])
def test_the_exported_form_is_exact_on_long_sides(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    assert torch.equal(exported_there_and_back(x), pytorch_there_and_back(x))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(3, 4, 4),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 0, 4),
        torch.zeros(1, 0, 4, 4),
    ],
)
def test_pool_refuses_what_is_no_map(x: Tensor) -> None:
    with pytest.raises(ShapeError, match="give a floating point tensor"):
        max_pool(x)


@pytest.mark.parametrize("windows", [Windows((3, 3), (2, 2)), Windows((17, 17), (17, 17)), Windows((1, 1), (1, 1))])
def test_pool_refuses_windows_in_which_a_position_is_no_index(windows: Windows) -> None:
    with pytest.raises(ConfigError, match=r"take nn.MaxPool2d and nn.MaxUnpool2d, which have indices"):
        max_pool(torch.randn(1, 1, 40, 40), windows)


@pytest.mark.parametrize("size", [(4, 8), (7, 8), (6, 6), (5, 9), (6,), (1, 2, 6, 8)])
def test_unpool_refuses_a_size_that_was_not_pooled(size: tuple[int, int]) -> None:
    values, code = max_pool(torch.randn(1, 2, 6, 8))
    with pytest.raises(ShapeError, match=r"does not fit values of 3x4"):
        max_unpool(values, code, size)


def test_unpool_refuses_the_code_of_another_map() -> None:
    values, code = max_pool(torch.randn(1, 2, 6, 8))
    others = [max_pool(torch.randn(1, 3, 6, 8))[1], max_pool(torch.randn(1, 2, 8, 8))[1], code.int(), values]
    for other in (*others, code[:, :0], code[0], code.flatten(), code.sum()):
        with pytest.raises(ShapeError, match="give the code that max_pool returned"):
            max_unpool(values, other, (6, 8))


def test_unpool_refuses_values_that_are_no_map() -> None:
    values, code = max_pool(torch.randn(1, 2, 6, 8))
    with pytest.raises(ShapeError, match="values is"):
        max_unpool(values[0], code, (6, 8))


@pytest.mark.parametrize("windows", [2, (2, 2)])
def test_a_kernel_size_is_no_windows(windows: Any) -> None:
    values, code = max_pool(torch.randn(1, 2, 6, 8))
    for call in (lambda: max_pool(values, windows), lambda: max_unpool(values, code, (6, 8), windows)):
        with pytest.raises(ConfigError, match=r"windows=.* is not possible; give segnet.nn.unpooling.Windows"):
            call()


def test_the_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(ops).failed == 0
