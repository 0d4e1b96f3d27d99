"""Models of the hub, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from segnet.errors import ModelError
from segnet.models.bundled import bundled_models
from segnet.models.hub import fetch

CONTENT = bundled_models()["segnet_basic"].read_bytes()
PLACES = {"/owner/name/resolve/main/model.safetensors", "/owner/name/resolve/v1/small/model.onnx"}


class Hub(BaseHTTPRequestHandler):
    """Serves one file at ``PLACES``."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        if self.answer():
            self.wfile.write(CONTENT)

    def answer(self) -> bool:
        found = self.path.partition("?")[0] in PLACES
        self.send_response(200 if found else 404)
        if found:
            self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(CONTENT)) if found else "0")
        self.end_headers()
        return found

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(source: str, endpoint: str, home: Path) -> tuple[int, str]:
    """Exit code, and the path or the error; offline without an endpoint. huggingface_hub reads both when imported."""
    code = f"from segnet.models.hub import fetch; print(fetch({source!r}))"
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(not endpoint))}
    environment = {**os.environ, **settings, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    return done.returncode, (done.stdout or done.stderr).strip().splitlines()[-1]


def test_a_model_is_downloaded_once_and_found_again_offline(address: str, tmp_path: Path) -> None:
    for source in ("hf://owner/name", "hf://owner/name/small/model.onnx@v1"):
        code, path = ask(source, address, tmp_path)
        assert code == 0
        assert Path(path).read_bytes() == CONTENT
        assert ask(source, "", tmp_path) == (0, path)


@pytest.mark.parametrize(
    ("source", "text"), [("hf://owner/name/other.onnx", "cannot be had"), ("hf://owner/name@v9", "cannot be had")]
)
def test_what_the_hub_has_not_is_one_line(source: str, text: str, address: str, tmp_path: Path) -> None:
    code, line = ask(source, address, tmp_path)
    assert code == 1
    assert line.startswith(f"segnet.errors.ModelError: {source}: {text}")


def test_without_network_and_cache_it_is_one_line(tmp_path: Path) -> None:
    assert "the hub does not answer" in ask("hf://owner/name", "", tmp_path)[1]


@pytest.mark.parametrize("source", ["hf://", "hf://owner", "hf://owner/", "hf:///name"])
def test_an_address_without_owner_and_name_is_refused(source: str) -> None:
    with pytest.raises(ModelError, match="expected hf://OWNER/NAME"):
        fetch(source)
