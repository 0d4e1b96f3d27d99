"""What operators see: metrics of Prometheus, and a log of one JSON object per line.

Imported where prometheus_client is installed.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["JsonFormatter", "Metrics", "RequestLog"]

log = logging.getLogger("segnet.service")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16)
_GIVEN_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_CLOSED = 499  # of a client that went away, as nginx counts it; nobody gets to see it
_PLAIN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


class Metrics:
    """The metrics of one service.

    Args:
        waiting: number of images that wait for the model.
        accepted: number of images in hand.
    """

    def __init__(self, *, waiting: Callable[[], int], accepted: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "segnet_requests", "Requests by path and status.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "segnet_request_seconds", "Seconds from a request's headers to the end of its answer.", ["path"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._images = Histogram(
            "segnet_batch_images", "Images that ran through a model together.", buckets=_IMAGES, registry=registry
        )
        self._model = Histogram(
            "segnet_model_seconds", "Seconds of a model for a batch.", buckets=_SECONDS, registry=registry
        )
        Gauge("segnet_images_waiting", "Images that wait for a model.", registry=registry).set_function(waiting)
        Gauge("segnet_images_accepted", "Images decoded, waiting, predicted or encoded.", registry=registry) \
            .set_function(accepted)  # fmt: skip

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request; paths that do not exist count as one."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def add_batch(self, images: int, seconds: float) -> None:
        """Count a batch and the seconds that the model took."""
        self._images.observe(images)
        self._model.observe(seconds)

    def text(self) -> bytes:
        """All values in Prometheus' text format."""
        return generate_latest(self._registry)


class RequestLog:
    """ASGI middleware: a line in the log and a count for each request, and headers that every answer has.

    Args:
        app: that answers.
        metrics: that count.
        paths: known paths; all others count as one, since anybody can make them up.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), _CLOSED
        name = _request_id(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            seconds = time.perf_counter() - started
            self._metrics.add_request(path, status, seconds)
            log.info("request", extra={
                "id": name, "method": scope["method"], "path": scope["path"][:200], "status": status,
                "seconds": round(seconds, 4), "client": (scope.get("client") or ("",))[0],
                **scope["state"].get("facts", {}),
            })  # fmt: skip


def _request_id(scope: Scope) -> str:
    """The id that the client gave in ``X-Request-ID``, if it is harmless, else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex


class JsonFormatter(logging.Formatter):
    """A log record as a JSON object in one line: time, level, event, and what ``extra`` holds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        values |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str)
