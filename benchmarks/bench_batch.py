"""``segnet predict --engine ray`` beside plain ``segnet predict``: speed, memory, kills, two nodes, limits.

    python benchmarks/bench_batch.py [--only PART ...] [--images 2000] [--kills 50] [--forks 200]

speed   The same images by both engines, in turns; images per second without start and end, and with them. CPU seconds
        are those of all processes of a run; other programs on the machine disturb them less than seconds. Memory is
        the anonymous memory (RssAnon) of all its processes once a second, and at 40 % and 80 % of the images the
        proportional memory (Pss: files and shared pages as well, each page counted once) for each kind of process.
kills   The command is killed (-9) at random moments and started again, several times until it succeeds.
forks   Workers without Ray are killed (-9) at random moments, and other ones complete the work.
actors  Processes that predict are killed (-9) at random moments of a run.
nodes   Two Ray nodes on the loopback interface, each with one core; one is killed in the middle of a run.
memory  One worker without Ray predicts many images, and then one worker of Ray.
limits  What one core reads, decodes, predicts and writes per second, and what the driver hands out.

Results are added to benchmarks/results/batch.json. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segnet.data.synthetic.scenes import write_scenes
from segnet.system.files import write_json
from segnet.system.hardware import about

SIZE = (240, 320)
CAMVID_SIZE = (360, 480)
_DIFFERENT = 20
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl: orphans of a run become ours, so their CPU time is counted
KILLS_PER_JOB = 5
COUNT = 400  # images of each job that is killed
SMALL = (96, 128)
_SHARE_AT_WORK = 0.8  # of the kills; the others may fall into the start as well
_WORK_S = 5.0
_SHARES = (0.4, 0.8)  # of the images; memory is read in detail there
_KINDS = {
    "raylet/raylet": "raylet", "gcs_server": "GCS", "ray::MapWorker": "predicting", "ray::": "other workers",
    "default_worker": "other workers",
    "dashboard": "agents", "runtime_env": "agents", "log_monitor": "agents", "monitor.py": "agents",
    "-m segnet": "driver",
}  # fmt: skip
"""Words of a command line, and the kind of process that has them; the first that fits."""


@dataclass
class Sample:
    """Seconds since the start, images done, and memory in MB for each kind of process."""

    seconds: float
    images: int
    memory_mb: dict[str, float]

    @property
    def total_mb(self) -> float:
        return round(sum(self.memory_mb.values()), 1)


@dataclass
class Ended:
    """A command that has ended, with all processes that it started."""

    code: int
    seconds: float
    cpu_seconds: float
    samples: list[Sample] = field(default_factory=list)
    proportional: list[Sample] = field(default_factory=list)
    error: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--images", type=int, default=2000, help="of the comparison of speed")
    parser.add_argument("--rounds", type=int, default=1, help="of both engines")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--forks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "batch.json")
    arguments = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # on a busy machine, threads that spin for others waste the cores
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for name in arguments.only:
        with tempfile.TemporaryDirectory(prefix="segnet-batch-") as folder:
            os.environ["SEGNET_CACHE"] = f"{folder}/cache"
            before = os.getloadavg()[0]
            result = {**PARTS[name](Path(folder), arguments), "load_before": round(before, 1)}
        add_result(arguments.out, name, result)


def add_result(path: Path, name: str, result: dict[str, Any]) -> None:
    """Put a result into the file of results, and print it."""
    report = json.loads(path.read_text()) if path.exists() else {}
    report[name] = result
    report["machine"] = about("torch", "ray", "pyarrow", "pillow", "onnxruntime", "segnet")
    write_json(path, report)
    print(json.dumps({name: result}), flush=True)


# --- parts


def measure_speed(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    images = write_images(folder, arguments.images)
    rows: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        for engine, words in (("local", []), ("ray", ["--engine", "ray", "--workers", 2])):
            out = folder / f"{engine}{number}"
            load = os.getloadavg()[0]
            ended = segnet("predict", images, "--save", "mask", "--out", out, *words, count=(out, arguments.images))
            assert ended.code == 0, ended.error
            rows.append({"engine": engine, **describe(ended, arguments.images), "load": round(load, 1)})
            print(json.dumps(rows[-1]), flush=True)
        same = contents(folder / f"local{number}") == contents(folder / f"ray{number}")
        assert same, "the engines differ"
    speed, cpu = (
        {name: np.mean([row[key] for row in rows if row["engine"] == name]) for name in ("local", "ray")}
        for key in ("images_per_s", "cpu_ms_per_image")
    )
    return {
        "images": arguments.images,
        "size": SIZE,
        "rows": rows,
        "ratio_of_images_per_s": round(speed["ray"] / speed["local"], 3),
        "ratio_of_images_per_cpu_second": round(cpu["local"] / cpu["ray"], 3),
    }


def describe(ended: Ended, images: int) -> dict[str, Any]:
    """The row of one run; memory over time is the total in twenty equal steps of the run."""
    steps = [ended.samples[len(ended.samples) * step // 20] for step in range(20)]
    at = [next(each for each in ended.samples if each.images >= share * images) for share in _SHARES]
    return {
        "images_per_s": round(between(ended.samples, images), 2),
        "images_per_s_with_start_and_end": round(images / ended.seconds, 2),
        "cpu_ms_per_image": round(ended.cpu_seconds / images * 1e3, 2),
        "seconds": round(ended.seconds, 1),
        "memory_mb_at_40_and_80_percent": [each.total_mb for each in at],
        "memory_mb_by_kind": [each.memory_mb for each in at],
        "proportional_mb_at_40_and_80_percent": [each.total_mb for each in ended.proportional],
        "proportional_mb_by_kind": [each.memory_mb for each in ended.proportional],
        "memory_mb_over_time": [(round(each.seconds), each.images, each.total_mb) for each in steps],
    }


def kill_jobs(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every job is killed several times; in the end each image has been done once."""
    chance = random.Random(arguments.seed)
    images = write_images(folder, COUNT, SMALL)
    reference = folder / "reference"
    segnet("predict", images, "--model", export(folder), "--threads", 1, "--save", "mask", "--out", reference)
    expected = contents(reference)
    cluster = start_cluster(cores=[2])
    words = (*predict_words(folder, images), "--workers", 2, "--address", cluster.address)
    kills, jobs, lost, left = 0, 0, [], []
    result: dict[str, Any] = {}
    try:
        seconds = segnet(*words, "--out", folder / "measured").seconds
        while kills < arguments.kills:
            out = folder / f"out{kills}"
            for _ in range(min(KILLS_PER_JOB, arguments.kills - kills)):
                at_work = chance.random() < _SHARE_AT_WORK
                moment = chance.uniform(0, _WORK_S if at_work else seconds)
                ended = segnet(*words, "--out", out, kill_after=moment, wait_for=out if at_work else None)
                kills += ended.code == -signal.SIGKILL
                left.append(COUNT - len(set(marks(out))))
            ended = segnet(*words, "--out", out)
            lost += losses(out, ended, expected, COUNT)
            jobs += 1
            result = {"kills": kills, "jobs": jobs, "images_of_a_job": COUNT, "left_after_each": left, "lost": lost}
            add_result(arguments.out, "kills", result)
    finally:
        cluster.shutdown()
    return result


def kill_forks(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Workers without Ray, forked from this process, so that every kill falls into the work; all kinds of results."""
    from segnet.batch.done import start_job
    from segnet.batch.sources import find_items, split_parts
    from segnet.batch.worker import Task, Worker
    from segnet.inference.predictor import Predictor
    from segnet.visualization.style import OverlayStyle

    chance = random.Random(arguments.seed)
    parts = split_parts(find_items([str(write_images(folder, 60, (48, 64)))], out=folder).images, [], size=8)
    model, kinds = export(folder), ("mask", "parquet", "webdataset")

    def work(out: Path, run: str) -> None:
        worker = Worker(
            Task(lambda: Predictor.load(model, confidence=True, threads=1), out, kinds, OverlayStyle(), run)
        )
        for part in parts:
            assert all(not report.fatal and not report.failures for report in worker.predict(part))
        worker.close()

    def fork(out: Path, run: str) -> int:
        if child := os.fork():
            return child
        with suppress(BaseException):
            work(out, run)
            os._exit(0)
        os._exit(1)

    lost: list[str] = []
    left: list[int] = []
    seconds, expected = 0.0, {}
    for trial in range(arguments.forks + 1):
        out = folder / f"fork{trial}"
        out.mkdir()
        start_job(out, "")
        if trial:  # the first is not killed
            child = fork(out, "1")
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            left.append(60 - len(set(marks(out))))
            start_job(out, "")
        began = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(fork(out, "2"), 0)[1])
        if not trial:
            seconds, expected = time.monotonic() - began, contents(out)
        lost += losses(out, Ended(code, 0, 0), expected, 60)
    partly = sum(0 < each < 60 for each in left)
    return {"kills": arguments.forks, "images": 60, "killed_with_some_done": partly, "lost": lost}


def kill_actors(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """In each job several processes that predict are killed; none is started again by hand."""
    chance = random.Random(arguments.seed)
    images = write_images(folder, COUNT, SMALL)
    reference = folder / "reference"
    segnet("predict", images, "--model", export(folder), "--threads", 1, "--save", "mask", "--out", reference)
    expected = contents(reference)
    words = (*predict_words(folder, images), "--workers", 2)
    kills, lost, jobs = 0, [], 0
    result: dict[str, Any] = {}
    while kills < arguments.kills:
        out, killed = folder / f"out{jobs}", []
        stop = threading.Event()
        most = min(KILLS_PER_JOB, arguments.kills - kills)
        killer = threading.Thread(target=kill_workers, args=(out, killed, stop, chance, most))
        killer.start()
        ended = segnet(*words, "--out", out)
        stop.set()
        killer.join()
        kills, jobs = kills + len(killed), jobs + 1
        lost += losses(out, ended, expected, COUNT)
        result = {"kills": kills, "jobs": jobs, "images_of_a_job": COUNT, "lost": lost}
        add_result(arguments.out, "actors", result)
    return result


def use_nodes(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Two nodes predict; then one of three is lost in the middle of another run."""
    images = write_images(folder, COUNT, SMALL)
    reference = folder / "reference"
    segnet("predict", images, "--model", export(folder), "--threads", 1, "--save", "mask", "--out", reference)
    expected = contents(reference)
    cluster = start_cluster(cores=[1, 1])
    words = (*predict_words(folder, images), "--address", cluster.address)
    try:
        ended = segnet(*words, "--out", folder / "two")
        lost = losses(folder / "two", ended, expected, COUNT)
        workers = len(list((folder / "two/.segnet-batch").glob("done-*")))
        thread = threading.Thread(target=remove_node, args=(cluster, folder / "less"))
        thread.start()
        ended = segnet(*words, "--out", folder / "less")
        thread.join()
        lost += losses(folder / "less", ended, expected, COUNT, doubled_work=True)
    finally:
        cluster.shutdown()
    twice = len(marks(folder / "less")) - len(set(marks(folder / "less")))
    return {"nodes": 2, "workers": workers, "nodes_lost": 1, "images_predicted_again": twice, "lost": lost}


def measure_memory(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Anonymous memory of one worker without Ray, after each fifth of its images."""
    from segnet.batch.sources import find_items, split_parts
    from segnet.batch.worker import Task, Worker
    from segnet.inference.predictor import Predictor
    from segnet.visualization.style import OverlayStyle

    model = export(folder)
    images = find_items([str(write_images(folder, arguments.images, (48, 64)))], out=folder).images
    load = lambda: Predictor.load(model, confidence=True, threads=1)  # noqa: E731
    worker = Worker(Task(load, folder / "out", ("mask", "parquet"), OverlayStyle(), "run"))
    memory = []
    for part in split_parts(images, [], size=-(-len(images) // 5)):
        assert sum(report.predicted for report in worker.predict(part)) == len(part.items)
        memory.append(round(memory_kb("self") / 1e3, 1))
    out, count = folder / "ray", len(images)
    ended = segnet(*predict_words(folder, folder / "images"), "--workers", 1, "--out", out, count=(out, count))
    assert ended.code == 0, ended.error
    samples = [each for each in ended.samples if "predicting" in each.memory_mb]
    reached = [next(each for each in samples if each.images >= share * count) for share in (0.2, 0.4, 0.6, 0.8, 0.98)]
    return {
        "images": count,
        "memory_mb_after_each_fifth": memory,
        "memory_mb_of_the_ray_worker": [(each.images, each.memory_mb["predicting"]) for each in reached],
    }


def measure_limits(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One thread each; images per second."""
    import torch

    from segnet.inference.predictor import Predictor
    from segnet.media.images.reading import read_image
    from segnet.media.images.writing import write_mask

    torch.set_num_threads(1)
    images = sorted(write_images(folder, 100, CAMVID_SIZE).iterdir())
    predictor = Predictor.load("segnet_light", threads=1, device="cpu")
    pixels = [read_image(path) for path in images]
    masks = [predictor(image).mask for image in pixels[:20]]
    numbered = list(enumerate(masks * 5))
    return {
        "size": CAMVID_SIZE,
        "parts_of_the_driver": round(measure_parts(folder), 1),
        "read_file": rate(lambda path: path.read_bytes(), images),
        "decode": rate(read_image, images),
        "predict": rate(predictor, pixels[:40]),
        "write_mask": rate(lambda each: write_mask(folder / f"{each[0]}.png", each[1], predictor.labels), numbered),
        "row_of_run_lengths": rate(lambda mask: rows_of(mask, predictor.labels), masks * 5),
        "note_as_done": rate(note_done(folder), [f"{number:016x}" for number in range(5000)]),
        "driver_find_images_and_marks": round(measure_driver(folder), 1),
        "kilobytes_per_image": round(sum(path.stat().st_size for path in images) / len(images) / 1e3, 1),
        "kilobytes_per_mask": round(sum((folder / f"{n}.png").stat().st_size for n in range(20)) / 20e3, 2),
    }


PARTS = {
    "speed": measure_speed,
    "kills": kill_jobs,
    "forks": kill_forks,
    "actors": kill_actors,
    "nodes": use_nodes,
    "memory": measure_memory,
    "limits": measure_limits,
}


# --- tools


def rate(work: Any, items: Any) -> float:
    """Items per CPU second of this process."""
    began = time.process_time()
    for item in items:
        work(item)
    return round(len(items) / max(time.process_time() - began, 1e-9), 1)


def rows_of(mask: Any, labels: Any) -> Any:
    from segnet.results.coco import annotate

    return annotate(mask, labels)


def note_done(folder: Path) -> Any:
    from segnet.batch.done import DoneFile

    file = DoneFile(folder / "done", "run")
    return lambda mark: (file.begin(mark), file.finish([mark]))


def measure_driver(folder: Path) -> float:
    """Images per CPU second of what the driver does before a run: find them, and see which are done."""
    from segnet.batch.done import DoneFile, DoneImages, fingerprint
    from segnet.batch.sources import find_items

    many, out = folder / "many", folder / "out"
    (many).mkdir()
    for number in range(20_000):
        (many / f"{number:06}.jpg").touch()
    file = DoneFile(out, "run")
    began = time.process_time()
    items = find_items([str(many)], out=out).images
    file.finish([fingerprint(*item) for item in items])
    done = DoneImages(out)
    assert all(fingerprint(*item) in done for item in items)
    return len(items) / (time.process_time() - began)


def export(folder: Path) -> Path:
    """An exported file, which needs no PyTorch: processes start quickly, and the kills fall into the work."""
    path = folder / "light.onnx"
    if not path.exists():
        ended = segnet("export", "segnet_light", "--format", "onnx", "--out", path)
        assert ended.code == 0, ended.error
    return path


def predict_words(folder: Path, images: Path) -> tuple[Any, ...]:
    return ("predict", images, "--model", export(folder), "--save", "mask,parquet", "--engine", "ray")


def measure_parts(folder: Path) -> float:
    """Parts per second that the driver hands to one worker and gets back."""
    from functools import partial

    from segnet.batch.ray_engine import connected, stream_reports
    from segnet.batch.settings import EngineConfig
    from segnet.batch.sources import Part
    from segnet.batch.worker import Task
    from segnet.inference.predictor import Predictor
    from segnet.visualization.style import OverlayStyle

    load = partial(Predictor.load, "segnet_light", device="cpu")
    task = Task(load, folder / "parts", ("mask",), OverlayStyle(), "run")
    with connected(EngineConfig(engine="ray", workers=1), threads=1, device="cpu") as pool:
        parts = [Part(number, [], shard=False) for number in range(400)]
        times = [time.monotonic() for _ in stream_reports(task, parts, pool)]
    return (len(times) - 1) / (times[-1] - times[0])


def write_images(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """JPEGs of rendered scenes under many names."""
    scenes = write_scenes(folder / "scenes", train=_DIFFERENT, val=1, size=size)
    files = sorted((scenes / "train").glob("*.png"))
    images = folder / "images"
    images.mkdir()
    for number in range(count):
        target = images / f"{number:06}.jpg"
        if number < len(files):
            with Image.open(files[number]) as image:
                image.convert("RGB").save(target, quality=90)
        else:
            os.link(images / f"{number % len(files):06}.jpg", target)
    return images


def between(samples: list[Sample], images: int) -> float:
    """Images per second between a tenth and nine tenths of the images: without start and end."""
    inside = [each for each in samples if 0.1 * images <= each.images <= 0.9 * images]
    return (inside[-1].images - inside[0].images) / (inside[-1].seconds - inside[0].seconds)


def segnet(
    *words: Any, kill_after: float | None = None, wait_for: Path | None = None, count: tuple[Path, int] | None = None
) -> Ended:
    """Run the command and wait for all processes that it left; ``count``: the folder of results, and how many come."""
    began = time.monotonic()
    cpu: dict[int, float] = {}
    before = 0 if wait_for is None else len(list(wait_for.glob(".segnet-batch/done-*")))
    with tempfile.TemporaryFile("w+") as error:
        command = [sys.executable, "-m", "segnet", *map(str, words)]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=error)
        samples: list[Sample] = []
        proportional: list[Sample] = []
        while running.poll() is None:
            time.sleep(0.02 if kill_after is not None else 1.0)
            if kill_after is None:
                seconds, images = time.monotonic() - began, len(masks(count[0])) if count else 0
                samples.append(Sample(seconds, images, sample_tree(cpu)))
                if count and len(proportional) < 2 and images >= _SHARES[len(proportional)] * count[1]:
                    proportional.append(Sample(seconds, images, sample_tree(cpu, proportional=True)))
            elif wait_for is not None and len(list(wait_for.glob(".segnet-batch/done-*"))) == before:
                began = time.monotonic()
            elif time.monotonic() - began > kill_after:
                running.kill()
        seconds = time.monotonic() - began
        reap_orphans()
        error.seek(0)
        return Ended(running.returncode, seconds, sum(cpu.values()), samples, proportional, error.read()[-2000:])


def masks(out: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(out / "mask")  # noqa: PTH208
    return []


def reap_orphans() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def sample_tree(cpu: dict[int, float], *, proportional: bool = False) -> dict[str, float]:
    """Memory in MB of all descendants of this process, orphans among them, for each kind; notes CPU seconds so far."""
    total, waiting = Counter[str](), children(os.getpid())
    for each in waiting:
        with suppress(OSError):
            words = Path(f"/proc/{each}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            kind = next((kind for word, kind in _KINDS.items() if word in words), "other")
            total[kind] += memory_kb(each, proportional=proportional)
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            cpu[each] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            waiting += children(each)
    return {kind: round(kilobytes / 1e3, 1) for kind, kilobytes in total.items()}


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def memory_kb(pid: int | str, *, proportional: bool = False) -> int:
    file, word = ("smaps_rollup", "Pss:") if proportional else ("status", "RssAnon:")
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(word)), 0)


def marks(out: Path) -> list[str]:
    return [line[:16] for path in out.glob(".segnet-batch/done-*") for line in path.read_text().splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "mask").iterdir() if not path.name.startswith(".")}


def losses(out: Path, ended: Ended, expected: dict[str, bytes], count: int, *, doubled_work: bool = False) -> list[str]:
    """Sentences on what was lost, written twice or left behind."""
    import pyarrow.parquet as pq

    found = [f"exit code {ended.code}: {ended.error[-300:]}"] if ended.code else []
    found += [] if contents(out) == expected else ["masks differ or are missing"]
    names = [row["name"] for path in out.glob("parquet/*.parquet") for row in pq.read_table(path).to_pylist()]
    found += [] if len(names) == len(set(names)) == count else [f"{len(names)} rows of {len(set(names))} images"]
    temporary = [path.name for path in out.rglob(".segnet-*") if path.name not in (".segnet-batch", ".segnet-written")]
    found += [f"temporary files stay: {temporary}"] if temporary and not doubled_work else []
    return found


def workers_of(out: Path) -> list[int]:
    """The processes that hold a file of done images open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            files = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if any(f"{out}/.segnet-batch/done-" in file for file in files):
                found.append(int(process.name))
    return found


def kill_workers(out: Path, killed: list[int], stop: threading.Event, chance: random.Random, most: int) -> None:
    """Kill a random worker, wait until it is replaced or others work, and so on."""
    while not stop.wait(chance.uniform(0.1, 1.0)) and len(killed) < most:
        if workers := workers_of(out):
            victim = chance.choice(workers)
            if victim not in killed:
                with suppress(OSError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)


def start_cluster(cores: list[int]) -> Any:
    """Ray nodes on this machine, each with so many cores."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cores[0], "object_store_memory": 10**8})
    for count in cores[1:]:
        cluster.add_node(num_cpus=count, object_store_memory=10**8)
    return cluster


def remove_node(cluster: Any, out: Path) -> None:
    """Kill the second node once a quarter of the images is done."""
    while len(marks(out)) < COUNT // 4:
        time.sleep(0.1)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)


if __name__ == "__main__":
    main()
