"""Analysis of an ONNX graph for INT8: its convolutions, and the maps that they pick their inputs from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Graph", "Group", "convolutions", "find_groups"]


@dataclass(frozen=True)
class Group:
    """Maps that share one scale, since some convolution picks its input from all of them.

    Attributes:
        sources: the computed maps.
        picked: outputs of the operators between the sources and the convolutions, which only move values.
    """

    sources: frozenset[str]
    picked: frozenset[str] = frozenset()

    def __or__(self, other: Group) -> Group:
        return Group(self.sources | other.sources, self.picked | other.picked)


def convolutions(model: ModelProto) -> list[str]:
    """Names of the convolutions of maps (N, C, H, W) with constant filters and biases, in the order they run."""
    constants = {constant.name: len(constant.dims) for constant in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and constants.get(node.input[1]) == 4 and constants.keys() >= set(node.input[2:])
    ]


def find_groups(model: ModelProto, keep: Collection[str] = ()) -> list[Group]:
    """Groups of maps to quantize so that every convolution, except those in ``keep``, reads bytes and makes bytes.

    Its output stays in float32 where no other convolution reads it, nor a sum with another map, such as the logits.
    """
    graph = Graph(model)
    wanted = set(convolutions(model)) - set(keep)
    groups: list[Group] = []
    for node in model.graph.node:
        if node.name in wanted:
            group = graph.picked_from(node.input[0])
            for other in [other for other in groups if other.sources & group.sources]:
                groups.remove(other)
                group |= other
            groups.append(group)
    known = {name for group in groups for name in group.sources}
    made = [graph.activated(node.output[0]) for node in model.graph.node if node.name in wanted]
    return groups + [Group(frozenset([name])) for name in made if name not in known and graph.is_added(name)]


class Graph:
    """Index of an ONNX graph.

    Attributes:
        producers: node by output name.
        users: nodes by input name.
        constants: constant by name.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: ModelProto) -> None:
        from onnx.numpy_helper import to_array

        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.constants: dict[str, NDArray[Any]] = {each.name: to_array(each) for each in model.graph.initializer}
        self.outputs = {each.name for each in model.graph.output}
        self.users: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def activated(self, name: str) -> str:
        """The map behind the activations of this one."""
        users = self.users.get(name, [])
        alone = len(users) == 1 and users[0].op_type in {"Relu", "Clip"}
        return self.activated(users[0].output[0]) if alone else name

    def is_added(self, name: str) -> bool:
        """Whether the map is added to another one."""
        sums = [user for user in self.users.get(name, []) if user.op_type == "Add"]
        return any(not set(node.input) & set(self.constants) for node in sums)

    def picked_from(self, name: str) -> Group:
        """The maps that a convolution's input is picked from."""
        inputs = self.picked_inputs(self.producers[name]) if name in self.producers else []
        if not inputs:
            return Group(frozenset([name]))
        group = Group(frozenset(), frozenset([name]))
        for each in inputs:
            group |= self.picked_from(each)
        return group

    def picked_inputs(self, node: NodeProto) -> list[str]:
        """The inputs whose values the operator only moves, apart from zeros and padding; empty if it computes."""
        if node.op_type in {"Slice", "MaxPool"} or (node.op_type == "Resize" and _mode(node) == "nearest"):
            return [node.input[0]]
        if node.op_type in {"Max", "Concat"} and not set(node.input) & set(self.constants):
            return list(node.input)
        if node.op_type == "Pad":
            value = self.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(1)
            return [node.input[0]] if value is not None and value.item() in {0.0, -np.inf} else []
        unpooled = self.unpooled(node)
        return [unpooled[0]] if unpooled else []

    def unpooled(self, node: NodeProto) -> tuple[str, str] | None:
        """For unpooling, the picked map and the comparison that selects its pixels; else None."""
        if node.op_type == "Where":
            truth, value, zero = node.input
            is_zero = zero in self.constants and not self.constants[zero].any()
            return (value, truth) if self.is_truth(truth) and is_zero else None
        for value, cast in (node.input, reversed(node.input)) if node.op_type == "Mul" else ():
            maker = self.producers.get(cast)
            if maker and maker.op_type == "Cast" and self.is_truth(maker.input[0]):
                return value, maker.input[0]
        return None

    def is_truth(self, name: str) -> bool:
        """Whether the map is the output of a comparison, or several of them."""
        maker = self.producers.get(name)
        if maker is not None and maker.op_type == "Concat":
            return all(map(self.is_truth, maker.input))
        return maker is not None and maker.op_type in {"Equal", "Greater"}

    def codes(self) -> set[str]:
        """Names of pooling codes: small integers, computed only from comparisons and read only by comparisons."""
        kinds = {"Cast", "Add", "Max", "Mul", "Resize"}
        codes = {name for name, node in self.producers.items() if node.op_type in kinds} - self.outputs
        while others := {name for name in codes if not self._is_code(name, codes)}:
            codes -= others
        return codes

    def _is_code(self, name: str, codes: Collection[str]) -> bool:
        node = self.producers[name]
        if not all(user.op_type in {"Equal", "Shape"} or user.output[0] in codes for user in self.users.get(name, [])):
            return False
        if node.op_type == "Cast":
            return self.is_truth(node.input[0])
        inputs = node.input[:1] if node.op_type == "Resize" else node.input
        return all(each in codes or (each in self.constants and self.constants[each].size == 1) for each in inputs)


def _mode(node: NodeProto) -> str:
    return next((each.s.decode() for each in node.attribute if each.name == "mode"), "nearest")
