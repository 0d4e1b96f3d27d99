from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Thread

import pytest

from segnet.system.signals import (
    TERMINATED,
    deferring_interrupt,
    exiting_on_termination,
    noting_termination,
    terminate_on_hangup,
)


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


def test_sigterm_ends_the_block_with_its_exit_code_and_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, exiting_on_termination():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == TERMINATED
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_noted_and_nothing_fails() -> None:
    noted: list[Callable[[], bool]] = []

    def work() -> None:
        terminate_on_hangup()
        with exiting_on_termination(), noting_termination() as arrived:
            noted.append(arrived)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        thread = Thread(target=work)
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [arrived() for arrived in noted] == [False]


@pytest.mark.usefixtures("heard_ctrl_c")
@pytest.mark.parametrize(("times", "reached"), [(1, True), (2, False)])
def test_ctrl_c_waits_for_the_end_of_the_block_and_a_second_one_does_not(times: int, reached: bool) -> None:
    done: list[bool] = []

    def work() -> None:
        with deferring_interrupt():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [True] * reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_keeps_its_own_handler_of_ctrl_c() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        with deferring_interrupt():
            signal.raise_signal(signal.SIGINT)
            assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
