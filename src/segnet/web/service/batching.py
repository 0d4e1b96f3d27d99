"""Dynamic batching: one thread runs the models, on several images of one working size at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Thread

from segnet.bands import Pixels
from segnet.inference.prediction import Prediction
from segnet.inference.predictor import Predictor

__all__ = ["Batcher"]


@dataclass(frozen=True, eq=False)
class _Job:
    predictor: Predictor
    image: Pixels
    size: tuple[int, int]
    answer: Future[Prediction] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    def fits(self, first: _Job) -> bool:
        return self.predictor is first.predictor and self.size == first.size


class Batcher:
    """A thread that predicts images, the oldest first, together with others of the same model and working size.

    A batch starts when it is full (``Predictor.batch_size``), when its oldest image has waited for ``wait`` seconds,
    or when no other image is announced. While the model runs, images gather without waiting.

    Args:
        wait: seconds that an image waits for others.
        observe: called after each batch with its number of images and the seconds that the model took.
    """

    def __init__(self, *, wait: float, observe: Callable[[int, float], None] = lambda images, seconds: None) -> None:
        self._wait = wait
        self._observe = observe
        self._jobs: list[_Job] = []
        self._announced = 0
        self._closed = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="segnet-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Number of images that wait."""
        return len(self._jobs)

    @contextmanager
    def announcing(self) -> Iterator[None]:
        """Announce an image that is being decoded in this block."""
        with self._changed:
            self._announced += 1
        try:
            yield
        finally:
            with self._changed:
                self._announced -= 1
                self._changed.notify()

    def submit(self, predictor: Predictor, image: Pixels) -> Future[Prediction]:
        """Predict an image as ``Predictor.predict_pixels`` does; an answer that is canceled in time is not computed."""
        job = _Job(predictor, image, predictor.working_size(image.shape[0], image.shape[1]))
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Predict what was submitted, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._predict(batch)
                del batch  # nothing keeps its images while the thread waits

    def _next(self) -> list[_Job] | None:
        """The next images; none if all of them were canceled, None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return None
            first = self._jobs[0]
            most = first.predictor.batch_size(*first.size)
            self._changed.wait_for(
                lambda: not self._announced or self._closed or len(self._matching(first)) >= most,
                timeout=first.since + self._wait - time.monotonic(),
            )
            chosen = self._matching(first)[:most]
            self._jobs = [job for job in self._jobs if job not in chosen]
        return [job for job in chosen if job.answer.set_running_or_notify_cancel()]

    def _matching(self, first: _Job) -> list[_Job]:
        return [job for job in self._jobs if job.fits(first)]

    def _predict(self, batch: Sequence[_Job]) -> None:
        started = time.monotonic()
        try:
            predictions = batch[0].predictor.predict_batch([job.image for job in batch])
        except Exception as error:  # whatever a runtime raises belongs to these requests, and the thread goes on
            for job in batch:
                job.answer.set_exception(error)
            return
        self._observe(len(batch), time.monotonic() - started)
        for job, prediction in zip(batch, predictions, strict=True):
            job.answer.set_result(prediction)
