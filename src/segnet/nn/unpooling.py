"""Max-unpooling that every exporter can write: a pass over programs of ``torch.export``.

This file needs PyTorch and nothing else, so that it can be copied into an exporter.

``nn.MaxPool2d(return_indices=True)`` hands int64 indices to ``nn.MaxUnpool2d``, for which ONNX, ExecuTorch, LiteRT and
Core ML have no operator. Where windows do not overlap, an index says no more than a position in its window: the pass
computes the position by comparisons, and unpools by nearest upsampling and one more comparison, to the same numbers.

    >>> program = torch.export.export(model, (image,))
    >>> rewrite_unpooling(program)
    []
    >>> torch.onnx.export(program, dynamo=True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import statically_known_true

__all__ = [
    "INDEX_COPIES", "POOL", "UNPOOL", "Left", "Pair", "Windows", "find_pairs", "is_tracing", "misfit", "path_of",
    "portable_pool", "portable_unpool", "repeated", "rewrite_unpooling", "windows_of_call",
]  # fmt: skip

Size = tuple[int, int]

_aten = torch.ops.aten
POOL, UNPOOL = _aten.max_pool2d_with_indices.default, _aten.max_unpool2d.default
"""PyTorch's pair with indices."""

INDEX_COPIES = {
    _aten.clone.default, _aten.detach.default, _aten.alias.default, _aten.contiguous.default,
    _aten.lift_fresh_copy.default,
}  # fmt: skip
"""They hand indices on as they are."""

_MOST_POSITIONS = 256


class Windows(NamedTuple):
    """Windows of max-pooling that do not overlap, as ``nn.MaxPool2d`` describes them.

    Attributes:
        kernel, stride, padding: of rows and of columns, in pixels.
        ceil_mode: whether windows that reach over the end count.
    """

    kernel: Size = (2, 2)
    stride: Size = (2, 2)
    padding: Size = (0, 0)
    ceil_mode: bool = False

    @property
    def positions(self) -> int:
        """Number of pixels in a window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def bits(self) -> int:
        """Bits of a position: 2, 4 or 8."""
        return 2 if self.positions <= 4 else 4 if self.positions <= 16 else 8

    @property
    def refusal(self) -> str:
        """Why a position in the window does not replace an index; empty if it does."""
        if min(*self.kernel, *self.stride) < 1 or any(
            2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)
        ):
            return (
                f"kernel {_by(self.kernel)}, stride {_by(self.stride)} and padding {_by(self.padding)} are no pooling"
            )
        if any(s < k for s, k in zip(self.stride, self.kernel, strict=True)):
            return f"windows of {_by(self.kernel)} at a stride of {_by(self.stride)} overlap, so an index is needed"
        if self.positions == 1:
            return "a window of one pixel has no maximum to choose"
        if self.positions > _MOST_POSITIONS:
            return f"a window of {_by(self.kernel)} has more than {_MOST_POSITIONS} positions"
        return ""

    def pooled(self, size: Size) -> Size:
        """(h, w) of a pooled map of this size, by PyTorch's rule."""
        h, w = (self._windows(side, axis) for axis, side in enumerate(size))
        return h, w

    def _windows(self, side: int, axis: int) -> int:
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        rest = side + 2 * padding - kernel
        count = (rest + (stride - 1 if self.ceil_mode else 0)) // stride + 1
        # The last window must begin in the map or before it.
        if self.ceil_mode and (padding or stride > kernel) and (count - 1) * stride >= side + padding:
            return count - 1
        return count


def is_tracing() -> bool:
    """Whether `torch.jit.trace` runs."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def portable_pool(x: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """Max-pooling in few operators, each of them known to ONNX, OpenVINO, XNNPACK, LiteRT and Core ML.

    It gives the same numbers, for inference: gradients of equal maxima, the sign of a zero and the position that a
    window with a NaN remembers may differ.

    Args:
        x: floating point, (N, C, H, W).
        windows: that do not overlap.

    Returns:
        values: (N, C, h, w).
        code: position of the first maximum in its window, in raster order: (N, C, h, w) in the dtype of ``x``.
    """
    (top, bottom, rows), (left, right, columns) = (_spans(x.shape[2 + axis], windows, axis) for axis in (0, 1))
    if any(not isinstance(pad, int) or pad > 0 for pad in (top, bottom, left, right)):
        x = F.pad(x, (left, right, top, bottom), value=-float("inf"))
    steps = windows.stride
    entries: list[_Entry] = [
        (x[:, :, row : rows + row : steps[0], column : columns + column : steps[1]], index)
        for index, (row, column) in enumerate(_offsets(windows.kernel))
    ]
    while len(entries) > 1:
        pairs = zip(entries[0::2], entries[1::2], strict=False)
        entries = [_larger(*pair) for pair in pairs] + entries[len(entries) // 2 * 2 :]
    values, code = entries[0]
    return values, code if isinstance(code, Tensor) else torch.zeros_like(values)


_Entry = tuple[Tensor, Tensor | int]
"""Values, and their positions: a map, or one number if all are at one place of their windows."""


def _larger(first: _Entry, second: _Entry) -> _Entry:
    """The larger values with their positions; those of ``second`` come later in raster order.

    Arithmetic, since ONNX Runtime takes ten times as long for a Where; the first of equal maxima counts.
    """
    (a, code), (b, later) = first, second
    is_later = (b > a).to(a.dtype)
    if not isinstance(code, Tensor):  # neighbors
        return torch.maximum(a, b), is_later if code == 0 else is_later + float(code)
    return torch.maximum(a, b), torch.maximum(code, is_later * later)


def _offsets(kernel: Size) -> Iterator[Size]:
    return ((row, column) for row in range(kernel[0]) for column in range(kernel[1]))


def _spans(side: int, windows: Windows, axis: int) -> tuple[int, int, int]:
    """Pixels to pad before and after a side, and where the windows' first pixels end in the padded map."""
    kernel, stride, padding = windows.kernel[axis], windows.stride[axis], windows.padding[axis]
    if not windows.ceil_mode:
        return padding, padding, side + 2 * padding - kernel + 1
    if not isinstance(side, int):  # a dynamic side is always padded, so that its symbol stays simple
        count = windows._windows(side, axis)
        return padding, kernel - 1, side if stride == kernel and not padding else (count - 1) * stride + 1
    count = windows._windows(side, axis)
    return padding, max(0, (count - 1) * stride + kernel - side - padding), (count - 1) * stride + 1


def portable_unpool(values: Tensor, code: Tensor, size: Size, windows: Windows) -> Tensor:
    """Put every value where ``portable_pool`` found the maximum, and zero everywhere else.

    It multiplies, since ONNX Runtime takes ten times as long for a Where; so an infinite value leaves NaN in its
    window. Of odd sides above 4187 pixels, pooled with ``ceil_mode``, positions may be wrong.

    Args:
        values: floating point, (N, C, h, w).
        code: from ``portable_pool``; of fewer channels, they repeat in turn.
        size: (H, W) of the pooled map and of the result.
        windows: of the pooling.

    Returns:
        (N, C, H, W) in the dtype of ``values``.
    """
    cells = _cells(values, size, windows)
    rows, columns = (_places(side, windows, axis, values.device) for axis, side in enumerate(cells))
    place = (rows[:, None] * windows.kernel[1] + columns).to(values.dtype)
    # Nearest by size, not by factor: it is one operator.
    x, code = (F.interpolate(each, size=cells, mode="nearest") for each in (values, code))
    x = x * repeated(code == place.expand(1, code.shape[1], -1, -1), x.shape[1]).to(x.dtype)
    if cells is size:
        return x
    (top, left), (bottom, right) = windows.padding, (size[0] - cells[0], size[1] - cells[1])
    return F.pad(x, (-left, right + left, -top, bottom + top))


def repeated(x: Tensor, channels: int) -> Tensor:
    """(N, C, ...) -> (N, channels, ...): the channels repeat in turn as often as they fit."""
    repeats = channels // x.shape[1]
    return x if repeats <= 1 else torch.cat([x] * repeats, dim=1)


def _cells(values: Tensor, size: Size, windows: Windows) -> Size:
    """Size of all windows with the gaps behind them; ``size`` itself where it is as good."""
    height, width = (side * stride for side, stride in zip(values.shape[2:], windows.stride, strict=True))
    exact = not any(windows.padding) and _same(size, (height, width))
    larger = any(isinstance(side, int) and side > cell for side, cell in zip(size, (height, width), strict=True))
    return size if exact or (windows == Windows(ceil_mode=True) and not larger) else (height, width)


def _places(side: int, windows: Windows, axis: int, device: torch.device) -> Tensor:
    """Of each row or column, which one of its window it is; far below zero between windows."""
    kernel, stride = windows.kernel[axis], windows.stride[axis]
    places = torch.arange(side, device=device) % stride
    return places if stride == kernel else torch.where(places < kernel, places, -_MOST_POSITIONS)


def _same(a: Size, b: Size) -> bool:
    if is_tracing():  # sizes are tensors there, and nothing is known of them
        return False
    return all(statically_known_true(one == other) for one, other in zip(a, b, strict=True))


@dataclass(frozen=True)
class Pair:
    """A pooling of a graph with the unpoolings that its indices go to.

    Attributes:
        pool: the node of ``aten.max_pool2d_with_indices``.
        unpools: the nodes of ``aten.max_unpool2d``.
        windows: of the pooling.
    """

    pool: Node
    unpools: tuple[Node, ...]
    windows: Windows


@dataclass(frozen=True)
class Left:
    """A pooling or unpooling that stays as it is.

    Attributes:
        name: path of its module, or name of its node in the graph.
        reason: why.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def find_pairs(graph: Graph) -> tuple[list[Pair], list[Left]]:
    """Find the poolings whose indices go to unpoolings and nowhere else.

    Returns:
        pairs: what can be rewritten, in the order of the graph.
        left: every other unpooling, and every pooling that an unpooling needs.
    """
    pairs, left, done = [], [], set[Node]()
    for pool in [node for node in graph.nodes if node.target == POOL]:
        users = list(_index_users(pool))
        unpools = tuple(user for user in users if _takes_indices(user))
        done |= set(unpools)
        arguments: Any = pool.args[1:]
        windows = windows_of_call(*arguments)
        reason = _refusal(pool, users, windows)
        if users and windows and not reason:
            pairs.append(Pair(pool, unpools, windows))
        elif users:
            left += [Left(path_of(node), reason) for node in (pool, *unpools)]
    others = [node for node in graph.nodes if node.target == UNPOOL and node not in done]
    return pairs, left + [
        Left(path_of(node), "its indices do not come straight from a pooling of this model") for node in others
    ]


def _refusal(pool: Node, users: Sequence[Node], windows: Windows | None) -> str:
    """Why a pooling and its unpoolings stay as they are; empty if they can be rewritten."""
    for user in users:
        if user.op == "output":
            return f"the indices of {path_of(pool)} are also returned to the caller"
        if not _takes_indices(user):
            return f"the indices of {path_of(pool)} go through {user.target}"
        if reason := _misfit(pool, user):
            return reason
    if windows is None:
        return f"{path_of(pool)} is dilated, so an index is needed"
    if _input(pool).meta["val"].dim() != 4:
        return f"{path_of(pool)} pools a map without a batch axis"
    return f"{path_of(pool)}: {windows.refusal}" if windows.refusal else ""


def _misfit(pool: Node, unpool: Node) -> str:
    """Why PyTorch puts the values of an unpooling at other places than they were at; empty if it does not."""
    pooled, size = _input(pool).meta["val"].shape, unpool.meta["val"].shape
    return misfit(path_of(pool), path_of(unpool), tuple(pooled[-2:]), tuple(size[-2:]))


def misfit(pool: str, unpool: str, pooled: Size, size: Size) -> str:
    """Why PyTorch puts the values of an unpooling at other places than they were at; empty if it does not.

    Its indices count through rows, so that a map of another width is another map; rows may be fewer or more. Dynamic
    sizes are judged by the example: where an odd side is rounded down, PyTorch is wrong, and what replaces it is right.

    Args:
        pool, unpool: their paths.
        pooled, size: (H, W) of the pooled map and of the unpooled one.
    """
    if _of_example(pooled[1]) == _of_example(size[1]):
        return ""
    return (
        f"{unpool} unpools to {_by(size)} what {pool} pooled from {_by(pooled)}, so PyTorch puts values at other "
        "places than they were at; pass the size of the pooled map as output_size"
    )


def _of_example(side: Any) -> int:
    return int(side if isinstance(side, int) else side.node.hint)


def _index_users(pool: Node) -> Iterator[Node]:
    """Nodes that take the indices of a pooling, copies left out."""
    waiting = [user for user in pool.users if user.args[1:] == (1,)]
    while waiting:
        for user in waiting.pop().users:
            if user.target in INDEX_COPIES:
                waiting.append(user)
            else:
                yield user


def _takes_indices(node: Node) -> bool:
    """Whether a node unpools by these indices; a node that unpools indices as values does arithmetic."""
    return node.target == UNPOOL and _source(node.args[0]) is not _source(node.args[1])


def _input(node: Node) -> Node:
    first = node.args[0]
    assert isinstance(first, Node)
    return first


def _source(node: Any) -> Any:
    while node.target in INDEX_COPIES:
        node = node.args[0]
    return node


def windows_of_call(
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Windows | None:
    """The windows of ``aten.max_pool2d_with_indices``, from its arguments behind the map; None if it is dilated."""
    if any(side != 1 for side in dilation):
        return None
    kernel, stride, padding = ((sides[0], sides[-1]) for sides in (kernel, stride or kernel, padding))
    return Windows(kernel, stride, padding, ceil_mode)


def path_of(node: Node) -> str:
    """Path of the module that a node comes from, or the name of the node."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(list(stack.values())[-1][0]) if stack else ""
    return path.removeprefix("L__self___").removeprefix("L['self'].") or node.name


def rewrite_unpooling(program: ExportedProgram) -> list[Left]:
    """Rewrite every pair of max-pooling and max-unpooling into operators that all exporters know, in place.

    The numbers stay the same, except as ``portable_pool`` says.

    Args:
        program: of ``torch.export``; its sizes may be dynamic.

    Returns:
        what could not be rewritten, each with its reason.
    """
    module = program.graph_module
    pairs, left = find_pairs(module.graph)
    # The signature of a program holds the names of the nodes that it returns.
    with module._set_replace_hook(program.graph_signature.get_replace_hook()):
        for pair in pairs:
            _rewrite(module.graph, pair)
    module.graph.eliminate_dead_code()
    module.recompile()
    program.validate()  # type: ignore[no-untyped-call]
    return left


def _rewrite(graph: Graph, pair: Pair) -> None:
    values, code = _insert(graph, pair.pool, lambda x: portable_pool(x, pair.windows), pair.pool.args[0])
    for user in list(pair.pool.users):
        if user.args[1] == 0:
            user.replace_all_uses_with(values)
    for unpool in pair.unpools:

        def back(values: Tensor, code: Tensor, *size: int) -> tuple[Tensor]:
            return (portable_unpool(values, code, (size[0], size[1]), pair.windows),)

        size: Any = unpool.args[2]
        (result,) = _insert(graph, unpool, back, unpool.args[0], code, *size)
        unpool.replace_all_uses_with(result)
        graph.erase_node(unpool)


def _insert(graph: Graph, before: Node, function: Callable[..., tuple[Tensor, ...]], *arguments: Any) -> list[Node]:
    """Trace a function of tensors and sizes, and insert its operators before a node; its outputs are returned."""
    examples = [each.meta["val"] if isinstance(each, Node) else each for each in arguments]
    mode = next(each.fake_mode for each in examples if isinstance(each, FakeTensor))
    with mode:
        traced = make_fx(function, pre_dispatch=True)(*examples).graph
    inputs = [node for node in traced.nodes if node.op == "placeholder"]
    copies = dict(zip(inputs, arguments, strict=True))
    with graph.inserting_before(before):
        for node in traced.nodes:
            if node.op == "call_function":
                copies[node] = graph.node_copy(node, lambda each: copies[each])
                copies[node].meta |= {key: before.meta[key] for key in ("nn_module_stack",) if key in before.meta}
    outputs: Any = traced.output_node().args[0]
    return [copies[node] for node in outputs]


def _by(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
