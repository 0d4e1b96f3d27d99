"""Latency, memory and throughput of models, each in its own process.

The models take turns in rounds, so that changes of the machine's load affect all of them.
The peak that they are compared with is measured in each round, too.

A candidate is a model file or a bundled model, or a name of ``segnet.models.zoo.MODELS`` with random weights, or one of
the baselines. Timed is what a user waits for: from a float32 image in memory to the mask.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from segnet.benchmark.neighbors import busy_neighbors
from segnet.benchmark.worker import Candidate, serve
from segnet.errors import ConfigError, ModelError, SegNetError
from segnet.system.hardware import Peak, peak_gmacs
from segnet.system.threads import check_threads

__all__ = ["Candidate", "Measured", "measure"]

_MOST_NEIGHBORS = 64
_LEAST_PEAK_S = 0.2  # for the large matrices, which are the fastest
_LEAST_RATE_S = 0.5  # for each of several images at the same time; the first and the last are not side by side


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of one candidate.

    Attributes:
        candidate: the measured model.
        p50_ms, p90_ms: of one image, from its pixels as float32 to the mask.
        images_per_s: with ``at_once`` images at the same time; if that is 1, at the median.
        memory_mb: how far the process's resident memory grew at most, model included; 1 MB is 10^6 bytes.
        file_mb: of the model file; None without one.
        gmacs: 10^9 multiply-accumulates of an image; None if they are not known.
        share_of_peak: of what a matrix product in the same precision does on this machine.
        precision: of the computation. An exported file keeps its own, such as int8, whatever the candidate's is.
        no_peak: the reason if there is no such product to compare with; else empty.
        timed: number of timed images; fewer than requested if the time limit was reached.
        neighbors: number of busy processes beside it.
        at_once: number of images that the runtime computes at the same time for the highest throughput.
    """

    candidate: Candidate
    p50_ms: float
    p90_ms: float
    images_per_s: float
    memory_mb: float | None
    file_mb: float | None
    gmacs: float | None
    share_of_peak: float | None
    precision: str = "float32"
    no_peak: str = ""
    timed: int = 0
    neighbors: int = 0
    at_once: int = 1

    def to_dict(self) -> dict[str, Any]:
        """One flat row for JSON."""
        table = asdict(self)
        return {**table.pop("candidate"), **table}


def measure(
    candidates: Sequence[Candidate],
    *,
    rounds: int = 5,
    images: int = 4,
    threads: int = 0,
    limit: float = 20.0,
    neighbors: int = 0,
) -> list[Measured]:
    """Measure candidates in turns, each in its own process.

    Args:
        candidates: the models to measure.
        rounds: number of rounds.
        images: number of images per model and round.
        threads: number of threads per model; 0: the default of its library.
        limit: seconds for all images of a model; at least one image is timed.
        neighbors: above 0, every model is measured alone and, in the same rounds, beside so many busy processes.

    Raises:
        ConfigError: ``rounds`` or ``images`` is below 1, ``limit`` is not above 0, or ``neighbors`` not from 0 to 64.
        SegNetError: a candidate cannot be run; the message names it.
    """
    if rounds < 1 or images < 1:
        raise ConfigError(f"rounds={rounds} and images={images}: give 1 or more")
    check_threads(threads)
    if not limit > 0:
        raise ConfigError(f"limit={limit} is not possible; give seconds above 0")
    if not 0 <= neighbors <= _MOST_NEIGHBORS:
        raise ConfigError(f"neighbors={neighbors} is not possible; give 0 to {_MOST_NEIGHBORS}")
    workers = [_Worker(candidate, threads, limit) for candidate in candidates]
    runs = [_Run(worker, count) for worker in workers for count in sorted({0, neighbors})]
    try:
        for worker in workers:
            worker.start()
        peaks = _Peaks({worker.precision for worker in workers}, rounds, threads)
        seconds = _turns(runs, rounds, images, limit, each_round=peaks.turn)
        found = zip(runs, seconds, strict=True)
        alone = {run.worker: float(np.median(taken)) for run, taken in found if not run.neighbors}
        rates = _rates(alone, rounds, images, limit)
        ends = {worker: worker.stop() for worker in workers}
    finally:
        for worker in workers:
            worker.kill()
    return [
        _row(run, taken, ends[run.worker], peaks.best[run.worker.precision], rates[run.worker])
        for run, taken in zip(runs, seconds, strict=True)
    ]


class _Peaks:
    """The best matrix product of all rounds, by precision; the rounds together take a second for each way.

    Args:
        precisions: those of the models.
        rounds: number of rounds.
        threads: see ``measure``.
    """

    def __init__(self, precisions: set[str], rounds: int, threads: int) -> None:
        self.best = {precision: Peak() for precision in precisions}
        self._budget_s, self._threads = max(_LEAST_PEAK_S, 1 / rounds), threads

    def turn(self) -> None:
        """Measure once more; a precision that has no peak is tried once."""
        for precision, best in self.best.items():
            if not best.reason:
                peak = peak_gmacs(precision, threads=self._threads, budget_s=self._budget_s)
                self.best[precision] = best if (best.gmacs or 0.0) > (peak.gmacs or 0.0) else peak


def _turns(
    workers: Sequence[_Run], rounds: int, images: int, limit: float, *, each_round: Callable[[], None] = lambda: None
) -> list[list[float]]:
    """Seconds of each image, by worker; a worker that reached the limit is skipped."""
    seconds: list[list[float]] = [[] for _ in workers]
    for turn in range(rounds):
        for taken, worker in zip(seconds, workers, strict=True):
            left = limit - sum(taken)
            if not taken or min(taken) < left:
                taken += worker.turn(images, left / (rounds - turn))
        each_round()
    return seconds


def _rates(alone: Mapping[_Worker, float], rounds: int, images: int, limit: float) -> dict[_Worker, float | None]:
    """Images per second of several at the same time, by turns; None where the runtime gains nothing.

    Args:
        alone: seconds of an image; they decide how many fit into the limit.
        rounds, images, limit: see ``measure``.
    """
    counts = {
        worker: max(1, int(min(max(images, _LEAST_RATE_S / taken), limit / rounds / taken)))
        for worker, taken in alone.items()
        if worker.start_concurrent() > 1
    }
    turns = [[worker.rate(count) for worker, count in counts.items()] for _ in range(rounds)]
    medians = map(float, np.median(turns, axis=0)) if counts else ()
    return dict.fromkeys(alone) | dict(zip(counts, medians, strict=True))


def _row(run: _Run, seconds: list[float], end: dict[str, Any], peak: Peak, rate: float | None) -> Measured:
    candidate = run.worker.candidate
    rate = None if run.neighbors else rate
    p50, p90 = (float(np.percentile(seconds, q)) for q in (50, 90))
    gmacs = _gmacs(end, candidate.size)
    return Measured(
        candidate=candidate,
        p50_ms=p50 * 1e3,
        p90_ms=p90 * 1e3,
        images_per_s=rate or 1 / p50,
        memory_mb=end["memory_mb"],
        file_mb=end["file_mb"],
        gmacs=gmacs,
        share_of_peak=gmacs / p50 / peak.gmacs if gmacs and peak.gmacs else None,
        precision=run.worker.precision,
        no_peak=peak.reason,
        timed=len(seconds),
        neighbors=run.neighbors,
        at_once=run.worker.at_once if rate else 1,
    )


def _gmacs(end: Mapping[str, Any], size: tuple[int, int]) -> float | None:
    """Multiply-accumulates of one image, 10^9; None for a network that is not in the zoo, and without PyTorch."""
    if find_spec("torch") is None:
        return None
    from segnet.models.cost import cost_of
    from segnet.models.zoo import MODELS

    if end["network"] not in MODELS:
        return None
    config = replace(MODELS[end["network"]], classes=end["classes"], in_channels=end["channels"])
    return cost_of(config, size).macs / 1e9


class _Run(NamedTuple):
    """A candidate alone, or beside busy neighbors."""

    worker: _Worker
    neighbors: int

    def turn(self, images: int, limit: float) -> list[float]:
        """See ``_Worker.turn``."""
        with busy_neighbors(self.neighbors):
            return self.worker.turn(images, limit)


class _Worker:
    """Handle on the process of one candidate."""

    def __init__(self, candidate: Candidate, threads: int, limit: float) -> None:
        self.candidate = candidate
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, candidate, threads, limit), daemon=True)
        self._theirs = theirs
        self.precision = ""
        self.at_once = 1

    def start(self) -> None:
        """Load the model and warm up; one process at a time."""
        self._process.start()
        self._theirs.close()
        self.precision = self._answer()

    def turn(self, images: int, limit: float) -> list[float]:
        """Seconds of each image; at least one image, and only as many as fit into ``limit`` seconds."""
        self._pipe.send((images, limit))
        taken: list[float] = self._answer()
        return taken

    def start_concurrent(self) -> int:
        """How many images the runtime computes at the same time from now on."""
        self._pipe.send("concurrent")
        self.at_once = self._answer()
        return self.at_once

    def rate(self, images: int) -> float:
        """Images per second of ``at_once`` at the same time, ``images`` for each of them."""
        self._pipe.send((images, self.at_once))
        return images * self.at_once / float(self._answer())

    def stop(self) -> dict[str, Any]:
        """End the process, and return the memory and metadata of the candidate."""
        self._pipe.send(None)
        end: dict[str, Any] = self._answer()
        self._process.join()
        return end

    def kill(self) -> None:
        """Kill the process if it is still running."""
        if self._process.is_alive():
            self._process.kill()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise ModelError(
                f"{self.candidate.model}: its process ended during the measurement; memory may be too small"
            ) from error
        if isinstance(answer, SegNetError):
            raise answer
        return answer
