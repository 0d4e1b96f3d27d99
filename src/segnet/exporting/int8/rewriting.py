"""From a float32 ONNX graph to one whose convolutions are INT8, and whose pooling and unpooling move single bytes.

A map is usually rounded right before a convolution. But pooling and unpooling only pick values, and picking commutes
with rounding: the maximum of rounded values is the rounded maximum. So the rounding moves up to where a map is made,
and everything from there to the convolution, the comparisons that make the codes too, works on the very bytes that the
convolution reads. General tools round each branch on a scale of its own, after which nothing equals its maximum.

Maps are uint8, and some byte of them is exactly zero; filters are int8 with one scale per output channel, biases int32.
A filter's rounding moves its output in the mean, as inputs are positive; its bias takes that back. No two weights of a
channel are so large that a processor which sums pairs of products in 16 bits could overflow; see
``saturation``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.exporting.int8.graph import Graph, convolutions, find_groups
from segnet.exporting.int8.saturation import fitting_scales

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["MapStatistics", "Range", "quantize_graph"]

Range = tuple[float, float]
"""The smallest and the largest value of a map."""


@dataclass(frozen=True, eq=False)
class MapStatistics:
    """Statistics of a network's feature maps, measured on images.

    Attributes:
        ranges: the smallest and the largest value of every map that becomes bytes.
        means: of every map that a convolution reads, float64 (channels,); a map without means keeps its bias as it is.
    """

    ranges: Mapping[str, Range]
    means: Mapping[str, NDArray[np.float64]]


def quantize_graph(model: ModelProto, statistics: MapStatistics, keep: Collection[str] = ()) -> ModelProto:
    """Quantize the convolutions of an ONNX graph to INT8, in QuantizeLinear and DequantizeLinear.

    ONNX Runtime and OpenVINO both read the graph and compute in INT8; inputs and outputs stay the same.

    Args:
        model: the float32 graph, unchanged; its only input is float32 (N, C, H, W), opset 13 or later.
        statistics: ranges of every source in ``find_groups(model, keep)``. With the means of a convolution's input,
            its bias makes up for the mean shift that rounding its filters causes.
        keep: names of convolutions that stay in float32.
    """
    work = _Rewriting(model, statistics, keep)
    for node in model.graph.node:
        work.take(node)
    return work.finished()


class _Rewriting:
    """Takes the float32 graph node by node, and builds the INT8 graph."""

    def __init__(self, model: ModelProto, statistics: MapStatistics, keep: Collection[str]) -> None:
        self.model, self.means = model, statistics.means
        self.graph = Graph(model)
        self.codes = self.graph.codes()
        self.wanted = set(convolutions(model)) - set(keep)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.grids: dict[str, _Grid] = {}
        self.picked: set[str] = set()
        self.bytes: set[str] = set()
        self.restored: dict[str, str] = {}
        for group in find_groups(model, keep):
            self.picked |= group.picked
            grid = _Grid.covering([statistics.ranges[name] for name in group.sources])
            self.grids |= dict.fromkeys(group.sources | group.picked, grid)
        for name in [each.name for each in model.graph.input if each.name in self.grids]:
            self._round(name)

    def take(self, node: NodeProto) -> None:
        """Append the nodes that replace this one."""
        copy = type(node)()
        copy.CopyFrom(node)
        name = node.output[0]
        if node.name in self.wanted:
            self._convolve(copy)
        elif name in self.picked:
            self._pick(copy)
        elif name in self.codes:
            self._code(copy)
        elif self.graph.is_truth(name):
            self._compare(copy)
        elif node.op_type == "Shape" and node.input[0] in self.bytes:
            copy.input[0] = _bytes(node.input[0])  # no second reader of the float map: it need not exist
            self.nodes.append(copy)
        elif node.op_type == "Add":  # ONNX Runtime takes a convolution for INT8 only if nothing reads it in float32
            copy.input[:] = [self._restored(each) if each in self.bytes else each for each in node.input]
            self.nodes.append(copy)
        else:
            copy.input[:] = [self._float(each) for each in node.input]
            self.nodes.append(copy)
        for each in node.output:  # of a Split, several
            if each in self.grids and each not in self.picked:
                self._round(each)

    def finished(self) -> ModelProto:
        """The INT8 graph, without nodes and constants that nothing reads."""
        from onnx.numpy_helper import from_array

        model = type(self.model)()
        model.CopyFrom(self.model)
        read, nodes = {output.name for output in model.graph.output}, []
        for node in reversed(self.nodes):
            if read & set(node.output):
                nodes.append(node)
                read |= set(node.input)
        del model.graph.node[:], model.graph.value_info[:]
        model.graph.node.extend(reversed(nodes))
        kept = [each for each in model.graph.initializer if each.name in read]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        model.graph.initializer.extend(from_array(v, name) for name, v in self.constants.items() if name in read)
        return model

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx.helper import make_node

        self.nodes.append(make_node(kind, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = value
        return name

    def _round(self, name: str) -> None:
        """Quantize a map to bytes."""
        self._add("QuantizeLinear", [name, *self._grid_of(name)], _bytes(name))
        self.bytes.add(name)

    def _grid_of(self, name: str) -> list[str]:
        """Names of scale and zero point."""
        return self._steps(name, np.asarray(self.grids[name].scale), np.asarray(self.grids[name].zero))

    def _steps(self, name: str, scale: NDArray[np.float32], zero: NDArray[Any]) -> list[str]:
        return [self._constant(f"{name}_scale", scale), self._constant(f"{name}_zero", zero)]

    def _float(self, name: str) -> str:
        """Name of a map in float32; a picked map exists in bytes only and is dequantized."""
        return self._restored(name) if name in self.picked & self.bytes else name

    def _restored(self, name: str) -> str:
        if name not in self.restored:
            inputs = [_bytes(name), *self._grid_of(name)]
            self.restored[name] = self._add("DequantizeLinear", inputs, f"{name}_restored")
        return self.restored[name]

    def _convolve(self, node: NodeProto) -> None:
        """Filters and biases become integers, which lets the runtime compute in INT8."""
        step, name, mean = self.grids[node.input[0]].scale, node.output[0], self.means.get(node.input[0])
        node.input[0] = self._restored(node.input[0])
        filters, *biases = (self.graph.constants[each] for each in node.input[1:])
        scales = _filter_scales(filters, step, *biases)
        whole = np.rint(filters / scales[:, None, None, None]).astype(np.int8)
        node.input[1] = self._stored(f"{name}_filters", whole, scales)
        for bias in biases:
            lost = 0.0 if mean is None else _mean_loss(filters - whole * scales[:, None, None, None], mean)
            counts = np.rint((bias + lost) / (scales * step).astype(np.float64)).astype(np.int32)
            node.input[2] = self._stored(f"{name}_biases", counts, scales * step)
        self.nodes.append(node)

    def _stored(self, name: str, whole: NDArray[Any], scales: NDArray[np.float32]) -> str:
        inputs = [self._constant(_bytes(name), whole), *self._steps(name, scales, np.zeros(len(scales), whole.dtype))]
        return self._add("DequantizeLinear", inputs, f"{name}_restored", axis=0)

    def _pick(self, node: NodeProto) -> None:
        """The same pooling or padding operator, on bytes."""
        name, zero = node.output[0], self.grids[node.output[0]].zero
        self.bytes.add(name)
        if unpooled := self.graph.unpooled(node):
            self._pick_or_zero(name, *unpooled, zero)
            return
        if node.op_type == "Pad" and len(node.input) > 2:
            loses = np.isneginf(self.graph.constants[node.input[2]])
            node.input[2] = self._constant(f"{name}_padding", np.asarray(0 if loses else zero, np.uint8))
        node.input[:] = [_bytes(each) if each in self.bytes else each for each in node.input]
        node.output[0] = _bytes(name)
        self.nodes.append(node)

    def _pick_or_zero(self, name: str, value: str, truth: str, zero: np.uint8) -> None:
        """Unpooling: the byte where the comparison holds, elsewhere the byte that is zero."""
        here = self._cast(truth, f"{name}_here")
        if not zero:
            self._add("Mul", [_bytes(value), here], _bytes(name))
            return
        # In ONNX Runtime a Where takes ten times as long as all of these.
        elsewhere = self._cast(self._add("Not", [truth], f"{name}_not_here"), f"{name}_elsewhere")
        values = self._add("Mul", [_bytes(value), here], f"{name}_values")
        zeros = self._add("Mul", [elsewhere, self._constant(f"{name}_zero", np.asarray(zero))], f"{name}_zeros")
        self._add("Add", [values, zeros], _bytes(name))

    def _cast(self, name: str, to: str) -> str:
        from onnx import TensorProto

        return self._add("Cast", [name], to, to=TensorProto.UINT8)

    def _code(self, node: NodeProto) -> None:
        """Pooling codes stay codes, as bytes."""
        if node.op_type == "Cast":
            self._cast(node.input[0], node.output[0])
            return
        for index, each in enumerate(node.input if node.op_type != "Resize" else []):
            if each in self.graph.constants:
                node.input[index] = self._constant(_bytes(each), self.graph.constants[each].astype(np.uint8))
        self.nodes.append(node)

    def _compare(self, node: NodeProto) -> None:
        """Bytes of one scale are compared directly; codes are compared as integers."""
        one_scale = len({self.grids.get(each) for each in node.input}) == 1
        if one_scale and self.bytes >= set(node.input):
            node.input[:] = [_bytes(each) for each in node.input]
        elif self.codes & set(node.input):
            names = [each if each in self.codes else f"{node.output[0]}_whole" for each in node.input]
            for each in set(node.input) - self.codes:
                self._cast(each, f"{node.output[0]}_whole")
            node.input[:] = names
        else:
            node.input[:] = [self._float(each) for each in node.input]
        self.nodes.append(node)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Scale and zero point of bytes: scale * (byte - zero). One object per group."""

    scale: np.float32
    zero: np.uint8

    @classmethod
    def covering(cls, ranges: Collection[Range]) -> _Grid:
        low, high = min(0.0, *(low for low, _ in ranges)), max(0.0, *(high for _, high in ranges))
        scale = np.float32(max(high - low, 1e-12) / 255)
        return cls(scale, np.uint8(round(-low / float(scale))))


def _filter_scales(filters: NDArray[np.float32], step: np.float32, *biases: NDArray[np.float32]) -> NDArray[np.float32]:
    """One per output channel; wide enough that a bias, counted in products of both scales, fits into 32 bits."""
    scales = fitting_scales(filters)
    for bias in biases:
        scales = np.maximum(scales, np.abs(bias) / (step * np.float32(2**30)))
    return scales


def _mean_loss(lost: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean output of filters (outputs, inputs of a group, H, W) on a map of these means, away from its border."""
    taps = lost.sum(axis=(2, 3), dtype=np.float64)
    groups = len(mean) // taps.shape[1]
    by_group = taps.reshape(groups, -1, taps.shape[1]) * mean.reshape(groups, 1, -1)
    moved: NDArray[np.float64] = by_group.sum(axis=2).reshape(-1)
    return moved


def _bytes(name: str) -> str:
    return f"{name}_bytes"
