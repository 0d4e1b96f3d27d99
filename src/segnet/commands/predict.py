"""segnet predict: pictures in, labelled pictures out."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from segnet.inference import Prediction, Predictor
    from segnet.labels import Labels

__all__ = ["run"]

log = logging.getLogger("segnet")

_SAMPLE = Path(__file__).parents[1] / "data" / "sample" / "street.jpg"
_WRITES_AHEAD = 8


@dataclass(frozen=True)
class Job:
    """One picture to label and the place, without suffix, that its results get under each output folder."""

    picture: Path
    place: Path


@dataclass(frozen=True)
class Output:
    """Where results go, which kinds, and how they look."""

    root: Path
    kinds: tuple[str, ...]
    opacity: float
    labels: Labels

    def write(self, place: Path, image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.float64]:
        """Write what was asked for and return the class shares."""
        from segnet import visualize
        from segnet.data.pictures import write_image, write_mask

        shares = visualize.class_shares(prediction.mask, self.labels)
        if "mask" in self.kinds:
            write_mask(self._path("mask", place), prediction.mask, self.labels)
        if "color" in self.kinds:
            write_image(self._path("color", place), visualize.colorize(prediction.mask, self.labels))
        if "overlay" in self.kinds:
            base = image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
            picture = visualize.overlay(base, prediction.mask, self.labels, opacity=self.opacity)
            write_image(self._path("overlay", place), visualize.add_legend(picture, self.labels, shares))
        if "confidence" in self.kinds and prediction.confidence is not None:
            write_image(self._path("confidence", place), np.round(prediction.confidence * 255).astype(np.uint8))
        return shares

    def _path(self, kind: str, place: Path) -> Path:
        return self.root / kind / place.with_name(f"{place.name}.png")


@dataclass
class Tally:
    """What a run over many pictures came to."""

    shares: list[NDArray[np.float64]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def run(
    *source: str,
    model: str = "segnet_basic",
    out: Path = Path("predictions"),
    save: list[Literal["mask", "overlay", "color", "confidence"]] = ["mask", "overlay"],  # noqa: B006
    opacity: float = 0.5,
    longest: int = 1024,
    device: str = "auto",
    precision: Literal["auto", "float32", "bf16"] = "float32",
    threads: int = 0,
    timing: bool = False,
) -> int:
    """Label pictures; for each kind of result a folder in OUT, with the names and sub-folders of the pictures.

    Args:
        *source: pictures, folders, or globs; none takes the packaged sample picture.
        model: a model file (.safetensors, or what "segnet export" wrote: .onnx, .xml, .pte, .tflite, .pt2), or the name
            of a bundled model ("segnet models" lists them).
        out: where the results go.
        save: what to write: mask (palette PNG of class numbers), overlay (with legend), color, confidence (grey PNG,
            white is 1).
        opacity: of the colours in overlays, 0 to 1.
        longest: pictures with a longer side, in pixels, are labelled at this size and the result enlarged; 0: never.
        device: auto, cpu, cuda or mps.
        precision: bf16 is faster where the processor has bfloat16 arithmetic, and a little less exact; auto finds out.
        threads: how many to compute with; 0: as many as the library takes.
        timing: tell how long starting, loading, labelling and writing took.
    """
    started = time.perf_counter()
    if not 0.0 <= opacity <= 1.0:
        raise ConfigError(f"opacity={opacity} is not possible; give 0 (picture alone) to 1 (colours alone)")
    if longest < 0:
        raise ConfigError(f"longest={longest} is not possible; give a number of pixels, or 0 for any size")
    jobs = find_jobs(source or (str(_SAMPLE),), out=out)
    _require_writable(out)

    from segnet.inference import Predictor

    imported = time.perf_counter()
    predictor = Predictor.load(
        model,
        device=device,
        precision=precision,
        threads=threads,
        confidence="confidence" in save,
        longest=longest or None,
    )
    loaded = time.perf_counter()
    tally = Tally()
    try:
        label_all(predictor, jobs, Output(out, tuple(save), opacity, predictor.labels), tally)
    finally:
        _report(tally, predictor.labels, len(jobs), out)
    finished = time.perf_counter()
    if timing:
        rate = len(jobs) / (finished - loaded)
        print(
            f"imports {imported - started:.2f} s, model {loaded - imported:.2f} s, "
            f"label and write {finished - loaded:.2f} s ({rate:.2f} pictures/s)"
        )
    return 2 if tally.failures else 0


def find_jobs(sources: Sequence[str], *, out: Path | None = None) -> list[Job]:
    """Every picture once, but for earlier results in OUT; names that would collide keep their suffix."""
    found = dict.fromkeys(pair for source in sources for pair in _pictures(Path(source), out))
    uses = Counter(place.with_suffix("") for _, place in found)
    jobs = [Job(path, place.with_suffix("") if uses[place.with_suffix("")] == 1 else place) for path, place in found]
    places = Counter(job.place for job in jobs)
    if twice := [place for place, count in places.items() if count > 1]:
        same = [str(job.picture) for job in jobs if job.place == twice[0]]
        raise DataError(f"{' and '.join(same[:2])} would be written to the same name; label them in separate runs")
    return jobs


def _pictures(source: Path, out: Path | None) -> list[tuple[Path, Path]]:
    """The pictures of one source; of a folder or glob that covers OUT, without the results of an earlier run."""
    from segnet.data.pictures import find_images

    found = find_images(source)
    if out is None or source.is_file() or (source.is_dir() and source.resolve().is_relative_to(out.resolve())):
        return found
    return [(path, place) for path, place in found if not path.resolve().is_relative_to(out.resolve())]


def _require_writable(out: Path) -> None:
    """Fail before the model runs, not after; leaves nothing behind."""
    from segnet.files import replacing

    new = not out.exists()
    probe = out / f".segnet-probe-{os.getpid()}"
    try:
        with replacing(probe) as temporary:
            temporary.touch()
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise OutputError(f"{out}: results cannot be written there ({reason}); give another --out") from error
    probe.unlink()
    if new:
        out.rmdir()


def label_all(predictor: Predictor, jobs: list[Job], output: Output, tally: Tally) -> None:
    """Pictures are read and results written in threads while the model runs; one bad picture does not stop the rest."""
    from segnet.console import ProgressBar
    from segnet.inference import read_ahead

    bar = ProgressBar("labelling")
    read = partial(_read, channels=predictor.channels)
    with ThreadPoolExecutor(max_workers=2) as writers:
        waiting: list[Future[NDArray[np.float64]]] = []
        bar.start(total=len(jobs))
        try:
            for job, image in read_ahead(jobs, read):
                try:
                    pixels = image.result()
                except DataError as error:
                    tally.failures.append(str(error))
                else:
                    waiting.append(writers.submit(output.write, job.place, pixels, predictor(pixels)))
                tally.shares.extend(_finished(waiting, keep=_WRITES_AHEAD))
                bar.advance(job.picture.name)
            tally.shares.extend(_finished(waiting, keep=0))
        finally:
            for write in waiting:
                write.cancel()
            bar.stop()


def _read(job: Job, *, channels: int) -> NDArray[np.uint8]:
    from segnet.data.pictures import read_image

    return read_image(job.picture, channels=channels)


def _finished(waiting: list[Future[NDArray[np.float64]]], *, keep: int) -> Iterator[NDArray[np.float64]]:
    """Results of the oldest writes, until no more than ``keep`` are under way."""
    while len(waiting) > keep:
        yield waiting.pop(0).result()


def _report(tally: Tally, labels: Labels, pictures: int, out: Path) -> None:
    """What was written, the mean share of every class, and the pictures that could not be read."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    done = len(tally.shares)
    if done:
        table = Table("class", "share of pixels", box=None)
        table.columns[1].justify = "right"
        mean = np.mean(tally.shares, axis=0)
        for index in np.argsort(-mean, kind="stable"):
            table.add_row(escape(labels.names[index]), f"{mean[index]:.1%}")
        console.print(table)
    console.print(f"{done} of {pictures} pictures labelled -> {out}", markup=False, highlight=False, soft_wrap=True)
    for failure in tally.failures:
        log.error("segnet: %s", failure)
