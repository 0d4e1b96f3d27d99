"""From an image of any kind and size to its segmentation; how it passes through the network is in ``inferer``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, overload

import numpy as np

from segnet.bands import Channels, Pixels, count_channels, describe_channels
from segnet.errors import ConfigError, DataError, ModelError, ShapeError
from segnet.inference.inferer import Inferer
from segnet.inference.inputs import ImageSource, Order, check_order, is_one_image, path_of, read_input
from segnet.inference.prediction import Planes, Prediction, SegmentedRows
from segnet.inference.tiling import Rows, TileConfig
from segnet.inference.tta import TTAConfig, with_tta
from segnet.inference.upsampling import upsample
from segnet.inference.working_size import ResizePolicy
from segnet.labels import ClassTable
from segnet.media.images.resizing import resize_image
from segnet.media.images.stored import stretch_bands
from segnet.metrics.uncertainty import Measure, choose_measure
from segnet.runtimes.base import Runtime
from segnet.runtimes.choice import RuntimeName
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import Verification, Verify, apply_verification, verify
from segnet.system.field_types import require_kind
from segnet.system.stages import stage

if TYPE_CHECKING:
    import torch

__all__ = ["Predictor", "require_predictor"]


class Predictor:
    """A model that segments images of any size.

    >>> predictor = Predictor.load("segnet_light")
    >>> predictor(image).mask.shape == image.shape[:2]
    True

    Args:
        runtime: the model.
        confidence: whether predictions have a confidence.
        uncertainty: whether predictions have an uncertainty.
        measure: of the uncertainty, see ``segnet.metrics.uncertainty``; None: variance if the model draws samples,
            else entropy.
        max_size: longest side in pixels at which images are segmented; larger ones are downscaled, and their
            probabilities upsampled to the image's size before the class is chosen. "model": the longest side of the
            training images, or 1024 if the model file has none; a model that was trained with ``--resize`` resizes
            every image as its training did. None: every image at its own size.
        image_scale: segment each image at this multiple of its own size instead, whatever ``max_size`` is.
        tiles: how to cut images that would take too much memory; None: segment every image in one piece.
        tta: test-time augmentation: average over mirrored and resized copies of the image.

    Attributes:
        labels: the class table.
        channels: of the images: 3 (RGB), 1 (gray), or the bands of files.
        resize: ``max_size`` and ``image_scale`` as one policy.

    Raises:
        ConfigError: the model cannot compute this measure or augmentation, a size is out of range, or ``tiles`` or
            ``tta`` is of another type.
        ModelError: the model is no runtime; or confidence or augmentation is requested, and the model outputs class
            indices only.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        max_size: int | Literal["model"] | None = "model",
        image_scale: float | None = None,
        tiles: TileConfig | None = TileConfig(),  # noqa: B008
        tta: TTAConfig = TTAConfig(),  # noqa: B008
    ) -> None:
        _check_arguments(runtime, tiles, tta)
        runtime.require(probabilities=confidence)
        self.runtime = runtime if tta == TTAConfig() else with_tta(runtime, tta)
        self._model = runtime
        self.labels: ClassTable = runtime.info.labels
        self.channels: Channels = runtime.info.image_channels
        self.confidence = confidence
        self.measure = choose_measure(measure, self.runtime.measures, model=runtime.name) if uncertainty else None
        self.resize = ResizePolicy.of_model(runtime.info, max_size=max_size, image_scale=image_scale)
        self.tiles = tiles
        self._largest_copy = max(1.0, *tta.tta_scales) ** 2  # pixels of the largest augmented copy, per pixel

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "float32",
        threads: int = 0,
        samples: int = 0,
        seed: int = 0,
        runtime: RuntimeName = "auto",
        verify: Verify = "first_use",
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        max_size: int | Literal["model"] | None = "model",
        image_scale: float | None = None,
        tiles: TileConfig | None = TileConfig(),  # noqa: B008
        tta: TTAConfig = TTAConfig(),  # noqa: B008
    ) -> Self:
        """Load a predictor from a model file of any format, or from a bundled model by its name.

        Args:
            source, device, precision, threads, samples, seed, runtime: see ``open_runtime``.
            verify: compare the predictions of an exported file on reference images with those at its export:
                ``first_use`` of an INT8 file on this machine (a difference is a warning), ``always`` (a difference is
                an error) or ``never``.
            confidence, uncertainty, measure, max_size, image_scale, tiles, tta: see the class.

        Raises:
            ModelError: the model does not exist, the file cannot be used or fails the verification, or it outputs class
                indices only, and confidence or augmentation is requested.
            ConfigError: the device, precision, samples, runtime, ``verify``, measure, augmentation or a size is not
                possible.
            MissingPackageError: the library that runs such files is not installed.
        """
        opened = open_runtime(
            source, device=device, precision=precision, threads=threads, samples=samples, seed=seed, runtime=runtime
        )
        apply_verification(opened, verify)
        return cls(
            opened,
            confidence=confidence,
            uncertainty=uncertainty,
            measure=measure,
            max_size=max_size,
            image_scale=image_scale,
            tiles=tiles,
            tta=tta,
        )

    def __repr__(self) -> str:
        scale, size = self.resize.image_scale, self.resize.max_size
        parts = [repr(self.runtime), describe_channels(self.channels)]
        parts.append(f"max_size={size}" if scale is None else f"image_scale={scale:g}")
        parts += ["confidence"] * self.confidence + [f"uncertainty={self.measure}"] * (self.measure is not None)
        return f"{type(self).__name__}({', '.join(parts)})"

    def verify(self) -> Verification:
        """Compare the classes that an exported file predicts here with those that it predicted at its export.

        It runs on three packaged reference images, whatever the predictor's own settings are.

        Raises:
            ModelError: fewer than 99.9 % of the pixels have the same class, or the file keeps no predictions.
        """
        return verify(self._model)

    @overload  # an array can be iterated over too, but is one image
    def __call__(self, source: ImageSource, *, order: Order = "rgb") -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, source: Iterable[ImageSource], *, order: Order = "rgb") -> list[Prediction]: ...

    def __call__(
        self, source: ImageSource | Iterable[ImageSource], *, order: Order = "rgb"
    ) -> Prediction | list[Prediction]:
        """Segment one image, or each image of a list.

        >>> predictor("photo.jpg").overlay().save("overlay.png")
        >>> [prediction.class_shares() for prediction in predictor(["a.jpg", "b.jpg"])]

        Args:
            source: one image, or an iterable of images of any kinds and sizes:

                - a path, read as ``segnet predict`` reads it: EXIF orientation applied, 16 bits scaled, alpha dropped;
                - a Pillow image, treated in the same way;
                - an array (H, W, 3), (H, W, 1) or (H, W), uint8, or floating numbers in [0, 1]: channels last;
                - a tensor (3, H, W), (1, H, W) or (H, W) of the same types: channels first, on any device.

                For a model of bands (``channels``), each holds all bands of a file, in the values that files have:
                (H, W, bands) or (bands, H, W).

                The layout is never inferred from the shape. Gray becomes RGB, or RGB gray, where the model takes
                that. Images of a list that have one working size run through the network together.
            order: channel order of arrays and tensors: "bgr" for those of OpenCV. Files and Pillow images know theirs.

        Returns:
            The prediction at the image's own size; of a list, a list in the same order. Each prediction refers to its
            image (3 bytes per pixel). For more images than memory holds use ``segnet.stream``.

        Raises:
            DataError: a file cannot be read, a source is of another type, floating numbers lie outside [0, 1], or
                the list is empty.
            ShapeError: an array or tensor has another shape or type.
            ConfigError: ``order`` is unknown, or the image cannot be cut into tiles that fit into the memory.
        """
        check_order(order)
        if is_one_image(source):
            image = read_input(source, channels=self.channels, order=order)
            return replace(self.predict_pixels(image), source=path_of(source))
        return self._predict_all(list(source), order)  # type: ignore[arg-type]

    def predict_pixels(self, image: Pixels, *, resized: Pixels | None = None) -> Prediction:
        """Segment one image whose pixels are already as the model takes them, without any conversion.

        Args:
            image: (H, W, C) with ``channels`` channels, uint8, or float32 in [0, 1] for bands of more than 8 bits.
            resized: what ``resize_pixels`` returned for it, perhaps in another thread; None: it is resized here.

        Raises:
            ShapeError: the image has another shape or type.
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        return self._predict_resized([image], [self.resize_pixels(image) if resized is None else resized])[0]

    def resize_pixels(self, image: Pixels) -> Pixels:
        """Resize an image to its working size; safe in any thread.

        Args:
            image: (H, W, C) as ``predict_pixels`` takes it.

        Returns:
            (h, w, C) of the same dtype; the image itself if it has its working size.

        Raises:
            ShapeError: the image has another shape or type.
        """
        channels = count_channels(self.channels)
        if image.shape[2:] != (channels,) or 0 in image.shape or image.dtype not in (np.uint8, np.float32):
            raise ShapeError(
                f"pixels of shape {image.shape} and type {image.dtype} were given; expected (H, W, {channels}) of "
                "uint8, or of float32 in [0, 1]; the predictor itself takes images of other kinds"
            )
        with stage("resize"):
            size = (image.shape[0], image.shape[1])
            working_size = self.working_size(*size)
            return image if working_size == size else resize_image(image, working_size)

    def predict_batch(self, images: Sequence[Pixels]) -> list[Prediction]:
        """Segment images of one working size, together if they are not cut into tiles.

        Args:
            images: as ``predict_pixels`` takes them, at most as many as ``batch_size`` says.

        Raises:
            ShapeError, ConfigError: as ``predict_pixels``.
        """
        resized = [self.resize_pixels(image) for image in images]
        if len(sizes := {image.shape[:2] for image in resized}) != 1:
            raise ShapeError(
                f"images of {len(sizes)} working sizes were given; expected one or more images of one; a list of "
                "others goes to the predictor itself"
            )
        return self._predict_resized(images, resized)

    def _predict_resized(self, images: Sequence[Pixels], resized: Sequence[Pixels]) -> list[Prediction]:
        """Predictions of images; ``resized`` holds each of them at the working size that they have in common."""
        parts = self._inferer.predict(resized, [(image.shape[0], image.shape[1]) for image in images])
        working_size = (resized[0].shape[0], resized[0].shape[1])
        return [
            replace(part, working_size=working_size, labels=self.labels, image=stretch_bands(image, self.channels))
            for part, image in zip(parts, images, strict=True)
        ]

    def predict_planes(self, source: ImageSource, *, order: Order = "rgb") -> Planes:
        """Predict the probabilities of one image, held in memory as a whole.

        Args:
            source, order: one image and its channel order, as the predictor itself takes them.

        Returns:
            float32 (K, H, W) at the image's own size: the probability of each class, followed by the uncertainty if
            it was requested. If the model outputs class indices only, the probability of its class is 1.

        Raises:
            DataError, ShapeError, ConfigError: as the predictor itself.
        """
        check_order(order)
        return self.predict_pixel_planes(read_input(source, channels=self.channels, order=order))

    def predict_pixel_planes(self, image: Pixels) -> Planes:
        """As ``predict_planes``, of pixels that are already as the model takes them; see ``predict_pixels``."""
        resized = self.resize_pixels(image)
        planes = self._inferer.predict_planes(resized)
        size = image.shape[:2]
        return planes if resized.shape[:2] == size else upsample(planes, (size[0], size[1]))

    def predict_rows(self, rows: Rows, size: tuple[int, int] | None = None) -> Iterator[SegmentedRows]:
        """Segment an image that is read from top to bottom and never held as a whole.

        Args:
            rows: the image with ``channels`` channels, at its working size.
            size: (height, width) of the prediction; None: the same size.

        Yields:
            Consecutive rows of the prediction.

        Raises:
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        return self._inferer.predict_rows(rows, size or rows.size)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of this height and width is segmented."""
        return self.resize.working_size(height, width)

    def batch_size(self, height: int, width: int) -> int:
        """How many images of this working size are segmented together."""
        return self._inferer.batch_size(height, width)

    def needs_tiles(self, height: int, width: int) -> bool:
        """Whether an image of this working size is cut into tiles, or would have to be but cannot."""
        return self._inferer.needs_tiles(height, width)

    @property
    def _inferer(self) -> Inferer:
        """Made anew for each call, since a copy of a predictor may get another runtime."""
        return Inferer(
            runtime=self.runtime,
            confidence=self.confidence,
            measure=self.measure,
            tiles=self.tiles,
            largest_copy=self._largest_copy,
        )

    def _predict_all(self, sources: Sequence[ImageSource], order: Order) -> list[Prediction]:
        """Predictions of a list, those of one working size in batches."""
        if not sources:
            raise DataError("an empty list was given; give at least one image")
        images = [
            read_input(source, channels=self.channels, order=order, name=f"image {number} of the list")
            for number, source in enumerate(sources)
        ]
        groups: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(images):
            groups.setdefault(self.working_size(*image.shape[:2]), []).append(number)
        predictions: dict[int, Prediction] = {}
        for size, numbers in groups.items():
            step = self.batch_size(*size)
            for chosen in (numbers[start : start + step] for start in range(0, len(numbers), step)):
                predictions |= zip(chosen, self.predict_batch([images[number] for number in chosen]), strict=True)
        return [replace(predictions[number], source=path_of(source)) for number, source in enumerate(sources)]


def require_predictor(predictor: object) -> None:
    """Refuse what is no predictor.

    Raises:
        ModelError: it is a network, for instance.
    """
    if not isinstance(predictor, Predictor):
        raise ModelError(
            f"a {type(predictor).__name__} is no predictor; give Predictor.load of a file or a name, and of a network "
            "Predictor(segnet.TorchRuntime(model, labels))"
        )


def _check_arguments(runtime: object, tiles: object, tta: object) -> None:
    if not isinstance(runtime, Runtime):
        raise ModelError(
            f"a {type(runtime).__name__} is no runtime; give a file or a name to Predictor.load, and a network to "
            "segnet.TorchRuntime(model, labels), which is one"
        )
    if not isinstance(tiles, TileConfig | None):
        raise ConfigError(f"tiles={tiles!r} is not possible; give segnet.TileConfig(tile=1024) for instance, or None")
    require_kind("tta", tta, TTAConfig, example="tta_flip=True")
