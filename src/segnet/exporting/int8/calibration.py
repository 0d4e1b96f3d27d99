"""INT8 from images: the range of every map is measured, then the graph rewritten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.exporting.int8.graph import convolutions, find_groups
from segnet.exporting.int8.rewriting import Range, rewritten
from segnet.runtimes.base import Image
from segnet.runtimes.onnx import open_session

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["CalibratedOnnx", "Measured", "measured", "quantize"]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the maps of a network are like.

    Attributes:
        ranges: the smallest and the largest value of every map that is rounded.
        means: of every map that a convolution reads, float64 (channels,).
    """

    ranges: dict[str, Range]
    means: dict[str, NDArray[np.float64]]


class CalibratedOnnx:
    """An ONNX network with its ranges, for the gate.

    Args:
        model: the float32 network; it stays as it is.
        images: see ``quantize``.

    Attributes:
        exact: the float32 network.
        convolutions: names of those that can become INT8, in the order they run.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: onnx or ONNX Runtime is not installed.
    """

    def __init__(self, model: ModelProto, images: Iterable[Image]) -> None:
        self.exact = model
        self.convolutions = convolutions(model)
        self._measured = measured(model, images)

    def rounded(self, keep: Collection[str]) -> ModelProto:
        """The network in INT8, but for the convolutions of these names."""
        return rewritten(self.exact, self._measured.ranges, keep, means=self._measured.means)

    def outputs(self, model: ModelProto, images: Sequence[Image]) -> list[NDArray[Any]]:
        """What a network gives for each image."""
        running = open_session(model.SerializeToString())
        name = running.get_inputs()[0].name
        return [running.run(None, {name: np.ascontiguousarray(image)})[0] for image in images]


def quantize(model: ModelProto, images: Iterable[Image], *, keep: Collection[str] = ()) -> ModelProto:
    """A network whose convolutions are INT8, in QuantizeLinear and DequantizeLinear; the given one stays as it is.

    ONNX Runtime and OpenVINO both read it and then compute in INT8; inputs and outputs are the same as before.

    Args:
        model: the float32 network, its only input float32 (N, C, H, W), opset 13 or later.
        images: batches like those it will see, float32 (N, C, H, W); some dozens are enough.
        keep: names of convolutions (``graph.convolutions``) that stay in float32.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: onnx or ONNX Runtime is not installed.
    """
    found = measured(model, images)
    return rewritten(model, found.ranges, keep, means=found.means)


def measured(model: ModelProto, images: Iterable[Image]) -> Measured:
    """Of every map that some convolution reads: smallest and largest value, and means, in the mean over the images.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: onnx or ONNX Runtime is not installed.
    """
    names = sorted(name for group in find_groups(model) for name in group.sources)
    inputs = sorted({node.input[0] for node in model.graph.node if node.name in set(convolutions(model))})
    kinds = [(name, kind) for name in names for kind in ("ReduceMin", "ReduceMax")]
    kinds += [(name, "GlobalAveragePool") for name in inputs]
    running = open_session(_with_figures(model, kinds).SerializeToString())
    input_name, outputs = running.get_inputs()[0].name, [_figure(*each) for each in kinds]
    found = [running.run(outputs, {input_name: np.ascontiguousarray(image)}) for image in images]
    if not found:
        raise ConfigError("INT8 needs images to measure ranges on, and none was given; give some dozens")
    figures = {key: np.mean([_over_batch(row[at]) for row in found], axis=0) for at, key in enumerate(kinds)}
    ranges = {name: (float(figures[name, "ReduceMin"]), float(figures[name, "ReduceMax"])) for name in names}
    return Measured(ranges, {name: figures[name, "GlobalAveragePool"] for name in inputs})


def _over_batch(figure: NDArray[np.float32]) -> NDArray[np.float64]:
    """A number as it is; of means (N, channels, 1, 1) those of the channels."""
    exact = figure.astype(np.float64)
    return exact.mean(axis=(0, 2, 3)) if exact.ndim else exact


def _figure(name: str, kind: str) -> str:
    return f"{name}_{kind}"


def _with_figures(model: ModelProto, kinds: Sequence[tuple[str, str]]) -> ModelProto:
    """The same network with more outputs: of each map what the operator gives."""
    from onnx import ModelProto, TensorProto
    from onnx.helper import make_node, make_tensor_value_info

    copy = ModelProto()
    copy.CopyFrom(model)
    for name, kind in kinds:
        one_number: dict[str, Any] = {"keepdims": 0} if kind.startswith("Reduce") else {}
        copy.graph.node.append(make_node(kind, [name], [_figure(name, kind)], **one_number))
        shape = [] if one_number else [None, None, 1, 1]
        copy.graph.output.append(make_tensor_value_info(_figure(name, kind), TensorProto.FLOAT, shape))
    return copy
