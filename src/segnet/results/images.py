"""``segnet predict`` on images: reading, inference and writing run side by side."""

from __future__ import annotations

import errno
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from segnet.bands import Channels, Pixels, stored_bands
from segnet.errors import ConfigError, DataError, ModelError, OutputError, SegNetError, ShapeError
from segnet.inference.large_images import predict_large
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.media.images.headers import count_images, read_header
from segnet.media.images.stored import read_pixels
from segnet.media.images.strips import readable_in_strips
from segnet.media.sources import ImageFile
from segnet.results.writer import ResultWriter
from segnet.system.allocator import keep_freed_memory, return_freed_memory
from segnet.system.limits import describe_limit
from segnet.system.progress import ProgressBar
from segnet.system.queues import Background
from segnet.system.tables import new_table, print_table
from segnet.system.threads import read_ahead

__all__ = [
    "ImageReport", "Job", "find_jobs", "keeping_faults", "predict_images", "print_shares", "segment_images",
]  # fmt: skip

log = logging.getLogger("segnet")

# Reasons for which no further result can be written.
_CONCERN_ALL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE))

_MANY = 16  # images from which it pays to prepare for several at once
_CONCURRENT_PIXELS = 1_000_000  # at the working size; two larger images might not fit into memory together
_WRITES_AHEAD = 8  # fewer of large images
_BYTES_PER_VALUE = 8  # pixel and channel: the image, its overlay and mask, and their encoding
# Half for the image in Pillow and NumPy, its overlay and mask, and their encoding; half for inference.
_BYTES_PER_PIXEL = 48


@dataclass(frozen=True)
class Job:
    """One image to predict.

    Attributes:
        image: path of the file.
        name: of its results in the folder of each kind, without suffix.
    """

    image: Path
    name: Path


@dataclass
class ImageReport:
    """Figures of a run of ``segnet predict``.

    Attributes:
        shares: of each image, the share of each class: float64 (classes,).
        failures: sentences on images and videos that could not be read, or only in part.
        videos: figures of each video.
        notes: sentences on images of which only a part was predicted.
    """

    shares: list[NDArray[np.float64]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    videos: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mean_shares(self, labels: ClassTable) -> dict[str, float]:
        """The mean share of each class over the images, by class name; empty without images."""
        means = np.mean(self.shares, axis=0) if self.shares else ()
        return dict(zip(labels.names, map(float, means), strict=False))


def find_jobs(images: Sequence[ImageFile]) -> list[Job]:
    """Each image once; names that differ only in their suffix keep it.

    Raises:
        DataError: the results of two images would have the same name.
    """
    unique = dict.fromkeys(images)
    uses = Counter(image.name.with_suffix("") for image in unique)
    stems = [(image, image.name.with_suffix("")) for image in unique]
    jobs = [Job(image.path, stem if uses[stem] == 1 else image.name) for image, stem in stems]
    name, count = Counter(job.name for job in jobs).most_common(1)[0] if jobs else (Path(), 0)
    if count > 1:
        same = [str(job.image) for job in jobs if job.name == name]
        raise DataError(f"{' and '.join(same[:2])} would be written to the same name; predict them in separate runs")
    return jobs


def predict_images(
    predictor: Predictor,
    jobs: list[Job],
    writer: ResultWriter,
    report: ImageReport,
    *,
    each: Callable[[SegmentedFrame], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """``segment_images``, and print the mean class shares and the number of images, after an error too."""
    try:
        with predictor.runtime.concurrent() if len(jobs) >= _MANY else nullcontext(1) as at_once:
            segment_images(predictor, jobs, writer, report, each=each, stop=stop, at_once=at_once)
    finally:
        if report.shares:
            print_shares(report.mean_shares(predictor.labels))
        print(f"{len(report.shares)} of {len(jobs)} images predicted -> {writer.root}")


def segment_images(
    predictor: Predictor,
    jobs: Iterable[Job],
    writer: ResultWriter,
    report: ImageReport,
    *,
    each: Callable[[SegmentedFrame], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    finished: Callable[[Job, str], None] = lambda job, failure: None,
    at_once: int = 1,
) -> None:
    """Read images and write results in threads while the model runs. An image that fails does not stop the others.

    Args:
        predictor: the model.
        jobs: the images.
        writer: of the results.
        report: gets class shares and failures.
        each: called with each image and its prediction, in order, in a thread. It needs images in one piece; without
            it, images larger than the memory of ``predictor.tiles`` are streamed in strips.
        stop: called after each image; True ends the run when the results so far are written.
        finished: called with each image once its results have their names, and a sentence if it failed, else "".
        at_once: number of small images that are predicted at the same time, in ``Runtime.concurrent``.

    Raises:
        OutputError, MissingPackageError: no result can be written any more, as on a full disk.
    """
    total = len(jobs) if isinstance(jobs, Sized) else None
    bar = ProgressBar("predicting")
    memory = math.inf if predictor.tiles is None else predictor.tiles.memory
    streamed = each is None and writer.streamable
    read = partial(_read_first, report, channels=predictor.channels, memory=memory if streamed else math.inf)
    largest = 0 if at_once == 1 else _CONCURRENT_PIXELS
    work = partial(_read_and_predict, predictor, read, largest=largest)
    with ThreadPoolExecutor(max_workers=2) as threads, Background(partial(_list, each, report)) as lists:
        pending: list[_Pending] = []
        limit = _WRITES_AHEAD
        bar.start(total=total)
        try:
            for done, (job, image) in enumerate(read_ahead(jobs, work, threads=max(2, at_once))):
                with _keeping_fault(job, report, finished):
                    if (found := image.result()) is None:
                        with _stopped(bar, done=done, total=total):
                            report.shares.append(_predict_in_strips(predictor, job, writer))
                        finished(job, "")
                    else:
                        frame = found if isinstance(found, SegmentedFrame) else _predict(predictor, job, found)
                        writing = threads.submit(writer.write, job.name, frame.image, frame.prediction)
                        pending.append(_Pending(job, writing))
                        lists.put(frame)
                        limit = _writes_ahead(frame.image.size, memory)
                _collect(pending, report, finished, limit=limit)
                bar.advance(job.image.name)
                if stop():
                    break
            _collect(pending, report, finished, limit=0)
        finally:
            bar.stop()
            _collect_after_error(pending, report, finished)


@contextmanager
def keeping_faults(source: str, failures: list[str]) -> Iterator[None]:
    """Note whatever goes wrong with one image or video as its failure, so that the others are predicted.

    Args:
        source: name of the image or video.
        failures: gets a sentence.

    Raises:
        OutputError: no other result can be written either, as on a full disk.
        ConfigError, ModelError, MissingPackageError: it concerns all others too.
    """
    try:
        yield
    except (ConfigError, ModelError, ImportError):
        raise
    except SegNetError as error:
        if isinstance(error, OutputError) and getattr(error.__cause__, "errno", None) in _CONCERN_ALL:
            raise
        failures.append(str(error))
    except Exception as error:
        log.debug("segnet: %s failed", source, exc_info=error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        limit = describe_limit(error, command="predict")
        cause = f": {limit}" if limit else f" ({reason}); leave it out, and report this as a bug"
        failures.append(f"{source} cannot be predicted{cause}")


def print_shares(shares: Mapping[str, float]) -> None:
    """Print the share of the pixels of each class, the largest first."""
    table = new_table("class", "share of pixels")
    for name in sorted(shares, key=lambda name: -shares[name]):
        table.add_row(escape(name), f"{shares[name]:.1%}")
    print_table(table)


def _read_first(report: ImageReport, job: Job, *, channels: Channels, memory: float) -> Pixels | None:
    """As ``_read``, and note that a file holds further images."""
    pixels = _read(job, channels=channels, memory=memory)
    if stored_bands(channels) is None and (count := count_images(job.image)) > 1:
        report.notes.append(
            f"{job.image} holds {count} images, and only the first was predicted; save the others as files of their own"
        )
    return pixels


def _read(job: Job, *, channels: Channels, memory: float) -> Pixels | None:
    """The image; None if it takes more than ``memory`` gigabytes with its results, and can be read in strips."""
    if memory < math.inf and stored_bands(channels) is None and (header := read_header(job.image)) is not None:
        height, width = header.size
        if height * width * _BYTES_PER_PIXEL > memory * 1e9 and readable_in_strips(header):
            return None
    return read_pixels(job.image, channels)


def _read_and_predict(
    predictor: Predictor, read: Callable[[Job], Pixels | None], job: Job, *, largest: int
) -> Pixels | SegmentedFrame | None:
    """What ``read`` returns, or the prediction of an image of at most so many pixels at its working size."""
    pixels = read(job)
    small = pixels is not None and math.prod(predictor.working_size(*pixels.shape[:2])) <= largest
    return _predict(predictor, job, pixels) if pixels is not None and small else pixels


def _predict(predictor: Predictor, job: Job, pixels: Pixels) -> SegmentedFrame:
    """Run inference on one image; an image that does not fit the model or the memory raises ``DataError``."""
    try:
        prediction = predictor.predict_pixels(pixels)
    except (ConfigError, ShapeError) as error:
        raise DataError(f"{job.image}: {error}") from error
    assert prediction.image is not None
    return SegmentedFrame(prediction.image, prediction, source=str(job.image), name=job.name.as_posix())


def _predict_in_strips(predictor: Predictor, job: Job, writer: ResultWriter) -> NDArray[np.float64]:
    """Read, predict and write a large image in strips; returns the class shares."""
    bar = ProgressBar(job.image.name)
    done = 0

    def advance(rows: int, total: int) -> None:
        nonlocal done
        if not done:
            bar.start(total=total)
        bar.advance(by=rows - done)
        done = rows

    return_freed_memory()  # memory is scarce now
    try:
        files = writer.paths(job.name)
        with ExitStack() as stack:
            for path in files.values():
                stack.enter_context(writer.noting(path))
            return predict_large(predictor, job.image, files, style=writer.style, progress=advance)
    except (ConfigError, ShapeError) as error:
        raise DataError(f"{job.image}: {error}") from error
    finally:
        bar.stop()
        keep_freed_memory()


def _writes_ahead(values: int, memory: float) -> int:
    """How many images of so many values (pixel and channel) may wait to be written within ``memory`` gigabytes."""
    return int(min(_WRITES_AHEAD, memory * 1e9 / (_BYTES_PER_VALUE * values)))


class _Pending(NamedTuple):
    """An image whose results are being written."""

    job: Job
    shares: Future[NDArray[np.float64]]


def _collect(pending: list[_Pending], report: ImageReport, finished: Callable[[Job, str], None], *, limit: int) -> None:
    """Add class shares or failures of the oldest images to the report, until no more than ``limit`` are pending."""
    while len(pending) > limit:
        wait([pending[0].shares])  # Ctrl-C while it waits leaves the image in the list
        job, shares = pending.pop(0)
        with _keeping_fault(job, report, finished):
            report.shares.append(shares.result())
            finished(job, "")


def _collect_after_error(pending: list[_Pending], report: ImageReport, finished: Callable[[Job, str], None]) -> None:
    """Count the images that are written in spite of an error or Ctrl-C; further errors of its kind add nothing."""
    while pending:
        with suppress(SegNetError, ImportError):
            _collect(pending, report, finished, limit=0)


@contextmanager
def _keeping_fault(job: Job, report: ImageReport, finished: Callable[[Job, str], None]) -> Iterator[None]:
    """``keeping_faults`` of one image, which is finished if it fails."""
    failures: list[str] = []
    with keeping_faults(str(job.image), failures):
        yield
    report.failures += failures
    for failure in failures:
        finished(job, failure)


def _list(each: Callable[[SegmentedFrame], None] | None, report: ImageReport, frame: SegmentedFrame) -> None:
    if each is not None:
        with keeping_faults(frame.source, report.failures):
            each(frame)


@contextmanager
def _stopped(bar: ProgressBar, *, done: int, total: int | None) -> Iterator[None]:
    bar.stop()
    try:
        yield
    finally:
        bar.start(total=total, done=done)
