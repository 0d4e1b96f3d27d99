"""Runs the application: socket, signals, log, and an end that finishes what was accepted.

Imported where uvicorn is installed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial

import uvicorn

from segnet.errors import ConfigError
from segnet.inference.predictor import Predictor
from segnet.system.signals import TERMINATED, noting_termination
from segnet.visualization.style import OverlayStyle
from segnet.web.service.app import create_app, observe_app
from segnet.web.service.models import ModelSet
from segnet.web.service.protocol import limit_time
from segnet.web.service.settings import ServiceConfig
from segnet.web.service.telemetry import JsonFormatter

__all__ = ["Server", "bind", "serve"]

log = logging.getLogger("segnet.service")

_SPARE_SECONDS = 5  # at the end, beyond the limits of a request


class Server(uvicorn.Server):
    """uvicorn's server of the application; SIGHUP loads the models again.

    Args:
        models: that predict.
        config: address and limits.
        style: of overlays.
        token: see ``create_app``.
    """

    def __init__(self, models: ModelSet, config: ServiceConfig, style: OverlayStyle, *, token: str = "") -> None:
        self._models = models
        self._reloading = threading.Lock()
        super().__init__(uvicorn.Config(
            observe_app(create_app(models, config, style, token=token)),
            http=limit_time(config.timeout), loop="asyncio", ws="none", lifespan="on", log_config=None,
            access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=int(2 * config.timeout) + _SPARE_SECONDS,
        ))  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and say so."""
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        host, port = (sockets or self.servers[0].sockets)[0].getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("ready", extra={"address": address, "models": self._models.names})

    def _reload(self) -> None:
        """Load the models again in a thread, one after the other; the service answers meanwhile."""

        def reload() -> None:
            with self._reloading:
                self._models.reload()

        threading.Thread(target=reload, name="segnet-reload", daemon=True).start()


def bind(host: str, port: int) -> socket.socket:
    """A socket at the address, which does not listen yet.

    Raises:
        ConfigError: the address is unknown, or another program has it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"port {port} of {host} cannot be used ({error}); give another --port, or --host 127.0.0.1"
        ) from error
    return bound


def serve(openers: Mapping[str, Callable[[], Predictor]], config: ServiceConfig, style: OverlayStyle) -> int:
    """Run the service until SIGINT or SIGTERM; then accepted requests are finished.

    Args:
        openers: by the name of each model, a function that loads it.
        config: address and limits.
        style: of overlays.

    Returns:
        The exit code.

    Raises:
        SegNetError: the address, the token or a model cannot be used.
    """
    token = config.read_token()
    with bind(config.host, config.port) as bound:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        if not token and not config.is_local:
            log.warning("everybody who reaches %s may use this service; set a token in SEGNET_TOKEN", config.host)
        models = ModelSet({name: partial(_open_with_style, opener, style) for name, opener in openers.items()})
        gc.collect()
        gc.freeze()  # all of PyTorch need not be walked through again and again
        with noting_termination() as terminated:
            Server(models, config, style, token=token).run(sockets=[bound])
        log.info("stopped; all accepted requests were answered")
    return TERMINATED if terminated() else 0


def _open_with_style(opener: Callable[[], Predictor], style: OverlayStyle) -> Predictor:
    """The model, at the start and when it is loaded again, if it has the classes that overlays show."""
    predictor = opener()
    style.require_known_classes(predictor.labels)
    return predictor
