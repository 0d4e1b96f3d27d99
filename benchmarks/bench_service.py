"""The HTTP service against the model alone: images per second, latency, memory, and the time to its start.

    segnet export segnet_light --format onnx --out light.onnx
    python benchmarks/bench_service.py segnet_light light.onnx > benchmarks/results/service.json
    python benchmarks/bench_service.py --memory 10000 --burst 10000 > benchmarks/results/service_memory.json

Service and clients run on the same processor. Service and loops alternate, and a share is the median over the rounds of
the ratio of neighbors, so that other load on the computer meets both. Where that load is high, only the processor time
per image says something: that of the service includes HTTP, decoding and encoding, that of a loop its own work.

    model   ``Predictor.predict_batch`` on decoded images, in the batches that the predictor chooses
    files   JPEG decoded, predicted, and the mask encoded as PNG, one after the other: a request's work without HTTP
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from segnet.data.synthetic.scenes import render_scene
from segnet.inference.predictor import Predictor
from segnet.labels import CAMVID
from segnet.media.images.reading import pixels_of
from segnet.media.images.writing import encode_mask
from segnet.system.hardware import about

_SIZE = (360, 480)
_CLIENTS = (1, 8, 64)


def photos(count: int, size: tuple[int, int]) -> list[bytes]:
    """JPEG files of rendered scenes."""
    files = []
    for seed in range(count):
        Image.fromarray(render_scene(seed, size=size)[0]).save(file := io.BytesIO(), "JPEG", quality=92)
        files.append(file.getvalue())
    return files


@dataclass
class Service:
    process: subprocess.Popen[str]
    port: int
    ready_s: float

    def status(self, name: str) -> int:
        """A value of /proc/PID/status, in kilobytes where it is a size."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextmanager
def serving(model: str, *flags: str) -> Iterator[Service]:
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "segnet", "serve", model, "--port", "0", *flags],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "SEGNET_TOKEN": ""},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and (record := json.loads(line))["event"] == "ready":
            break
    ready = time.perf_counter() - started
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield Service(process, int(record["address"].rpartition(":")[2]), ready)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def ask(port: int, files: list[bytes], clients: int, stop: Callable[[int], bool]) -> tuple[list[float], Counter[int]]:
    """Latencies of successful requests and counts of statuses, of clients that keep their connections."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    numbers = iter(range(10**9))

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not stop(number := next(numbers)):
            started = time.perf_counter()
            connection.request("POST", "/v1/segment", files[number % len(files)], {"Content-Type": "image/jpeg"})
            with connection.getresponse() as reply:
                reply.read()
            statuses[reply.status] += 1
            if reply.status == 200:
                latencies.append(time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies, statuses


def until(seconds: float) -> Callable[[int], bool]:
    end = time.perf_counter() + seconds
    return lambda number: time.perf_counter() > end


class Pace(NamedTuple):
    """Of a loop or a service.

    Attributes:
        rate: images per second.
        cpu_ms: processor milliseconds per image.
    """

    rate: float
    cpu_ms: float


def pace(step: Callable[[], int], seconds: float) -> Pace:
    """Repeat a step, which returns its number of images."""
    done, started, cpu = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - started) < seconds:
        done += step()
    return Pace(done / elapsed, 1000 * (time.process_time() - cpu) / done)


def model_step(predictor: Predictor, images: list[np.ndarray]) -> Callable[[], int]:
    together = cycle(images)
    size = predictor.batch_size(*predictor.working_size(*images[0].shape[:2]))
    return lambda: len(predictor.predict_batch(list(islice(together, size))))


def files_step(predictor: Predictor, files: list[bytes]) -> Callable[[], int]:
    each = cycle(files)

    def step() -> int:
        pixels = pixels_of(Image.open(io.BytesIO(next(each))))
        encode_mask(predictor.predict_pixels(pixels).mask, predictor.labels)
        return 1

    return step


def compare(model: str, seconds: float, rounds: int) -> dict[str, object]:
    files = photos(8, _SIZE)
    predictor = Predictor.load(model)
    step = model_step(predictor, [pixels_of(Image.open(io.BytesIO(file))) for file in files])
    step()
    rows: dict[int, list[dict[str, float]]] = {clients: [] for clients in _CLIENTS}
    with serving(model, "--timeout", "600") as service:
        start_cpu = service.cpu_ms / 1000
        ask(service.port, files, 8, lambda number: number >= 8)
        for _, clients in product(range(rounds), _CLIENTS):
            bare, alone = pace(step, seconds), pace(files_step(predictor, files), seconds)
            started, cpu = time.perf_counter(), service.cpu_ms
            latencies, statuses = ask(service.port, files, clients, until(seconds))
            rate, cpu = len(latencies) / (time.perf_counter() - started), (service.cpu_ms - cpu) / len(latencies)
            again = pace(step, seconds)  # before and after, since other load changes
            bare = Pace((bare.rate + again.rate) / 2, (bare.cpu_ms + again.cpu_ms) / 2)
            row = {
                "images_per_second": rate, "cpu_ms_per_image": cpu,
                "p50_ms": 1000 * float(np.quantile(latencies, 0.5)),
                "p99_ms": 1000 * float(np.quantile(latencies, 0.99)),
                "not_200": sum(statuses.values()) - statuses[200],
                "model_images_per_second": bare.rate, "model_cpu_ms": bare.cpu_ms, "files_cpu_ms": alone.cpu_ms,
                "share_of_model": rate / bare.rate, "share_of_model_by_cpu": bare.cpu_ms / cpu,
                "share_of_files": rate / alone.rate, "share_of_files_by_cpu": alone.cpu_ms / cpu,
                "load": os.getloadavg()[0],
            }  # fmt: skip
            rows[clients].append(row)
            print(model, clients, {key: round(value, 3) for key, value in row.items()}, file=sys.stderr, flush=True)
        ready = service.ready_s
    medians = {
        clients: {key: round(statistics.median(row[key] for row in group), 3) for key in group[0]}
        for clients, group in rows.items()
    }
    return {
        "model": Path(model).name,
        "start_to_ready_s": round(ready, 2),
        "start_cpu_s": round(start_cpu, 2),
        "clients": medians,
    }


def toy_model(folder: Path) -> str:
    import torch

    from segnet.models import checkpoint
    from segnet.models.decoders import DecoderConfig
    from segnet.models.encoders import EncoderConfig
    from segnet.models.segnet import SegNet, SegNetConfig

    torch.manual_seed(0)
    config = SegNetConfig(
        name="toy", encoder=EncoderConfig(widths=((8,), (12,))), decoder=DecoderConfig(widths=((8,), (8,))), classes=11
    )
    return str(checkpoint.save(SegNet(config).eval(), CAMVID, folder / "toy.safetensors"))


def soak(requests: int, burst: int) -> dict[str, object]:
    """Memory, threads and files of a service with a toy model, after each tenth of the requests; then a burst."""
    with tempfile.TemporaryDirectory() as folder, serving(toy_model(Path(folder)), "--queue", "32") as service:
        files = photos(20, (24, 32))
        rows, total = [], Counter[int]()
        for _ in range(10):
            _, statuses = ask(service.port, files, 8, lambda number: number >= requests // 10)
            total += statuses
            rows.append({
                "requests": sum(total.values()), "resident_mb": round(service.status("VmRSS") / 1024, 1),
                "threads": service.status("Threads"), "files": service.open_files,
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
        _, flood = ask(service.port, files, 200, lambda number: number >= burst)
        after = round(service.status("VmRSS") / 1024, 1)
    return {
        "statuses": dict(total), "tenths": rows, "burst_of_200_clients": dict(flood), "resident_mb_after_burst": after,
        "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=0, help="number of requests to a toy model instead")
    parser.add_argument("--burst", type=int, default=0, help="number of requests of 200 clients after them")
    chosen = parser.parse_args()
    figures: dict[str, object] = about("torch", "onnxruntime", "openvino", "fastapi", "uvicorn")
    if chosen.memory:
        figures |= soak(chosen.memory, chosen.burst)
    else:
        figures |= {
            "size": list(_SIZE), "seconds": chosen.seconds, "rounds": chosen.rounds,
            "services": [compare(model, chosen.seconds, chosen.rounds) for model in chosen.models],
        }  # fmt: skip
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
