"""Writes predictions: files of each image, and files that list all images and frames (records, COCO)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from segnet.inference.large_images import Kind
from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.labels import ClassTable
from segnet.media.images.writing import write_image, write_mask, write_values
from segnet.metrics.uncertainty import CONFIDENCE, Measure, describe_uncertainty, largest_uncertainty
from segnet.system.earlier import EarlierResults
from segnet.visualization import overlay as visualize
from segnet.visualization.legends import color_map, rounded_up
from segnet.visualization.style import VIEWS, OverlayStyle

__all__ = ["ResultWriter", "list_results", "open_lists", "result_path"]


@dataclass(frozen=True)
class ResultWriter:
    """Writes masks, overlays and values of each image into one folder per kind.

    Attributes:
        root: folder of the results.
        kinds: mask, overlay, color, side, confidence, uncertainty; others are ignored.
        style: colors, outlines and legend.
        labels: the classes.
        measure: of uncertainty; None: no uncertainty is written.
        earlier: gets each file that was written.
        file: the only result, if there is one image and one kind; None: files below ``root``.
    """

    root: Path
    kinds: tuple[str, ...]
    style: OverlayStyle
    labels: ClassTable
    measure: Measure | None = None
    earlier: EarlierResults | None = None
    file: Path | None = None

    @property
    def streamable(self) -> bool:
        """Whether images larger than memory can be written; only PNG can be written in strips."""
        return self.file is None or self.file.suffix.lower() == ".png"

    def without_views(self) -> ResultWriter:
        """The writer of masks and values only; overlays of a video are video files."""
        return replace(self, kinds=tuple(kind for kind in self.kinds if kind not in VIEWS))

    def paths(self, name: Path) -> dict[Kind, Path]:
        """The file of each kind of result of an image, by its name without suffix."""
        return {kind: self._path(kind, name) for kind in get_args(Kind) if kind in self.kinds}

    def noting(self, path: Path) -> AbstractContextManager[None]:
        """Note a file that the block writes."""
        return nullcontext() if self.earlier is None else self.earlier.noting(path)

    def write(
        self,
        name: Path,
        image: NDArray[np.uint8],
        prediction: Prediction,
    ) -> NDArray[np.float64]:
        """Write the requested kinds of results.

        Args:
            name: of the image, with subfolders and without suffix.
            image: uint8 (H, W, C).
            prediction: of the image.

        Returns:
            The share of each class: float64 (classes,).

        Raises:
            OutputError: a file cannot be written.
        """
        shares = visualize.class_shares(prediction.mask, self.labels)
        if "mask" in self.kinds:
            with self.noting(path := self._path("mask", name)):
                write_mask(path, prediction.mask, self.style.colored(self.labels))
        for view in (view for view in VIEWS if view in self.kinds):
            rendered = visualize.finished_view(
                view, image, prediction.mask, self.labels, self.style, working_size=prediction.working_size
            )
            with self.noting(path := self._path(view, name)):
                write_image(path, rendered)
        if "confidence" in self.kinds and prediction.confidence is not None:
            self._write_values("confidence", name, prediction.confidence, largest=1.0, description=CONFIDENCE)
        if prediction.uncertainty is not None and self.measure is not None:
            top = largest_uncertainty(self.measure, self.labels.classes)
            description = describe_uncertainty(self.measure)
            self._write_values("uncertainty", name, prediction.uncertainty, largest=top, description=description)
        return shares

    def _write_values(
        self, kind: str, name: Path, values: NDArray[np.float32], *, largest: float, description: str
    ) -> None:
        """The values as 16-bit PNG, and in colors; the color scale of uncertainty ends at the image's largest value."""
        with self.noting(path := self._path(kind, name)):
            write_values(path, values, largest, {"Title": kind, "Description": description})
        if self.file is not None:
            return
        top = largest if kind == "confidence" else rounded_up(max(float(values.max()), 1e-6))
        colors = color_map(values, largest=top, title=description)
        with self.noting(path := self._path(f"{kind}_color", name)):
            write_image(path, colors)

    def _path(self, kind: str, name: Path) -> Path:
        return result_path(self.root, kind, name) if self.file is None else self.file


def result_path(root: Path, kind: str, name: Path) -> Path:
    """The file of one kind of result of an image, by its name without suffix."""
    return root / kind / name.with_name(f"{name.name}.png")


def list_results(root: Path, kinds: Sequence[str], names: Iterable[Path]) -> Iterator[Path]:
    """All files that ``ResultWriter`` and ``open_lists`` write below ``root`` for images of these names."""
    yield from (root / f"{kind}.json" for kind in ("coco", "polygons") if kind in kinds)
    single = [kind for kind in get_args(Kind) if kind in kinds]
    colored = [f"{kind}_color" for kind in ("confidence", "uncertainty") if kind in kinds]
    for name in names:
        yield from (result_path(root, kind, name) for kind in (*single, *colored))


@contextmanager
def open_lists(
    root: Path, kinds: Sequence[str], labels: ClassTable, *, records: Path | None = None, earlier: EarlierResults
) -> Iterator[Callable[[SegmentedFrame], None] | None]:
    """Open the files that list all images and frames: records, and COCO files in ``root``.

    Args:
        root: folder of ``coco.json`` and ``polygons.json``.
        kinds: of results; coco and polygons are COCO files.
        labels: the classes, in the colors of the COCO categories.
        records: file of records, .jsonl or .csv; None: no file.
        earlier: gets the files.

    Yields:
        The function that adds an image or frame to each file; None if there is no file.

    Raises:
        OutputError, MissingPackageError: see ``RecordFile`` and ``CocoFile``.
    """
    from segnet.results.coco import CocoFile, Form
    from segnet.results.records import RecordFile

    forms: dict[str, Form] = {"coco": "rle", "polygons": "polygons"}
    with ExitStack() as stack:
        files: list[RecordFile | CocoFile] = []
        if records is not None:
            files.append(RecordFile(records, labels, before_line=partial(earlier.add_growing, records)))
        files += [CocoFile(root / f"{kind}.json", labels, form=forms[kind]) for kind in forms.keys() & set(kinds)]
        for file in files:
            if isinstance(file, CocoFile):
                stack.enter_context(earlier.noting(file.path))
            stack.enter_context(file)

        def add(frame: SegmentedFrame) -> None:
            for file in files:
                file.add(frame)

        yield add if files else None
