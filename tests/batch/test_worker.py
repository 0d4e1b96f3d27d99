"""Workers without Ray: the same function calls, in one process."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.batch import worker as module
from segnet.batch.sources import Item, Part, find_items
from segnet.batch.worker import BatchReport, Task, Worker
from segnet.errors import ModelError, OutputError
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.visualization.style import OverlayStyle

COUNT = 12


@pytest.fixture
def model(toy: SegNet, tmp_path: Path) -> Path:
    return checkpoint.save(toy, ClassTable.numbered(3), tmp_path / "toy.safetensors")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "in/sub").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / ("sub" if number % 2 else ".") / f"{number}.png")
    return tmp_path / "in"


@pytest.fixture
def task(model: Path, tmp_path: Path) -> Callable[..., Task]:
    def make(*kinds: str, load: Callable[[], Predictor] | None = None) -> Task:
        load = load or partial(Predictor.load, model, confidence=True)
        return Task(load, tmp_path / "out", kinds, OverlayStyle(), f"{time.monotonic_ns():x}")

    return make


def predict(task: Task, part: Part) -> BatchReport:
    worker, total = Worker(task), BatchReport()
    for report in worker.predict(part):
        total.add(report)
    worker.close()
    return total


def part_of(folder: Path) -> Part:
    return Part(0, find_items([str(folder)], out=folder / "out").images, shard=False)


def write_tar(images: Path, path: Path) -> Part:
    with tarfile.open(path, "w") as archive:
        for file in sorted(images.rglob("*.png")):
            archive.add(file, f"../x/{file.stem}.png")
        member = tarfile.TarInfo("x/1.mask.png")
        archive.addfile(member, io.BytesIO())
    return Part(0, [Item(str(path), path.stem, "1")], shard=True)


def rows_of(out: Path) -> list[dict]:
    rows = []
    for path in out.glob("webdataset/*.tar"):
        with tarfile.open(path) as archive:
            rows += [json.load(archive.extractfile(member)) for member in archive]  # type: ignore[arg-type]
    return rows


def test_a_worker_skips_what_is_done_and_does_again_what_was_removed(task: Callable[..., Task], images: Path) -> None:
    first = predict(task("mask"), part_of(images))
    assert (first.predicted, first.skipped, first.failures) == (COUNT, 0, [])
    again = predict(task("mask"), part_of(images))
    assert (again.predicted, again.skipped) == (0, COUNT)
    out = task().out
    (out / "mask/sub/1.png").unlink()
    Image.new("RGB", (32, 24)).save(images / "2.png")
    changed = predict(task("mask"), part_of(images))
    assert (changed.predicted, changed.skipped) == (2, COUNT - 2)


def test_a_failing_image_is_reported_and_stops_no_other(task: Callable[..., Task], images: Path) -> None:
    (images / "0.png").write_bytes(b"broken")
    report = predict(task("mask"), part_of(images))
    assert report.predicted == COUNT - 1
    (failure,) = report.failures
    assert (failure["source"], failure["name"]) == (str(images / "0.png"), "0")
    assert "is not an image that can be read" in failure["error"]
    assert len(predict(task("mask"), part_of(images)).failures) == 1  # it is tried again


def test_a_name_that_is_not_utf8_fails_alone(task: Callable[..., Task], images: Path) -> None:
    (images / "0.png").rename(images / os.fsdecode(b"0\xff.png"))
    report = predict(task("webdataset"), part_of(images))
    assert (report.predicted, report.fatal) == (COUNT - 1, "")
    (failure,) = report.failures
    assert "is a name that is not UTF-8" in failure["error"]


def test_a_repeated_part_keeps_the_rows_of_the_first_time(task: Callable[..., Task], images: Path) -> None:
    kept = (images / "0.png").read_bytes()
    (images / "0.png").write_bytes(b"broken")
    parts, first = part_of(images), task("webdataset")
    assert predict(first, parts).predicted == COUNT - 1
    (images / "0.png").write_bytes(kept)  # now it can be read, as where a network was away
    assert predict(first, parts).predicted == 1
    assert len(rows_of(first.out)) == COUNT


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_rows_of_a_webdataset_decode_to_the_masks(task: Callable[..., Task], images: Path, tmp_path: Path) -> None:
    from pycocotools import mask as coco

    report = predict(task("mask", "webdataset"), write_tar(images, tmp_path / "a.b.tar"))
    assert (report.predicted, report.failures) == (COUNT, [])
    rows = rows_of(tmp_path / "out")
    assert len(rows) == COUNT
    for row in rows:
        stored = np.asarray(Image.open(tmp_path / "out/mask" / f"{row['name']}.png"))
        decoded = np.full_like(stored, 255)
        for segment in row["segments"]:
            decoded[coco.decode({"size": segment["size"], "counts": segment["counts"]}) == 1] = (
                segment["category_id"] - 1
            )
        np.testing.assert_array_equal(decoded, stored)
        assert row["source"] == f"{tmp_path}/a.b.tar/x/{row['name'].rpartition('/')[2]}"
        assert list(row["shares"].values()) == pytest.approx([(stored == index).mean() for index in range(3)], abs=1e-6)
        assert 0 < row["confidence"] <= 1


def test_a_damaged_shard_gives_the_images_before_the_damage(
    task: Callable[..., Task], images: Path, tmp_path: Path
) -> None:
    part = write_tar(images, tmp_path / "a.tar")
    os.truncate(tmp_path / "a.tar", (tmp_path / "a.tar").stat().st_size // 2)
    report = predict(task("mask"), part)
    assert 0 < report.predicted < COUNT
    assert "cannot be read to its end" in report.failures[-1]["error"]


@pytest.mark.parametrize(("images_at_once", "bytes_at_once", "sizes"), [(5, 10**9, [5, 5, 2]), (256, 1, [1] * COUNT)])
def test_the_images_of_a_shard_are_held_in_bounded_chunks(
    images_at_once: int, bytes_at_once: int, sizes: list[int],
    task: Callable[..., Task], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "IMAGES_PER_SHARD", images_at_once)
    monkeypatch.setattr(module, "_LARGEST_CHUNK", bytes_at_once)
    worker = Worker(task("mask"))
    reports = list(worker.predict(write_tar(images, tmp_path / "a.tar")))
    worker.close()
    assert [report.predicted for report in reports if report.predicted] == sizes


def test_a_shard_without_images_is_a_failure(task: Callable[..., Task], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("1.json"))
    (shard,) = find_items([str(tmp_path / "a.tar")], out=tmp_path / "out").shards
    (failure,) = predict(task("mask"), Part(0, [shard], shard=True)).failures
    assert "a.tar holds no images" in failure["error"]


def test_what_concerns_all_images_is_fatal(task: Callable[..., Task], images: Path) -> None:
    def load() -> Predictor:
        raise ModelError("there is no such model")

    assert predict(task("mask", load=load), part_of(images)).fatal == "there is no such model"


@pytest.mark.parametrize("kind", ["mask", "webdataset"])
def test_an_image_that_kills_its_process_is_given_up_and_the_others_are_predicted(
    task: Callable[..., Task], images: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As Ray does, the part is given again to a new worker of the same run after each death."""
    write = module.ResultWriter.write

    def die(self, name: Path, *rest) -> np.ndarray:
        if name.name == "4":
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, name, *rest)

    monkeypatch.setattr(module.ResultWriter, "write", die)
    part, same = part_of(images), task(kind)
    ends = []
    for _ in range(4):
        if not (child := os.fork()):
            report = predict(same, part)
            names = [failure["name"] for failure in report.failures]
            (same.out / "report.json").write_text(json.dumps([report.predicted + report.skipped, names]))
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert ends == [-signal.SIGKILL] * 3 + [0]
    assert json.loads((same.out / "report.json").read_text()) == [COUNT - 1, ["4"]]


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_killed_anywhere_leaves_each_row_once(
    task: Callable[..., Task], images: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right before or after a shard gets its name; the next run completes the rest."""
    from segnet.batch.done import start_job

    monkeypatch.setattr(module, "IMAGES_PER_SHARD", 5)
    part, replace, calls = write_tar(images, tmp_path / "a.tar"), Path.replace, []

    def die(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 3 and seed == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        moved = replace(self, target)
        if len(calls) == seed + 1 and seed:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    out = tmp_path / "out"
    out.mkdir()
    start_job(out, "settings")
    if not (child := os.fork()):
        monkeypatch.setattr(Path, "replace", die)
        predict(task("webdataset"), part)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    start_job(out, "settings")
    report = predict(task("webdataset"), part)
    rows = [row["name"] for row in rows_of(out)]
    assert sorted(rows) == sorted(f"a/x/{number}" for number in range(COUNT))
    assert report.skipped == 5 * {0: 2, 1: 2, 2: 3}[seed] - (3 if seed == 2 else 0)


def test_a_full_disk_is_fatal(task: Callable[..., Task], images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        error = OutputError("full cannot be written (No space left on device); free some space")
        raise error from OSError(28, "No space left on device")

    monkeypatch.setattr(module.DoneFile, "finish", fail)
    assert "No space left" in predict(task("mask"), part_of(images)).fatal
