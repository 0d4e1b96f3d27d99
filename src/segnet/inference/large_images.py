"""Images larger than memory: read, segmented and written in strips, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Bands, describe_channels, stored_bands
from segnet.errors import ConfigError
from segnet.inference.prediction import Prediction
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.png import PngWriter
from segnet.media.images.strips import ImageRows
from segnet.media.images.writing import encode_values, value_metadata
from segnet.metrics.uncertainty import CONFIDENCE, describe_uncertainty, largest_uncertainty
from segnet.system.files import explained, replacing
from segnet.visualization import overlay as visualize
from segnet.visualization.legends import class_names
from segnet.visualization.style import OverlayStyle, View

__all__ = ["Kind", "predict_large"]

Kind = Literal["mask", "overlay", "color", "side", "confidence", "uncertainty"]
"""Results that can be written in strips."""

_PIXELS_PER_STRIP = 4_000_000  # drawn and written together


class _Strip(NamedTuple):
    """Rows of the image at its own size, with their prediction."""

    image: NDArray[np.uint8]
    prediction: Prediction


def predict_large(
    predictor: Predictor,
    image: Path,
    files: Mapping[Kind, Path],
    *,
    style: OverlayStyle = OverlayStyle(),  # noqa: B008
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Segment an image in memory for a few rows of tiles, whatever its height.

    Args:
        predictor: the model; computes confidence and uncertainty if they are among ``files``.
        image: PNG, JPEG, TIFF or another format that libvips reads.
        files: output path of each kind, all PNG; legends show no class shares.
        style: of overlays.
        progress: called with (done, all) rows.

    Returns:
        The share of each class: float64 (classes,), sum 1.

    Raises:
        DataError: the image cannot be read; no file is left.
        OutputError: a file cannot be written; none is left.
        ConfigError: the memory is too little for this width, or the predictor does not compute one of ``files``.
        MissingPackageError: pyvips is not installed.
    """
    counts = np.zeros(predictor.labels.classes, dtype=np.int64)
    rows = _open(image, predictor)
    working_size = predictor.working_size(*rows.size)
    width = visualize.choose_outline_width(style, rows.size, working_size=working_size)
    style = replace(style, outline_width=width)
    done = 0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_open_file(kind, path, rows.size, predictor, style)) for kind, path in files.items()
        ]
        for strip in _predict_strips(predictor, rows, working_size):
            counts += np.bincount(strip.prediction.mask.ravel(), minlength=len(counts))
            for write in writers:
                write(strip)
            done += len(strip.image)
            if progress is not None:
                progress(done, rows.size[0])
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _open(image: Path, predictor: Predictor, size: tuple[int, int] | None = None) -> ImageRows:
    channels = predictor.channels
    if isinstance(channels, Bands) or stored_bands(channels) is not None:
        raise ConfigError(f"{image} cannot be read in strips as {describe_channels(channels)}; give more --memory")
    return ImageRows(image, channels=channels, size=size)


def _predict_strips(predictor: Predictor, rows: ImageRows, working_size: tuple[int, int]) -> Iterator[_Strip]:
    """The image from top to bottom with its prediction, at its own size."""
    resized = working_size != rows.size
    small = _open(rows.path, predictor, working_size) if resized else rows
    for part in predictor.predict_rows(small, rows.size):
        image = rows.read(len(part.prediction.mask)) if part.image is None else part.image.astype(np.uint8, copy=False)
        step = max(1, _PIXELS_PER_STRIP // rows.size[1])
        for start in range(0, len(image), step):
            chosen = slice(start, start + step)
            yield _Strip(image[chosen], part.prediction.rows(chosen))


@contextmanager
def _open_file(
    kind: Kind, path: Path, size: tuple[int, int], predictor: Predictor, style: OverlayStyle
) -> Iterator[Callable[[_Strip], None]]:
    """Open one file; yields the function that writes the next strip."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        _encode(kind, file, size, predictor, style) as add,
    ):

        def write(strip: _Strip) -> None:
            with explained(path):  # not the file that was opened last
                add(strip)

        yield write


@contextmanager
def _encode(
    kind: Kind, file: BinaryIO, size: tuple[int, int], predictor: Predictor, style: OverlayStyle
) -> Iterator[Callable[[_Strip], None]]:
    labels, measure = predictor.labels, predictor.measure
    if kind == "mask":
        with PngWriter(file, size, palette=style.colored(labels).file_palette()) as png:
            yield lambda strip: png.add(labels.to_file_values(strip.prediction.mask))
    elif kind == "confidence":
        texts = value_metadata(1.0, {"Title": kind, "Description": CONFIDENCE})
        with PngWriter(file, size, bits=16, metadata=texts) as png:
            yield lambda strip: png.add(encode_values(_require(strip.prediction.confidence, kind), 1.0))
    elif kind == "uncertainty":
        if measure is None:
            raise ConfigError("the predictor computes no uncertainty; load it with uncertainty=True")
        top = largest_uncertainty(measure, labels.classes)
        texts = value_metadata(top, {"Title": kind, "Description": describe_uncertainty(measure)})
        with PngWriter(file, size, bits=16, metadata=texts) as png:
            yield lambda strip: png.add(encode_values(_require(strip.prediction.uncertainty, kind), top))
    else:
        width = 2 * size[1] if kind == "side" else size[1]
        drawing, legend = _Drawing(kind, labels, style), _legend(kind, (size[0], width), labels, style)
        with PngWriter(file, (size[0] + len(legend), width), channels=3) as png:
            yield lambda strip: png.add(drawing.add(strip))
            png.add(drawing.rest())
            png.add(legend)


def _legend(view: View, size: tuple[int, int], labels: ClassTable, style: OverlayStyle) -> NDArray[np.uint8]:
    """The legend with all class names; without rows if it is not requested, or wider than the image."""
    legend = class_names(*size, labels, style)
    return legend if style.has_legend(view) and legend.shape[1] == size[1] else legend[:0, : size[1]]


def _require(values: NDArray[np.float32] | None, kind: str) -> NDArray[np.float32]:
    if values is None:
        raise ConfigError(f"the predictor computes no {kind}; load it with {kind}=True")
    return values


class _Drawing:
    """Draws strip by strip; outlines continue across the strips."""

    def __init__(self, view: View, labels: ClassTable, style: OverlayStyle) -> None:
        self._view, self._labels, self._style = view, labels, style
        self._reach = style.outline_width or 0
        self._image: NDArray[np.uint8] = np.zeros((0, 0, 3), dtype=np.uint8)
        self._mask: NDArray[np.uint8] = np.zeros((0, 0), dtype=np.uint8)
        self._drawn = 0  # rows at the top that were returned before

    def add(self, strip: _Strip) -> NDArray[np.uint8]:
        """Add a strip, and return the rows that it completes: uint8 (h, W, 3)."""
        image, mask = strip.image, strip.prediction.mask
        self._image = np.concatenate([self._image.reshape(-1, *image.shape[1:]), image])
        self._mask = np.concatenate([self._mask.reshape(-1, *mask.shape[1:]), mask])
        rows = self._rows(max(self._drawn, len(self._mask) - self._reach))
        forget = max(0, self._drawn - self._reach)
        self._image, self._mask = self._image[forget:], self._mask[forget:]
        self._drawn -= forget
        return rows

    def rest(self) -> NDArray[np.uint8]:
        """The rows that waited for more rows below them: uint8 (h, W, 3)."""
        return self._rows(len(self._mask))

    def _rows(self, stop: int) -> NDArray[np.uint8]:
        start, self._drawn = self._drawn, stop
        image = visualize.view(self._view, self._image, self._mask, self._labels, self._style)
        return image[start:stop]
