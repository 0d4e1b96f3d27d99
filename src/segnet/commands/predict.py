"""segnet predict: pictures in, labelled pictures out."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, OutputError
from segnet.video.settings import VideoConfig
from segnet.video.sources import VideoSource, find_videos

if TYPE_CHECKING:
    from segnet.inference import Prediction, Predictor
    from segnet.labels import Labels
    from segnet.uncertainty import Measure

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
    measure: Measure | None = None

    def numbers(self) -> Output:
        """The same without what is for looking at, of which a video makes movies."""
        return replace(self, kinds=tuple(kind for kind in self.kinds if kind not in {"overlay", "color", "side"}))

    def write(self, place: Path, image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.float64]:
        """Write what was asked for and return the class shares."""
        from segnet import visualize
        from segnet.data.pictures import write_image, write_mask

        shares = visualize.class_shares(prediction.mask, self.labels)
        if "mask" in self.kinds:
            write_mask(self._path("mask", place), prediction.mask, self.labels)
        if "color" in self.kinds:
            write_image(self._path("color", place), visualize.colorize(prediction.mask, self.labels))
        if {"overlay", "side"} & set(self.kinds):
            base = image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
            picture = visualize.overlay(base, prediction.mask, self.labels, opacity=self.opacity)
            looks = {"overlay": picture, "side": np.concatenate([base, picture], axis=1)}
            for kind in looks.keys() & set(self.kinds):
                write_image(self._path(kind, place), visualize.add_legend(looks[kind], self.labels, shares))
        if prediction.confidence is not None:
            told = {"Title": "confidence", "Description": "probability of the class that was chosen"}
            self._write_values("confidence", place, prediction.confidence, 1.0, told)
        if prediction.uncertainty is not None and self.measure is not None:
            self._write_uncertainty(place, prediction.uncertainty, self.measure)
        return shares

    def _write_uncertainty(self, place: Path, values: NDArray[np.float32], measure: Measure) -> None:
        from segnet.uncertainty import described, largest

        told = {"Title": "uncertainty", "Description": f"uncertainty: {described(measure)}"}
        self._write_values("uncertainty", place, values, largest(measure, self.labels.classes), told)

    def _write_values(
        self, kind: str, place: Path, values: NDArray[np.float32], largest: float, told: dict[str, str]
    ) -> None:
        """The numbers, and what they look like in colours, which for an uncertainty end at the picture's largest."""
        from segnet import visualize
        from segnet.data.pictures import write_image, write_values

        write_values(self._path(kind, place), values, largest, told)
        top = largest if kind == "confidence" else visualize.rounded_up(max(float(values.max()), 1e-6))
        picture = visualize.color_map(values, largest=top, title=told["Description"])
        write_image(self._path(f"{kind}_color", place), picture)

    def _path(self, kind: str, place: Path) -> Path:
        return self.root / kind / place.with_name(f"{place.name}.png")


@dataclass
class Tally:
    """What a run over many pictures came to."""

    shares: list[NDArray[np.float64]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    videos: list[dict[str, Any]] = field(default_factory=list)

    def mean_shares(self, labels: Labels) -> dict[str, float]:
        """Of the pictures, by the names of the classes; empty if there is none."""
        means = np.mean(self.shares, axis=0) if self.shares else ()
        return dict(zip(labels.names, map(float, means), strict=False))


def run(
    *source: str,
    model: str = "segnet_light",
    out: Path = Path("predictions"),
    save: list[Literal["mask", "overlay", "color", "confidence", "uncertainty", "side"]] | None = None,
    samples: int = 0,
    seed: int = 0,
    measure: Literal["variance", "entropy", "mutual_information"] | None = None,
    opacity: float = 0.5,
    longest: int = 1024,
    device: str = "auto",
    precision: Literal["auto", "float32", "bf16"] = "float32",
    threads: int = 0,
    timing: bool = False,
    json: Path | None = None,
    video: VideoConfig = VideoConfig(),  # noqa: B008
) -> int:
    """Label pictures and videos; for each kind of result a folder in OUT, with their names and sub-folders.

    Args:
        *source: pictures, folders, or globs; a video, numbered pictures as frames/%06d.jpg, a camera's number, a
            stream's address, a named pipe, or - for standard input; none takes the packaged sample picture.
        model: a model file (.safetensors, or what "segnet export" wrote: .onnx, .xml, .pte, .tflite, .pt2), or the name
            of a bundled model ("segnet models" lists them).
        out: where the results go; for one video also the name of a movie: .mp4, .m4v, .mov, .mkv, .webm or .gif.
        save: what to write: mask (palette PNG of class numbers), overlay (with legend), color, side (the picture beside
            its overlay), confidence and uncertainty (each as a grey PNG of 16 bits, and in colours with a scale); of a
            video overlay, color and side are movies; by default mask,overlay, and of a video overlay.
        samples: label each picture so many times with dropout, 40 for instance, and take the mean; 0: dropout is off.
        seed: decides what is dropped.
        measure: of uncertainty: variance, entropy or mutual_information; by default the variance of the samples, and
            without samples the entropy.
        opacity: of the colours in overlays, 0 to 1.
        longest: pictures with a longer side, in pixels, are labelled at this size and the result enlarged; 0: never.
        device: auto, cpu, cuda or mps.
        precision: bf16 is faster where the processor has bfloat16 arithmetic, and a little less exact; auto finds out.
        threads: how many to compute with; 0: as many as the library takes.
        timing: tell how long starting, loading, labelling and writing took.
        json: write the figures of videos, and the mean shares of the classes in pictures, to this file.
        video: of videos and live sources.
    """
    started = time.perf_counter()
    if not 0.0 <= opacity <= 1.0:
        raise ConfigError(f"opacity={opacity} is not possible; give 0 (picture alone) to 1 (colours alone)")
    if longest < 0:
        raise ConfigError(f"longest={longest} is not possible; give a number of pixels, or 0 for any size")

    from segnet.video.session import VideoOutput, is_movie, label_sources, require_fitting

    pictures, videos = _sorted_out(source or (str(_SAMPLE),), animations=is_movie(out))
    jobs = find_jobs(pictures, out=out)
    if videos:
        require_fitting(videos, out=out, kinds=save or ["overlay"], config=video, pictures=len(jobs))
    _require_writable(out.parent if videos and is_movie(out) else out)
    kinds = save or ["mask", "overlay"]

    from segnet.inference import Predictor

    imported = time.perf_counter()
    predictor = Predictor.load(
        model,
        device=device,
        precision=precision,
        threads=threads,
        samples=samples,
        seed=seed,
        confidence="confidence" in kinds,
        uncertainty="uncertainty" in kinds,
        measure=measure,
        longest=longest or None,
    )
    loaded = time.perf_counter()
    output = Output(out, tuple(kinds), opacity, predictor.labels, predictor.measure)
    tally = Tally()
    try:
        if jobs:
            _label_pictures(predictor, jobs, output, tally)
        if videos:
            frames = VideoOutput(
                out=out, kinds=tuple(save or ["overlay"]), opacity=opacity, config=video, write=output.numbers().write
            )
            tally.failures += label_sources(predictor, videos, frames, tally.videos)
    finally:
        _tell(tally, predictor.labels, json)
    finished = time.perf_counter()
    if timing:
        rate = (len(jobs) + sum(told["frames"] for told in tally.videos)) / (finished - loaded)
        print(
            f"imports {imported - started:.2f} s, model {loaded - imported:.2f} s, "
            f"label and write {finished - loaded:.2f} s ({rate:.2f} pictures/s)"
        )
    return 2 if tally.failures else 0


def _sorted_out(words: Sequence[str], *, animations: bool) -> tuple[list[str], list[VideoSource]]:
    """Words for pictures, and the videos that the others stand for."""
    found = [(word, find_videos(word, animations=animations)) for word in words]
    return [word for word, videos in found if not videos], [video for _, videos in found for video in videos]


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


def _label_pictures(predictor: Predictor, jobs: list[Job], output: Output, tally: Tally) -> None:
    try:
        label_all(predictor, jobs, output, tally)
    finally:
        _report(tally, predictor.labels, len(jobs), output.root)


def _read(job: Job, *, channels: int) -> NDArray[np.uint8]:
    from segnet.data.pictures import read_image

    return read_image(job.picture, channels=channels)


def _finished(waiting: list[Future[NDArray[np.float64]]], *, keep: int) -> Iterator[NDArray[np.float64]]:
    """Results of the oldest writes, until no more than ``keep`` are under way."""
    while len(waiting) > keep:
        yield waiting.pop(0).result()


def _report(tally: Tally, labels: Labels, pictures: int, out: Path) -> None:
    """The mean share of every class, and how many pictures were labelled."""
    from segnet.console import print_shares

    if tally.shares:
        print_shares(tally.mean_shares(labels))
    print(f"{len(tally.shares)} of {pictures} pictures labelled -> {out}")


def _tell(tally: Tally, labels: Labels, file: Path | None) -> None:
    """What could not be read, or only in part; and all figures to the file that was asked for."""
    from segnet.files import write_json

    for failure in tally.failures:
        log.error("segnet: %s", failure)
    if file is not None:
        figures = {
            "pictures": len(tally.shares),
            "shares": tally.mean_shares(labels),
            "videos": tally.videos,
            "failures": tally.failures,
        }
        write_json(file, figures)
