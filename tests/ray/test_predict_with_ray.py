"""``segnet predict --engine ray`` against plain ``segnet predict``; tools/check.sh runs it with Ray installed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.cli.main import main
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("cluster"),
]
COUNT = 24


@pytest.fixture(scope="session")
def data(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, images of two folders, one of which is broken, and the results of plain predict."""
    root = tmp_path_factory.mktemp("data")
    checkpoint.save(toy, ClassTable.numbered(3), root / "toy.safetensors")
    (root / "in/sub").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "in" / ("sub" if number % 2 else ".") / f"{number}.png")
    (root / "in/broken.jpg").write_bytes(b"no image")
    assert run(root / "in", root, root / "plain", "--threads", "1") == 2
    return root


def run(source: Path | str, data: Path, out: Path, *words: object) -> int:
    model = ("--model", data / "toy.safetensors", "--device", "cpu")
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in ("predict", source, "--out", out, *model, *words)])
    assert isinstance(end.value.code, int)
    return end.value.code


def ray_words(*words: object) -> tuple[object, ...]:
    return ("--engine", "ray", "--workers", 2, *words)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def marks(out: Path) -> list[str]:
    return [line[:16] for path in out.glob(".segnet-batch/done-*") for line in path.read_text().splitlines()]


def test_results_equal_those_of_plain_predict_and_a_second_run_has_nothing_to_do(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(data / "in", data, tmp_path, *ray_words()) == 2
    assert contents(tmp_path) == contents(data / "plain")
    (error,) = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert error["source"] == str(data / "in/broken.jpg")
    assert len(contents(tmp_path)) == 2 * COUNT
    (data / "in/broken.jpg").rename(data / "broken.jpg")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert run(data / "in", data, tmp_path, *ray_words()) == 0
    (data / "broken.jpg").rename(data / "in/broken.jpg")
    assert f"0 images predicted, {COUNT} were done before" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == times
    assert not (tmp_path / "errors.jsonl").exists()


def test_shards_and_addresses_become_shards_of_the_same_masks(data: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((data / "in").rglob("*.png"))
    rows = [{"path": f"../{file.stem}.png", "bytes": file.read_bytes()} for file in files[:8]]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "0.parquet", row_group_size=3)
    with tarfile.open(tmp_path / "1.tar", "w") as archive:
        for file in files[8:16]:
            archive.add(file, f"{file.stem}.png")
    addresses = [f"file://{path}" for path in (tmp_path / "0.parquet", tmp_path / "1.tar", *files[16:])]
    (tmp_path / "list.txt").write_text("\n".join([*addresses, "file:///gone/x.png"]))
    out = tmp_path / "out"
    assert run(tmp_path / "list.txt", data, out, *ray_words("--save", "mask,parquet,webdataset")) == 2
    assert "file:///gone/x.png cannot be read" in json.loads((out / "errors.jsonl").read_text())["error"]
    masks = {Path(name).name: content for name, content in contents(out / "mask").items()}
    assert masks == {Path(name).name: content for name, content in contents(data / "plain/mask").items()}
    stored = [row for path in out.glob("parquet/*") for row in pq.read_table(path).to_pylist()]
    assert len(stored) == len({row["name"] for row in stored}) == COUNT
    assert all(sum(row["shares"].values()) == pytest.approx(1, abs=1e-5) for row in stored)
    archived = []
    for path in out.glob("webdataset/*"):
        with tarfile.open(path) as archive:
            archived += [json.load(io.BytesIO(archive.extractfile(member).read())) for member in archive]  # type: ignore[union-attr]
    assert sorted(archived, key=lambda row: row["name"]) == sorted(stored, key=lambda row: row["name"])


def kill_actor_of(out: Path, killed: list[int]) -> None:
    """Kill -9 the first process that has done an image."""
    end = time.monotonic() + 60
    while time.monotonic() < end and not marks(out):
        time.sleep(0.01)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            files = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(f"{out}/.segnet-batch/done-" in file for file in files):
            killed.append(int(process.name))
            os.kill(int(process.name), signal.SIGKILL)
            return


def test_a_killed_actor_is_replaced_and_nothing_is_written_twice(data: Path, tmp_path: Path) -> None:
    killed: list[int] = []
    killer = threading.Thread(target=kill_actor_of, args=(tmp_path, killed))
    killer.start()
    assert run(data / "in", data, tmp_path, *ray_words("--tta-scales", "0.5,1,2,4")) == 2
    killer.join()
    assert len(killed) == 1
    assert len(list(tmp_path.glob(".segnet-batch/done-*"))) == 3
    assert len(contents(tmp_path)) == 2 * COUNT
    assert len(marks(tmp_path)) == len(set(marks(tmp_path))) == COUNT


def test_a_killed_job_does_the_rest_when_it_is_started_again(data: Path, tmp_path: Path, cluster: str) -> None:
    """Two kills at random moments, then the rest: each image has its results, and was done once."""
    words = ray_words("--save", "mask,parquet", "--address", cluster)
    command = [
        "predict",
        data / "in",
        "--out",
        tmp_path,
        "--model",
        data / "toy.safetensors",
        "--device",
        "cpu",
        *words,
    ]
    chance = np.random.default_rng(int(time.time()))
    for _ in range(2):
        started = subprocess.Popen([sys.executable, "-m", "segnet", *map(str, command)])
        seen = len(list(tmp_path.glob(".segnet-batch/done-*")))
        while started.poll() is None and len(list(tmp_path.glob(".segnet-batch/done-*"))) == seen:
            time.sleep(0.05)  # until a worker has started
        time.sleep(chance.uniform(0, 2))
        started.kill()
        started.wait()
    assert run(data / "in", data, tmp_path, *words) == 2
    import pyarrow.parquet as pq

    names = [row["name"] for path in tmp_path.glob("parquet/*") for row in pq.read_table(path).to_pylist()]
    assert len(names) == len(set(names)) == COUNT
    assert contents(tmp_path / "mask") == contents(data / "plain/mask")
    assert len(json.loads((tmp_path / "errors.jsonl").read_text())) == 3


def test_one_file_of_all_results_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--save", "coco"), ("--records", tmp_path / "r.csv")):
        assert run(data / "in", data, tmp_path, *ray_words(*words)) == 2
        assert "parquet" in capsys.readouterr().err
    assert run(data / "in", data, tmp_path, "--save", "parquet") == 2
    assert run(data / "in", data, tmp_path, "--workers", "2") == 2
    assert capsys.readouterr().err.count("--engine ray") == 2
