"""Networks as folders of the hub: a local folder, and a server on this machine that takes uploads as the hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import yaml

from segnet.errors import ModelError
from segnet.labels import ClassTable
from segnet.models.checkpoint import load
from segnet.models.segnet import SegNet

SCORES = {"miou": 0.5, "global_accuracy": 0.75, "per_class": {"sky": {"iou": 0.25, "accuracy": 0.5}}}
ORIGIN = {"data": "synthetic | street", "terms": "Weights: Apache-2.0.", "settings": {"epochs": 3}}


class Hub(BaseHTTPRequestHandler):
    """Takes commits of small files, and serves what it has; names with "secret" are refused."""

    protocol_version = "HTTP/1.0"
    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"secret" in body or "secret" in self.path:
            self.answer(401, b'{"error": "Invalid credentials"}')
        elif self.path == "/api/repos/create":
            self.answer(200, b'{"url": "http://127.0.0.1/owner/name"}')
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self.answer(200, json.dumps({"files": modes}).encode())
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(200, b'{"commitUrl": "http://127.0.0.1/owner/name/commit/1", "commitOid": "1"}')
        else:
            self.answer(200, b"{}")

    def do_GET(self) -> None:
        name = self.path.partition("/resolve/main/")[2]
        if name in self.files:
            self.answer(200, self.files[name])
        elif self.path.startswith("/api/models/"):
            self.answer(200, b'{"id": "owner/name", "sha": "1", "siblings": []}')
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        found = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "c" * 40} if code == 200 else {}
        for name, value in {**found, **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of a hub, and its files."""
    handler = type("OwnHub", (Hub,), {"files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.files  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_a_folder_holds_all_that_is_known_of_a_network(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    folder = narrow.save_pretrained(tmp_path / "new", labels=five_labels, provenance=ORIGIN, scores=SCORES)
    again = SegNet.from_pretrained(folder)
    assert not again.training
    for name, value in narrow.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert again.description is not None
    assert again.description.labels == five_labels
    assert again.description.scores == SCORES
    second = again.save_pretrained(tmp_path / "second", scores={})
    assert load(second / "model.safetensors").labels == five_labels
    assert load(second / "model.safetensors").provenance == ORIGIN
    assert load(second / "model.safetensors").scores == {}


def test_the_card_says_what_the_file_holds_and_nothing_else(
    narrow: SegNet, five_labels: ClassTable, tmp_path: Path
) -> None:
    folder = narrow.save_pretrained(tmp_path / "full", labels=five_labels, provenance=ORIGIN, scores=SCORES)
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    table = yaml.safe_load(front)
    assert (table["library_name"], table["pipeline_tag"], table["license"]) == ("segnet", "image-segmentation", "other")
    (result,) = table["model-index"][0]["results"]
    assert {figure["type"]: figure["value"] for figure in result["metrics"]} == {"miou": 0.5, "global_accuracy": 0.75}
    for line in (
        "| 4 | car |",
        "| sky | 0.250 | 0.500 |",
        "Weights: Apache-2.0.",
        "| epochs | 3 |",
        "synthetic | street",
    ):
        assert line in text
    bare = (narrow.save_pretrained(tmp_path / "bare") / "README.md").read_text(encoding="utf-8")
    assert "license:" not in bare
    assert "model-index" not in bare
    assert "Not measured." in bare


def test_a_name_is_one_line_of_the_card_and_no_html(narrow: SegNet, tmp_path: Path) -> None:
    narrow.config = replace(narrow.config, name="mine\n<b>\n# yours")
    card = (narrow.save_pretrained(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "\n# mine &lt;b> # yours\n" in card


def test_the_hub_library_reads_the_card(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    folder = narrow.save_pretrained(tmp_path, labels=five_labels, provenance=ORIGIN, scores=SCORES)
    data = ModelCard.load(folder / "README.md").data
    assert data.eval_results is not None
    assert {each.metric_type: each.metric_value for each in data.eval_results} == {"miou": 0.5, "global_accuracy": 0.75}


def test_a_card_that_is_there_stays(narrow: SegNet, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    narrow.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


def test_a_damaged_file_of_a_folder_is_refused(narrow: SegNet, tmp_path: Path) -> None:
    path = narrow.save_pretrained(tmp_path) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="has another SHA-256 digest than it should have"):
        SegNet.from_pretrained(tmp_path)


def test_a_path_without_a_model_is_refused_without_asking_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    for folder in ("owner/name", tmp_path / "owner"):
        with pytest.raises(ModelError, match=r"holds no model.safetensors; give a folder of save_pretrained"):
            SegNet.from_pretrained(folder)
    for path in (tmp_path / "none", "runs/mine/best.safetensors", "mine.safetensors"):
        with pytest.raises(ModelError, match=f"{path}: there is no such file; give a model file"):
            SegNet.from_pretrained(path)


def test_a_class_table_of_another_size_is_refused(narrow: SegNet, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="5 classes but the class table 2; give the table of its classes"):
        narrow.save_pretrained(tmp_path, labels=ClassTable.numbered(2))
    assert not list(tmp_path.iterdir())


def python(code: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that asks this hub; huggingface_hub reads the address when it is imported."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    environment = {**os.environ, **settings}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_a_network_is_pushed_and_comes_back(
    hub: tuple[str, dict[str, bytes]], narrow: SegNet, five_labels: ClassTable, tmp_path: Path
) -> None:
    """A first push brings a card, a second keeps the one that is there."""
    address, files = hub
    folder = narrow.save_pretrained(tmp_path / "local", labels=five_labels)
    done = python(
        "from segnet.models.segnet import SegNet\n"
        f"model = SegNet.from_pretrained({str(folder)!r})\n"
        "print(model.push_to_hub('owner/name', token='t'))\n"
        "print(SegNet.from_pretrained('owner/name').description.labels.names)",
        address,
        tmp_path / "home",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["http://127.0.0.1/owner/name/commit/1", str(five_labels.names)]
    assert set(files) == {"README.md", "model.safetensors"}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    files["README.md"] = b"mine"
    code = (
        "from segnet.errors import SegNetError\nfrom segnet.models.segnet import SegNet\n"
        f"model = SegNet.from_pretrained({str(folder)!r})\nmodel.push_to_hub('owner/name', token='t')\n"
        "try: model.push_to_hub('owner/secret', token='hf_token')\nexcept SegNetError as error: print(error)"
    )
    done = python(code, address, tmp_path / "home")
    assert files["README.md"] == b"mine"
    assert "owner/secret: cannot be uploaded" in done.stdout, done.stderr
    assert "log in with 'hf auth login'" in done.stdout
    assert "hf_token" not in done.stdout + done.stderr


def test_a_hub_that_does_not_answer_is_an_error_of_one_line(narrow: SegNet, tmp_path: Path) -> None:
    folder = narrow.save_pretrained(tmp_path / "local")
    code = (
        "from segnet.errors import ModelError\nfrom segnet.models.segnet import SegNet\n"
        f"model = SegNet.from_pretrained({str(folder)!r})\n"
        "try: model.push_to_hub('owner/name', token='t')\nexcept ModelError as error: print(error)"
    )
    done = python(code, "http://127.0.0.1:9", tmp_path / "home")  # nothing listens at the port of discard
    assert done.returncode == 0, done.stderr
    assert "owner/name: cannot be uploaded" in done.stdout
    assert "go online" in done.stdout
