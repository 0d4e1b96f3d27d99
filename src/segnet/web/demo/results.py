"""What the demo shows of a prediction: overlay, class table, maps of values, and files to download."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from segnet.bands import RGBImage
from segnet.errors import ConfigError
from segnet.inference.prediction import Prediction
from segnet.labels import ClassTable
from segnet.media.images.writing import write_image
from segnet.metrics.uncertainty import CONFIDENCE, Measure, describe_uncertainty
from segnet.visualization import overlay as visualize
from segnet.visualization.html.markup import class_name, percent
from segnet.visualization.legends import color_map, rounded_up
from segnet.visualization.style import OverlayStyle

__all__ = ["Segmentation", "class_table", "confidence_map", "draw_overlay", "uncertainty_map", "write_downloads"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A prediction and how it came about.

    Attributes:
        prediction: of the image.
        model: name of the model.
        milliseconds: that it took.
        measure: of the uncertainty; None: there is none.
        samples: number of Monte Carlo dropout samples; 0: dropout was off.
        name: of the image's file, without suffix.
    """

    prediction: Prediction
    model: str
    milliseconds: float
    measure: Measure | None = None
    samples: int = 0
    name: str = "image"

    @property
    def labels(self) -> ClassTable:
        """The class table of the model."""
        if self.prediction.labels is None:
            raise ConfigError("this prediction has no class table; predict a whole image")
        return self.prediction.labels

    @property
    def image(self) -> RGBImage:
        """The image: uint8 (H, W, 3)."""
        if self.prediction.image is None:
            raise ConfigError("this prediction has no image; predict a whole image")
        return visualize.as_rgb(self.prediction.image)

    def describe(self) -> str:
        """Size, model and time in one line."""
        height, width = self.prediction.mask.shape
        samples = f", {self.samples} samples" if self.samples else ""
        return f"{width}x{height} pixels, {self.model}{samples}, {self.milliseconds:.0f} ms"


def draw_overlay(result: Segmentation, opacity: float) -> RGBImage:
    """The image with the class colors over it, without a legend: uint8 (H, W, 3)."""
    return np.asarray(result.prediction.overlay(OverlayStyle(opacity=opacity, legend="none")))


def confidence_map(result: Segmentation) -> RGBImage | None:
    """The probability of the chosen class in colors, with a scale below; None if the model gives none."""
    if result.prediction.confidence is None:
        return None
    return color_map(result.prediction.confidence, largest=1.0, title=CONFIDENCE)


def uncertainty_map(result: Segmentation) -> RGBImage | None:
    """The uncertainty in colors, with a scale below that ends at the image's largest value; None if there is none."""
    values = result.prediction.uncertainty
    if values is None or result.measure is None:
        return None
    title = describe_uncertainty(result.measure)
    return color_map(values, largest=rounded_up(max(float(values.max()), 1e-6)), title=title)


def class_table(result: Segmentation) -> str:
    """HTML: color, name, share and mean confidence of each class that occurs, the largest first. It is the legend."""
    mask, confidence, labels = result.prediction.mask, result.prediction.confidence, result.labels
    shares = visualize.class_shares(mask, labels)
    means = None if confidence is None else visualize.class_means(mask, confidence, labels)
    order = [int(index) for index in np.argsort(-shares, kind="stable") if shares[index] > 0]
    rows = [
        _row(labels, index, float(shares[index]), None if means is None else float(means[index])) for index in order
    ]
    heading = "<th>Confidence</th>" if means is not None else ""
    return (
        f'<table class="classes"><caption>{escape(result.describe())}</caption><thead><tr><th>Class</th>'
        f"<th>Share</th>{heading}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def write_downloads(result: Segmentation, folder: Path, opacity: float) -> tuple[Path, Path]:
    """Write the mask as ``segnet predict`` writes it, and the overlay with its legend, as PNG files.

    Args:
        result: of an image.
        folder: where to; it is created.
        opacity: of the class colors in the overlay, 0 to 1.

    Returns:
        Mask and overlay.

    Raises:
        OutputError: a file cannot be written.
    """
    overlay = folder / f"{result.name}-overlay.png"
    write_image(overlay, np.asarray(result.prediction.overlay(OverlayStyle(opacity=opacity))))
    return result.prediction.save(folder / f"{result.name}-mask.png"), overlay


def _row(labels: ClassTable, index: int, share: float, confidence: float | None) -> str:
    name = class_name(labels.names[index], labels.colors[index])
    bar = f'<span class="bar" style="width:{100 * share:.1f}%"></span>'
    last = "" if confidence is None else f"<td>{percent(confidence)}</td>"
    return f'<tr><td>{name}</td><td class="share">{bar}<span>{percent(share)}</span></td>{last}</tr>'
