"""What is written of an image that was labeled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from segnet.inference.large_images import Kind, needs_strips, predict_large
from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.decoding import read_header
from segnet.media.images.strips import readable_in_parts
from segnet.media.images.writing import write_image, write_mask, write_values
from segnet.metrics.uncertainty import CONFIDENCE, Measure, described, largest
from segnet.results.coco import CocoFile, Form
from segnet.results.records import RecordFile
from segnet.system.allocator import keep_freed_memory, return_freed_memory
from segnet.system.progress import ProgressBar
from segnet.visualization import overlay as visualize
from segnet.visualization.style import VIEWS, OverlayStyle

__all__ = ["Output", "lists"]


@dataclass(frozen=True)
class Output:
    """Where results go, which kinds, and how they look; ``whole``: something else wants every image in one piece."""

    root: Path
    kinds: tuple[str, ...]
    look: OverlayStyle
    labels: ClassTable
    measure: Measure | None = None
    whole: bool = False

    def numbers(self) -> Output:
        """The same without what is for looking at, of which a video makes movies."""
        return replace(self, kinds=tuple(kind for kind in self.kinds if kind not in VIEWS))

    def write(self, place: Path, image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.float64]:
        """Write what was asked for and return the class shares.

        Args:
            place: of the image among the others, without suffix.
            image: the image.
            prediction: of it.
        """
        height, width = prediction.mask.shape
        look = visualize.with_lines(self.look, (height, width), inside=prediction.working_size)
        shares = visualize.class_shares(prediction.mask, self.labels)
        if "mask" in self.kinds:
            write_mask(self._path("mask", place), prediction.mask, look.colored(self.labels))
        for kind in (kind for kind in VIEWS if kind in self.kinds):
            rendered = visualize.view(kind, image, prediction.mask, self.labels, look)
            if look.has_legend(kind):
                rendered = visualize.add_legend(rendered, self.labels, shares, look)
            write_image(self._path(kind, place), rendered)
        if "confidence" in self.kinds and prediction.confidence is not None:
            told = {"Title": "confidence", "Description": CONFIDENCE}
            self._write_values("confidence", place, prediction.confidence, 1.0, told)
        if prediction.uncertainty is not None and self.measure is not None:
            self._write_uncertainty(place, prediction.uncertainty, self.measure)
        return shares

    def in_parts(self, image: Path, *, memory: float) -> bool:
        """Whether an image is read, labeled and written in parts, since it would take more gigabytes than allowed.

        Needs libvips, which reads some formats in parts. What the files for programs want is the whole image.
        """
        if self.whole or set(self.kinds) - set(get_args(Kind)) or find_spec("pyvips") is None:
            return False
        header = read_header(image)
        return header is not None and readable_in_parts(header) and needs_strips(*header.size, memory=memory)

    def write_in_parts(self, predictor: Predictor, place: Path, image: Path) -> NDArray[np.float64]:
        """Label an image that is too large to be held in memory, write what was asked for, and return the shares."""
        files = {kind: self._path(kind, place) for kind in get_args(Kind) if kind in self.kinds}
        bar = ProgressBar(image.name)
        done = 0

        def advance(rows: int, total: int) -> None:
            nonlocal done
            if not done:
                bar.start(total=total)
            bar.advance(by=rows - done)
            done = rows

        return_freed_memory()  # memory is what is scarce now
        try:
            return predict_large(predictor, image, files, look=self.look, progress=advance)
        finally:
            bar.stop()
            keep_freed_memory()

    def _write_uncertainty(self, place: Path, values: NDArray[np.float32], measure: Measure) -> None:
        told = {"Title": "uncertainty", "Description": f"uncertainty: {described(measure)}"}
        self._write_values("uncertainty", place, values, largest(measure, self.labels.classes), told)

    def _write_values(
        self, kind: str, place: Path, values: NDArray[np.float32], largest: float, told: dict[str, str]
    ) -> None:
        """The numbers, and what they look like in colors, which for an uncertainty end at the image's largest."""
        write_values(self._path(kind, place), values, largest, told)
        top = largest if kind == "confidence" else visualize.rounded_up(max(float(values.max()), 1e-6))
        image = visualize.color_map(values, largest=top, title=told["Description"])
        write_image(self._path(f"{kind}_color", place), image)

    def _path(self, kind: str, place: Path) -> Path:
        return self.root / kind / place.with_name(f"{place.name}.png")


@contextmanager
def lists(output: Output, records: Path | None) -> Iterator[Callable[[SegmentedFrame], None]]:
    """What adds an image or frame to each file for programs that was asked for."""
    with ExitStack() as opened:
        files: list[RecordFile | CocoFile] = []
        if records is not None:
            files.append(opened.enter_context(RecordFile(records, output.labels)))
        forms: dict[str, Form] = {"coco": "rle", "polygons": "polygons"}
        for kind in forms.keys() & set(output.kinds):
            file = CocoFile(output.root / f"{kind}.json", output.look.colored(output.labels), form=forms[kind])
            files.append(opened.enter_context(file))

        def add(labeled: SegmentedFrame) -> None:
            for file in files:
                file.add(labeled)

        yield add
