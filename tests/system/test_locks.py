from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segnet.errors import OutputError
from segnet.system.files import holding_folder, remove_stale, replacing, temporary_folder
from segnet.system.locks import lock, release, trying_lock

STALE = (".segnet-0123456789abcdef.json", ".segnet-0123456789abcdef")
NOT_OURS = (".segnet-written", ".segnet-probe.txt", "segnet-0123456789abcdef.json", ".segnet-0123456789abcdeg.png")

HOLDING = """
import sys, time
from pathlib import Path
from segnet.system import files
manager, path = getattr(files, sys.argv[1]), Path(sys.argv[2])
with manager(path) as temporary:
    print(temporary, flush=True)
    time.sleep(100)
"""


def start(manager: str, path: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process inside the block, and what the block was given."""
    running = subprocess.Popen([sys.executable, "-c", HOLDING, manager, str(path)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    return running, running.stdout.readline().strip()


def kill(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.communicate()


@pytest.mark.parametrize("manager", ["replacing", "temporary_folder"])
def test_what_a_process_writes_is_removed_after_its_death_and_not_before(manager: str, tmp_path: Path) -> None:
    running, name = start(manager, tmp_path / "a.json")
    remove_stale(tmp_path)
    assert [str(path) for path in tmp_path.iterdir()] == [name]
    kill(running)
    remove_stale(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_first_file_written_into_a_folder_removes_what_was_left_there(tmp_path: Path) -> None:
    (tmp_path / STALE[1]).mkdir()
    for name in (STALE[0], f"{STALE[1]}/half.onnx", *NOT_OURS):
        (tmp_path / name).touch()
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", *NOT_OURS}


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").touch()
    (tmp_path / STALE[1]).symlink_to(tmp_path / "folder")
    (tmp_path / STALE[0]).symlink_to(tmp_path / "folder" / "mine.txt")
    remove_stale(tmp_path)
    assert (tmp_path / "folder" / "mine.txt").exists()


def test_a_folder_has_one_run_at_a_time_and_a_killed_run_blocks_nobody(tmp_path: Path) -> None:
    running, _ = start("holding_folder", tmp_path / "run")
    with (
        pytest.raises(OutputError, match=r"run: another run writes into this folder"),
        holding_folder(tmp_path / "run"),
    ):
        pytest.fail("the block must not run")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    with holding_folder(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_folder_that_was_made_and_stays_empty_is_removed(tmp_path: Path) -> None:
    with holding_folder(tmp_path / "new" / "run"):
        pass
    assert not list(tmp_path.iterdir())
    with holding_folder(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert (tmp_path / "run" / "file").exists()


def test_two_runs_of_one_process_are_two_runs(tmp_path: Path) -> None:
    with holding_folder(tmp_path), pytest.raises(OutputError, match="another run"), holding_folder(tmp_path):
        pytest.fail("the block must not run")


def test_a_run_may_write_into_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    with holding_folder(tmp_path / "runs"), pytest.raises(OutputError), holding_folder(tmp_path / "disk"):
        pytest.fail("the block must not run")


def test_nothing_counts_as_stale_where_the_file_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / STALE[0]).touch()
    remove_stale(tmp_path)
    assert (tmp_path / STALE[0]).exists()
    with holding_folder(tmp_path), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert (tmp_path / "a.txt").exists()


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A process that reads images may outlive the run that was killed by seconds."""
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    assert lock(descriptor)
    ready, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.read(go_on[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    release(descriptor)
    with trying_lock(path) as free:
        os.write(go_on[1], b"x")
        os.waitpid(child, 0)
        assert free
    for end in (*ready, *go_on):
        os.close(end)


def test_the_lock_of_a_folder_in_which_a_file_is_written_is_free(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as temporary, holding_folder(tmp_path), temporary_folder(tmp_path / "b"):
        temporary.write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
