"""The pass over programs of torch.export. Like the pass, these tests need PyTorch and nothing else of this package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from segnet.nn import unpooling
from segnet.nn.unpooling import Windows, find_pairs, portable_pool, portable_unpool, rewrite_unpooling

INF = float("inf")
WINDOWS = [
    Windows(),
    Windows(ceil_mode=True),
    Windows((3, 3), (3, 3)),
    Windows((3, 2), (3, 2), ceil_mode=True),
    Windows((2, 2), (2, 2), (1, 1)),
    Windows((3, 3), (3, 3), (1, 0), ceil_mode=True),
    Windows((2, 2), (3, 4)),
    Windows((1, 5), (1, 5)),
    Windows((16, 16), (16, 16), ceil_mode=True),
]
SIZES = [(16, 20), (17, 23), (18, 19)]


class Net(nn.Module):
    """One pair: modules around what ``middle`` does to values and indices."""

    def __init__(self, windows: Windows = Windows()) -> None:  # noqa: B008
        super().__init__()
        kernel, stride, padding, ceil_mode = windows
        self.before = nn.Conv2d(2, 3, 1)
        self.pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
        self.unpool = nn.MaxUnpool2d(kernel, stride, padding)

    def middle(self, values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        return values * 2, indices

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.before(x)
        values, indices = self.middle(*self.pool(x))
        return self.unpool(values, indices, output_size=x.shape)


def traced(net: nn.Module, size: tuple[int, int] = (16, 20), *, dynamic: bool = False) -> ExportedProgram:
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},) if dynamic else None
    with torch.no_grad(), _config.patch(backed_size_oblivious=True):
        return torch.export.export(net.eval(), (torch.rand(2, 2, *size),), dynamic_shapes=shapes)


def operators(program: ExportedProgram) -> str:
    return " ".join(str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["numbers", "ties", "-inf"])
def test_the_portable_form_equals_pytorchs_pair(windows: Windows, size: tuple[int, int], kind: str) -> None:
    x = torch.randn(2, 3, *size)
    x = {"numbers": x, "ties": x.round(), "-inf": torch.where(x > 0, x, -INF)}[kind]
    kernel, stride, padding, ceil_mode = windows
    values, indices = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    assert windows.pooled(size) == tuple(values.shape[2:])
    ours, code = portable_pool(x, windows)
    assert torch.equal(ours, values)
    given = torch.randn_like(values)
    if kind == "-inf" and any(padding):
        return  # a window of -inf alone may remember a pixel of the padding
    expected = F.max_unpool2d(given, indices, kernel, stride, padding, output_size=size)
    assert torch.equal(portable_unpool(given, code, size, windows), expected)


@pytest.mark.parametrize("windows", [WINDOWS[0], WINDOWS[3], WINDOWS[6]])
def test_a_rewritten_program_gives_the_same_numbers_with_standard_operators(windows: Windows) -> None:
    net, x = Net(windows), torch.randn(2, 2, 17, 20)
    program = traced(net, (17, 20))
    assert rewrite_unpooling(program) == []
    assert torch.equal(program.module()(x), net(x))
    assert "unpool" not in operators(program)
    assert "with_indices" not in operators(program)
    assert "int64" not in str([node.meta.get("val") for node in program.graph.nodes if "getitem" in node.name])


@pytest.mark.skipif(torch.__version__ < "2.12", reason="PyTorch 2.10 guards a program by the parity of its example")
@pytest.mark.parametrize("windows", WINDOWS[:2])
def test_a_rewritten_program_serves_all_sizes_that_it_did(windows: Windows) -> None:
    net = Net(windows)
    program = traced(net, dynamic=True)
    assert rewrite_unpooling(program) == []
    for shape in [(1, 2, 17, 33), (3, 2, 18, 20), (2, 2, 19, 16)]:
        x = torch.randn(shape)
        assert torch.equal(program.module()(x), net(x))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyTorch's own
def test_a_program_of_functional_operators_is_rewritten_too() -> None:
    net, x = Net(), torch.randn(2, 2, 16, 20)
    program = traced(net).run_decompositions({})
    assert rewrite_unpooling(program) == []
    assert "unpool" not in operators(program)
    torch.testing.assert_close(program.module()(x), net(x))


def test_one_pooling_may_have_several_unpoolings() -> None:
    class Twice(Net):
        def forward(self, x: Tensor) -> Tensor:
            values, indices = self.pool(self.before(x))
            return self.unpool(values, indices) + self.unpool(-values, indices.clone())

    program, x = traced(Twice()), torch.randn(2, 2, 16, 20)
    pairs, left = find_pairs(program.graph)
    assert [len(pair.unpools) for pair in pairs] == [2]
    expected = program.module()(x)
    assert left == rewrite_unpooling(program) == []
    assert torch.equal(program.module()(x), expected)


class Arithmetic(Net):
    def middle(self, values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        return values, indices + 0


class Returned(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = self.pool(x)
        return self.unpool(values, indices), indices


class Misfit(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.unpool(*self.pool(x[:, :, :15]), output_size=(15, 21))


class Shorter(Net):
    """To fewer rows: an index counts through rows, so it stays right."""

    def forward(self, x: Tensor) -> Tensor:
        return self.unpool(*self.pool(x[:, :, :15]))


def test_an_unpooling_may_have_other_rows_but_not_other_columns() -> None:
    net, x = Shorter(), torch.randn(2, 2, 16, 20)
    program = traced(net)
    assert rewrite_unpooling(program) == []
    assert torch.equal(program.module()(x), net(x))


class Foreign(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.unpool(x[:, :, ::2, ::2], (torch.arange(80).view(8, 10) * 2).expand(2, 2, 8, 10))


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Arithmetic(), r"pool: the indices of pool go through aten\.add\.Tensor"),
        (Returned(), "pool: the indices of pool are also returned to the caller"),
        (Misfit(), "unpools to 15x21 what pool pooled from 15x20, so PyTorch puts values at other places"),
        (Net(Windows((3, 3), (2, 2), (1, 1))), "windows of 3x3 at a stride of 2x2 overlap, so an index is needed"),
        (Net(Windows((17, 16), (17, 16))), "a window of 17x16 has more than 256 positions"),
        (Foreign(), "unpool: its indices do not come straight from a pooling of this model"),
    ],
    ids=["arithmetic", "returned", "misfit", "overlap", "large", "foreign"],
)
def test_what_cannot_be_rewritten_stays_with_its_reason(net: nn.Module, reason: str) -> None:
    program = traced(net, (34, 20) if isinstance(net, Net) and net.pool.kernel_size == (17, 16) else (16, 20))
    before = str(program.graph)
    left = rewrite_unpooling(program)
    assert any(re.search(reason, str(each)) for each in left), left
    assert str(program.graph) == before


def test_dilated_windows_and_maps_without_a_batch_stay() -> None:
    class Dilated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            values, indices = F.max_pool2d(x, 2, 4, dilation=2, return_indices=True)
            return F.max_unpool2d(values, indices, 2, 4, output_size=x.shape)

    class Single(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.unpool(*self.pool(x[0]))

    assert "dilated" in str(rewrite_unpooling(traced(Dilated()))[0])
    assert "without a batch axis" in str(rewrite_unpooling(traced(Single()))[0])


def test_the_file_needs_pytorch_only() -> None:
    tree = ast.parse(Path(unpooling.__file__).read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert {name.partition(".")[0] for name in modules} == {
        "__future__",
        "collections",
        "dataclasses",
        "torch",
        "typing",
    }
