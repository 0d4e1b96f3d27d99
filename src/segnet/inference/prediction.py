"""Results of inference: of an image, of a video frame, or of some rows of a large image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.bands import Pixels
from segnet.errors import ConfigError, OutputError
from segnet.labels import ClassTable
from segnet.media.images.writing import write_mask
from segnet.runtimes.base import Output
from segnet.system.field_types import require_kind
from segnet.visualization import overlay as visualize
from segnet.visualization.html.prediction import prediction_html, prediction_png
from segnet.visualization.style import OverlayStyle, View

__all__ = ["Planes", "Prediction", "SegmentedFrame", "SegmentedRows", "concatenate_rows", "planes_of"]

Planes = NDArray[np.float32]
"""(K, H, W): the probability of each class, followed by the uncertainty if it was requested."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Segmentation of one image. A notebook shows it as an overlay with a table of its classes.

    >>> prediction = predictor("photo.jpg")
    >>> prediction.class_shares()["Road"] > 0.1
    True
    >>> prediction.overlay().save("overlay.png")

    Attributes:
        mask: uint8 (H, W), class index of each pixel.
        confidence: float32 (H, W), probability of that class, 0 to 1; None if it was not requested.
        uncertainty: float32 (H, W), by the predictor's measure, 0 where the model is certain; None if it was not
            requested.
        working_size: (height, width) at which the image was segmented, see ``ResizePolicy``; None of some rows.
        labels: the class table of the model; None of some rows.
        image: uint8 (H, W, C), the image itself, RGB or gray; a reference, not a copy. Of bands, those that are shown,
            stretched. None of some rows.
        source: path of the image; None if it does not come from a file.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None
    working_size: tuple[int, int] | None = None
    labels: ClassTable | None = None
    image: NDArray[np.uint8] | None = None
    source: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their index."""
        return self._labels().names

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Color of every mask value: uint8 (256, 3), so that ``palette[mask]`` is the mask in colors."""
        return self._labels().palette()

    def class_shares(self) -> dict[str, float]:
        """Share of each class among the pixels, by name in the order of the classes; the sum is 1."""
        shares = visualize.class_shares(self.mask, self._labels())
        return dict(zip(self.names, shares.tolist(), strict=True))

    def overlay(self, style: OverlayStyle | None = None) -> Image.Image:
        """The image with the class colors over it, as ``segnet predict`` writes it.

        Args:
            style: opacity, outlines, colors, legend; the default has a legend below the image.

        Returns:
            An RGB image; with ``OverlayStyle(legend="none")`` it has the image's own size.

        Raises:
            ConfigError: the style names an unknown class, or the prediction has no image.
        """
        return Image.fromarray(self._view("overlay", self._image(), style))

    def color(self, style: OverlayStyle | None = None) -> Image.Image:
        """The mask in the class colors, as an RGB image of the image's own size.

        Args:
            style: colors, and which classes are shown; see ``overlay``.

        Raises:
            ConfigError: the style names an unknown class.
        """
        return Image.fromarray(self._view("color", self.mask[..., None], style))

    def to_pil(self) -> Image.Image:
        """The mask as a palette image: its values are the class indices, shown in the class colors."""
        image = Image.fromarray(self.mask)
        image.putpalette(self.palette.tobytes())
        return image

    def save(self, path: str | Path) -> Path:
        """Write the mask as a palette PNG; missing folders are created, and an earlier file of this name is replaced.

        Images for people are saved by ``overlay().save(path)`` or ``color().save(path)``, in any format of Pillow.

        Args:
            path: ending in .png.

        Returns:
            The path.

        Raises:
            OutputError: the name does not end in .png, names the image itself, or cannot be written.
        """
        path = Path(path)
        if self.source is not None and path.exists() and self.source.exists() and path.samefile(self.source):
            raise OutputError(f"{path} is the image itself, which the mask would replace; give another name")
        write_mask(path, self.mask, self._labels())
        return path

    def rows(self, chosen: slice) -> Prediction:
        """The prediction of some rows."""
        confidence, uncertainty = (
            values if values is None else values[chosen] for values in (self.confidence, self.uncertainty)
        )
        return Prediction(self.mask[chosen], confidence, uncertainty)

    def __repr__(self) -> str:
        height, width = self.mask.shape
        parts = [
            f"{height}x{width}",
            *(name for name in ("confidence", "uncertainty") if getattr(self, name) is not None),
        ]
        if self.source is not None:
            parts.insert(0, repr(str(self.source)))
        if self.labels is not None:
            parts += visualize.largest_shares(self.mask, self.labels)
        return f"Prediction({', '.join(parts)})"

    def _repr_png_(self) -> bytes:
        """The overlay in a notebook, or that of the mask if the prediction has no image."""
        return prediction_png(self.mask, self._labels(), self.image)

    def _repr_html_(self) -> str:
        """The overlay beside a table of the classes, in a notebook."""
        return prediction_html(self.mask, self._labels(), self.image)

    def _view(self, view: View, image: NDArray[np.uint8], style: OverlayStyle | None) -> NDArray[np.uint8]:
        style = OverlayStyle() if style is None else style
        require_kind("style", style, OverlayStyle, example="opacity=0.7")
        return visualize.finished_view(view, image, self.mask, self._labels(), style, working_size=self.working_size)

    def _labels(self) -> ClassTable:
        if self.labels is None:
            raise ConfigError("this prediction has no class table; give it one: Prediction(mask, labels=table)")
        return self.labels

    def _image(self) -> NDArray[np.uint8]:
        if self.image is None:
            raise ConfigError("this prediction has no image; give it one: Prediction(mask, labels=table, image=image)")
        return self.image


@dataclass(frozen=True, eq=False, repr=False)
class SegmentedFrame:
    """An image or a video frame with its prediction.

    Attributes:
        image: uint8 (H, W, C), upright; RGB for 3 channels, gray for 1; of bands as ``Prediction.image``.
        prediction: of the image; for a video with temporal smoothing, the smoothed one.
        time: seconds since the first frame of a video, or since ``VideoConfig.start``; None of an image.
        aspect: pixel aspect ratio, width over height.
        latency_ms: of a live source, from the arrival of the frame to its prediction, in milliseconds; else None.
        source: path of the image or video, or name of a camera or stream; empty for frames from a program.
        name: name of the results, without suffix: ``a/1`` for the image a/1.jpg in a folder, ``drive/000012`` for a
            frame.
        number: of a frame among the segmented ones, from 0; None of an image.
    """

    image: NDArray[np.uint8]
    prediction: Prediction
    time: Fraction | None = None
    aspect: Fraction = Fraction(1)
    latency_ms: float | None = None
    source: str = ""
    name: str = ""
    number: int | None = None

    def __repr__(self) -> str:
        return f"SegmentedFrame({self.name!r}, {self.prediction!r})"

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Mask of the prediction: uint8 (H, W)."""
        return self.prediction.mask

    @property
    def confidence(self) -> NDArray[np.float32] | None:
        """Confidence of the prediction: float32 (H, W) or None."""
        return self.prediction.confidence

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """Uncertainty of the prediction: float32 (H, W) or None."""
        return self.prediction.uncertainty


class SegmentedRows(NamedTuple):
    """Some rows of an image with their prediction.

    Attributes:
        top: number of the first row.
        image: the same rows of the image, (h, W, C), as the model takes it; None if the prediction has another size.
        prediction: of these rows.
    """

    top: int
    image: Pixels | None
    prediction: Prediction


def planes_of(output: Output, classes: int) -> list[Planes]:
    """Planes of each image of an output; if it has no probabilities, that of its class is 1.

    Args:
        output: of a runtime.
        classes: how many classes.
    """
    if output.probabilities is None:
        planes = [_one_hot(mask, classes) for mask in output.mask]
    else:
        planes = list(output.probabilities)
    if output.uncertainty is None:
        return planes
    return [np.concatenate([part, extra[None]]) for part, extra in zip(planes, output.uncertainty, strict=True)]


def _one_hot(mask: NDArray[np.uint8], classes: int) -> Planes:
    planes: Planes = (mask == np.arange(classes, dtype=np.uint8)[:, None, None]).astype(np.float32)
    return planes


def concatenate_rows(parts: Sequence[Prediction]) -> Prediction:
    """One prediction from those of consecutive rows.

    Args:
        parts: from top to bottom, at least one.
    """
    confidence = [part.confidence for part in parts if part.confidence is not None]
    uncertainty = [part.uncertainty for part in parts if part.uncertainty is not None]
    return Prediction(
        np.concatenate([part.mask for part in parts]),
        np.concatenate(confidence) if confidence else None,
        np.concatenate(uncertainty) if uncertainty else None,
    )
