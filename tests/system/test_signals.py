from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Thread

from segnet.system.signals import noting_termination


def test_sigterm_is_noted_once_and_the_second_does_what_it_did_before() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with noting_termination() as noted:
            assert not noted()
            signal.raise_signal(signal.SIGTERM)
            assert noted()
            assert not received
            signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_is_noted_and_nothing_fails() -> None:
    noted: list[Callable[[], bool]] = []

    def work() -> None:
        with noting_termination() as arrived:
            noted.append(arrived)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert [arrived() for arrived in noted] == [False]
