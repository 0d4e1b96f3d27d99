"""The page that ``segnet export --format browser`` writes, in a real Chromium.

Run by ``tools/check.sh``, which puts playwright on the path, the npm packages of ``web/browser`` into ``.venv/web``,
and a page of ``segnet_light`` into ``.venv/page``. Chromium must be there.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

import segnet
from chromium import CAMERA_SIZE, QUIET, chromium_with_camera, write_video
from segnet.exporting.browser.onnxruntime_web import PAGE
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

ROOT = Path(__file__).parents[2]
LIGHT = ROOT / ".venv" / "page"
MODULES = ROOT / ".venv" / "web" / "node_modules"
STREET = ROOT / "src" / "segnet" / "data" / "sample" / "street.jpg"
TABLE = ClassTable.from_names(["sky", "road", "tree"], [4, 7, 9])
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
SECONDS = 1000

expect.set_options(timeout=60 * SECONDS)


class Handler(SimpleHTTPRequestHandler):
    """A file server, with the headers for threads where ``isolated`` is set."""

    isolated = False

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        for name, value in ISOLATED.items() if self.isolated else ():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *words: Any) -> None:
        """Nothing to the terminal."""


class Isolated(Handler):
    isolated = True


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    """Serves a folder on a port of this machine: folder -> address."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path, handler: type[Handler] = Isolated) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with chromium_with_camera(folder) as launched:
        yield launched


@pytest.fixture(scope="module")
def small(folder: Path) -> tuple[Path, SegNet]:
    """A page with a small model of gray images, which was trained at 40 pixels."""
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    model = SegNet(SegNetConfig(name="small", encoder=encoder, decoder=decoder, classes=3, in_channels=1)).eval()
    path = folder / "site"
    report = segnet.export_page(
        model, TABLE, path, runtime_files=MODULES / "onnxruntime-web", provenance={"longest": 40}
    )
    assert report.path == path / "model.onnx"
    return path, model


@pytest.fixture(scope="module")
def page(browser: Browser, serve: Any, small: tuple[Path, SegNet]) -> Iterator[Page]:
    """The page of the small model, ready; several tests use it, each after the other."""
    opened = open_page(browser.new_context(viewport={"width": 1280, "height": 900}), serve(small[0]))
    yield opened
    opened.context.close()


def open_page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"an error that nothing caught: {error}"))
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("Ready.")
    return page


# The page gives up a GPU that takes 15 s to start. One in software may take longer on a busy machine.
PATIENT = """
const start = window.setTimeout;
window.setTimeout = (action, ms, ...rest) => start(action, ms === 15000 ? 150000 : ms, ...rest);
"""


def scene(path: Path, size: tuple[int, int] = (60, 90)) -> Path:
    """A synthetic scene of (height, width) as a file."""
    Image.fromarray(segnet.render_scene(4, size=size)[0]).save(path)
    return path


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that promises so many pixels and has none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data)
    return path


def choose(page: Page, file: Path) -> None:
    """Give a file with the button."""
    with page.expect_file_chooser() as chooser:
        page.click("#open")
    chooser.value.set_files(file)


def segmented(page: Page, file: Path) -> NDArray[np.uint8]:
    """The mask that the page saves of an image: file values."""
    choose(page, file)
    expect(page.locator("#status")).to_contain_text(re.compile(rf"^{re.escape(file.name)}, \d+x\d+, took \d+ ms"))
    return saved_mask(page)


def saved_mask(page: Page) -> NDArray[np.uint8]:
    with page.expect_download() as download:
        page.click("#save-mask")
    with Image.open(download.value.path()) as image:
        assert image.mode == "P"
        return np.asarray(image)


def test_masks_equal_those_of_segnet_predict(browser: Browser, serve: Any, folder: Path) -> None:
    """The sample, a larger photo that is resized, and one that EXIF turns."""
    page = open_page(browser.new_context(), serve(LIGHT))
    predictor = segnet.Predictor.load("segnet_light")
    photos = [STREET, folder / "large.png", folder / "turned.jpg"]
    with Image.open(STREET) as street:
        street.resize((1117, 843), Image.Resampling.BICUBIC).save(photos[1])
        exif = street.getexif()
        exif[0x0112] = 6
        street.resize((320, 240)).save(photos[2], quality=95, exif=exif)
    for photo in photos:
        expected, mask = predictor(photo).mask, segmented(page, photo)
        assert mask.shape == expected.shape
        assert (mask == expected).mean() >= 0.999, photo.name
    page.context.close()


def test_a_gray_model_with_its_own_values_predicts_as_in_python(
    page: Page, small: tuple[Path, SegNet], folder: Path
) -> None:
    """The sizes below, at and above that of the training images; the mask has the values of the data set."""
    predictor = segnet.Predictor.load(small[0] / "model.onnx")
    for size in [(17, 23), (33, 40), (61, 97)]:
        photo = scene(folder / f"scene-{size[0]}.png", size)
        mask = segmented(page, photo)
        expected = TABLE.to_file_values(predictor(photo).mask)
        assert set(np.unique(mask)) <= set(TABLE.values)
        assert (mask == expected).mean() >= 0.999, size


def test_the_pointer_and_the_arrow_keys_name_the_class_of_a_pixel(page: Page, folder: Path) -> None:
    mask = segmented(page, scene(folder / "scene.png"))
    names = dict(zip(TABLE.values, TABLE.names, strict=True))
    box = page.locator("#stage").bounding_box()
    assert box
    for y, x in [(3, 80), (55, 10)]:
        page.mouse.move(box["x"] + box["width"] * (x + 0.5) / 90, box["y"] + box["height"] * (y + 0.5) / 60)
        expect(page.locator("#pixel")).to_have_text(names[int(mask[y, x])])
    page.mouse.move(1, 1)
    expect(page.locator("#pixel")).to_contain_text("Point at the image")
    page.focus("#stage")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#cursor")).to_be_visible()
    expect(page.locator("#pixel")).to_have_text(names[int(mask[30, 45])])
    for _ in range(30):
        page.keyboard.press("ArrowUp")
    expect(page.locator("#pixel")).to_have_text(names[int(mask[0, 45])])


def test_opacity_and_buttons_work_by_keyboard(page: Page) -> None:
    page.focus("#opacity")
    page.keyboard.press("End")
    expect(page.locator("#overlay")).to_have_css("opacity", "1")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#percent")).to_have_text("99 %")
    page.focus("#sample")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")
    order = [page.evaluate("document.activeElement.id")]
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["sample", "session", "stage", "opacity"]


def test_every_control_has_a_name(page: Page) -> None:
    for control in page.locator("button:visible, input:visible, select:visible, #stage").all():
        name = page.evaluate(
            "e => e.ariaLabel || [...(e.labels || [])].map(l => l.textContent).join() || e.textContent.trim()",
            control.element_handle(),
        )
        assert name, control


def test_a_dropped_image_is_segmented(page: Page) -> None:
    drop(page, "dropped.jpg", "image/jpeg", STREET.read_bytes())
    expect(page.locator("#status")).to_contain_text("dropped.jpg, 480x360, took")


def drop(page: Page, name: str, kind: str, content: bytes) -> None:
    data = page.evaluate_handle(
        """([name, type, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
            return transfer;
        }""",
        [name, kind, list(content)],
    )
    page.dispatch_event("#stage", "drop", {"dataTransfer": data})


def test_a_camera_is_segmented_live_and_given_back(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#rate")).to_contain_text(re.compile(r"^\d+\.\d frames/s$"))
    expect(page.locator("#player")).to_be_hidden()
    assert saved_mask(page).shape == tuple(reversed(CAMERA_SIZE))
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")
    expect(page.locator("#rate")).to_be_empty()


def test_a_video_plays_and_pauses(page: Page, folder: Path) -> None:
    choose(page, write_video(folder / "clip.webm", "libvpx"))
    expect(page.locator("#rate")).to_contain_text("frames/s")
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play")
    page.focus("#seek")
    page.keyboard.press("Home")
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Pause")
    assert saved_mask(page).shape == tuple(reversed(CAMERA_SIZE))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.png", b"", "is empty (0 bytes)"),
        ("notes.jpg", b"dear diary", "is not an image or a video that a browser reads; give PNG"),
        ("logo.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "is text such as SVG or HTML"),
        ("page.jpg", b"\xef\xbb\xbf\n<!doctype html><script>alert(1)</script>", "is text such as SVG or HTML"),
        ("scan.tif", b"II*\0" + bytes(20), "is a TIFF, which browsers do not show"),
        ("half.jpg", STREET.read_bytes()[:30_000], "is truncated"),
        ("broken.png", b"\x89PNG\r\n\x1a\n" + bytes(60) + b"IEND\xaeB`\x82", "is damaged or too large"),
        ("broken.mp4", b"\0\0\0\x18ftypisom" + bytes(40), "cannot be played by this browser"),
        ("photo.heic", b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC image, which this browser does not show; save"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    name: str, content: bytes, reason: str, page: Page, folder: Path
) -> None:
    (folder / name).write_bytes(content)
    choose(page, folder / name)
    expect(page.locator("#error")).to_contain_text(reason)
    assert "\n" not in page.inner_text("#error")
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")
    expect(page.locator("#error")).to_be_hidden()


def test_a_huge_image_is_refused_by_its_header(page: Page, folder: Path) -> None:
    choose(page, png_header(folder / "bomb.png", 50_000, 50_000))
    expect(page.locator("#error")).to_contain_text("bomb.png has 50000x50000 pixels; this page takes up to 64 million")


def test_the_image_that_was_chosen_last_is_shown(page: Page, folder: Path) -> None:
    """Not the one that took longer to decode."""
    large = folder / "slow.jpg"
    with Image.open(STREET) as street:
        street.resize((4000, 3000)).save(large)
    for file in (large, scene(folder / "fast.png", (33, 40))):
        page.locator("#file").set_input_files(file)
    expect(page.locator("#status")).to_contain_text("fast.png, 40x33, took")
    page.wait_for_timeout(SECONDS)
    expect(page.locator("#status")).to_contain_text("fast.png, 40x33, took")
    assert saved_mask(page).shape == (33, 40)


def test_no_camera_stays_on_that_is_not_shown(page: Page) -> None:
    """Of two clicks one camera is left, and none if an image is chosen while the visitor is asked for permission."""
    page.evaluate("""() => {
        const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
        self.cameras = [];
        self.asked = () => undefined;
        devices.getUserMedia = async (wish) => {
            await self.asked();
            self.cameras.push(await open(wish));
            return self.cameras.at(-1);
        };
    }""")
    live = "cameras.filter((camera) => camera.getTracks()[0].readyState === 'live').length"
    page.evaluate("camera.click(), camera.click()")
    expect(page.locator("#rate")).to_contain_text("frames/s")
    assert page.evaluate(live) == 1
    page.evaluate("() => { self.asked = () => new Promise((resolve) => (self.permit = resolve)); }")
    page.click("#camera")
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")
    page.evaluate("self.permit()")
    for _ in range(100):
        if page.evaluate("cameras.length") < 3:
            page.wait_for_timeout(50)
    page.wait_for_timeout(SECONDS)
    assert page.evaluate("cameras.length") == 3
    assert page.evaluate(live) == 0
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")
    page.evaluate("delete navigator.mediaDevices.getUserMedia")  # of this test; the browser's own is left


def test_a_server_that_is_gone_is_named_as_the_reason(page: Page) -> None:
    page.context.set_offline(True)
    page.click("#sample")
    expect(page.locator("#error")).to_contain_text("sample.jpg cannot be loaded; check that the server of this page")
    page.context.set_offline(False)
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("Example, ")


def test_an_ended_session_frees_its_worker_and_starts_again(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#rate")).to_contain_text("frames/s")
    assert len(page.workers) >= 1
    page.click("#session")
    expect(page.locator("#status")).to_contain_text("The session was ended")
    expect(page.locator("#open")).to_be_disabled()
    for _ in range(200):  # their end is reported a moment later
        if page.workers:
            page.wait_for_timeout(50)
    assert page.workers == []
    drop(page, "dropped.jpg", "image/jpeg", STREET.read_bytes())
    expect(page.locator("#error")).to_contain_text("press Start session")
    page.click("#session")
    expect(page.locator("#status")).to_contain_text("Ready.")
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")


def test_nothing_leaves_the_machine(browser: Browser, serve: Any, small: tuple[Path, SegNet]) -> None:
    """All requests read files of the folder; a photo and a camera make none. The page is small."""
    context, address = browser.new_context(), serve(small[0])
    requests: list[Request] = []
    context.on("request", lambda request: requests.append(request))
    page = open_page(context, address)
    names = {request.url.removeprefix(address) or "index.html" for request in requests}
    assert {request.method for request in requests} == {"GET"}
    assert names <= {path.name for path in small[0].iterdir()}, names
    weight = sum((small[0] / name).stat().st_size for name in names if not name.endswith((".wasm", ".onnx")))
    assert weight <= 300_000
    before = len(requests)
    choose(page, STREET)
    expect(page.locator("#status")).to_contain_text("street.jpg, 480x360, took")
    page.click("#camera")
    expect(page.locator("#rate")).to_contain_text("frames/s")
    assert [request.url for request in requests[before:] if not request.url.startswith("blob:")] == []
    context.close()


def test_threads_need_isolation_which_the_page_brings_along(
    browser: Browser, serve: Any, small: tuple[Path, SegNet]
) -> None:
    """With any file server the page isolates itself; where it must not, it runs with one thread and says so."""
    address = serve(small[0], Handler)
    page = open_page(browser.new_context(), f"{address}?threads=2")
    expect(page.locator("#status")).to_contain_text("WebAssembly with 2 threads")
    page.context.close()
    page = open_page(browser.new_context(service_workers="block"), f"{address}?threads=2")
    expect(page.locator("#status")).to_contain_text("WebAssembly with 1 thread.")
    page.context.close()


def test_a_gpu_is_timed_too_and_predicts_the_same(
    browser: Browser, serve: Any, small: tuple[Path, SegNet], folder: Path
) -> None:
    """A GPU in software, since this machine may have none."""
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    launched = browser.browser_type.launch(
        executable_path="/usr/bin/chromium", chromium_sandbox=False, args=[*QUIET, *flags]
    )
    address, context = serve(small[0]), launched.new_context()
    context.add_init_script(PATIENT)
    page = open_page(context, address)
    expect(page.locator("#speed")).to_contain_text(
        re.compile(r"WebAssembly \d+ ms, WebGPU \d+ ms"), timeout=180 * SECONDS
    )
    page.goto(f"{address}?backend=webgpu")
    expect(page.locator("#status")).to_contain_text("The model runs by WebGPU.")
    photo = scene(folder / "gpu.png")
    expected = segnet.Predictor.load(small[0] / "model.onnx")(photo).mask
    assert (segmented(page, photo) == TABLE.to_file_values(expected)).mean() >= 0.999
    launched.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no model", "model.onnx is missing on the server (404); make the folder again"),
        ("short model", "model.onnx is damaged: it has 100 bytes instead of"),
        ("changed model", "model.onnx is damaged: its content is not what was exported"),
        ("no description", "model.json is missing on the server (404)"),
        ("damaged description", "model.json is damaged"),
        ("no runtime", "the model cannot run in this browser: WebAssembly failed"),
    ],
)
def test_a_missing_or_damaged_file_is_named(
    fault: str, reason: str, browser: Browser, serve: Any, small: tuple[Path, SegNet], tmp_path: Path
) -> None:
    site = Path(shutil.copytree(small[0], tmp_path / "site"))
    model = (site / "model.onnx").read_bytes()
    damage = {
        "no model": lambda: (site / "model.onnx").unlink(),
        "short model": lambda: (site / "model.onnx").write_bytes(model[:100]),
        "changed model": lambda: (site / "model.onnx").write_bytes(model[:-1] + b"?"),
        "no description": lambda: (site / "model.json").unlink(),
        "damaged description": lambda: (site / "model.json").write_text("<html>"),
        "no runtime": lambda: (site / "ort-wasm-simd-threaded.mjs").unlink(),
    }
    damage[fault]()
    page = browser.new_page()
    page.goto(serve(site))
    expect(page.locator("#error")).to_contain_text(reason)
    if fault == "no model":
        (site / "model.onnx").write_bytes(model)
        page.click("#session")
        expect(page.locator("#status")).to_contain_text("Ready.")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_its_text_has_contrast(width: int, scheme: Any, page: Page) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.click("#sample")
    expect(page.locator("#status")).to_contain_text("Example, 480x360, took")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ["h1", "header p", "#open", "#camera", "#status", "figcaption", "#legend .share", "#speed"]:
        ratio = page.locator(selector).first.evaluate(CONTRAST)
        assert ratio >= 4.5, (selector, ratio)


# The contrast of an element's text with the first background behind it, by WCAG's formula.
CONTRAST = """element => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = parts(color).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let back = element;
  while ((parts(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
  const pair = [light(getComputedStyle(element).color), light(getComputedStyle(back).backgroundColor)];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


def test_the_packaged_page_is_what_its_sources_build(tmp_path: Path) -> None:
    """``npm run build`` in ``web/browser``; types are checked first."""
    sources = Path(shutil.copytree(ROOT / "web" / "browser", tmp_path / "browser", ignore=lambda *_: ["node_modules"]))
    (sources / "node_modules").symlink_to(MODULES)
    for words in (["node_modules/.bin/tsc"], ["node", "build.mjs", "built"]):
        done = subprocess.run(words, cwd=sources, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    built = {path.name: path.read_text(encoding="utf-8") for path in (sources / "built").iterdir()}
    packaged = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    assert packaged == built, "src/segnet/exporting/browser/page is outdated; run: npm run build, in web/browser"
