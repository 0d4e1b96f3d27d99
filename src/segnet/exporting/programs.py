"""Conversion of a network to a program of ``torch.export``, from which every format is written."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch._dynamo.config as dynamo_config
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.experimental import _config

from segnet.exporting.sampling import keep_dropout_on, mean_and_uncertainty, merge_equal_nodes
from segnet.exporting.settings import ExportConfig
from segnet.models.segnet import SegNet
from segnet.nn.programs import without_inplace
from segnet.runtimes.output_suppression import suppress_output

__all__ = ["KeptProgram", "Pipeline", "make_program"]

_EXAMPLE = (37, 42)  # one side is odd at each of five halvings, so that the rounding stays in the program
_CASTS = {torch.ops.aten._to_copy.default, torch.ops.aten.argmax.default}  # results of another type by themselves
_BATCH = 2  # torch.export treats a batch of one as a constant


class Pipeline(nn.Module):
    """A network with the resizing and the output that an exported file has.

    Args:
        model: the network; not copied.
        config: see ``ExportConfig``.
    """

    def __init__(self, model: SegNet, config: ExportConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    @property
    def takes_one_pixel(self) -> bool:
        """Whether the network accepts images of one pixel; a custom encoder may need more."""
        kind = self.model.config.encoder.kind
        return self.config.resize_to is None and kind != "custom" and not kind.startswith("timm/")

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the output of kind ``config.output``; with ``config.samples`` also the uncertainty (N, H, W)."""
        if self.config.samples is not None:
            samples = (self.logits(image).softmax(dim=1) for _ in range(self.config.samples))
            mean, uncertainty = mean_and_uncertainty(samples)
            return (_as_mask(mean) if self.config.output == "mask" else mean), uncertainty
        logits = self.logits(image)
        if self.config.output == "mask":
            return _as_mask(logits)
        return logits.softmax(dim=1) if self.config.output == "probabilities" else logits

    def logits(self, image: Tensor) -> Tensor:
        """Compute logits, float32 (N, classes, H, W), at the size of the image."""
        if self.config.resize_to is None:
            logits: Tensor = self.model(image)
            return logits
        small = F.interpolate(image, size=self.config.resize_to, mode="bilinear", align_corners=False)
        return F.interpolate(self.model(small), size=image.shape[2:], mode="bilinear", align_corners=False)


def _as_mask(scores: Tensor) -> Tensor:
    # One long axis of pixels: with two, OpenVINO keeps the classes of a pixel together, and takes four times as long.
    return scores.flatten(2).argmax(dim=1).view(scores.shape[0], *scores.shape[2:]).to(torch.uint8)


def make_program(model: SegNet, config: ExportConfig, *, batch: int | None = None) -> ExportedProgram:
    """Convert a network to a graph of PyTorch's basic operators: batch norm folded, evaluation mode, float32, CPU.

    Args:
        model: the network, unchanged.
        config: see ``ExportConfig``.
        batch: fixed batch size; None: any.
    """
    folded = _replace_relu6(without_inplace(model.folded().to("cpu", torch.float32)))
    pipeline = Pipeline(folded if config.samples is None else keep_dropout_on(folded), config)
    image = torch.rand(batch or _BATCH, model.config.in_channels, *(config.size or _EXAMPLE))
    free = torch.export.Dim.DYNAMIC
    shapes = ({} if batch else {0: free}) | ({2: free, 3: free} if config.size is None else {})
    # Otherwise the program is guarded by properties of the example, such as a height above one pixel.
    oblivious = _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    # With free sizes, keeping the shapes of results takes longer than computing them again.
    uncached = dynamo_config.patch(fake_tensor_cache_enabled=False)
    with suppress_output(), torch.no_grad(), oblivious, uncached:
        program = torch.export.export(pipeline, (image,), dynamic_shapes={"image": shapes})
        _restore_relu6(program)
        if config.samples is not None:
            program = merge_equal_nodes(program)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains local paths
    return program


class _TracedReLU6(nn.Module):
    """ReLU6 while a network is traced: ReLU has the same shapes.

    PyTorch traces ReLU6 by a decomposition, which took a quarter of the time of ``segnet_light``.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


def _replace_relu6(model: SegNet) -> SegNet:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.ReLU6:
                setattr(module, name, _TracedReLU6())
    return model


def _restore_relu6(program: ExportedProgram) -> None:
    name = f"{_TracedReLU6.__module__}.{_TracedReLU6.__qualname__}"
    for node in program.graph.nodes:
        modules = [kind for _, kind in node.meta.get("nn_module_stack", {}).values()]
        if node.target is torch.ops.aten.relu.default and modules[-1:] == [name]:
            node.target, node.args = torch.ops.aten.hardtanh.default, (*node.args, 0.0, 6.0)


class KeptProgram(ExportedProgram):
    """A copy of a program for the ONNX exporter, which is traced again only for a reason.

    The exporter decomposes operators, and inserts casts where types are promoted. Each traces the network once more: 18
    and 2 of 22 seconds in an export of ``segnet_light``, and neither found anything to do.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.__dict__.update(program.__dict__)
        self._graph_module = deepcopy(program.graph_module)
        for node in self.graph.nodes:
            if node.target is torch.ops.aten.to.dtype and len(node.args) == 2:  # the same, and no view of its input
                node.target = torch.ops.aten._to_copy.default
                node.args, node.kwargs = node.args[:1], {"dtype": node.args[1]}
            elif node.target is torch.ops.aten._assert_tensor_metadata.default:
                self.graph.erase_node(node)
        if not any(map(_promotes, self.graph.nodes)):
            self._graph_module.modules = tuple  # type: ignore[method-assign, assignment]  # nowhere to insert

    def run_decompositions(self, decomp_table: Any = None, *args: Any, **options: Any) -> ExportedProgram:
        """The program itself, or a decomposed copy."""
        targets = {node.target for node in self.graph.nodes if node.op == "call_function"}
        changing = any(isinstance(target, OpOverload) and target._schema.is_mutable for target in targets)
        if decomp_table is None or changing or not targets.isdisjoint(decomp_table):
            decomposed: ExportedProgram = super().run_decompositions(decomp_table, *args, **options)
            return decomposed
        return self


def _promotes(node: Node) -> bool:
    """Whether an input or the result of this node may have to be cast to the type of another."""
    if not isinstance(node.target, OpOverload) or node.target in _CASTS:
        return False
    result, *given = (each.meta.get("val") for each in (node, *node.all_input_nodes))
    dtypes = {value.dtype for value in given if isinstance(value, Tensor)}
    if isinstance(result, Tensor) and result.dtype is not torch.bool:  # as that of a comparison is
        dtypes.add(result.dtype)
    operands = zip(node.args, node.target._schema.arguments, strict=False)
    scalars = [value for value, formal in operands if str(formal.type) in {"Tensor", "number"}]
    floating = {isinstance(value, float) for value in scalars if isinstance(value, int | float)}
    return len(dtypes) > 1 or len(floating | {dtype.is_floating_point for dtype in dtypes}) > 1
