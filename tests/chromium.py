"""Headless Chromium with a camera that plays a film, for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

CAMERA_SIZE = (64, 48)
QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium_with_camera(folder: Path) -> Iterator[Browser]:
    """Chromium in the block; the film of its camera stands in the folder."""
    devices = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    camera = write_y4m(folder / "camera.y4m")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            chromium_sandbox=False,
            args=[*QUIET, *devices, f"--use-file-for-fake-video-capture={camera}"],
        )
        yield launched
        launched.close()


def write_y4m(path: Path) -> Path:
    """Frames of a camera: gray, with a bright square that moves."""
    width, height = CAMERA_SIZE
    frames = []
    for number in range(10):
        luma = np.full((height, width), 60, dtype=np.uint8)
        luma[10:30, 4 * number : 4 * number + 20] = 200
        frames.append(b"FRAME\n" + luma.tobytes() + bytes([128]) * (width * height // 2))
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode() + b"".join(frames))
    return path


def write_video(path: Path, codec: str) -> Path:
    """Twenty frames that become brighter, at ten a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *CAMERA_SIZE, "yuv420p"
        for number in range(20):
            image = np.full((*reversed(CAMERA_SIZE), 3), 12 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path
