from __future__ import annotations

import os
import sys
import warnings
from threading import Event, Thread

import pytest

from segnet.runtimes.output_suppression import suppress_output


def chatter(word: str) -> None:
    print(word)
    print(word, file=sys.stderr)
    os.write(1, word.encode())
    os.write(2, word.encode())


def test_what_python_and_libraries_print_is_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as raised, suppress_output():
        chatter("discarded")
        with suppress_output():
            warnings.warn("discarded", stacklevel=1)
        chatter("discarded")
    chatter("kept")
    out, err = capfd.readouterr()
    assert (out.count("kept"), err.count("kept")) == (2, 2)
    assert "discarded" not in out + err
    assert not raised


def test_blocks_of_two_threads_that_overlap_end_in_the_order_of_their_beginning(
    capfd: pytest.CaptureFixture[str],
) -> None:
    inside, left = Event(), Event()

    def other() -> None:
        with suppress_output():
            inside.set()
            left.wait(10)
            chatter("discarded")

    thread = Thread(target=other)
    with suppress_output():
        thread.start()
        inside.wait(10)
    left.set()
    thread.join()
    chatter("kept")
    out, err = capfd.readouterr()
    assert (out.count("kept"), err.count("kept")) == (2, 2)
    assert "discarded" not in out + err
