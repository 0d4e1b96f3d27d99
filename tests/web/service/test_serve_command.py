"""``segnet serve`` as a process: log, signals, models loaded again, and user errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from service_client import Client, encoded

from segnet.cli.commands.serve import _names
from segnet.cli.main import main
from segnet.errors import ConfigError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.web.service.server import bind


@dataclass
class Process:
    popen: subprocess.Popen[str]
    temporary: Path

    def read_until(self, event: str) -> dict[str, Any]:
        """The first further log line whose event starts with these words."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            if (record := json.loads(line))["event"].startswith(event):
                return record  # type: ignore[no-any-return]
        raise AssertionError(f"the log ended before {event!r}")


@pytest.fixture
def process(model_file: Path, tmp_path: Path) -> Iterator[Process]:
    (model := tmp_path / "own.safetensors").write_bytes(model_file.read_bytes())
    (temporary := tmp_path / "temporary").mkdir()
    popen = subprocess.Popen(
        [
            sys.executable, "-m", "segnet", "serve", str(model), "--port", "0", "--timeout", "120", "--show-classes",
            "road",
        ],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(temporary)}, cwd=temporary,
    )  # fmt: skip
    yield Process(popen, temporary)
    popen.kill()
    popen.wait()
    assert popen.stderr is not None
    popen.stderr.close()


def test_models_are_loaded_again_and_sigterm_finishes_what_was_accepted(
    process: Process, toy: SegNet, tmp_path: Path
) -> None:
    ready = process.read_until("ready")
    assert ready["models"] == ["own"]
    client = Client(int(ready["address"].rpartition(":")[2]), None)  # type: ignore[arg-type]
    expected = client.post(encoded())
    assert expected.status == 200

    model = tmp_path / "own.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[:-100])
    process.popen.send_signal(signal.SIGHUP)
    assert "own stays as it was" in process.read_until("the model")["event"]
    assert client.post(encoded()).body == expected.body
    checkpoint.save(toy, ClassTable.from_names(["sky", "street", "car"]), model)
    process.popen.send_signal(signal.SIGHUP)
    assert "own stays as it was: there is no class 'road'" in process.read_until("the model")["event"]
    assert client.post(encoded(), "?format=overlay").status == 200
    model.write_bytes(whole)
    process.popen.send_signal(signal.SIGHUP)
    assert "own was loaded again" in process.read_until("the model")["event"]
    assert client.post(encoded()).body == expected.body

    body = encoded()
    head = f"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    wires = [socket.create_connection(("127.0.0.1", client.port), timeout=120) for _ in range(20)]
    for wire in wires:
        wire.sendall(head + body[:-1])
    assert client.ask("GET", "/healthz").status == 200  # by then the service has seen them all
    process.popen.send_signal(signal.SIGTERM)
    with ThreadPoolExecutor(len(wires)) as threads:
        answers = list(threads.map(lambda wire: finish(wire, body[-1:]), wires))
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert all(answer.endswith(expected.body) for answer in answers)
    assert process.popen.wait(120) == 143
    assert process.read_until("stopped")["level"] == "info"
    assert not list(process.temporary.iterdir())


def finish(wire: socket.socket, rest: bytes) -> bytes:
    with wire:
        wire.sendall(rest)
        return wire.makefile("rb").read()


def test_a_port_that_is_taken_is_a_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(SystemExit) as left:
            main(["serve", "--port", str(taken.getsockname()[1])])
    assert left.value.code == 2
    assert "give another --port" in capsys.readouterr().err


def test_a_missing_library_is_a_user_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit) as left:
        main(["serve"])
    assert left.value.code == 2
    assert "pip install 'segnet[serve]'" in capsys.readouterr().err


def test_models_are_named_by_their_files() -> None:
    assert _names(("a/light.onnx", "light.xml", "segnet_basic")) == {
        "light.onnx": "a/light.onnx", "light.xml": "light.xml", "segnet_basic": "segnet_basic",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="have one name"):
        _names(("a/light.onnx", "b/light.onnx"))
