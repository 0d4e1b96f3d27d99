"""Images that are too large to be held in memory: read, labeled and written from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.inference.prediction import Prediction
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.png import PngWriter
from segnet.media.images.strips import ImageRows
from segnet.media.images.writing import encode_values, value_metadata
from segnet.metrics.uncertainty import CONFIDENCE, described, largest
from segnet.system.files import explained, replacing
from segnet.visualization import overlay as visualize
from segnet.visualization.style import OverlayStyle, View

__all__ = ["Kind", "predict_large"]

Kind = Literal["mask", "overlay", "color", "side", "confidence", "uncertainty"]

_AT_ONCE = 4_000_000  # pixels that are drawn and written at a time


class _Part(NamedTuple):
    """Rows of the image at its own size, and what the model says of them."""

    image: NDArray[np.uint8]
    prediction: Prediction


def predict_large(
    predictor: Predictor,
    image: Path,
    files: Mapping[Kind, Path],
    *,
    look: OverlayStyle = OverlayStyle(),  # noqa: B008
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Label an image with memory for a few rows of tiles, whatever its height.

    Args:
        predictor: the model; gives confidence and uncertainty if they are among ``files``.
        image: PNG, JPEG, TIFF or whatever else libvips reads.
        files: what to write, all as PNG: the kinds that "segnet predict --save" knows; legends tell no shares.
        look: of what is for looking at.
        progress: called with (done, all) rows.

    Returns:
        The share of each class: float64 (classes,), sum 1.

    Raises:
        DataError: the image cannot be read; no file is left.
        OutputError: a file cannot be written; none is left.
        ConfigError: the memory is too little for this width.
        MissingPackageError: pyvips is not installed.
    """
    counts = np.zeros(predictor.labels.classes, dtype=np.int64)
    whole = ImageRows(image, channels=predictor.channels)
    height, width = whole.size
    look = visualize.with_lines(look, whole.size, inside=predictor.working_size(height, width))
    done = 0
    with ExitStack() as stack:
        sheets = [stack.enter_context(_opened(kind, path, whole.size, predictor, look)) for kind, path in files.items()]
        for part in _parts(predictor, whole):
            counts += np.bincount(part.prediction.mask.ravel(), minlength=len(counts))
            for add in sheets:
                add(part)
            done += len(part.image)
            if progress is not None:
                progress(done, height)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _parts(predictor: Predictor, whole: ImageRows) -> Iterator[_Part]:
    """The image from top to bottom with its labeling, at its own size."""
    height, width = whole.size
    inside = predictor.working_size(height, width)
    small = ImageRows(whole.path, channels=predictor.channels, size=inside) if inside != whole.size else whole
    for rows in predictor.predict_rows(small, whole.size):
        image = whole.read(len(rows.prediction.mask)) if rows.image is None else rows.image
        step = max(1, _AT_ONCE // width)
        for start in range(0, len(image), step):
            chosen = slice(start, start + step)
            yield _Part(image[chosen], rows.prediction.part(chosen))


@contextmanager
def _opened(
    kind: Kind, path: Path, size: tuple[int, int], predictor: Predictor, look: OverlayStyle
) -> Iterator[Callable[[_Part], None]]:
    """One file; gives what takes the parts in their order."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        _sheet(kind, file, size, predictor, look) as add,
    ):

        def take(part: _Part) -> None:
            with explained(path):  # not the file that was opened last
                add(part)

        yield take


@contextmanager
def _sheet(
    kind: Kind, file: BinaryIO, size: tuple[int, int], predictor: Predictor, look: OverlayStyle
) -> Iterator[Callable[[_Part], None]]:
    labels, measure = predictor.labels, predictor.measure
    if kind == "mask":
        with PngWriter(file, size, palette=look.colored(labels).palette()) as png:
            yield lambda part: png.add(part.prediction.mask)
    elif kind == "confidence":
        about = value_metadata(1.0, {"Title": kind, "Description": CONFIDENCE})
        with PngWriter(file, size, bits=16, metadata=about) as png:
            yield lambda part: png.add(encode_values(_given(part.prediction.confidence, kind), 1.0))
    elif kind == "uncertainty":
        if measure is None:
            raise ConfigError("the predictor gives no uncertainty; make it with uncertainty=True")
        top = largest(measure, labels.classes)
        about = value_metadata(top, {"Title": kind, "Description": f"uncertainty: {described(measure)}"})
        with PngWriter(file, size, bits=16, metadata=about) as png:
            yield lambda part: png.add(encode_values(_given(part.prediction.uncertainty, kind), top))
    else:
        width = 2 * size[1] if kind == "side" else size[1]
        drawing, legend = _Drawing(kind, labels, look), _legend(kind, (size[0], width), labels, look)
        with PngWriter(file, (size[0] + len(legend), width), channels=3) as png:
            yield lambda part: png.add(drawing.add(part))
            png.add(drawing.rest())
            png.add(legend)


def _legend(view: View, size: tuple[int, int], labels: ClassTable, look: OverlayStyle) -> NDArray[np.uint8]:
    """The names of the classes; no row where none is wanted, or where the image is too narrow for it."""
    legend = visualize.class_names(*size, labels, look)
    return legend if look.has_legend(view) and legend.shape[1] == size[1] else legend[:0, : size[1]]


def _given(values: NDArray[np.float32] | None, kind: str) -> NDArray[np.float32]:
    if values is None:
        raise ConfigError(f"the predictor gives no {kind}; make it with {kind}=True")
    return values


class _Drawing:
    """What people look at, part by part, with lines that do not stop where a part does."""

    def __init__(self, view: View, labels: ClassTable, look: OverlayStyle) -> None:
        self._view, self._labels, self._look = view, labels, look
        self._reach = look.lines or 0
        self._image: NDArray[np.uint8] = np.zeros((0, 0, 3), dtype=np.uint8)
        self._mask: NDArray[np.uint8] = np.zeros((0, 0), dtype=np.uint8)
        self._drawn = 0  # rows at the top that were handed out before

    def add(self, part: _Part) -> NDArray[np.uint8]:
        """The rows that are finished now that these are known, too: uint8 (h, W, 3)."""
        image, mask = part.image, part.prediction.mask
        self._image = np.concatenate([self._image.reshape(-1, *image.shape[1:]), image])
        self._mask = np.concatenate([self._mask.reshape(-1, *mask.shape[1:]), mask])
        rows = self._rows(max(self._drawn, len(self._mask) - self._reach))
        forget = max(0, self._drawn - self._reach)
        self._image, self._mask = self._image[forget:], self._mask[forget:]
        self._drawn -= forget
        return rows

    def rest(self) -> NDArray[np.uint8]:
        """The rows that waited for more below them."""
        return self._rows(len(self._mask))

    def _rows(self, stop: int) -> NDArray[np.uint8]:
        start, self._drawn = self._drawn, stop
        image = visualize.view(self._view, self._image, self._mask, self._labels, self._look)
        return image[start:stop]
