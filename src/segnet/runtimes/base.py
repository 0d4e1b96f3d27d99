"""The interface of all runtimes, in NumPy only: an image batch goes in, an ``Output`` comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError, ShapeError
from segnet.metrics.uncertainty import Measure, choose_measure, entropy
from segnet.runtimes.model_info import ModelInfo

__all__ = ["FileRuntime", "ImageBatch", "Output", "Runtime", "argmax", "softmax"]

ImageBatch = NDArray[np.float32]
"""float32 (N, C, H, W), RGB or gray, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Output:
    """Prediction for an image batch.

    Attributes:
        mask: uint8 (N, H, W), class index of each pixel.
        probabilities: float32 (N, classes, H, W), the mean if the model draws samples; always there if requested,
            else None where the runtime did not compute them.
        uncertainty: float32 (N, H, W), see ``segnet.metrics.uncertainty``; None if no measure was requested.
    """

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None

    @classmethod
    def from_probabilities(cls, probabilities: NDArray[np.float32], measure: Measure | None = None) -> Output:
        """Output with the most probable class of each pixel.

        Args:
            probabilities: float32 (N, classes, H, W).
            measure: ``entropy`` is computed here; of any other measure the uncertainty stays None.
        """
        uncertainty = entropy(probabilities) if measure == "entropy" else None
        return cls(argmax(probabilities), probabilities, uncertainty)


class Runtime(ABC):
    """A model that is ready to run.

    Attributes:
        info: description of the model.
    """

    info: ModelInfo

    @property
    def name(self) -> str:
        """Name of the model in error messages."""
        return self.info.name

    @property
    def gives_probabilities(self) -> bool:
        """Whether ``run`` can return probabilities; False for a file that outputs class indices only."""
        return self.info.output != "mask"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Measures of uncertainty that ``run`` can compute; the first is the default."""
        return ("entropy",)

    @property
    def has_dropout(self) -> bool:
        """Whether the model can be opened again with Monte Carlo dropout samples."""
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join((self.name, f'{self.info.labels.classes} classes', *self._facts()))})"

    def _facts(self) -> tuple[str, ...]:
        """What the representation shows besides name and classes, such as the device."""
        return (self.info.precision,)

    def logits_of(self, batch: ImageBatch) -> NDArray[np.float32] | None:
        """Logits float32 (N, classes, H, W), where ``run`` computes probabilities from them in NumPy; else None.

        Args:
            batch: as for ``run``.
        """
        return None

    def start_image(self, size: tuple[int, int]) -> None:
        """Mark the start of the next image, or of its first tile; only runtimes with memory override it.

        Args:
            size: (height, width) of the whole image.
        """
        return

    @contextmanager
    def concurrent(self) -> Iterator[int]:
        """For a block: ``run`` in several threads at the same time, where that raises the throughput.

        Yields:
            number of threads; 1 if the runtime gains nothing, or keeps something from image to image.
        """
        yield 1

    @abstractmethod
    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """Predict the class of every pixel.

        Args:
            batch: float32 (N, C, H, W) in [0, 1].
            probabilities: whether to return the probability of each class.
            measure: of uncertainty, one of ``measures``; None: compute none.

        Raises:
            ModelError: probabilities are requested, and the model gives none; or a file gives something else than its
                metadata describes.
            ConfigError: the measure is none of ``measures``.
            ShapeError: a file takes another size or number of images.
        """

    def require(self, *, probabilities: bool = False, measure: Measure | None = None) -> None:
        """Check that ``run`` can be called with these arguments.

        Raises:
            ModelError: probabilities are requested, and the model gives none.
            ConfigError: the measure is none of ``measures``.
        """
        if probabilities and not self.gives_probabilities:
            raise ModelError(
                f"{self.name}: outputs class indices only; export it with --output logits or probabilities"
            )
        if measure is not None:
            choose_measure(measure, self.measures, model=self.name)


class FileRuntime(Runtime):
    """An exported file in the library that runs it.

    Args:
        path: the file.
        info: the metadata stored in it.

    Attributes:
        backend: the library that runs the file, its version, device and precision.
    """

    def __init__(self, path: Path, info: ModelInfo, *, backend: str = "an unknown library") -> None:
        self.path = path
        self.info = info
        self.backend = backend

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.path)

    def __reduce__(self) -> NoReturn:
        """Refuse copies and pickles: what a library holds open belongs to this process."""
        raise ModelError(
            f"{self.path}: cannot be copied or sent to another process while it is open in {self.backend}; load it in "
            "that process, or load it with runtime='torch', which can be copied"
        )

    def _facts(self) -> tuple[str, ...]:
        return (self.backend,)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """``variance`` if the file draws samples, and ``entropy`` if it gives probabilities."""
        variance: tuple[Measure, ...] = ("variance",) if self.info.samples else ()
        return (*variance, "entropy") if self.gives_probabilities else variance

    @abstractmethod
    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the library once, on inputs as the file takes them, such as one image batch; all outputs are returned."""

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """See ``Runtime.run``; mask, probabilities and variance come from the same samples."""
        self.require(probabilities=probabilities, measure=measure)
        first, *others = self._described_outputs(batch)
        if not self.gives_probabilities:
            output = Output(first.astype(np.uint8, copy=False))
        elif self.info.output == "logits" and not probabilities and measure is None:
            output = Output(argmax(first))
        else:
            output = Output.from_probabilities(softmax(first) if self.info.output == "logits" else first, measure)
        return output if measure != "variance" else Output(output.mask, output.probabilities, others[0])

    def logits_of(self, batch: ImageBatch) -> NDArray[np.float32] | None:
        """See ``Runtime.logits_of``."""
        return self._described_outputs(batch)[0] if self.info.output == "logits" else None

    def output(self, batch: ImageBatch) -> NDArray[Any]:
        """The file's first output, ``ModelInfo.output``, for any number of images.

        Raises:
            ShapeError: see ``outputs``.
        """
        return self.outputs(batch)[0]

    def outputs(self, batch: ImageBatch) -> list[NDArray[Any]]:
        """All outputs of the file, for any number of images.

        Returns:
            ``ModelInfo.output``; if the file draws samples, the uncertainty follows, float32 (N, H, W).

        Raises:
            ShapeError: the file takes another size, or its number of images does not divide this one.
        """
        height, width = batch.shape[2:]
        if self.info.size not in (None, (height, width)):
            wanted = "x".join(map(str, self.info.size or ()))
            # A format that takes one size only fixes the batch as well.
            free = "" if self.info.batch else "without --size for any, or "
            raise ShapeError(
                f"{self.path}: was exported for images of {wanted}, not {height}x{width}; "
                f"export it {free}with --size {height} {width}"
            )
        at_once = self.info.batch or len(batch)
        if len(batch) % at_once:
            raise ShapeError(f"{self.path}: was exported for {at_once} images at once, and {len(batch)} were given")
        parts = [self.forward(batch[start : start + at_once]) for start in range(0, len(batch), at_once)]
        return parts[0] if len(parts) == 1 else [np.concatenate(same) for same in zip(*parts, strict=True)]

    def _described_outputs(self, batch: ImageBatch) -> list[NDArray[Any]]:
        """``outputs``, or ``ModelError`` if they are not those of the metadata."""
        outputs, (number, _, *size) = self.outputs(batch), batch.shape
        channels = [] if self.info.output == "mask" else [self.info.labels.classes]
        expected = [(number, *channels, *size), (number, *size)][: len(self.info.output_names)]
        given = [output.shape for output in outputs]
        if given != expected:
            raise ModelError(
                f"{self.path}: gives {given}, but its metadata describes {expected}; export the model again"
            )
        return outputs


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities from logits, over the classes: float32 (N, classes, H, W)."""
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = power / power.sum(axis=1, keepdims=True)
    return probabilities


def argmax(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class with the largest value, the first of equals: (N, classes, H, W) to uint8 (N, H, W).

    Several times faster than ``numpy.argmax`` over this axis, which visits pixel after pixel.
    """
    best = values[:, 0].copy()
    mask = np.zeros(best.shape, dtype=np.uint8)
    for index in range(1, values.shape[1]):
        better = values[:, index] > best
        np.copyto(mask, index, where=better)
        np.maximum(best, values[:, index], out=best)
    return mask
