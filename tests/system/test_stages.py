from __future__ import annotations

import time
from collections.abc import Generator

import pytest

from segnet.system.queues import Background, prefetch
from segnet.system.stages import StageTimes, stage, staged


def rest(seconds: float) -> None:
    time.sleep(seconds)


def test_stages_in_all_threads_of_a_block_are_collected_and_no_others() -> None:
    times = StageTimes()

    def numbers() -> Generator[int]:
        for number in range(3):
            rest(0.002)
            yield number

    def write(_: int) -> None:
        with stage("write"):
            rest(0.001)

    with times.measure(), Background(write) as writer:
        for number in prefetch(staged("read", numbers())):
            with stage("work"):
                sum(range(20_000))
            writer.put(number)
    with stage("work after the block"):
        rest(0.001)
    assert set(times.times) == {"read", "work", "write"}
    assert times.seconds("read") >= 0.006
    assert times.seconds("write", "work", "unknown") >= 0.003
    assert times.times["read"].cpu_seconds < 0.005 <= times.times["read"].seconds  # it slept
    assert times.times["work"].cpu_seconds > 0


def test_items_that_are_left_early_or_fail_are_closed() -> None:
    closed = []

    def items() -> Generator[int]:
        try:
            yield 1
            raise ValueError("broken")
        finally:
            closed.append(True)

    early = staged("read", items())
    assert next(early) == 1
    early.close()
    with pytest.raises(ValueError, match="broken"):
        list(staged("read", items()))
    assert len(closed) == 2
