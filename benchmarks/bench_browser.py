"""Frames per second of pages of ``segnet export --format browser`` in headless Chromium, with a camera of 480x360.

npm install --ignore-scripts --prefix web/browser
segnet export segnet_light --format browser --out light --runtime-files web/browser/node_modules/onnxruntime-web
pip install playwright
python benchmarks/bench_browser.py light [MORE PAGES] >benchmarks/results/browser.json

The camera is a film of synthetic scenes. Each page is also compared with ``segnet predict`` on the packaged image, and
with ONNX Runtime without a browser, which runs the same file with as many threads. Where other programs run, frames per
second say little; ``cpu_ms_per_frame`` is the processor time of all of Chromium, and the load is stored.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import segnet
from segnet.data.synthetic.scenes import render_scene
from segnet.system.hardware import about

_STREET = Path(segnet.__file__).parent / "data" / "sample" / "street.jpg"
_SIZE = (360, 480)
_THREADS = (1, 2)
_WARM_UP_FRAMES, _FRAMES, _ROUNDS, _LIMIT_S = 3, 12, 5, 60
_FLAGS = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
# The page writes its rate once for each frame that it has drawn. One observer for each page: two would count twice.
_COUNT_FRAMES = """() => {
  window.framesDrawn = 0;
  new MutationObserver(() => window.framesDrawn++).observe(document.getElementById("rate"), { childList: true });
}"""


def write_camera(path: Path) -> Path:
    """A raw video of eight scenes, as Chromium's fake camera reads it."""
    frames = []
    for seed in range(8):
        luma, *chroma = Image.fromarray(render_scene(seed, size=_SIZE)[0]).convert("YCbCr").split()
        half = [plane.resize((_SIZE[1] // 2, _SIZE[0] // 2)).tobytes() for plane in chroma]
        frames.append(b"FRAME\n" + luma.tobytes() + b"".join(half))
    header = f"YUV4MPEG2 W{_SIZE[1]} H{_SIZE[0]} F30:1 Ip A1:1 C420jpeg\n"
    path.write_bytes(header.encode() + b"".join(frames))
    return path


class Server(SimpleHTTPRequestHandler):
    """A file server that isolates the page, so that it gets threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def serve(folder: str) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def open_page(browser: Browser, address: str, threads: int) -> tuple[Page, float]:
    """The page when it is ready, and the seconds that took."""
    page = browser.new_page()
    started = time.perf_counter()
    page.goto(f"{address}?backend=wasm&threads={threads}")
    page.locator("#status:text('Ready')").wait_for(timeout=120_000)
    ready_s = time.perf_counter() - started
    page.evaluate(_COUNT_FRAMES)
    return page, ready_s


def agreement(page: Page, expected: np.ndarray) -> float:
    """Share of the packaged image's pixels with the class of ``segnet predict``."""
    page.locator("#sample").click()
    page.locator("#status:text('took')").wait_for(timeout=60_000)
    with page.expect_download() as download:
        page.click("#save-mask")
    with Image.open(download.value.path()) as mask:
        return float((np.asarray(mask) == expected).mean())


def wait_for_frames(page: Page, count: int) -> int:
    """Wait until so many frames were drawn since the page was opened, or the time is up; how many there are."""
    started = time.perf_counter()
    while True:
        drawn = int(page.evaluate("window.framesDrawn"))
        if drawn >= count or time.perf_counter() - started > _LIMIT_S:
            return drawn
        page.wait_for_timeout(20)


def live(page: Page, detail: str) -> tuple[float, float]:
    """Frames per second of the camera, and processor milliseconds of Chromium per frame."""
    page.select_option("#detail", detail)
    page.click("#camera")
    first = wait_for_frames(page, int(page.evaluate("window.framesDrawn")) + _WARM_UP_FRAMES)
    started, before = time.perf_counter(), chromium_seconds()
    drawn = wait_for_frames(page, first + _FRAMES) - first
    seconds, cpu = time.perf_counter() - started, chromium_seconds() - before
    return drawn / seconds, 1000 * cpu / max(1, drawn)


def chromium_seconds() -> float:
    """Processor time of all processes that this one started, and of those that they started."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    return sum(count for number, count in ticks.items() if _descends(number, parents)) / os.sysconf("SC_CLK_TCK")


def _descends(number: int, parents: dict[int, int]) -> bool:
    while number in parents:
        number = parents[number]
        if number == os.getpid():
            return True
    return False


def time_native(model: Path, threads: int) -> tuple[float, float]:
    """Milliseconds of ONNX Runtime without a browser, and of the processor, for the network only."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options)
    image = render_scene(1, size=_SIZE)[0].transpose(2, 0, 1)[None].astype(np.float32) / 255
    taken, cpu = [], []
    for _ in range(_ROUNDS + 1):
        started, before = time.perf_counter(), time.process_time()
        session.run(None, {"image": image})
        taken.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - before))
    return median(taken[1:]), median(cpu[1:])


def measure(browser: Browser, folder: str, threads: int) -> dict[str, object]:
    site = Path(folder)
    name = json.loads((site / "model.json").read_text(encoding="utf-8"))["name"]
    expected = segnet.Predictor.load(name)(_STREET).mask
    with serve(folder) as address:
        page, ready = open_page(browser, address, threads)
        same = agreement(page, expected)
        (rate, cpu), (half_rate, half_cpu) = (live(page, detail) for detail in ("1", "0.5"))
        page.close()
    native, native_cpu = time_native(site / "model.onnx", threads)
    assets = [path for path in site.iterdir() if path.suffix in {".html", ".css", ".js", ".jpg"}]
    print(f"{name}, {threads} threads: {rate:.2f} frames/s", file=sys.stderr, flush=True)
    return {
        "model": name,
        "threads": threads,
        "frames_per_second": round(rate, 2),
        "cpu_ms_per_frame": round(cpu, 1),
        "frames_per_second_half_size": round(half_rate, 2),
        "cpu_ms_per_frame_half_size": round(half_cpu, 1),
        "native_onnxruntime_ms": round(native, 1),
        "native_onnxruntime_cpu_ms": round(native_cpu, 1),
        "load_average": round(os.getloadavg()[0], 1),
        "ready_s": round(ready, 1),
        "agreement_with_predict": round(same, 6),
        "page_bytes_without_runtime_and_model": sum(path.stat().st_size for path in assets),
        "model_bytes": (site / "model.onnx").stat().st_size,
    }


def main() -> None:
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        camera = write_camera(Path(folder) / "camera.y4m")
        devices = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            chromium_sandbox=False,
            args=[*_FLAGS, *devices, f"--use-file-for-fake-video-capture={camera}"],
        )
        rows = [measure(browser, site, threads) for site in sys.argv[1:] for threads in _THREADS]
        versions = {"chromium": browser.version, **about("segnet", "onnxruntime", "playwright")}
        print(json.dumps({**versions, "size": list(_SIZE), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
