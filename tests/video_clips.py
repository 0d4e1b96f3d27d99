"""Small videos for tests, written with PyAV itself, and a model whose answer can be read off the image."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import av
import numpy as np

from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output, Runtime
from segnet.runtimes.model_info import ModelInfo

SIZE = (48, 64)


class Brightness(Runtime):
    """Two classes, dark and bright; the probability of bright is the image's mean over its channels."""

    def __init__(self, channels: int = 3) -> None:
        self.info = ModelInfo(name="brightness", labels=ClassTable.from_names(["dark", "bright"]), channels=channels)

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        self.require(probabilities=probabilities, measure=measure)
        bright = batch.mean(axis=1, keepdims=True, dtype=np.float32)
        return Output.from_probabilities(np.concatenate([1 - bright, bright], axis=1), measure)


class InPairs(Brightness):
    """Computes two images at the same time or none, once that is asked for: each call waits for another one."""

    _pair: threading.Barrier | None = None

    @contextmanager
    def concurrent(self) -> Iterator[int]:
        self._pair = threading.Barrier(2, timeout=30)
        yield 2
        self._pair = None

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        if self._pair is not None:
            self._pair.wait()
        return super().run(batch, probabilities=probabilities, measure=measure)


def predictor(**settings: Any) -> Predictor:
    return Predictor(Brightness(), **settings)


def clip_images(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """The left part is white, the right black; the border between moves two pixels a frame."""
    found = []
    for number in range(count):
        image = np.zeros((*size, 3), dtype=np.uint8)
        image[:, : 8 + 2 * number] = 255
        found.append(image)
    return found


def noise(count: int) -> list[np.ndarray]:
    """Images that take much room."""
    return [*np.random.default_rng(0).integers(0, 255, (count, *SIZE, 3), dtype=np.uint8)]


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray] | int = 12,
    *,
    times: Sequence[int] | None = None,
    rate: int = 25,
    sound: str = "",
    layout: str = "stereo",
    codec: str = "libx264",
    rotation: int = 0,
    aspect: Fraction = Fraction(1),
    options: dict[str, str] | None = None,
) -> Path:
    """A movie of the images; ``times`` in thousandths of a second, else evenly; each second frame is a key frame."""
    images = clip_images(frames) if isinstance(frames, int) else list(frames)
    with av.open(str(path), "w", container_options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "10", "g": "2"} if "x264" in codec else {})
        height, width = images[0].shape[:2] if images else SIZE
        stream.height, stream.width, stream.pix_fmt = height, width, "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        heard = container.add_stream(sound, rate=48000, layout=layout) if sound else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[number] if times else round(1000 * number / rate)
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if heard is not None:
            container.mux(heard.encode(tone(len(images) / rate)))
            container.mux(heard.encode(None))
    return path


def tone(seconds: float) -> av.AudioFrame:
    wave = np.sin(np.arange(round(48000 * seconds)) / 10).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    return frame


def decoded(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Times and images of a movie, by PyAV alone."""
    with av.open(str(path)) as container:
        return [
            (Fraction(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


def border(image: np.ndarray) -> int:
    """Where the white part of one of ``images`` ends."""
    return int((image[image.shape[0] // 2].mean(axis=-1) > 127).sum())


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler] | Path) -> Iterator[str]:
    """An HTTP server on this machine, of a folder or with a handler; the address it answers to."""
    kind = partial(SimpleHTTPRequestHandler, directory=str(handler)) if isinstance(handler, Path) else handler
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def feed_and_interrupt(pipe: Path, data: bytes, *, once: Path, until: Path) -> threading.Thread:
    """Feed a pipe in a thread, send Ctrl-C once one file is there, and keep the pipe open until another is."""

    def feed() -> None:
        with pipe.open("wb") as file:  # stays open: the source does not end by itself
            file.write(data)
            file.flush()
            while not once.exists():
                threading.Event().wait(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            while not until.exists():
                threading.Event().wait(0.001)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    return feeder


def terminate_once(file: Path) -> threading.Thread:
    """Send SIGTERM to this process from a thread, as soon as a file is there."""

    def wait() -> None:
        while not file.exists():
            threading.Event().wait(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread
