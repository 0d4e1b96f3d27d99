"""Groups of flags that several commands share.

A flag has one name, one meaning and one heading in all commands.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from segnet.bands import Channels
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.inference.tiling import TileConfig
from segnet.inference.tta import TTAConfig

if TYPE_CHECKING:
    from segnet.data.dataset import SegmentationDataset
    from segnet.data.layouts import Source
    from segnet.inference.predictor import Predictor
    from segnet.metrics.uncertainty import Measure
    from segnet.runtimes.base import Runtime

__all__ = [
    "WORST", "DataFlags", "Given", "ModelFlags", "Precision", "PredictorFlags", "ResizeFlags", "SamplingFlags",
]  # fmt: skip

WORST = 12
"""Images for each finding, or of all, that a page shows without --worst."""

log = logging.getLogger("segnet")

Precision = Literal["auto", "float32", "bf16"]


class Given(frozenset[str]):
    """Names of the flags that stand on the command line or in the ``--config`` file.

    As a parameter of ``run`` it is no flag; a command takes it if it must know what the user decided.

    Attributes:
        typed: those on the command line. A settings file may hold more than one command uses, a command line not.
    """

    typed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """Monte Carlo dropout.

    Attributes:
        samples: Number of Monte Carlo dropout samples per image, whose probabilities are averaged. Default: 0, no
            dropout. Set 40 to measure the uncertainty of a Bayesian model.
        seed: Random seed of Monte Carlo dropout. Change it to draw other samples.
    """

    samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 0 or self.samples == 1 or self.seed < 0:
            raise ConfigError(
                f"samples={self.samples} with seed={self.seed} is not possible; give 2 or more samples, or 0 for no "
                "dropout, and a seed of 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Which model runs, and how.

    Attributes:
        model: Model file (.safetensors, .onnx, .xml, .pte, .tflite, .pt2), name of a bundled model ("segnet models"
            lists them), or hf://OWNER/NAME of the Hugging Face hub.
        sampling: Monte Carlo dropout.
        runtime: Library that runs a model: torch, onnx (ONNX Runtime) or openvino. auto takes OpenVINO, or else ONNX
            Runtime, if it is installed, and PyTorch for --samples, a GPU or another precision. For a .safetensors file
            of yours the last two export it once and keep the export in the cache; auto then takes it.
        device: Device of PyTorch models: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
        precision: Precision of computation. bf16 is faster on processors with bfloat16 arithmetic, and slightly less
            exact. auto measures which is faster.
        threads: Number of CPU threads. Default: 0, the choice of the runtime. Lower it to leave cores to other
            programs.
        verify: Check first, on packaged reference images, that an exported file predicts the same classes here as
            where it was exported. An INT8 file is checked at its first use in any case, with a warning.
    """

    model: str = "segnet_light"
    sampling: SamplingFlags = SamplingFlags()
    runtime: Literal["auto", "torch", "onnx", "openvino"] = "auto"
    device: str = "auto"
    precision: Precision = "float32"
    threads: int = 0
    verify: bool = False

    def open(self) -> Runtime:
        """The runtime of the model.

        Raises:
            SegNetError: see ``open_runtime``.
        """
        from segnet.runtimes.base import FileRuntime
        from segnet.runtimes.load import open_runtime

        self._export_once()
        runtime = open_runtime(
            self.model, device=self.device, precision=self.precision, threads=self.threads,
            samples=self.sampling.samples, seed=self.sampling.seed, runtime=self.runtime,
        )  # fmt: skip
        if self.verify or isinstance(runtime, FileRuntime):
            from segnet.runtimes.verification import apply_verification

            apply_verification(runtime, "always" if self.verify else "first_use")
        return runtime

    def _export_once(self) -> None:
        """Export a model file to the cache, if a library is asked for that needs it and can do the rest."""
        from segnet.models.bundled import local_file
        from segnet.runtimes.choice import needs_torch
        from segnet.runtimes.exported import exported_file

        path = local_file(self.model)
        if self.runtime not in ("onnx", "openvino") or path is None or path.suffix != ".safetensors":
            return
        if needs_torch(device=self.device, precision=self.precision, samples=self.sampling.samples):
            return
        if exported_file(self.model) is None:
            from segnet.exporting.cached import export_to_cache

            log.info("segnet: exporting %s once, for --runtime %s; the cache keeps it", path, self.runtime)
            export_to_cache(path)


@dataclass(frozen=True, kw_only=True)
class ResizeFlags:
    """The size at which the model sees an image.

    Attributes:
        max_size: Longest side of an image in pixels. A larger image is resized for the model and its probabilities
            are upsampled. Default: the size of the training images, or 1024 if the model file does not hold it. Set 0
            to keep every image at its own size.
        image_scale: Factor by which images are resized for the model, instead of --max-size. Default: none. Set 1 to
            keep every image at its own size, or above 1 to find smaller objects.
    """

    max_size: int | None = None
    image_scale: float | None = None

    def __post_init__(self) -> None:
        if self.max_size is not None and self.image_scale is not None:
            raise ConfigError("--max-size and --image-scale both set the size that the model sees; give one of them")

    @property
    def limit(self) -> int | Literal["model"] | None:
        """The maximum size as ``Predictor`` takes it."""
        return "model" if self.max_size is None else self.max_size or None


@dataclass(frozen=True)
class PredictorFlags:
    """All flags that decide what is predicted of an image.

    Attributes:
        model: the model.
        resize: working size.
        tiles: tiles.
        tta: test-time augmentation.
        measure: of uncertainty.
    """

    model: ModelFlags
    resize: ResizeFlags
    tiles: TileConfig
    tta: TTAConfig
    measure: Measure | None

    def open(self, kinds: Collection[str], *, rows: bool) -> Predictor:
        """The predictor for these kinds of results.

        Args:
            kinds: of results.
            rows: whether mean confidences of each image are written, if the model outputs probabilities.

        Raises:
            SegNetError: the model cannot be opened, or cannot predict this; or no uncertainty is written, and a measure
                of it is given.
        """
        from segnet.inference.predictor import Predictor

        if self.measure is not None and "uncertainty" not in kinds:
            raise ConfigError("--measure chooses the uncertainty that is saved; add uncertainty to --save")
        runtime = self.model.open()
        if rows and not runtime.gives_probabilities:
            log.info("segnet: this model outputs class indices only, so the records have no confidence")
        return Predictor(
            runtime, confidence="confidence" in kinds or (rows and runtime.gives_probabilities),
            uncertainty="uncertainty" in kinds, measure=self.measure,
            max_size=self.resize.limit, image_scale=self.resize.image_scale, tiles=self.tiles, tta=self.tta,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Which labeled images of a data set are read.

    Attributes:
        source: how the data set is read.
        split: Split of the data set: train, val or test.
        resize: Size in pixels to which images and masks are resized first. Default: their own size. Set it to compare
            with figures at another size.
        resize_mode: How --resize changes the aspect ratio. letterbox keeps it and pads the image, stretch does not.
    """

    source: SourceConfig = SourceConfig()  # noqa: RUF009
    split: str = "val"
    resize: tuple[int, int] | None = None
    resize_mode: Literal["letterbox", "stretch"] = "letterbox"

    def open(self, source: Source, *, channels: Channels, corruption: str | None = None) -> SegmentationDataset:
        """The images and masks of the split, corrupted if that is asked for."""
        return source.dataset(
            self.split, size=self.resize, resize_mode=self.resize_mode, channels=channels, corruption=corruption
        )
