"""INT8 held to its scores: the finished file is scored as float32 is, and what hurts most stays in float32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, ModelError
from segnet.inference.evaluation import evaluate
from segnet.inference.predictor import Predictor
from segnet.metrics.confusion import Scores
from segnet.runtimes.base import Image, Runtime

__all__ = ["Calibrated", "Quantized", "Try", "sensitivities", "within"]

_JUDGED = 2  # images that decide which convolutions are the most sensitive

Model = TypeVar("Model")


class Calibrated(Protocol[Model]):
    """A float32 network whose ranges are measured, so that any of its convolutions can become INT8."""

    @property
    def exact(self) -> Model:
        """The float32 network."""

    @property
    def convolutions(self) -> Sequence[str]:
        """Names of those that can become INT8, in the order they run."""

    def rounded(self, keep: Collection[str]) -> Model:
        """The network in INT8, but for the convolutions of these names."""

    def outputs(self, model: Model, images: Sequence[Image]) -> list[NDArray[Any]]:
        """What a network, ``exact`` or ``rounded``, gives for each image."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """One file that was made and scored.

    Attributes:
        kept: names of the convolutions that stayed in float32.
        scores: of the file, run where it will run.
    """

    kept: tuple[str, ...]
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class Quantized(Generic[Model]):
    """An INT8 network and what it cost.

    Attributes:
        model: the network.
        reference: scores of float32, in the same runtime on the same images.
        tries: all that were scored; the last is the network's.
    """

    model: Model
    reference: Scores
    tries: tuple[Try, ...]

    @property
    def scores(self) -> Scores:
        """Of the INT8 network."""
        return self.tries[-1].scores

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the convolutions that stayed in float32."""
        return self.tries[-1].kept

    @property
    def drop(self) -> float:
        """How much mIoU is lost; negative if INT8 is better."""
        return self.reference.miou - self.scores.miou

    def to_dict(self) -> dict[str, Any]:
        """For JSON: mIoU and IoU per class before and after, and what was tried."""
        return {
            "float32": _table(self.reference),
            "int8": _table(self.scores),
            "drop": self.drop,
            "kept_in_float32": list(self.kept),
            "tries": [{"kept": len(one.kept), "miou": one.scores.miou} for one in self.tries],
        }


def within(
    network: Calibrated[Model],
    images: Sequence[Image],
    data: SegmentationDataset,
    *,
    finish: Callable[[Model], Runtime],
    max_drop: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
) -> Quantized[Model]:
    """An INT8 network that loses at most ``max_drop`` of mIoU against float32, both scored in the finished file.

    First every convolution is INT8; then the most sensitive one stays in float32, then two, four, and so on up to half.

    Args:
        network: the float32 network with its ranges.
        images: those that the ranges are of; the first tell how sensitive each convolution is. Not those of ``data``,
            or the scores flatter.
        data: labeled images that decide.
        finish: writes a network as the file that it is to be, and opens that.
        max_drop: as a difference of mIoU, 0.01 being one point of a hundred.
        progress: called with (done, all) after every scored image of each try.

    Raises:
        ConfigError: ``max_drop`` is no number from 0 to 1.
        ModelError: half of the convolutions in float32 are not enough; what was tried is told.
    """
    if not 0.0 <= max_drop <= 1.0:
        raise ConfigError(f"max_drop={max_drop} is not possible; give a loss of mIoU from 0 to 1, such as 0.01")
    reference = _score(finish(network.exact), data, progress)
    tries: list[Try] = []
    for kept in _to_keep(network, images[:_JUDGED]):
        smaller = network.rounded(kept)
        tries.append(Try(kept=kept, scores=_score(finish(smaller), data, progress)))
        if reference.miou - tries[-1].scores.miou <= max_drop:
            return Quantized(model=smaller, reference=reference, tries=tuple(tries))
    raise ModelError(_complaint(reference, tries, max_drop, len(network.convolutions)))


def sensitivities(network: Calibrated[Model], images: Sequence[Image]) -> dict[str, float]:
    """Of every convolution: how far the output moves if it alone is INT8, as a mean square; most sensitive first."""
    exact = network.outputs(network.exact, images)
    found = {}
    for name in network.convolutions:
        others = [other for other in network.convolutions if other != name]
        rough = network.outputs(network.rounded(others), images)
        found[name] = float(np.mean([_moved(a, b) for a, b in zip(exact, rough, strict=True)]))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _score(runtime: Runtime, data: SegmentationDataset, progress: Callable[[int, int], None] | None) -> Scores:
    """Scores of a file, on each image in one piece and at its own size."""
    return evaluate(Predictor(runtime, max_size=None, tiles=None), data, progress=progress)


def _to_keep(network: Calibrated[Model], images: Sequence[Image]) -> Iterator[tuple[str, ...]]:
    """Nothing, then the most sensitive convolutions, twice as many each time."""
    yield ()
    order = list(sensitivities(network, images))
    count = 1
    while count <= len(order) // 2:
        yield tuple(order[:count])
        count *= 2


def _moved(exact: NDArray[Any], rough: NDArray[Any]) -> float:
    """Mean square of the difference; of masks, the share of other classes."""
    if exact.dtype.kind != "f":
        return float(np.mean(exact != rough))
    return float(np.mean((exact.astype(np.float64) - rough) ** 2))


def _table(scores: Scores) -> dict[str, Any]:
    told = scores.to_dict()
    return {"miou": told["miou"], "iou": {name: one["iou"] for name, one in told["per_class"].items()}}


def _complaint(reference: Scores, tries: Sequence[Try], max_drop: float, convolutions: int) -> str:
    told = ", ".join(f"{one.scores.miou:.4f} with {len(one.kept)}" for one in tries)
    return (
        f"INT8 loses more than {max_drop} of mIoU: float32 has {reference.miou:.4f}, INT8 {told} of {convolutions} "
        "convolutions in float32; calibrate with more images like those it will see, or allow a larger --max-drop"
    )
