"""The gate of INT8 export: the written file is scored, and the most sensitive convolutions stay in float32."""

from __future__ import annotations

import logging
import math
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
from segnet.runtimes.base import FileRuntime, ImageBatch

__all__ = ["Attempt", "Calibrated", "Calibration", "Int8Gate", "Quantized", "quantize_within", "sensitivities"]

log = logging.getLogger("segnet")

_SENSITIVITY_IMAGES = 2  # enough to rank the convolutions

Model = TypeVar("Model")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Images for INT8: some to measure ranges on, and labeled ones to score the file on.

    Attributes:
        images: for the ranges of the maps, float32 (1, C, H, W), at the size at which the network will see them; some
            dozens like these. The first two also rank the convolutions by sensitivity.
        data: labeled images that the files are scored on. None of ``images`` may be among them, or the scores are too
            good.
        max_drop: largest accepted loss of mIoU, from 0 to 1; 0.01 is one percentage point.

    Raises:
        ConfigError: ``max_drop`` is not a number from 0 to 1.
    """

    images: Sequence[ImageBatch]
    data: SegmentationDataset
    max_drop: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_drop <= 1.0:
            raise ConfigError(
                f"max_drop={self.max_drop} is not possible; give a loss of mIoU from 0 to 1, such as 0.01"
            )

    def rate(self, runtime: FileRuntime, progress: Callable[[int, int], None] | None) -> Scores:
        """Scores of a file, as ``segnet evaluate`` gives them; of a file with a fixed size, on each image as it is."""
        predictor = Predictor(runtime, max_size=None if runtime.info.size else "model")
        return evaluate(predictor, self.data, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Int8Gate:
    """Images for INT8 of any module, and the caller's own function to score a file.

    Attributes:
        images: for the ranges of the maps, float32 (N, C, H, W), normalized as the module takes them; some dozens like
            those that it will see.
        score: gets a function that runs the file, from an array (N, C, H, W) to a list of all outputs, and returns a
            number; the larger the better.
        max_drop: largest accepted loss of this number.

    Raises:
        ConfigError: ``max_drop`` is negative or not a number.
    """

    images: Sequence[ImageBatch]
    score: Callable[[Callable[..., list[NDArray[Any]]]], float]
    max_drop: float = 0.01

    def __post_init__(self) -> None:
        if not self.max_drop >= 0.0:
            raise ConfigError(
                f"max_drop={self.max_drop} is not possible; give the largest loss of the score, 0 or more"
            )

    def rate(self, runtime: FileRuntime, progress: Callable[[int, int], None] | None) -> float:
        """The caller's score of a file.

        Raises:
            ConfigError: it is not finite, so that nothing can be compared with it.
        """
        score = float(self.score(runtime.forward))
        if not math.isfinite(score):
            raise ConfigError(f"the score of a file is {score}; let the function return a finite number")
        return score


class Calibrated(Protocol[Model]):
    """A float32 network with measured ranges, so that any of its convolutions can become INT8."""

    @property
    def exact(self) -> Model:
        """The float32 network."""

    @property
    def convolutions(self) -> Sequence[str]:
        """Names of the convolutions that can become INT8, in the order they run."""

    def quantize(self, keep: Collection[str]) -> Model:
        """The network in INT8, except for the convolutions of these names."""

    def outputs(self, model: Model, images: Sequence[ImageBatch]) -> list[NDArray[Any]]:
        """Output of a network, ``exact`` or from ``quantize``, for each image."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One INT8 file that was written and scored.

    Attributes:
        kept: names of the convolutions that stayed in float32.
        scores: of the file in its own runtime: ``Scores``, or the number of an ``Int8Gate``.
    """

    kept: tuple[str, ...]
    scores: Any


@dataclass(frozen=True, kw_only=True)
class Quantized(Generic[Model]):
    """An INT8 network that passed the gate, with its file and its scores.

    Attributes:
        model: the network.
        runtime: its staged file, opened, as it was scored.
        reference: scores of float32, in the same runtime.
        attempts: all files that were scored; the last is ``runtime``.
    """

    model: Model
    runtime: FileRuntime
    reference: Any
    attempts: tuple[Attempt, ...]

    @property
    def scores(self) -> Any:
        """Scores of the INT8 network."""
        return self.attempts[-1].scores

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the convolutions that stayed in float32."""
        return self.attempts[-1].kept

    @property
    def drop(self) -> float:
        """Loss of mIoU from 0 to 1, or of the caller's score; negative if INT8 is better."""
        return _number(self.reference) - _number(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: mIoU and IoU per class, or the score, in float32 and in INT8, and all attempts."""
        return {
            "float32": _table(self.reference),
            "int8": _table(self.scores),
            "drop": self.drop,
            "kept_in_float32": list(self.kept),
            "attempts": [{"kept": len(one.kept), _noun(one.scores): _number(one.scores)} for one in self.attempts],
        }


def quantize_within(
    network: Calibrated[Model],
    calibration: Calibration | Int8Gate,
    *,
    stage: Callable[[Model], FileRuntime],
    progress: Callable[[int, int], None] | None = None,
) -> Quantized[Model]:
    """Quantize a network so that its file loses at most ``calibration.max_drop`` of its score against float32.

    First every convolution is INT8; then the most sensitive one stays in float32, then two, four, and so on up to half.

    Args:
        network: the float32 network with its ranges.
        calibration: the images of those ranges, what scores a file, and the largest accepted loss.
        stage: writes a network to a temporary file of its format, and opens the file.
        progress: called with (done, all) after every scored image of each attempt.

    Raises:
        ModelError: the loss is too large even with half of the convolutions in float32; the message lists all attempts.
    """
    reference = calibration.rate(stage(network.exact), progress)
    _warn_of_idle_gate(reference, calibration.max_drop)
    attempts: list[Attempt] = []
    for kept in _to_keep(network, calibration.images[:_SENSITIVITY_IMAGES]):
        model = network.quantize(kept)
        runtime = stage(model)
        attempts.append(Attempt(kept=kept, scores=calibration.rate(runtime, progress)))
        if _number(reference) - _number(attempts[-1].scores) <= calibration.max_drop:
            return Quantized(model=model, runtime=runtime, reference=reference, attempts=tuple(attempts))
    raise ModelError(_complaint(reference, attempts, calibration.max_drop, len(network.convolutions)))


def _warn_of_idle_gate(reference: Scores | float, max_drop: float) -> None:
    """Warn of labels on which even float32 scores so little that no INT8 file can lose more than is allowed."""
    if isinstance(reference, Scores) and _number(reference) <= max_drop < 1:
        log.warning(
            "segnet: float32 has mIoU %.4f on the images that INT8 is scored on, so no file can lose more than "
            "--max-drop %g; check that the masks are those of the model's classes, or give a smaller --max-drop",
            _number(reference),
            max_drop,
        )


def sensitivities(network: Calibrated[Model], images: Sequence[ImageBatch]) -> dict[str, float]:
    """By convolution, the mean squared change of the output if only that one is INT8; most sensitive first."""
    exact = network.outputs(network.exact, images)
    changes = {}
    for name in network.convolutions:
        others = [other for other in network.convolutions if other != name]
        rough = network.outputs(network.quantize(others), images)
        changes[name] = float(np.mean([_change(a, b) for a, b in zip(exact, rough, strict=True)]))
    return dict(sorted(changes.items(), key=lambda item: -item[1]))


def _to_keep(network: Calibrated[Model], images: Sequence[ImageBatch]) -> Iterator[tuple[str, ...]]:
    """Names to keep in float32: none, then the most sensitive convolutions, twice as many each time."""
    yield ()
    order = list(sensitivities(network, images))
    count = 1
    while count <= len(order) // 2:
        yield tuple(order[:count])
        count *= 2


def _change(exact: NDArray[Any], rough: NDArray[Any]) -> float:
    """Mean squared difference of two outputs; for masks, the share of pixels of another class."""
    if exact.dtype.kind != "f":
        return float(np.mean(exact != rough))
    return float(np.mean((exact.astype(np.float64) - rough) ** 2))


def _number(scores: Scores | float) -> float:
    """The number that must not fall: mIoU of the classes in the truth, which are the same for every file."""
    if not isinstance(scores, Scores):
        return scores
    return float(scores.iou[scores.pixels > 0].mean())


def _noun(scores: Scores | float) -> str:
    return "miou" if isinstance(scores, Scores) else "score"


def _table(scores: Scores | float) -> dict[str, Any]:
    if not isinstance(scores, Scores):
        return {"score": scores}
    table = scores.to_dict()
    return {"miou": table["miou"], "iou": {name: row["iou"] for name, row in table["per_class"].items()}}


def _complaint(reference: Scores | float, attempts: Sequence[Attempt], max_drop: float, convolutions: int) -> str:
    listed = ", ".join(f"{_number(one.scores):.4f} with {len(one.kept)}" for one in attempts)
    noun, setting = ("mIoU", "--max-drop") if isinstance(reference, Scores) else ("the score", "max_drop")
    return (
        f"INT8 loses more than {max_drop} of {noun}: float32 has {_number(reference):.4f}, INT8 {listed} of "
        f"{convolutions} convolutions in float32; calibrate with more images like those it will see, or allow a larger "
        f"{setting}"
    )
