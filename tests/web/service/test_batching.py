"""Which images run through a model together, and who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from service_client import HeldRuntime

from segnet.errors import ConfigError
from segnet.inference.predictor import Predictor
from segnet.inference.tiling import TileConfig
from segnet.web.service.admission import Admission, PixelBudget
from segnet.web.service.batching import Batcher
from segnet.web.service.refusals import RefusedError


def image(height: int = 4, width: int = 6) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


@dataclass
class Held:
    """A batcher whose model runs its first image until it is opened."""

    runtime: HeldRuntime = field(default_factory=lambda: HeldRuntime(batches=[1]))
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.predictor = Predictor(self.runtime)
        self.batcher = Batcher(wait=60, observe=lambda images, seconds: self.seen.append(images))
        self.first = self.batcher.submit(self.predictor, image())
        assert self.runtime.running.wait(60)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.runtime.opened.set()
    held.batcher.close()


def test_images_of_one_size_and_model_that_gathered_run_together(held: Held) -> None:
    other = Predictor(held.runtime)
    same = [held.batcher.submit(held.predictor, image()) for _ in range(3)]
    large = held.batcher.submit(held.predictor, image(8, 6))
    foreign = held.batcher.submit(other, image())
    assert held.batcher.waiting == 5
    held.runtime.opened.set()
    for each in (held.first, *same, large, foreign):
        each.result(60)
    assert held.seen == [1, 3, 1, 1]


def test_no_more_images_run_together_than_the_predictor_says(held: Held) -> None:
    waiting = [held.batcher.submit(held.predictor, image()) for _ in range(20)]
    held.runtime.opened.set()
    assert all(each.result(60).mask.shape == (4, 6) for each in waiting)
    assert held.seen == [1, held.predictor.batch_size(4, 6), 20 - held.predictor.batch_size(4, 6)]


def test_a_batch_waits_for_an_image_that_is_announced(held: Held) -> None:
    """With 60 seconds to wait, only the announced image or its failure starts the batch."""
    held.runtime.opened.set()
    held.first.result(60)
    with held.batcher.announcing():
        early = held.batcher.submit(held.predictor, image())
        late = held.batcher.submit(held.predictor, image())
        assert not early.done()
    assert (early.result(60).mask.max(), late.result(60).mask.max()) == (0, 0)
    assert held.seen == [1, 2]


def test_what_was_canceled_is_not_predicted(held: Held) -> None:
    assert held.batcher.submit(held.predictor, image()).cancel()
    held.runtime.opened.set()
    held.batcher.close()
    assert held.seen == [1]
    assert not held.batcher.alive


def test_an_image_for_which_memory_is_too_little_is_an_error_and_the_next_one_is_predicted(held: Held) -> None:
    held.runtime.opened.set()
    predictor = Predictor(held.runtime, max_size=None, tiles=TileConfig(memory=1e-4))
    with pytest.raises(ConfigError, match="is too little"):
        held.batcher.submit(predictor, image(500, 500)).result(10)
    assert held.batcher.submit(predictor, image()).result(10).mask.shape == (4, 6)


def test_bodies_that_arrive_take_no_place_but_are_counted() -> None:
    admission = Admission(1)
    with admission.upload(), admission.upload(), admission.place():
        with pytest.raises(RefusedError, match="1 other images are in the queue"), admission.place():
            pass
        with pytest.raises(RefusedError, match="in the queue"), admission.upload():
            pass
    uploads = [admission.upload() for _ in range(4)]
    for upload in uploads:
        upload.__enter__()
    with pytest.raises(RefusedError, match="4 other images are being received"), admission.upload():
        pass
    for upload in uploads:
        upload.__exit__(None, None, None)
    assert (admission.accepted, admission.uploading) == (0, 0)


def test_pixels_are_held_in_turn_and_a_larger_image_alone() -> None:
    order = []

    async def hold(budget: PixelBudget, pixels: int) -> None:
        async with budget.holding(pixels):
            order.append(f"+{pixels}")
            await asyncio.sleep(0)
            order.append(f"-{pixels}")

    async def run() -> None:
        budget = PixelBudget(10)
        await asyncio.gather(*(hold(budget, pixels) for pixels in (6, 20, 4, 5)))

    asyncio.run(run())
    assert order == ["+6", "-6", "+20", "-20", "+4", "+5", "-4", "-5"]
