"""The page of ``segnet demo``, driven by clicks in a real Chromium with a camera that is a file.

Run by ``tools/check.sh``, which puts Gradio and playwright on the path. Chromium must be there.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import segnet
from chromium import CAMERA_SIZE, chromium_with_camera, write_video
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.web.demo.models import Models
from segnet.web.demo.page import _Folders
from segnet.web.demo.server import running_demo

LONG = "construction--barrier--guard-rail--temporary"
TABLE = ClassTable.from_names([LONG, "road", "<b>tree</b>"], [4, 7, 9])
SMALL = SegNetConfig(
    name="small", encoder=EncoderConfig(widths=((4,),)), decoder=DecoderConfig(widths=((4,),)), classes=3
)
BAYES = replace(SMALL, name="bayes", encoder=replace(SMALL.encoder, dropout_after_pooling=(1,)), dropout=0.5)
SECONDS = 1000

expect.set_options(timeout=30 * SECONDS)

pytestmark = pytest.mark.filterwarnings("ignore")  # Gradio's own, of pandas and others, would end its tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def saved(folder: Path, config: SegNetConfig) -> Path:
    torch.manual_seed(5)
    return checkpoint.save(SegNet(config), TABLE, folder / f"{config.name}.safetensors")


@pytest.fixture(scope="module")
def asked() -> set[str]:
    """Hosts that this process connects to or looks up, and those that the pages ask."""
    hosts: set[str] = set()

    def note(event: str, values: tuple[object, ...]) -> None:
        if event == "socket.getaddrinfo" and values[0]:
            hosts.add(str(values[0]))
        if event == "socket.connect" and values[0].family != socket.AF_UNIX:  # type: ignore[attr-defined]
            hosts.add(values[1][0])  # type: ignore[index]

    sys.addaudithook(note)
    return hosts


@pytest.fixture(scope="module")
def address(folder: Path, asked: set[str]) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # what the demo sets is taken back
        gone = saved(folder, replace(SMALL, name="gone"))
        models = Models([str(saved(folder, SMALL)), str(saved(folder, BAYES)), str(gone)])
        gone.unlink()
        with running_demo(models, host="127.0.0.1", port=0) as served:
            yield served


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with chromium_with_camera(folder) as launched:
        yield launched


@pytest.fixture(scope="module")
def page(browser: Browser, address: str, asked: set[str]) -> Iterator[Page]:
    """The page, which several tests use, each after the other."""
    opened = open_page(browser.new_context(viewport={"width": 1280, "height": 900}), address, asked)
    yield opened
    opened.context.close()


def open_page(context: BrowserContext, address: str, asked: set[str]) -> Page:
    context.on("request", lambda request: asked.add(urlsplit(request.url).hostname or "127.0.0.1"))
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"an error that nothing caught: {error}"))
    page.goto(address)
    expect(page.get_by_role("tab", name="Camera")).to_be_visible()
    return page


def scene(path: Path, seed: int = 4) -> Path:
    Image.fromarray(segnet.render_scene(seed, size=(60, 90))[0]).save(path)
    return path


def give(page: Page, file: Path, button: Locator) -> None:
    with page.expect_file_chooser() as chooser:
        button.click()
    chooser.value.set_files(file)


def give_image(page: Page, file: Path) -> None:
    page.get_by_role("tab", name="Image").click()
    clear = page.locator("#image").get_by_label("Remove Image")
    if clear.count():
        clear.click()
    give(page, file, page.locator("#image").get_by_label("Drop an image file here to upload"))


def test_an_image_is_segmented_and_its_files_are_those_of_predict(page: Page, folder: Path) -> None:
    photo = scene(folder / "photo.png")
    give_image(page, photo)
    expect(page.locator("#classes caption")).to_contain_text("90x60 pixels, small, ")
    predicted = segnet.Predictor.load(folder / "small.safetensors")(photo)
    shares = {name: share for name, share in predicted.class_shares().items() if share}
    rows = page.locator("#classes tbody tr").all_inner_texts()
    assert len(rows) == len(shares)
    for row, (name, share) in zip(rows, sorted(shares.items(), key=lambda item: -item[1]), strict=True):
        assert row.startswith(name)
        assert f"{100 * share:.1f}\N{NO-BREAK SPACE}%" in row
    with page.expect_download() as mask:
        page.click("#save-mask")
    assert mask.value.suggested_filename == "photo-mask.png"
    with Image.open(mask.value.path()) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), TABLE.to_file_values(predicted.mask))
    with page.expect_download() as overlay:
        page.click("#save-overlay")
    with Image.open(overlay.value.path()) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(predicted.overlay()))


def test_the_other_views_show_the_whole_image(page: Page) -> None:
    """A slider between image and overlay, and maps of values with a scale below."""
    page.get_by_role("tab", name="Before and after").click()
    expect(page.locator("#both img:visible")).to_have_count(2)
    for name in ("Confidence", "Uncertainty"):
        page.get_by_role("tab", name=name).click()
        shown = page.locator(f"#{name.lower()} img:visible")
        expect(shown).to_have_js_property("complete", True)
        assert shown.evaluate("image => image.naturalWidth") >= 90
        assert shown.evaluate("image => image.naturalHeight") > 60
    page.get_by_role("tab", name="Overlay").click()


def test_the_opacity_is_changed_by_keyboard(page: Page) -> None:
    overlay = page.locator("#overlay img")
    before = overlay.get_attribute("src")
    page.focus("#opacity input[type=range]")
    page.keyboard.press("Home")
    expect(overlay).not_to_have_attribute("src", before or "")
    page.keyboard.press("End")


def test_a_number_that_is_being_typed_is_no_error(page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    """A field that was just emptied, and one that holds more than the slider."""
    overlay, field = page.locator("#overlay img"), page.locator("#opacity input[type=number]")
    for typed in ("", "5"):
        before = overlay.get_attribute("src")
        field.fill(typed)
        expect(overlay).not_to_have_attribute("src", before or "")
    expect(page.locator(".toast-body")).to_have_count(0)
    assert "Traceback" not in capfd.readouterr().err


def test_a_bayesian_model_draws_samples(page: Page) -> None:
    expect(page.locator("#samples")).to_be_hidden()
    page.click("#model input")
    page.get_by_role("option", name="bayes").click()
    expect(page.locator("#samples")).to_be_visible()
    page.focus("#samples input[type=range]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#classes caption")).to_contain_text("bayes, 4 samples, ")
    for typed, drawn in (("6.7", 7), ("900", 40)):
        page.locator("#samples input[type=number]").fill(typed)
        expect(page.locator("#classes caption")).to_contain_text(f"bayes, {drawn} samples, ")


def test_a_model_file_of_the_visitor_is_used(page: Page, folder: Path) -> None:
    mine = saved(folder, replace(SMALL, name="mine"))
    give(page, mine, page.locator("#upload"))
    expect(page.locator("#classes caption")).to_contain_text("90x60 pixels, mine, ")
    expect(page.locator("#model input")).to_have_value("mine.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broken.safetensors", b"\x08", "broken.safetensors: is not a readable model file"),
        ("notes.png", b"dear diary", "notes.png is not an image that can be read"),
        ("empty.jpg", b"", "empty.jpg is empty (0 bytes)"),
        (
            "logo.png",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "logo.png is not an image that can be read",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    name: str, content: bytes, reason: str, page: Page, folder: Path
) -> None:
    (folder / name).write_bytes(content)
    if name.endswith(".safetensors"):
        give(page, folder / name, page.locator("#upload"))
    else:
        give_image(page, folder / name)
    toast = page.locator(".toast-body.error")
    expect(toast).to_contain_text(reason)
    assert str(folder) not in toast.inner_text()
    assert "segnet-demo-" not in toast.inner_text()
    toast.get_by_role("button", name="Close", exact=True).click()
    expect(toast).to_be_hidden()


def test_no_earlier_result_stays_beside_an_error(page: Page, folder: Path) -> None:
    """A model that cannot be opened any more: what another one predicted is not shown, nor saved."""
    give_image(page, scene(folder / "again.png"))
    expect(page.locator("#classes caption")).to_contain_text("90x60 pixels, ")
    for name in ("gone", "small"):
        page.click("#model input")
        page.get_by_role("option", name=name).click()
        if name == "gone":
            expect(page.locator(".toast-body.error").first).to_contain_text("gone.safetensors")
            expect(page.locator("#classes caption")).to_have_count(0)
            expect(page.locator("#overlay img")).to_have_count(0)
            expect(page.locator("#save-mask")).to_be_disabled()
    expect(page.locator("#classes caption")).to_contain_text("90x60 pixels, small, ")
    for toast in page.locator(".toast-body.error").all():
        toast.get_by_role("button", name="Close", exact=True).click()


def test_an_image_wider_than_webp_allows_is_shown(page: Page, folder: Path) -> None:
    Image.new("RGB", (17_000, 2)).save(folder / "wide.png")
    give_image(page, folder / "wide.png")
    expect(page.locator("#classes caption")).to_contain_text("17000x2 pixels, ")
    expect(page.locator("#overlay img")).to_have_js_property("naturalWidth", 17_000)


def test_an_example_is_one_click(page: Page) -> None:
    page.get_by_role("tab", name="Image").click()
    page.locator(".gallery button").first.click()
    expect(page.locator("#classes caption")).to_contain_text("480x360 pixels, ")


def test_a_camera_is_segmented_live(page: Page) -> None:
    page.get_by_role("tab", name="Camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera").get_by_text("Record").click()
    expect(page.locator("#live-classes caption")).to_contain_text("64x48 pixels, ")
    first = page.locator("#live img").get_attribute("src")
    expect(page.locator("#live img")).not_to_have_attribute("src", first or "")
    page.locator("#camera").get_by_text("Stop").click()


def test_a_video_becomes_one_that_plays(page: Page, folder: Path) -> None:
    clip = write_video(folder / "clip.mp4", "libx264")
    page.get_by_role("tab", name="Video").click()
    give(page, clip, page.locator("#video").get_by_label("Drop a video file here to upload"))
    page.fill("#seconds input[type=number]", "1")
    page.keyboard.press("Enter")
    page.click("#start")
    expect(page.locator("#report")).to_contain_text(re.compile(r"1[01] frames in .* frames/s"))
    expect(page.locator("#segmented video")).to_have_js_property("videoWidth", CAMERA_SIZE[0])


def test_no_earlier_video_stays_beside_an_error(page: Page) -> None:
    page.locator("#video").get_by_label("Clear").first.click()
    page.click("#start")
    expect(page.locator(".toast-body.error")).to_contain_text("no video is given")
    expect(page.locator("#segmented video")).to_have_count(0)
    expect(page.locator("#report")).not_to_contain_text("frames")
    page.locator(".toast-body.error").get_by_role("button", name="Close", exact=True).click()


def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Browser, address: str, asked: set[str]) -> None:
    phone = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True)
    page = open_page(phone, address, asked)
    page.locator(".gallery button").first.click()
    expect(page.locator("#classes caption")).to_be_visible()
    expect(page.locator("#classes")).to_contain_text(LONG)
    for cell in page.locator("#classes td").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    paper, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert sum(map(int, re.findall(r"\d+", paper)[:3])) < sum(map(int, re.findall(r"\d+", ink)[:3]))
    phone.close()


def test_files_that_were_copied_for_visitors_are_removed(tmp_path: Path) -> None:
    folders = _Folders(tmp_path)
    made = [folders.make() for _ in range(40)]
    assert [path for path in made if path.exists()] == made[-32:]


def test_a_video_has_a_model_of_its_own(folder: Path) -> None:
    models = Models([str(saved(folder, BAYES))])
    shared = models.open(models.names[0], 4)
    assert models.open(models.names[0], 4) is shared
    own = models.open_own(models.names[0], 4)
    assert own.runtime.info.samples == shared.runtime.info.samples == 4
    assert own.runtime is not shared.runtime


def test_nothing_was_asked_of_another_computer(asked: set[str], page: Page) -> None:
    """Of all that the tests above did, in the browser and in the server."""
    assert asked
    assert {host for host in asked if not ip_address(host.replace("localhost", "127.0.0.1")).is_loopback} == set()


def test_every_answer_forbids_requests_to_others(address: str) -> None:
    from urllib.request import urlopen

    with urlopen(address) as answer:  # noqa: S310  this test's own server
        assert "default-src 'self'" in answer.headers["content-security-policy"]
