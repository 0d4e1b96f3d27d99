"""A service in a thread, and a client of the standard library."""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segnet.data.synthetic.scenes import render_scene
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.runtimes.base import Output, Runtime
from segnet.runtimes.model_info import ModelInfo
from segnet.visualization.style import OverlayStyle
from segnet.web.service.inference import InferenceService
from segnet.web.service.models import ModelSet
from segnet.web.service.server import Server, bind
from segnet.web.service.settings import ServiceConfig

LIMITS = ServiceConfig(port=0, max_upload=0.2, max_pixels=0.05, timeout=120)
"""Small limits; the time is that of a machine that is busy with other tests."""


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The reason, which is one line."""
        (reason,) = self.json.values()
        assert "\n" not in reason
        return str(reason)


@dataclass
class Client:
    port: int
    service: InferenceService

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, body: Any, query: str = "", **headers: str) -> Reply:
        return self.ask("POST", f"/v1/segment{query}", body, **{"Content_Type": "image/png", **headers})

    @property
    def files(self) -> list[Path]:
        """What lies in the temporary folder of the service."""
        return list(Path(self.service._folder.name).rglob("*"))


@contextmanager
def run_service(
    openers: Mapping[str, Callable[[], Predictor]], config: ServiceConfig = LIMITS, *, token: str = ""
) -> Iterator[Client]:
    with bind("127.0.0.1", 0) as bound:
        server = Server(ModelSet(openers), config, OverlayStyle(), token=token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        try:
            yield Client(bound.getsockname()[1], server.config.app._app.state.service)
        finally:
            server.should_exit = True
            thread.join()


@dataclass(eq=False)
class HeldRuntime(Runtime):
    """A runtime that waits for ``opened`` before it predicts class 0, after its first image."""

    info: ModelInfo = field(default_factory=lambda: ModelInfo(name="held", labels=ClassTable.numbered(2)))
    running: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)

    def run(self, batch: np.ndarray, *, probabilities: bool = False, measure: Any = None) -> Output:
        self.batches.append(len(batch))
        if len(self.batches) > 1:  # the first is that of the start
            self.running.set()
            assert self.opened.wait(120)
        mask = np.zeros((len(batch), *batch.shape[2:]), dtype=np.uint8)
        return Output(mask, np.stack([1.0 - mask, mask], axis=1).astype(np.float32))


def encoded(seed: int = 0, size: tuple[int, int] = (24, 32), kind: str = "PNG", **options: Any) -> bytes:
    """An image file of a rendered scene."""
    file = io.BytesIO()
    Image.fromarray(render_scene(seed, size=size)[0]).save(file, kind, **options)
    return file.getvalue()
