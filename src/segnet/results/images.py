"""Images in, files out: reading, the model and writing side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, ShapeError
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.reading import read_image
from segnet.results.jobs import Job
from segnet.results.output import Output
from segnet.results.shares import print_shares
from segnet.system.progress import ProgressBar
from segnet.system.queues import Background
from segnet.system.threads import read_ahead

__all__ = ["Tally", "label_all", "predict_images"]

_WRITES_AHEAD = 8  # fewer of large images
_BYTES_PER_PIXEL = 8  # and channel: the image, its overlay, mask, and what encoding them takes


@dataclass
class Tally:
    """What a run over many images came to."""

    shares: list[NDArray[np.float64]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    videos: list[dict[str, Any]] = field(default_factory=list)

    def mean_shares(self, labels: ClassTable) -> dict[str, float]:
        """Of the images, by the names of the classes; empty if there is none."""
        means = np.mean(self.shares, axis=0) if self.shares else ()
        return dict(zip(labels.names, map(float, means), strict=False))


def label_all(
    predictor: Predictor, jobs: list[Job], output: Output, tally: Tally, *, each: Callable[[SegmentedFrame], None]
) -> None:
    """Images are read and results written in threads while the model runs; one bad image does not stop the rest."""
    bar = ProgressBar("labeling")
    memory = math.inf if predictor.tiles is None else predictor.tiles.memory
    read = partial(_read, output=output, channels=predictor.channels, memory=memory)
    with ThreadPoolExecutor(max_workers=2) as writers, Background(each) as lists:
        waiting: list[Future[NDArray[np.float64]]] = []
        bar.start(total=len(jobs))
        try:
            for done, (job, image) in enumerate(read_ahead(jobs, read)):
                keep = _WRITES_AHEAD
                try:
                    pixels = image.result()
                    if pixels is None:
                        bar.stop()
                        try:
                            tally.shares.append(_label_in_parts(predictor, job, output))
                        finally:
                            bar.start(total=len(jobs), done=done)
                    else:
                        labeled = _labeled(predictor, job, pixels)
                        waiting.append(writers.submit(output.write, job.place, pixels, labeled.prediction))
                        lists.put(labeled)
                        keep = min(_WRITES_AHEAD, int(memory * 1e9 / (_BYTES_PER_PIXEL * pixels.size)))
                except DataError as error:
                    tally.failures.append(str(error))
                tally.shares.extend(_finished(waiting, keep=keep))
                bar.advance(job.image.name)
            tally.shares.extend(_finished(waiting, keep=0))
        finally:
            bar.stop()


def _label_in_parts(predictor: Predictor, job: Job, output: Output) -> NDArray[np.float64]:
    try:
        return output.write_in_parts(predictor, job.place, job.image)
    except (ConfigError, ShapeError) as error:
        raise DataError(f"{job.image}: {error}") from error


def _labeled(predictor: Predictor, job: Job, pixels: NDArray[np.uint8]) -> SegmentedFrame:
    """One image; that it does not suit model or memory is its own fault, and no reason to leave out the others."""
    try:
        prediction = predictor(pixels)
    except (ConfigError, ShapeError) as error:
        raise DataError(f"{job.image}: {error}") from error
    return SegmentedFrame(pixels, prediction, source=str(job.image), name=job.place.as_posix())


def predict_images(
    predictor: Predictor, jobs: list[Job], output: Output, tally: Tally, *, each: Callable[[SegmentedFrame], None]
) -> None:
    """As ``label_all``, and tell what came of it."""
    try:
        label_all(predictor, jobs, output, tally, each=each)
    finally:
        _report(tally, predictor.labels, len(jobs), output.root)


def _read(job: Job, *, output: Output, channels: int, memory: float) -> NDArray[np.uint8] | None:
    """The image; None if it is to be read in parts."""
    if output.in_parts(job.image, memory=memory):
        return None
    return read_image(job.image, channels=channels)


def _finished(waiting: list[Future[NDArray[np.float64]]], *, keep: int) -> Iterator[NDArray[np.float64]]:
    """Results of the oldest writes, until no more than ``keep`` are under way."""
    while len(waiting) > keep:
        yield waiting.pop(0).result()


def _report(tally: Tally, labels: ClassTable, images: int, out: Path) -> None:
    """The mean share of every class, and how many images were labeled."""
    if tally.shares:
        print_shares(tally.mean_shares(labels))
    print(f"{len(tally.shares)} of {images} images labeled -> {out}")
