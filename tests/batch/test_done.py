from __future__ import annotations

import os
from pathlib import Path

import pytest

from segnet.batch import done as module
from segnet.batch.done import DoneFile, DoneImages, count_deaths, fingerprint, has_other_settings, start_job
from segnet.errors import OutputError

A, B = fingerprint("a.png", "a", "1"), fingerprint("a.png", "a", "2")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "parquet").mkdir()
    (tmp_path / "webdataset").mkdir()
    return tmp_path


def write_marks(out: Path, *, shards: tuple[str, ...] = ()) -> None:
    file = DoneFile(out, "run")
    file.finish([A], shards)
    file.close()


def test_an_image_is_done_with_its_line_and_another_version_is_not(out: Path) -> None:
    write_marks(out)
    done = DoneImages(out)
    assert A in done
    assert B not in done
    assert len(done) == 1


def test_an_image_in_shards_is_done_when_all_shards_have_their_names(out: Path) -> None:
    write_marks(out, shards=("parquet/1.parquet", "webdataset/1.tar"))
    assert A not in DoneImages(out)
    (out / "parquet/1.parquet").touch()
    assert A not in DoneImages(out)
    (out / "webdataset/1.tar").touch()
    assert A in DoneImages(out)


def test_a_line_that_a_killed_process_did_not_complete_does_not_count(out: Path) -> None:
    write_marks(out)
    (path,) = (out / ".segnet-batch").glob("done-*")
    path.write_text(path.read_text() + f"{B}\n{B[:-1]}")
    assert B in DoneImages(out)
    path.write_text(f"{A}\n{B}")
    assert B not in DoneImages(out)


def test_a_new_run_removes_a_shard_whose_other_shard_was_not_completed(out: Path) -> None:
    start_job(out, "settings")
    for number in (1, 2):
        write_marks(out, shards=(f"parquet/{number}.parquet", f"webdataset/{number}.tar"))
        (out / f"parquet/{number}.parquet").touch()
    (out / "webdataset/1.tar").touch()
    start_job(out, "settings")
    assert sorted(path.name for path in out.glob("*/[0-9]*")) == ["1.parquet", "1.tar"]


def test_other_settings_start_anew_and_remove_the_shards(out: Path) -> None:
    start_job(out, "one")
    write_marks(out, shards=("parquet/1.parquet",))
    (out / "parquet/1.parquet").touch()
    assert has_other_settings(out, "other")
    assert (out / "parquet/1.parquet").exists()  # until nothing can refuse the run
    start_job(out, "other")
    assert not list(out.glob("parquet/*"))
    assert A not in DoneImages(out)
    assert not has_other_settings(out, "other")


def test_a_run_waits_for_processes_of_a_killed_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.0)
    file = DoneFile(out, "run")
    with pytest.raises(OutputError, match="a process of an earlier run still writes into this folder"):
        has_other_settings(out, "settings")
    file.close()
    has_other_settings(out, "settings")


def test_an_image_that_was_begun_by_dead_processes_is_suspected(out: Path) -> None:
    file = DoneFile(out, "run")
    file.begin(A)
    assert count_deaths(out, "run")[A] == 0  # this process lives
    for _ in range(2):
        if not (child := os.fork()):
            DoneFile(out, "run").begin(A)
            os._exit(0)
        os.waitpid(child, 0)
    assert count_deaths(out, "run") == {A: 2}
    assert count_deaths(out, "other") == {}
    file.close()
