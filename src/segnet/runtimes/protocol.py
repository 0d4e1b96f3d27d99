"""The protocol of all runtimes, in NumPy alone, and what turns any file's output into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError, ShapeError
from segnet.inference.prediction import argmax
from segnet.metrics.uncertainty import Measure, choose_measure, entropy
from segnet.runtimes.model_info import ModelInfo

__all__ = ["Estimate", "FileRuntime", "Image", "Runtime", "open_runtime", "softmax"]

_EXPORTED = frozenset((".onnx", ".xml", ".pte", ".tflite", ".mlpackage", ".pt2"))

Image = NDArray[np.float32]
"""A batch (N, C, H, W), RGB in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a model says of a batch, and how unsure it is.

    Attributes:
        mask: uint8 (N, H, W), class of each pixel.
        probabilities: float32 (N, classes, H, W), of samples their mean; None of a file that gives masks alone.
        uncertainty: float32 (N, H, W), see ``segnet.metrics.uncertainty``.
    """

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32]


class Runtime(Protocol):
    """A model that is ready to run; everything else of a prediction is the same for all."""

    info: ModelInfo

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Of uncertainty, those that ``estimate`` can give; the first is taken unasked."""
        return ("entropy",)

    def next_image(self) -> None:
        """What comes now is another image, or the first tile of it; for a runtime that remembers."""
        return

    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (N, H, W)."""
        ...

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Probability of each class, (N, classes, H, W); of samples their mean."""
        ...

    def estimate(self, image: Image, measure: Measure | None = None) -> Estimate:
        """Mask, probabilities and uncertainty at once.

        Raises:
            ConfigError: the measure is none of ``measures``.
        """
        choose_measure(measure, self.measures, model=self.info.name)
        probabilities = self.probabilities(image)
        return Estimate(argmax(probabilities), probabilities, entropy(probabilities))


class FileRuntime(Runtime, ABC):
    """An exported file in the library that it was made for.

    Args:
        path: the file.
        info: what it says of itself.

    Attributes:
        backend: the library that runs the file, its version, device and precision, for people and as a key.
    """

    def __init__(self, path: Path, info: ModelInfo, *, backend: str = "an unknown library") -> None:
        self.path = path
        self.info = info
        self.backend = backend

    @abstractmethod
    def run(self, image: Image) -> list[NDArray[Any]]:
        """All outputs of the file, for the size and number of images that it takes; see ``outputs``."""

    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (N, H, W).

        Raises:
            ShapeError: see ``output``.
        """
        output = self.output(image)
        return output.astype(np.uint8, copy=False) if self.info.output == "mask" else argmax(output)

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Probability of each class, (N, classes, H, W).

        Raises:
            ModelError: the file gives nothing but the mask.
            ShapeError: the file takes another size.
        """
        if self.info.output == "mask":
            raise ModelError(f"{self.path}: gives masks alone; export with --output logits or probabilities")
        output = self.output(image)
        return output if self.info.output == "probabilities" else softmax(output)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """A file that draws samples gives their variance, and any but one of masks alone the entropy."""
        variance: tuple[Measure, ...] = ("variance",) if self.info.samples else ()
        return variance if self.info.output == "mask" else (*variance, "entropy")

    def estimate(self, image: Image, measure: Measure | None = None) -> Estimate:
        """Mask, probabilities and uncertainty; of a file that draws samples, all from the same ones.

        Raises:
            ConfigError: the measure is none of ``measures``.
            ShapeError: see ``outputs``.
        """
        if choose_measure(measure, self.measures, model=str(self.path)) == "entropy":
            return super().estimate(image, measure)
        first, uncertainty = self.outputs(image)
        if self.info.output == "mask":
            return Estimate(first.astype(np.uint8, copy=False), None, uncertainty)
        return Estimate(argmax(first), first, uncertainty)

    def output(self, image: Image) -> NDArray[Any]:
        """What the file gives, ``ModelInfo.output``, for a batch of any number of images.

        Raises:
            ShapeError: see ``outputs``.
        """
        return self.outputs(image)[0]

    def outputs(self, image: Image) -> list[NDArray[Any]]:
        """All that the file gives for a batch of any number of images.

        Returns:
            ``ModelInfo.output``; of a file that draws samples also the uncertainty, float32 (N, H, W).

        Raises:
            ShapeError: the file takes another size, or its number of images does not divide this one.
        """
        height, width = image.shape[2:]
        if self.info.size not in (None, (height, width)):
            wanted = "x".join(map(str, self.info.size or ()))
            raise ShapeError(
                f"{self.path}: was exported for images of {wanted}, not {height}x{width}; "
                f"export it without --size for any, or with --size {height} {width}"
            )
        at_once = self.info.batch or len(image)
        if len(image) % at_once:
            raise ShapeError(f"{self.path}: was exported for {at_once} images at once, and {len(image)} were given")
        parts = [self.run(image[start : start + at_once]) for start in range(0, len(image), at_once)]
        return parts[0] if len(parts) == 1 else [np.concatenate(same) for same in zip(*parts, strict=True)]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the classes: (N, classes, H, W)."""
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = power / power.sum(axis=1, keepdims=True)
    return probabilities


def open_runtime(
    source: str | Path,
    *,
    device: str = "auto",
    precision: str = "float32",
    threads: int = 0,
    samples: int = 0,
    seed: int = 0,
) -> Runtime:
    """A model file, or a bundled model by its name, in the library that its suffix stands for.

    Args:
        source: ``.onnx`` (ONNX Runtime), ``.xml`` (OpenVINO), ``.pte`` (ExecuTorch), ``.tflite`` (LiteRT),
            ``.mlpackage`` (Core ML), ``.pt2`` (a program of PyTorch's); ``.safetensors`` or a bundled name (PyTorch).
        device: ``auto``, ``cpu``, ``cuda``, ``mps``, or OpenVINO's names.
        precision: ``float32``, ``bf16`` or ``auto``; a file that was exported in another precision keeps it.
        threads: how many to compute with; 0: as many as the library takes.
        samples: how many to draw of each image with dropout, of a ``.safetensors`` or bundled model; 0: dropout is
            off. A file that was exported with samples draws its own.
        seed: decides what is dropped.

    Raises:
        ModelError: there is no such file, or it cannot be used.
        ConfigError: no such device or precision, or the model has no dropout to draw samples with.
        MissingPackageError: the library is not installed.
    """
    path = Path(source)
    if path.suffix not in _EXPORTED:
        from segnet.runtimes.pytorch import load_checkpoint

        return load_checkpoint(source, device=device, precision=precision, threads=threads, samples=samples, seed=seed)
    if samples:
        raise ConfigError(
            f"{source}: an exported file draws as many samples as it was exported with; leave samples out, and export "
            f"it with --samples {samples}, or give the .safetensors file"
        )
    if path.suffix == ".mlpackage" and not path.is_dir():
        raise ModelError(f"{source}: there is no such package, which is a folder; 'segnet export' writes it")
    if path.suffix != ".mlpackage" and not path.is_file():
        raise ModelError(f"{source}: there is no such file; 'segnet export' writes it")
    return _open_exported(path, device=device, precision=precision, threads=threads)


def _open_exported(path: Path, *, device: str, precision: str, threads: int) -> Runtime:
    match path.suffix:
        case ".onnx":
            from segnet.runtimes.onnx import OnnxRuntime

            return OnnxRuntime(path, device=device, threads=threads)
        case ".xml":
            from segnet.runtimes.openvino import OpenVinoRuntime

            return OpenVinoRuntime(path, device=device, precision=precision, threads=threads)
        case ".pte":
            from segnet.runtimes.executorch import ExecuTorchRuntime

            return ExecuTorchRuntime(path)
        case ".tflite":
            from segnet.runtimes.litert import LiteRtRuntime

            return LiteRtRuntime(path, threads=threads)
        case ".mlpackage":
            from segnet.runtimes.coreml import CoreMlRuntime

            return CoreMlRuntime(path)
        case _:
            from segnet.runtimes.pytorch import ProgramRuntime

            return ProgramRuntime(path, device=device)
