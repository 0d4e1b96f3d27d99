"""A run of many processes: what is left to do, what became of it, and the files that say so."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.batch import ray_engine
from segnet.batch.done import DoneImages, fingerprint, has_other_settings, start_job
from segnet.batch.ray_engine import Pool
from segnet.batch.settings import EngineConfig
from segnet.batch.sources import Item, find_items, is_address, split_parts
from segnet.batch.worker import IMAGES_PER_SHARD, BatchReport, Task
from segnet.errors import OutputError
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.results.images import print_shares
from segnet.results.writer import list_results
from segnet.system.earlier import BATCH, EarlierResults
from segnet.system.files import explained, holding_folder
from segnet.system.progress import ProgressBar
from segnet.system.signals import exiting_on_termination
from segnet.system.writable import require_writable
from segnet.visualization.style import OverlayStyle

__all__ = ["ERRORS", "BatchRun", "Outcome", "predict_batches"]

ERRORS = "errors.jsonl"
"""Name of the file in the folder of results that lists the images without results."""

log = logging.getLogger("segnet")

_PARTS_PER_WORKER = 8  # so that none waits long for the last


@dataclass(frozen=True, kw_only=True)
class BatchRun:
    """What is predicted, and how.

    Attributes:
        words: images and shards, as on the command line.
        out: folder of the results.
        kinds: of results.
        style: of overlays.
        load: opens the model in each process.
        labels: the classes of the model.
        settings: all that decides what the results are, as text; with others, everything is predicted again.
        engine: number of processes, and their cluster.
        threads: cores of each process.
        device: as ``--device``; each process takes a GPU for cuda, and for auto if there are any.
        force: replace files that no run of ``segnet predict`` wrote.
    """

    words: Sequence[str]
    out: Path
    kinds: tuple[str, ...]
    style: OverlayStyle
    load: Callable[[], Predictor]
    labels: ClassTable
    settings: str
    engine: EngineConfig
    threads: int = 1
    device: str = "auto"
    force: bool = False


@dataclass
class Outcome:
    """What became of the images of a run.

    Attributes:
        predicted: number of images with all results.
        skipped: number of images that were done before.
        failed: number of images, shards and folders without results.
        shares: sum over the predicted images of the share of each class.
    """

    predicted: int = 0
    skipped: int = 0
    failed: int = 0
    shares: NDArray[np.float64] | float = 0.0


def predict_batches(run: BatchRun) -> Outcome:
    """Predict what no earlier run of the same settings has done; prints the mean class shares and the counts.

    Raises:
        SegNetError: nothing can be read or written, or there is no cluster.
    """
    found = find_items(run.words, out=run.out)
    require_writable(run.out)
    with holding_folder(run.out / BATCH):
        changed = has_other_settings(run.out, run.settings)
        task = Task(run.load, run.out.absolute(), run.kinds, run.style, secrets.token_hex(4), run.threads)
        earlier = EarlierResults(run.out, force=run.force)
        left = found.images if changed else _find_left(task, found.images)
        _require_replaceable(task, left, earlier)
        outcome = Outcome(skipped=len(found.images) - len(left), failed=len(found.failures))
        with _workers(run) if left or found.shards else nullcontext() as pool:
            if changed:
                log.info("segnet: %s holds results of other settings; all images are predicted again", run.out)
            start_job(run.out, run.settings)
            errors = _ErrorFile(run.out / ERRORS, earlier)
            errors.add([{"source": "", "name": "", "error": failure} for failure in found.failures])
            try:
                if pool:
                    _predict(task, left, found.shards, pool, errors, outcome)
            finally:
                _print(run, outcome, errors)
    return outcome


class _ErrorFile:
    """One JSON line for each image without results; there is no file without any. That of an earlier run is replaced.

    Args:
        path: of the file.
        earlier: knows the earlier file, and gets this one.
    """

    def __init__(self, path: Path, earlier: EarlierResults) -> None:
        self.path = path
        self._earlier = earlier
        self._size = 0
        with explained(path):
            path.unlink(missing_ok=True)

    def add(self, failures: Sequence[Mapping[str, str]]) -> None:
        """Add lines.

        Raises:
            OutputError: the disk is full, and the like.
        """
        if not failures:
            return
        text = "".join(json.dumps(failure) + "\n" for failure in failures).encode()
        with explained(self.path), self.path.open("ab") as file:
            self._size += len(text)
            self._earlier.add_growing(self.path, self._size)
            file.write(text)


def _find_left(task: Task, images: list[Item]) -> list[Item]:
    """The images that are not done, or whose results are gone."""
    done = DoneImages(task.out)
    return [item for item in images if fingerprint(*item) not in done or not task.has_results(item.name)]


def _require_replaceable(task: Task, left: list[Item], earlier: EarlierResults) -> None:
    """Raise an error if somebody else's files would be replaced."""
    results = [path for item in left for path in list_results(task.out, task.kinds, [Path(item.name)])]
    inputs = [Path(item.address) for item in left if not is_address(item.address)]
    earlier.require_replaceable([task.out / ERRORS, *results], inputs=inputs)


@contextmanager
def _workers(run: BatchRun) -> Iterator[Pool]:
    with (
        ray_engine.connected(run.engine, threads=run.threads, device=run.device) as pool,
        exiting_on_termination(),
    ):
        yield pool


def _predict(
    task: Task, images: list[Item], shards: list[Item], pool: Pool, errors: _ErrorFile, outcome: Outcome
) -> None:
    size = min(IMAGES_PER_SHARD, -(-len(images) // (pool.workers * _PARTS_PER_WORKER)))
    parts = split_parts(images, shards, size=max(1, size))
    bar = ProgressBar("predicting")
    bar.start(total=None if shards else len(images))
    try:
        for report in ray_engine.stream_reports(task, parts, pool):
            _count(report, errors, outcome)
            bar.advance(by=report.predicted + len(report.failures))
    finally:
        bar.stop()


def _count(report: BatchReport, errors: _ErrorFile, outcome: Outcome) -> None:
    """Add a report to the outcome.

    Raises:
        OutputError: no further image can be predicted.
    """
    errors.add(report.failures)
    outcome.predicted += report.predicted
    outcome.skipped += report.skipped
    outcome.failed += len(report.failures)
    outcome.shares += np.array(report.shares) if report.shares else 0.0
    for note in report.notes:
        log.warning("segnet: %s", note)
    if report.fatal:
        raise OutputError(report.fatal)


def _print(run: BatchRun, outcome: Outcome, errors: _ErrorFile) -> None:
    if outcome.predicted:
        shares = (np.asarray(outcome.shares) / outcome.predicted).tolist()
        print_shares(dict(zip(run.labels.names, shares, strict=True)))
    before = f", {outcome.skipped} were done before" if outcome.skipped else ""
    print(f"{outcome.predicted} images predicted{before} -> {run.out}")
    if outcome.failed:
        log.error(
            "segnet: %d images could not be predicted; %s lists them with their errors", outcome.failed, errors.path
        )
