"""What only the machine or the user can mend is one line, whichever library raised it; a bug keeps its traceback."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.cli.main import main
from segnet.system.limits import describe_limit

MEMORY_ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    RuntimeError("Storage size calculation overflowed with sizes=[1, 3, 1000000000, 1000000000]"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("could not create a primitive"),  # oneDNN
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: str(error)[:30] or type(error).__name__)
def test_memory_that_ran_out_names_flags_of_the_command(error: Exception) -> None:
    assert describe_limit(error, command="evaluate").startswith("memory ran out; give a smaller --memory or --max-size")
    assert "halve --batch" in describe_limit(error, command="train")
    assert "close other programs" in describe_limit(error, command="export")


def test_any_error_of_a_library_without_memory_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    error = SystemError("error return without exception set")  # of Python, when an import runs out of memory
    assert not describe_limit(error, command="export")
    monkeypatch.setattr("segnet.system.limits._SMALL_BYTES", 2**62)
    assert describe_limit(error, command="export").startswith("memory ran out")


def test_pytorch_and_numpy_raise_what_is_recognized() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert describe_limit(error.value, command="predict").startswith("memory ran out")
    with pytest.raises(MemoryError) as numpys:
        np.empty(2**50)
    assert describe_limit(numpys.value, command="predict").startswith("memory ran out")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "can be written"),
        (errno.EACCES, "check its permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "shorter name"),
    ],
)
def test_what_the_system_refuses_names_file_and_remedy(number: int, remedy: str) -> None:
    text = describe_limit(OSError(number, os.strerror(number), "a/file.png"), command="predict")
    assert text.startswith(f"a/file.png: {os.strerror(number)}; ")
    assert remedy in text


def test_workers_that_cannot_start_or_are_killed_name_a_remedy() -> None:
    assert "--workers" in describe_limit(RuntimeError("can't start new thread"), command="train")
    assert "--workers" in describe_limit(OSError(errno.EAGAIN, "Resource temporarily unavailable"), command="train")
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    assert "was killed" in describe_limit(killed, command="evaluate")


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("x"), KeyError("memory"), OSError("no number"), TypeError()]
)
def test_a_bug_is_not_described(error: Exception) -> None:
    assert describe_limit(error, command="train") == ""


def run_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(name: str, arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr("segnet.cli.main._run_command", fail)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "data"])
    return int(end.value.code or 0)


def test_the_command_ends_with_code_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(torch.OutOfMemoryError("CUDA out of memory."), monkeypatch) == 2
    text = capsys.readouterr().err
    assert text.startswith("segnet: memory ran out; ")
    assert text.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_with(RuntimeError("shape mismatch"), monkeypatch)


def test_a_folder_with_too_long_a_name_is_one_line(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", str(camvid_root), "--out", str(tmp_path / ("x" * 300))])
    assert end.value.code == 2
    assert "File name too long; choose a shorter name" in capsys.readouterr().err
