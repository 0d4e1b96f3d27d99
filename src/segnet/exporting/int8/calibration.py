"""Calibration of an ONNX network: measures ranges and means of its feature maps on images, for ``quantize_graph``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.exporting.int8.graph import convolutions, find_groups
from segnet.exporting.int8.rewriting import MapStatistics, quantize_graph
from segnet.runtimes.base import ImageBatch
from segnet.runtimes.onnx import open_session

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["CalibratedOnnx", "measure_maps"]


class CalibratedOnnx:
    """An ONNX network with the statistics of its maps, as ``quantize_within`` takes it.

    Args:
        model: the float32 network, unchanged. Its only input is float32 (N, C, H, W); opset 13 or later.
        images: batches like those that the network will see, float32 (N, C, H, W); some dozens are enough.

    Attributes:
        exact: the float32 network.
        convolutions: names of the convolutions that can become INT8, in the order they run.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: onnx or ONNX Runtime is not installed.
    """

    def __init__(self, model: ModelProto, images: Iterable[ImageBatch]) -> None:
        self.exact = model
        self.convolutions = convolutions(model)
        self._statistics = measure_maps(model, images)

    def quantize(self, keep: Collection[str]) -> ModelProto:
        """The network in INT8, except for the convolutions of these names."""
        return quantize_graph(self.exact, self._statistics, keep)

    def outputs(self, model: ModelProto, images: Sequence[ImageBatch]) -> list[NDArray[Any]]:
        """Output of a network for each image."""
        running = open_session(model.SerializeToString())
        name = running.get_inputs()[0].name
        return [running.run(None, {name: np.ascontiguousarray(image)})[0] for image in images]


def measure_maps(model: ModelProto, images: Iterable[ImageBatch]) -> MapStatistics:
    """Minimum, maximum and channel means of every map that a convolution reads, averaged over the images.

    Raises:
        ConfigError: no image was given.
        MissingPackageError: onnx or ONNX Runtime is not installed.
    """
    names = sorted(name for group in find_groups(model) for name in group.sources)
    inputs = sorted({node.input[0] for node in model.graph.node if node.name in set(convolutions(model))})
    kinds = [(name, kind) for name in names for kind in ("ReduceMin", "ReduceMax")]
    kinds += [(name, "GlobalAveragePool") for name in inputs]
    running = open_session(_with_statistics(model, kinds).SerializeToString())
    input_name, outputs = running.get_inputs()[0].name, [_statistic(*each) for each in kinds]
    values = [running.run(outputs, {input_name: np.ascontiguousarray(image)}) for image in images]
    if not values:
        raise ConfigError("INT8 needs images to measure ranges on, and none was given; give some dozens")
    averages = {key: np.mean([_over_batch(row[at]) for row in values], axis=0) for at, key in enumerate(kinds)}
    ranges = {name: (float(averages[name, "ReduceMin"]), float(averages[name, "ReduceMax"])) for name in names}
    return MapStatistics(ranges, {name: averages[name, "GlobalAveragePool"] for name in inputs})


def _over_batch(value: NDArray[np.float32]) -> NDArray[np.float64]:
    """A scalar unchanged; means (N, channels, 1, 1) averaged to (channels,)."""
    exact = value.astype(np.float64)
    return exact.mean(axis=(0, 2, 3)) if exact.ndim else exact


def _statistic(name: str, kind: str) -> str:
    return f"{name}_{kind}"


def _with_statistics(model: ModelProto, kinds: Sequence[tuple[str, str]]) -> ModelProto:
    """The same network with one more output for each pair of a map and an operator."""
    from onnx import ModelProto, TensorProto
    from onnx.helper import make_node, make_tensor_value_info

    copy = ModelProto()
    copy.CopyFrom(model)
    for name, kind in kinds:
        one_number: dict[str, Any] = {"keepdims": 0} if kind.startswith("Reduce") else {}
        copy.graph.node.append(make_node(kind, [name], [_statistic(name, kind)], **one_number))
        shape = [] if one_number else [None, None, 1, 1]
        copy.graph.output.append(make_tensor_value_info(_statistic(name, kind), TensorProto.FLOAT, shape))
    return copy
