from __future__ import annotations

import threading
import time

from segnet.system.threads import read_ahead


def test_read_ahead_keeps_the_order_though_later_ones_are_ready_first() -> None:
    first_may_end = threading.Event()

    def read(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(10)
        if item == 1:
            first_may_end.set()
        return item * item

    assert [(item, future.result()) for item, future in read_ahead(range(9), read)] == [(n, n * n) for n in range(9)]


def test_read_ahead_reads_no_more_than_it_may() -> None:
    lock, started = threading.Lock(), []

    def read(item: int) -> int:
        with lock:
            started.append(item)
        return item

    for taken, (_, future) in enumerate(read_ahead(range(50), read, ahead=3), start=1):
        future.result()
        time.sleep(0.002)  # readers that were not held back would be far ahead by now
        assert len(started) <= taken + 3
    assert sorted(started) == list(range(50))


def test_read_ahead_raises_at_the_place_of_the_item_and_goes_on() -> None:
    def read(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    got: list[object] = []
    for _, future in read_ahead(range(5), read):
        try:
            got.append(future.result())
        except ValueError as error:
            got.append(str(error))
    assert got == [0, 1, "item 2", 3, 4]


def test_read_ahead_of_nothing_is_nothing() -> None:
    assert list(read_ahead([], lambda item: item)) == []
