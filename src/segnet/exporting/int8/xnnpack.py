"""INT8 for ExecuTorch with XNNPACK, by PyTorch's own tool (PT2E): maps int8, filters int8 with a scale per channel.

Only convolutions are quantized. A map is rounded once, where it is computed: pooling and unpooling only pick values, so
their outputs have the same scale, and rounding again for the next convolution changes nothing. In between, pooling and
unpooling work in float32 on rounded values, and a code stores the position of their maximum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from segnet.errors import ConfigError, ShapeError
from segnet.runtimes.base import ImageBatch
from segnet.runtimes.output_suppression import suppress_output
from segnet.system.packages import importing

__all__ = ["CalibratedProgram"]

_aten = torch.ops.aten

_ACTIVATIONS = (_aten.relu.default, _aten.relu_.default, _aten.hardtanh.default, _aten.hardtanh_.default)

# Hand on values of their first input, beside zeros and padding; a maximum hands on those of both.
_PICKING = {_aten.slice.Tensor, _aten.pad.default, _aten.upsample_nearest2d.vec}


class CalibratedProgram:
    """A program of ``torch.export`` with the ranges of its maps, as ``quantize_within`` takes it.

    Args:
        program: the float32 network at one size, unchanged.
        images: like those that the network will see, float32 (1, C, H, W) of that size; some dozens are enough.

    Attributes:
        exact: the float32 network.
        convolutions: names of the convolutions that can become INT8, in the order they run.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: torchao is not installed.
        ShapeError: an image is of another size.
    """

    def __init__(self, program: ExportedProgram, images: Sequence[ImageBatch]) -> None:
        self.exact = program
        self.convolutions = [node.name for node in _convolutions(program.graph)]
        self._example = program.example_inputs[0]
        self._tool = _tool()
        _check(images, tuple(self._example[0].shape))
        with suppress_output(), torch.no_grad():
            self._observed: GraphModule = self._tool.prepare_pt2e(program.module(check_guards=False), _Rules())
            for image in images:
                self._observed(torch.from_numpy(image))

    def quantize(self, keep: Collection[str]) -> ExportedProgram:
        """The network in INT8, except for the convolutions of these names."""
        with suppress_output(), torch.no_grad():
            network = deepcopy(self._observed)
            _leave_out(network, keep)
            return torch.export.export(self._tool.convert_pt2e(network), self._example)

    def outputs(self, model: ExportedProgram, images: Sequence[ImageBatch]) -> list[NDArray[Any]]:
        """Output of a network for each image."""
        network = model.module(check_guards=False)
        with torch.no_grad():
            return [network(torch.from_numpy(image)).numpy() for image in images]


class _Rules:
    """Quantizer for PT2E: XNNPACK's rules for convolutions only, and one scale for maps that are picked from one.

    Sums and products, which XNNPACK's rules would round as well, make the codes: they stay as they are.
    """

    def __init__(self) -> None:
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack

        config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
        self._rules = xnnpack.XNNPACKQuantizer().set_operator_type(_aten.conv2d.default, config)

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """Nothing: XNNPACK's rules would make floats of whole numbers."""
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotate every convolution with the quantization of its input, filters and output."""
        from torchao.quantization.pt2e.quantizer import SharedQuantizationSpec

        self._rules.annotate(model)
        for node in _convolutions(model.graph):
            _round_behind_activation(node)
            source = _source(node.all_input_nodes[0])
            known = source.meta.get("quantization_annotation")
            if source is not node.args[0] and known is not None and known.output_qspec is not None:
                node.meta["quantization_annotation"].input_qspec_map[node.args[0]] = SharedQuantizationSpec(source)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing; the tool calls it."""

    def prepare_obs_or_fq_callback(self, model: GraphModule, observers: Any) -> None:
        """Nothing; the tool calls it."""


def _round_behind_activation(convolution: Node) -> None:
    """Round a convolution's output behind its ReLU6, as the rules do behind a ReLU; XNNPACK computes both at once."""
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation

    annotation, users = convolution.meta["quantization_annotation"], list(convolution.users)
    if len(users) == 1 and users[0].target in _ACTIVATIONS and annotation.output_qspec is not None:
        rounded = QuantizationAnnotation(output_qspec=annotation.output_qspec, _annotated=True)
        users[0].meta["quantization_annotation"], annotation.output_qspec = rounded, None


def _tool() -> Any:
    with importing("torchao", "executorch"), suppress_output():
        from torchao.quantization.pt2e import quantize_pt2e
    return quantize_pt2e


def _check(images: Sequence[ImageBatch], shape: tuple[int, ...]) -> None:
    if not images:
        raise ConfigError("INT8 needs images to measure ranges on, and none was given; give some dozens")
    for image in images:
        if image.shape != shape:
            raise ShapeError(f"an image to measure ranges on has the shape {image.shape}; give all of them {shape}")


def _leave_out(network: GraphModule, keep: Collection[str]) -> None:
    """Remove the observers that only the convolutions of these names need."""
    rounded = [node for node in _convolutions(network.graph) if node.name not in keep]
    wanted = {observer for node in rounded for observer in _observers(node)}
    for node in network.graph.nodes:
        if _is_observer(node) and node not in wanted:
            node.replace_all_uses_with(node.all_input_nodes[0])
            network.graph.erase_node(node)
    network.recompile()


def _convolutions(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.target is _aten.conv2d.default]


def _is_observer(node: Node) -> bool:
    return node.op == "call_module"


def _observers(convolution: Node) -> Iterator[Node]:
    """Observers of a convolution: of its input (where read and where made), its filters and its output."""
    image, filters = convolution.all_input_nodes[:2]
    yield from (image, filters)
    yield from filter(_is_observer, [_source(image.all_input_nodes[0])])
    ends = [convolution, *(user for user in convolution.users if user.target in _ACTIVATIONS)]
    yield from (user for end in ends for user in end.users if _is_observer(user))


def _source(node: Node) -> Node:
    """The node that computed the values which pooling and unpooling picked this map from."""
    if node.target is _aten.maximum.default:
        first, second = map(_source, node.all_input_nodes)
        return first if first is second else node
    if node.target in _PICKING or _is_unpooling(node):
        return _source(node.all_input_nodes[0])
    return node


def _is_unpooling(node: Node) -> bool:
    """Whether the node multiplies a map with truths: ``portable_unpool`` ends with that."""
    if node.target is not _aten.mul.Tensor or not isinstance(node.args[1], Node):
        return False
    truths = node.args[1]
    return truths.target is _aten.to.dtype and truths.all_input_nodes[0].meta["val"].dtype is torch.bool
