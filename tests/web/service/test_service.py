"""What the service answers, and what it refuses: the right status, a reason in one line, and it goes on."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import socket
import struct
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from service_client import LIMITS, Client, HeldRuntime, encoded, run_service

from segnet.bands import Bands
from segnet.cli.main import main
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.runtimes.base import Output
from segnet.runtimes.model_info import ModelInfo
from segnet.web.service.answers import choose_answer
from segnet.web.service.refusals import RefusedError
from segnet.web.service.settings import ServiceConfig
from segnet.web.service.uploads import extract_part

TOKEN = "0123456789abcdef"  # noqa: S105


def form(content: bytes, *, name: str = "image", filename: str = "a.png", boundary: str = "b") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, with hardly any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


FORM = {"Content_Type": "multipart/form-data; boundary=b"}
HTML, SVG = (
    b"<!DOCTYPE html><script>alert(1)</script>",
    b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>',
)


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[Client, HeldRuntime]]:
    """A service with two places and little time, whose model waits until it may run."""
    runtime = HeldRuntime()
    with run_service({"held": lambda: Predictor(runtime)}, replace(LIMITS, queue=2)) as client:
        yield client, runtime
        runtime.opened.set()


def until(condition: Any) -> None:
    with contextlib.suppress(TimeoutError), socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(0.01)
        for _ in range(6000):
            if condition():
                return
            with contextlib.suppress(TimeoutError):
                nobody.accept()
    raise AssertionError("waited for a minute")


@pytest.fixture(scope="module")
def predicted(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of ``segnet predict`` for a JPEG that lies on its side."""
    folder = tmp_path_factory.mktemp("predicted")
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "photo.jpg").write_bytes(encoded(3, (40, 60), "JPEG", exif=exif))
    with pytest.raises(SystemExit) as left:
        main(["predict", str(folder / "photo.jpg"), "--model", str(model_file), "--out", str(folder)])
    assert left.value.code == 0
    return folder


def test_mask_and_overlay_are_the_files_of_segnet_predict(client: Client, predicted: Path) -> None:
    photo = (predicted / "photo.jpg").read_bytes()
    mask = (predicted / "mask" / "photo.png").read_bytes()
    assert client.post(photo, Content_Type="image/jpeg").body == mask
    assert client.post(form(photo), "?model=twin", **FORM).body == mask
    overlay = client.post(photo, "?format=overlay", Content_Type="application/octet-stream", Accept="*/*")
    assert overlay.headers["content-type"] == "image/png"
    assert overlay.body == (predicted / "overlay" / "photo.png").read_bytes()
    jpeg = client.post(photo, Accept="image/jpeg")
    with Image.open(io.BytesIO(jpeg.body)) as view, Image.open(predicted / "overlay" / "photo.png") as expected:
        assert (view.format, view.size) == ("JPEG", expected.size)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools
def test_json_holds_class_shares_and_run_lengths_of_the_mask(client: Client) -> None:
    photo = encoded(1)
    with Image.open(io.BytesIO(client.post(photo).body)) as image:
        mask = np.array(image)
    found = client.post(photo, Accept="application/json").json
    assert (found["model"], found["width"], found["height"]) == ("toy", 32, 24)
    values = [each["value"] for each in client.ask("GET", "/v1/models").json["models"][0]["classes"]]
    assert list(found["shares"].values()) == pytest.approx([(mask == value).mean() for value in values], abs=1e-6)
    for each in found["annotations"]:  # a class has the value 0, so the categories count from 1
        assert np.array_equal(coco.decode(each["segmentation"]) == 1, mask == each["category_id"] - 1)


@pytest.mark.parametrize(
    ("format_name", "accept", "chosen"),
    [
        (None, "", ("mask", "image/png")),
        (None, "image/*", ("mask", "image/png")),
        (None, "image/jpeg", ("overlay", "image/jpeg")),
        (None, "text/html, application/json;q=0.9, */*;q=0.1", ("json", "application/json")),
        ("overlay", "image/webp, image/jpeg;q=0.8, image/png;q=0.5", ("overlay", "image/jpeg")),
        ("json", "*/*;q=x", None),
        ("mask", "application/json", None),
        (None, "image/png;q=0", None),
    ],
)
def test_format_and_accept_choose_the_answer(format_name: Any, accept: str, chosen: Any) -> None:
    if chosen is None:
        with pytest.raises(RefusedError, match="fits no answer"):
            choose_answer(format_name, accept)
    else:
        answer = choose_answer(format_name, accept)
        assert (answer.format, answer.media_type) == chosen


@pytest.mark.parametrize(
    ("body", "query", "headers", "status", "reason"),
    [
        (b"", "", {}, 400, "no body"),
        (HTML, "", {}, 415, "not an image"),
        (SVG, "", {"Content_Type": "application/octet-stream"}, 415, "not an image"),
        (SVG, "", {"Content_Type": "image/svg+xml"}, 415, "content type 'image/svg+xml'"),
        (b"image=1", "", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "content type"),
        (encoded(kind="JPEG")[:-40], "", {}, 422, "the image is damaged"),
        (encoded()[:20], "", {}, 415, "not an image"),
        (png_header(50_000, 50_000), "", {}, 413, "50000 x 50000 pixels"),
        (png_header(200, 200), "", {}, 422, "the image is damaged"),
        (form(b""), "", FORM, 400, "0 bytes"),
        (form(HTML), "", FORM, 415, "not an image"),
        (form(encoded())[:-7] + form(encoded()), "", FORM, 400, "the form has more than one image"),
        (form(encoded())[:-7] + form(b"twin", name="model"), "", FORM, 422, "in the address, as in /v1/segment?model="),
        (form(encoded(), name="other"), "", FORM, 400, "no complete field 'image'"),
        (form(encoded())[:-30], "", FORM, 400, "no complete field 'image'"),
        (form(encoded()), "", {"Content_Type": "multipart/form-data"}, 400, "the form is damaged"),
        ((form(encoded(), name="other")[:-9] + b"\r\n") * 20, "", FORM, 400, "more than 16 parts"),
        (b"a" * 200_001, "", {}, 413, "larger than 200,000 bytes"),
        (encoded(), "?format=svg", {}, 422, "format: Input should be 'mask', 'overlay' or 'json'"),
        (encoded(), "?fromat=json", {}, 422, "the parameter 'fromat' is unknown; give each of model, format once"),
        (encoded(), "?model=toy&model=twin", {}, 422, "the parameter 'model' is given twice"),
        (form(b"twin", name="model"), "", FORM, 422, "in the address, as in /v1/segment?model="),
        (encoded(), "?model=../../etc/passwd", {}, 404, "this service has toy, twin"),
        (encoded(), "", {"Accept": "text/html"}, 406, "fits no answer"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_its_status_and_a_reason(
    client: Client, body: bytes, query: str, headers: dict[str, str], status: int, reason: str
) -> None:
    reply = client.post(body, query, **headers)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert reason in reply.error
    assert client.service._folder.name not in reply.error


def test_unknown_paths_and_methods_get_a_reason(client: Client) -> None:
    assert (client.ask("GET", "/v2").status, client.ask("GET", "/../../etc/passwd").status) == (404, 404)
    assert client.ask("DELETE", "/v1/segment").error == "Method Not Allowed"


def test_a_large_body_is_refused_before_it_is_sent(client: Client) -> None:
    """By its length, and where it has none, as soon as it is too long."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as wire:
        wire.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        assert wire.recv(2**16).startswith(b"HTTP/1.1 413 ")
    chunks = (b"a" * 50_000 for _ in range(5))
    assert client.post(chunks).status == 413


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no host
        b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json(client: Client, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as wire:
        wire.sendall(sent)
        head, _, body = b"".join(iter(lambda: wire.recv(2**16), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/json" in head
    assert "no valid HTTP/1.1" in json.loads(body)["error"]


def test_names_in_a_form_are_no_paths(client: Client, tmp_path: Path) -> None:
    for name in (f"{tmp_path}/x.png", "../../x.png", "..\\x.png", "x.png\0.py", "/dev/null", "a" * 3000):
        assert client.post(form(encoded(), filename=name), **FORM).status == 200
    assert not list(tmp_path.iterdir())


def test_an_image_of_a_form_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(form(encoded()))
    with pytest.raises(RefusedError, match=r"cannot be stored .*No space left") as refusal:
        extract_part(tmp_path / "body", FORM["Content_Type"], Path("/dev/full"))
    assert refusal.value.status == 507


def test_a_temporary_folder_that_was_removed_is_created_again(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_service({"toy": lambda: Predictor.load(model_file)}) as client:
        Path(client.service._folder.name).rmdir()
        assert client.post(encoded()).status == 200
        assert not client.files
        Path(client.service._folder.name).rmdir()
        monkeypatch.setattr("tempfile.tempdir", "/nowhere")
        reply = client.post(encoded())
    assert (reply.status, "the image cannot be stored" in reply.error) == (507, True)


def test_two_hundred_idle_connections_hinder_nobody(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=60))
        assert client.post(encoded()).status == 200


def test_every_request_of_a_burst_is_answered(model_file: Path) -> None:
    images = [encoded(seed) for seed in range(3)]
    with (
        run_service({"toy": lambda: Predictor.load(model_file)}, replace(LIMITS, queue=4)) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        expected = [client.post(image).body for image in images]
        replies = list(threads.map(lambda number: (number % 3, client.post(images[number % 3])), range(120)))
    counts = Counter(reply.status for _, reply in replies)
    assert counts[200] + counts[429] == 120
    assert counts[200] > 0
    assert all(reply.body == expected[which] for which, reply in replies if reply.status == 200)


def test_a_full_queue_refuses_and_a_client_that_left_is_not_predicted(held: tuple[Client, HeldRuntime]) -> None:
    client, runtime = held
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.post, encoded())
        assert runtime.running.wait(60)
        body = encoded()
        with socket.create_connection(("127.0.0.1", client.port)) as wire:
            head = f"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            wire.sendall(head + body)
            until(lambda: client.service.batcher.waiting == 1)
            full = client.post(body)
        until(lambda: client.service.admission.accepted == 1)
        runtime.opened.set()
        assert first.result().status == 200
    assert (full.status, full.headers["retry-after"]) == (429, "1")
    assert "2 other images are in the queue" in full.error
    assert client.post(body).status == 200
    assert runtime.batches == [1, 1, 1]  # of the start, the first, and the last


def test_slow_clients_and_slow_models_are_told_so() -> None:
    runtime = HeldRuntime()
    with run_service({"held": lambda: Predictor(runtime)}, replace(LIMITS, timeout=0.5)) as client:
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as wire:
            wire.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12")
            answer = wire.makefile("rb").read()  # to the end: the rest of the body never comes
            assert answer.startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as wire:
            wire.sendall(b"POST /v1/segment HTTP/1.1\r\nHost: ")
            assert wire.recv(2**16) == b""
        late = client.post(encoded())
        runtime.opened.set()
    assert (late.status, "not predicted within 0.5 seconds" in late.error) == (504, True)


def test_an_error_of_the_model_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HeldRuntime):
        def run(self, batch: np.ndarray, **settings: Any) -> Output:
            if self.batches:
                raise MemoryError("out of\nmemory")
            return super().run(batch)

    with run_service({"broken": lambda: Predictor(Broken())}) as client:
        reply = client.post(encoded())
        assert (reply.status, reply.error) == (500, "an error of the service (MemoryError)")
        assert client.ask("GET", "/readyz").status == 200
        client.service.batcher.close()
        for method in ("GET", "HEAD"):
            assert (client.ask(method, "/readyz").status, client.ask(method, "/healthz").status) == (503, 200)
    assert "out of\nmemory" in caplog.text


def test_bands_are_read_as_they_are_stored() -> None:
    """Only a model of bands reads arrays, whatever their content type says."""
    runtime = HeldRuntime(
        ModelInfo(name="bands", labels=ClassTable.numbered(2), channels=2, bands=Bands(indices=(0, 4)))
    )
    runtime.opened.set()
    np.save(file := io.BytesIO(), np.zeros((6, 8, 5), dtype=np.uint8))
    with run_service({"bands": lambda: Predictor(runtime)}) as client:
        mask = client.post(file.getvalue(), Content_Type="application/octet-stream")
        with Image.open(io.BytesIO(mask.body)) as image:
            assert image.size == (8, 6)
        assert "the image has 3 bands, so there is no band 4" in client.post(encoded()).error
        huge = file.getvalue().replace(b"(6, 8, 5)", b"(60000, 80000, 5)".replace(b"0, ", b"0,"))
        assert client.post(huge).status in (413, 415)


def test_an_image_too_wide_for_the_answer_is_refused() -> None:
    runtime = HeldRuntime()
    runtime.opened.set()
    file = io.BytesIO()
    Image.new("L", (65_501, 1)).save(file, "PNG")
    with run_service({"wide": lambda: Predictor(runtime)}, replace(LIMITS, max_pixels=0.07)) as client:
        reply = client.post(file.getvalue(), Accept="image/jpeg")
        assert (reply.status, "JPEG holds at most 65,500 on a side; write it as PNG" in reply.error) == (422, True)
        assert client.post(file.getvalue(), "?format=overlay", Accept="image/png").status == 200


def test_a_token_guards_predictions_and_metrics(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNET_TOKEN", TOKEN)
    config = replace(LIMITS, cors=("https://example.org",))
    with run_service({"toy": lambda: Predictor.load(model_file)}, config, token=config.read_token()) as client:
        for path in ("/v1/models", "/metrics"):
            assert client.ask("GET", path).status == 401
            assert client.ask("GET", path, Authorization=f"Bearer {TOKEN}x").status == 401
            assert client.ask("GET", path, Authorization=f"Bearer {TOKEN}").status == 200
        refused = client.post(encoded(), Authorization="Basic eA==")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.post(encoded(), Authorization=f"Bearer {TOKEN}").status == 200
        assert client.ask("GET", "/healthz").status == 200
        assert "bearer" in str(client.ask("GET", "/openapi.json").json["components"]["securitySchemes"]).lower()
        reply = client.ask("GET", "/healthz", Origin="https://example.org")
        assert reply.headers["access-control-allow-origin"] == "https://example.org"


def test_other_origins_may_not_read_by_default(client: Client) -> None:
    assert "access-control-allow-origin" not in client.ask("GET", "/healthz", Origin="https://example.org").headers


def test_metrics_count_requests_and_batches(client: Client) -> None:
    client.post(encoded(), X_Request_ID="mine-1")
    text = client.ask("GET", "/metrics").body.decode()
    assert 'segnet_requests_total{path="/v1/segment",status="200"}' in text
    assert "segnet_batch_images_count" in text
    assert "/../.." not in text
    assert "segnet_images_waiting 0.0" in text
    assert client.ask("GET", "/healthz", X_Request_ID="mine-1").headers["x-request-id"] == "mine-1"
    assert client.ask("GET", "/healthz", X_Request_ID="a\tb").headers["x-request-id"] != "a\tb"


def test_the_page_of_the_api_asks_nobody_else(client: Client) -> None:
    page = client.ask("GET", "/").body.decode()
    assert page == client.ask("GET", "/docs").body.decode()
    assert "POST /v1/segment" in page
    assert page.count("http") == page.count("http-equiv") + page.count(f"http://127.0.0.1:{client.port}/v1/segment")
    assert "<script" not in page


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_clients_of_the_documentation_work(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "serve.md"
    text = page.read_text(encoding="utf-8").replace("http://127.0.0.1:8000", f"http://127.0.0.1:{client.port}")
    (tmp_path / "photo.jpg").write_bytes(encoded(2, kind="JPEG"))
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^curl .*", text, re.MULTILINE)
    done = subprocess.run(["bash", "-ec", "\n".join(commands)], capture_output=True, text=True, check=True)
    assert len(commands) == 4
    assert ('"shares":{"sky":' in done.stdout, '"default":true' in done.stdout) == (True, True)
    names: dict[str, Any] = {}
    exec(re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0], names)
    with Image.open("mask.png") as mask, Image.open("overlay.png") as overlay:
        assert np.array_equal(names["mask"], np.array(mask))
        assert overlay.mode == "RGB"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"port": 70_000}, "port=70000"), ({"queue": 0}, "queue=0"), ({"batch_wait": -1}, "batch_wait=-1"),
        ({"timeout": 0}, "timeout=0"), ({"max_upload": float("nan")}, "max_upload=nan"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ServiceConfig(**settings)


def test_a_weak_or_unreadable_token_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(ValueError, match="cannot be read"):
        ServiceConfig(token_file=file).read_token()
    for text in ("", "short", "with blanks 0123456789"):
        file.write_text(text)
        with pytest.raises(ValueError, match="16 or more"):
            ServiceConfig(token_file=file).read_token()
    file.write_text(f"{TOKEN}\n")
    assert ServiceConfig(token_file=file).read_token() == TOKEN


def test_local_addresses_are_known() -> None:
    assert [ServiceConfig(host=host).is_local for host in ("127.0.0.1", "::1", "localhost", "192.0.2.1", "a.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip
