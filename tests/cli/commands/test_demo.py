"""segnet demo: what is refused before anything is served. tests/demo drives the page."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from segnet.cli.main import main


def fail(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["demo", *words])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nosuch: there is neither such a model file nor a bundled model" in fail(capsys, "nosuch")


def test_a_taken_port_is_refused(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: cannot be listened on" in fail(capsys, str(model_file), "--port", port)
    assert "port=70000 is not possible" in fail(capsys, str(model_file), "--port", "70000")


def test_without_gradio_its_extra_is_named(
    model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'segnet[demo]'" in fail(capsys, str(model_file), "--port", "0")
