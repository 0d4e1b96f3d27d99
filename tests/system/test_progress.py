from __future__ import annotations

import time

import pytest

from segnet.system.progress import ProgressBar, progress_bar


class Clock:
    """A clock that a test turns by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = ProgressBar("reading")
    bar.start(total=10)
    for _ in range(4):
        clock.now += 10
        bar.advance("epoch 1")
    bar.stop()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "epoch 1  4/10  0:01:00 left\n"


def test_a_resumed_bar_counts_the_time_of_its_own_steps_only(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("training")
    bar.start(total=100, done=90)
    clock.now += 40
    bar.advance(by=2)
    assert capsys.readouterr().err == "training  92/100  0:02:40 left\n"


def test_say_leaves_a_line_with_the_time_left_until_all_is_done(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = ProgressBar("training")
    bar.start(total=2)
    clock.now += 3
    bar.advance()
    bar.say("epoch 1/2")
    bar.advance()
    bar.say("epoch 2/2")
    assert capsys.readouterr().err == "epoch 1/2  0:00:03 left\nepoch 2/2\n"


def test_what_has_no_known_number_counts_what_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("epoch 1  40 of 600 s")
    bar.start(total=None)
    clock.now += 40
    bar.advance()
    assert capsys.readouterr().err == "epoch 1  40 of 600 s  1 done\n"


def test_a_terminal_gets_a_bar_that_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told that there is a terminal
    bar = ProgressBar("labeling")
    bar.start(total=2)
    bar.advance("a [red]image.png")
    bar.advance("b.png")
    bar.say("[done] with it")
    bar.stop()
    bar.stop()
    told = capsys.readouterr().err
    assert "2/2" in told
    assert "[done] with it" in told


def test_a_progress_callback_counts_up_to_what_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("recalibrating", 8) as progress:
        clock.now += 20
        progress(4, 8)
        clock.now += 20
        progress(6, 8)
    assert capsys.readouterr().err == "recalibrating  6/8  0:00:13 left\n"


def test_each_pass_over_the_data_starts_a_bar_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("scoring")
    for done in (1, 2, 1, 2):
        bar.update(done, 2)
        bar.say(f"pass {done}")
    lines = capsys.readouterr().err.splitlines()
    assert [line.endswith("left") for line in lines] == [True, False, True, False]


def test_the_number_of_steps_may_come_with_the_first_progress(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("checking", None) as progress:
        progress(1, 4)
        clock.now += 31
        progress(2, 4)
    assert "checking  2/4" in capsys.readouterr().err
