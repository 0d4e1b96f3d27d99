"""What each process of a run does with its part of the images; knows nothing of Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from segnet.batch.done import DoneFile, DoneImages, count_deaths, fingerprint
from segnet.batch.shards import WRITERS, Row, make_row, read_shard
from segnet.batch.sources import Item, Part, copy_file, is_address
from segnet.errors import DataError, SegNetError
from segnet.inference.prediction import SegmentedFrame
from segnet.inference.predictor import Predictor
from segnet.results.images import ImageReport, Job, keeping_faults, segment_images
from segnet.results.writer import ResultWriter, list_results
from segnet.system.earlier import EarlierResults
from segnet.system.files import explained
from segnet.system.threads import read_ahead
from segnet.visualization.style import OverlayStyle

__all__ = ["IMAGES_PER_SHARD", "BatchReport", "Task", "Worker"]

IMAGES_PER_SHARD = 256
"""Most images of one part, and of one file of results."""

_LARGEST_CHUNK = 64_000_000  # bytes of images of a shard that are held together
_MOST_DEATHS = 3  # an image that was in hand when so many processes died is given up


@dataclass(frozen=True)
class Task:
    """What all workers of a run have in common.

    Attributes:
        load: opens the model.
        out: folder of the results, which every process sees.
        kinds: of results, as ``segnet predict --save`` has them, with parquet and webdataset.
        style: of overlays.
        run: name of the run, in the names of its files.
        threads: that compute, per process.
    """

    load: Callable[[], Predictor]
    out: Path
    kinds: tuple[str, ...]
    style: OverlayStyle
    run: str
    threads: int = 1

    @property
    def stored(self) -> tuple[str, ...]:
        """The kinds of results of which one file holds many images."""
        return tuple(kind for kind in WRITERS if kind in self.kinds)

    def has_results(self, name: str) -> bool:
        """Whether the masks and other images of results exist; files that hold many images are not looked at."""
        return all(path.is_file() for path in list_results(self.out, self.kinds, [Path(name)]))


@dataclass
class BatchReport:
    """What became of some images.

    Attributes:
        predicted: number of images with all results.
        skipped: number of images that were done before.
        shares: sum over the predicted images of the share of each class.
        failures: of each image or shard without results: source, name and error.
        notes: sentences on images of which only a part was predicted.
        fatal: why no further image can be predicted; else empty.
    """

    predicted: int = 0
    skipped: int = 0
    shares: list[float] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fatal: str = ""

    def add(self, other: BatchReport) -> None:
        """Add what became of other images."""
        self.predicted += other.predicted
        self.skipped += other.skipped
        if other.shares:
            self.shares = np.add(self.shares or 0.0, other.shares).tolist()
        self.failures += other.failures
        self.notes += other.notes
        self.fatal = self.fatal or other.fatal

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))


class _Image(NamedTuple):
    """An image that a worker has to predict; ``content`` is that of its file where a shard holds it."""

    mark: str
    source: str
    name: str
    suffix: str
    content: bytes | None


class Worker:
    """Predicts parts with a model of its own. The same object gets one part after the other.

    Args:
        task: what to do.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._done = DoneImages(task.out)
        self._deaths = count_deaths(task.out, task.run)
        self._file = DoneFile(task.out, task.run)

    @cached_property
    def _predictor(self) -> Predictor:
        return self._task.load()

    @cached_property
    def _writer(self) -> ResultWriter:
        predictor, earlier = self._predictor, EarlierResults(self._task.out, journal=self._file.journal)
        return ResultWriter(
            self._task.out, self._task.kinds, self._task.style, predictor.labels, predictor.measure, earlier
        )

    def predict(self, part: Part) -> Iterator[BatchReport]:
        """Predict the images of a part and write the results, up to ``IMAGES_PER_SHARD`` at a time.

        Whatever is wrong with one image is its failure in the report. What is wrong with all is ``fatal``.
        """
        try:
            for number, chunk in enumerate(self._chunks(part)):
                yield self._predict_chunk(chunk, f"{self._task.run}-{part.number:06}-{number:04}")
        except SegNetError as error:
            if part.shard and isinstance(error, DataError):  # the shard cannot be read to its end
                shard = part.items[0]
                yield BatchReport(failures=[_failure(shard.address, shard.name, str(error))])
            else:
                yield BatchReport(fatal=str(error))

    def close(self) -> None:
        """Release what other processes wait for."""
        self._file.close()

    def _chunks(self, part: Part) -> Iterator[list[_Image]]:
        if not part.shard:
            yield [_listed(item) for item in part.items]
            return
        chunk: list[_Image] = []
        try:
            for image in _stored(part.items[0]):
                chunk.append(image)
                size = sum(len(each.content or b"") for each in chunk)
                if len(chunk) == IMAGES_PER_SHARD or size > _LARGEST_CHUNK:
                    yield chunk
                    chunk = []
        except DataError:
            yield chunk  # the images before the damage are predicted first
            raise
        yield chunk

    def _predict_chunk(self, images: Sequence[_Image], name: str) -> BatchReport:
        """Predict images. Those that may have killed a process come first, and each is completed alone."""
        todo = [image for image in images if image.mark not in self._done or not self._task.has_results(image.name)]
        report = BatchReport(skipped=len(images) - len(todo))
        groups = [[image] for image in todo if 0 < self._deaths[image.mark] < _MOST_DEATHS]
        groups.append([image for image in todo if not self._deaths[image.mark]])
        for group in filter(None, groups):
            chunk = _Chunk(self._task, self._predictor, self._writer, self._file)
            chunk.predict(group)
            chunk.store(name)
            report.add(chunk.report)
        for image in [image for image in todo if self._deaths[image.mark] >= _MOST_DEATHS]:
            sentence = f"{image.source} cannot be predicted (each process that tried it died); leave it out"
            report.failures.append(_failure(image.source, image.name, sentence))
        return report


class _Chunk:
    """Images whose results are completed together."""

    def __init__(self, task: Task, predictor: Predictor, writer: ResultWriter, file: DoneFile) -> None:
        self.report = BatchReport()
        self._task = task
        self._predictor = predictor
        self._writer = writer
        self._file = file
        self._images: dict[str, _Image] = {}
        self._rows: dict[str, Row] = {}
        self._faults: dict[str, str] = {}
        self._finished: list[str] = []
        self._files: dict[str, str] = {}

    def predict(self, images: Sequence[_Image]) -> None:
        """Write masks and other images of results; a line in the file of done images follows each, if that is all."""
        self._images = {image.name: image for image in images}
        report = ImageReport()
        each = self._add_row if self._task.stored else None
        with TemporaryDirectory(prefix="segnet-") as folder:
            jobs = self._fetch(images, Path(folder))
            segment_images(self._predictor, jobs, self._writer, report, each=each, finished=self._finish)
        self.report.add(
            BatchReport(
                shares=np.sum(report.shares, axis=0).tolist() if report.shares else [],
                notes=[self._public(note) for note in report.notes],
            )
        )

    def fail(self, image: _Image, sentence: str) -> None:
        """Report an image that has no results."""
        self.report.failures.append(_failure(image.source, image.name, sentence))

    def store(self, name: str) -> None:
        """Write the rows of all images as one file of each kind, and note that the images are done."""
        stored = self._task.stored
        if not stored:
            return
        for image_name in [name for name in self._finished if name not in self._rows]:
            self._finished.remove(image_name)
            self.report.predicted -= 1
            self.fail(self._images[image_name], self._faults.get(image_name, "no row was made of it"))
        if not self._finished:
            return
        marks = [self._images[name].mark for name in self._finished]
        name = f"{name}-{fingerprint(*marks)}"  # a repeated part replaces no file of other images
        files = {kind: f"{kind}/{name}{WRITERS[kind][0]}" for kind in stored}
        self._file.finish(marks, list(files.values()))
        for kind, file in files.items():
            rows = [self._rows[name] for name in self._finished]
            with self._writer.noting(path := self._task.out / file):
                WRITERS[kind][1](path, rows, self._predictor.labels)

    def _fetch(self, images: Iterable[_Image], folder: Path) -> Iterator[Job]:
        """The images as files; what is not on this machine is copied into a folder a few images ahead."""
        numbered = enumerate(images)
        for (_, image), file in read_ahead(numbered, lambda each: _fetch(each[1], folder / f"{each[0]:06}"), ahead=8):
            failures: list[str] = []
            self._file.begin(image.mark)
            with keeping_faults(image.source, failures):
                path = file.result()
            if failures:
                self.fail(image, failures[0])
            else:
                self._files[str(path)] = image.source
                yield Job(path, Path(image.name))

    def _finish(self, job: Job, failure: str) -> None:
        image = self._images[job.name.as_posix()]
        if failure:
            self.fail(image, self._public(failure))
        else:
            self.report.predicted += 1
            self._finished.append(image.name)
            if not self._task.stored:
                self._file.finish([image.mark])
        if str(job.image) != image.source:
            with suppress(OSError):
                job.image.unlink()

    def _add_row(self, frame: SegmentedFrame) -> None:
        failures: list[str] = []
        with keeping_faults(frame.source, failures):
            source = self._images[frame.name].source
            named = SegmentedFrame(frame.image, frame.prediction, source=source, name=frame.name)
            self._rows[frame.name] = make_row(named, self._predictor.labels)
        if failures:
            self._faults[frame.name] = failures[0]

    def _public(self, sentence: str) -> str:
        """A sentence with addresses in place of temporary files."""
        for file, source in self._files.items():
            sentence = sentence.replace(file, source)
        return sentence


def _listed(item: Item) -> _Image:
    suffix = Path(item.address).suffix
    return _Image(fingerprint(*item), item.address, item.name, suffix, None)


def _stored(shard: Item) -> Iterator[_Image]:
    for name, suffix, content in read_shard(shard.address):
        whole = f"{shard.name}/{name}"
        yield _Image(
            fingerprint(shard.address, whole, shard.version), f"{shard.address}/{name}", whole, suffix, content
        )


def _failure(source: str, name: str, sentence: str) -> dict[str, str]:
    return {"source": source, "name": name, "error": sentence}


def _fetch(image: _Image, place: Path) -> Path:
    """The file of an image: its own if it is on this machine, else a copy."""
    if image.content is None and not is_address(image.source):
        return Path(image.source)
    path = place.with_suffix(image.suffix if image.suffix.isascii() and len(image.suffix) < 8 else "")
    if image.content is None:
        copy_file(image.source, path)
    else:
        with explained(path):
            path.write_bytes(image.content)
    return path
