"""Runs the page on this machine: address, security headers, temporary folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from segnet.data.synthetic.scenes import render_scene
from segnet.errors import ConfigError
from segnet.media.images.writing import write_image
from segnet.web.demo.library import import_gradio
from segnet.web.demo.models import Models
from segnet.web.demo.page import build_page
from segnet.web.demo.style import STYLE

__all__ = ["running_demo"]

_SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "street.jpg"
_EXAMPLES = {"street-2": 11, "street-3": 42}  # seeds of ``render_scene``, beside the packaged scene
_LARGEST_UPLOAD = 512 * 1024 * 1024  # bytes
_WAITING = 32  # visitors; the next one is asked to come back
# Whatever Gradio's page, a model's class names or a file contain: the browser asks no other server.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'none'"
)


@contextmanager
def running_demo(models: Models, *, host: str, port: int) -> Iterator[str]:
    """Serve the page from background threads until the block ends; then its temporary files are removed.

    Args:
        models: that the visitor chooses of.
        host: address to listen on.
        port: to listen on; 0: a free one.

    Yields:
        The address of the page.

    Raises:
        ConfigError: host or port cannot be used.
        MissingPackageError: Gradio is not installed.
    """
    port = _free_port(host, port)
    with TemporaryDirectory(prefix="segnet-demo-") as name:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(name) / "copies")  # it copies only what lies elsewhere
        gr = import_gradio()
        examples = _write_examples(Path(name) / "examples")
        (folder := Path(name) / "written").mkdir()
        page = build_page(models, examples, folder)
        page.queue(max_size=_WAITING)
        try:
            _launch(gr, page, host, port)
            yield f"http://{_shown_host(host)}:{port}"
        finally:
            page.close(verbose=False)


def _launch(gr: Any, page: Any, host: str, port: int) -> None:
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    page.launch(
        server_name=host, server_port=port, prevent_thread_lock=True, share=False, inbrowser=False, quiet=True,
        footer_links=[], max_file_size=_LARGEST_UPLOAD, ssr_mode=False, pwa=False, mcp_server=False,
        enable_monitoring=False, run_history=False, state_session_capacity=100,
        theme=gr.themes.Default(primary_hue="blue", neutral_hue="slate", **fonts), css=STYLE,
        app_kwargs={"middleware": [_middleware()]},
    )  # fmt: skip


def _free_port(host: str, port: int) -> int:
    if not 0 <= port <= 65535:
        raise ConfigError(f"port={port} is not possible; give 1 to 65535, or 0 for a free one")
    try:
        with socket.create_server((host, port)) as taken:
            number: int = taken.getsockname()[1]
    except OSError as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{host}:{port}: cannot be listened on ({reason}); give another --host or --port") from error
    return number


def _shown_host(host: str) -> str:
    """The address that a browser on this machine takes."""
    return "127.0.0.1" if host in {"0.0.0.0", ""} else host  # noqa: S104


def _write_examples(folder: Path) -> Sequence[Path]:
    paths = [folder / "street-1.jpg", *(folder / f"{name}.png" for name in _EXAMPLES)]
    folder.mkdir()
    copyfile(_SAMPLE, paths[0])
    for path, seed in zip(paths[1:], _EXAMPLES.values(), strict=True):
        write_image(path, render_scene(seed)[0])
    return paths


def _middleware() -> Any:
    from starlette.middleware import Middleware

    return Middleware(_SecurityHeaders)


class _SecurityHeaders:
    """Adds the content security policy to every answer."""

    _HEADERS = (
        (b"content-security-policy", _POLICY.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    )

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
