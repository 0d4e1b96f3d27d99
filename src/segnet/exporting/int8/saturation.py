"""Whether an INT8 convolution can overflow on a processor that sums pairs of products in 16 bits.

x86 processors without VNNI have one instruction for bytes, ``vpmaddubsw``: it multiplies unsigned by signed bytes and
adds the products of two neighbors in 16 bits. A sum that does not fit becomes the largest number that does, so the
same file gives something else there. ONNX Runtime, and oneDNN in OpenVINO, compute with it. Inputs are bytes from 0 to
255, and which weights are neighbors is up to the program; but if the two largest weights of an output channel are 128
in sum at most, and the two smallest -128 at least, no pair of any order overflows: 255 * 128 < 2**15.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError
from segnet.runtimes.model_info import PAIR_LIMIT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["PairSum", "fitting_scales", "pair_sums", "require_no_overflow"]

_LARGEST = 127  # of one weight
_SMALLEST_SCALE = 1e-12  # of filters of zeros


@dataclass(frozen=True, kw_only=True)
class PairSum:
    """The worst pair of weights of one convolution.

    Attributes:
        name: of the convolution.
        channel: the output channel that the pair is of.
        value: the larger of the sum of the channel's two largest positive weights and that of the two most negative
            ones, without its sign.
    """

    name: str
    channel: int
    value: int

    @property
    def can_overflow(self) -> bool:
        """Whether some input makes 255 times the sum, plain or negative, overflow 16 bits."""
        return self.value > PAIR_LIMIT


def pair_sums(model: ModelProto) -> list[PairSum]:
    """The worst pair of every INT8 convolution of an ONNX graph, in the order they run.

    INT8 is a Conv whose filters come from a DequantizeLinear. Its filters are looked at as they are stored and less
    their zero point, since programs multiply either; those in uint8, less 128, as programs make them signed.

    Raises:
        ModelError: the filters of such a convolution are not constant.
    """
    from onnx.numpy_helper import to_array

    constants = {constant.name: constant for constant in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    pairs = []
    for node in _int8_convolutions(model, makers):
        stored, zero = makers[node.input[1]].input[0], list(makers[node.input[1]].input[2:3])
        if not constants.keys() >= {stored, *zero}:
            raise ModelError(f"the filters of {node.name} are not constant, so it is unknown whether INT8 overflows")
        pairs.append(_worst(node.name, to_array(constants[stored]), *(to_array(constants[each]) for each in zero)))
    return pairs


def require_no_overflow(model: ModelProto) -> None:
    """Refuse an ONNX graph whose INT8 sums can overflow on some processor.

    Raises:
        ModelError: a convolution can overflow; the worst is named.
    """
    worst = max(pair_sums(model), key=lambda each: each.value, default=None)
    if worst is not None and worst.can_overflow:
        raise ModelError(
            f"in INT8 the convolution {worst.name} has two weights of {worst.value} in sum (channel {worst.channel}) "
            f"and could overflow on processors without VNNI; {PAIR_LIMIT} is the most, so quantize the filters anew"
        )


def fitting_scales(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of every output channel the smallest scale with which no pair of its rounded weights can overflow.

    Args:
        filters: float32 (outputs, inputs, ...).

    Returns:
        float32 (outputs,); ``rint(filters / scale)`` is within [-127, 127] and ``PAIR_LIMIT``.
    """
    ends = _ends(filters.reshape(len(filters), -1))  # rounding keeps the order, so no other weight decides
    largest = np.maximum(np.abs(ends).max(axis=1), np.float32(_SMALLEST_SCALE))
    high: NDArray[np.float32] = largest * np.float32(2 / (PAIR_LIMIT - 1))  # fits, while a quarter of it never does
    low = high / 4
    while True:
        middle = (low + high) * np.float32(0.5)
        if not (unsure := (low < middle) & (middle < high)).any():
            return np.fmax(high, np.float32(_SMALLEST_SCALE), out=high)
        fits = _fits(np.rint(ends / middle[:, None]))
        np.copyto(high, middle, where=unsure & fits)
        np.copyto(low, middle, where=unsure & ~fits)


def _fits(weights: NDArray[Any]) -> NDArray[np.bool_]:
    fits: NDArray[np.bool_] = (np.abs(weights).max(axis=1) <= _LARGEST) & (_largest_pairs(weights) <= PAIR_LIMIT)
    return fits


def _ends(weights: NDArray[Any]) -> NDArray[Any]:
    """Per row, the two smallest and the two largest; zeros beside them, as a channel may have a single weight."""
    padded = np.pad(weights, ((0, 0), (0, 3)))
    return np.partition(padded, (0, 1, -2, -1), axis=1)[:, [0, 1, -2, -1]]


def _largest_pairs(weights: NDArray[Any]) -> NDArray[Any]:
    """Per row, the two largest positive numbers in sum, or the two most negative without their sign."""
    ends = _ends(weights)
    positive, negative = np.maximum(ends[:, 2:], 0), np.minimum(ends[:, :2], 0)
    pairs: NDArray[Any] = np.maximum(positive.sum(axis=1), -negative.sum(axis=1))
    return pairs


def _int8_convolutions(model: ModelProto, makers: dict[str, NodeProto]) -> Iterator[NodeProto]:
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in makers and makers[node.input[1]].op_type == "DequantizeLinear":
            yield node


def _worst(name: str, stored: NDArray[Any], zero: NDArray[Any] | None = None) -> PairSum:
    weights = stored.reshape(len(stored), -1).astype(np.int64)
    shift = np.zeros(1, np.int64) if zero is None else zero.reshape(-1).astype(np.int64)
    signed = weights - 128 if stored.dtype == np.uint8 else weights
    pairs = np.maximum(_largest_pairs(signed), _largest_pairs(weights - shift[:, None]))
    channel = int(pairs.argmax())
    return PairSum(name=name, channel=channel, value=int(pairs[channel]))
