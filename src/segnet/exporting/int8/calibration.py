"""INT8 from images: the range of every map is measured, then the graph rewritten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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

__all__ = ["CalibratedOnnx", "measured_ranges", "quantize"]


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
        self._ranges = measured_ranges(model, images)

    def rounded(self, keep: Collection[str]) -> ModelProto:
        """The network in INT8, but for the convolutions of these names."""
        return rewritten(self.exact, self._ranges, keep)

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
    return rewritten(model, measured_ranges(model, images), keep)


def measured_ranges(model: ModelProto, images: Iterable[Image]) -> dict[str, Range]:
    """Of every map that some convolution reads: the smallest and the largest value, in the mean over the images.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: onnx or ONNX Runtime is not installed.
    """
    names = sorted(name for group in find_groups(model) for name in group.sources)
    running = open_session(_with_extremes(model, names).SerializeToString())
    input_name = running.get_inputs()[0].name
    found = [running.run(None, {input_name: np.ascontiguousarray(image)})[1:] for image in images]
    if not found:
        raise ConfigError("INT8 needs images to measure ranges on, and none was given; give some dozens")
    means = np.mean(np.asarray(found, dtype=np.float64), axis=0).reshape(len(names), 2)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, means, strict=True)}


def _with_extremes(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The same network with two more outputs, numbers, per map."""
    from onnx import ModelProto, TensorProto
    from onnx.helper import make_node, make_tensor_value_info

    copy = ModelProto()
    copy.CopyFrom(model)
    for name in names:
        for kind in ("Min", "Max"):
            output = f"{name}_{kind}"
            copy.graph.node.append(make_node(f"Reduce{kind}", [name], [output], keepdims=0))
            copy.graph.output.append(make_tensor_value_info(output, TensorProto.FLOAT, []))
    return copy
