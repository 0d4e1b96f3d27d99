"""Readers of files and of arguments take whatever they are given: they read it, or say in one sentence why not.

The same examples in each run; ``SEGNET_FUZZ=20000 pytest tests/test_fuzzing.py`` draws that many new ones.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save

from caffe_oracle import caffemodel, random_weights, vgg_text
from segnet.cli.main import COMMANDS
from segnet.cli.parser import parse
from segnet.data.class_tables import open_labels
from segnet.data.layouts import open_source
from segnet.errors import SegNetError
from segnet.labels import CAMVID, ClassTable
from segnet.media.images.masks import read_mask, read_mask_file
from segnet.media.images.reading import read_image
from segnet.media.sources import ImageFile, find_sources
from segnet.models import checkpoint
from segnet.models.caffe.conversion import convert
from segnet.models.caffe.files import read_description, read_weights
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.results.images import find_jobs

EXAMPLES = int(os.environ.get("SEGNET_FUZZ", "0"))
MOST_MEGABYTES = 1500 if EXAMPLES else 400  # WebP and frames of GIF can hold 100 million pixels in a few bytes
TEXT = vgg_text(((3,), (4,)), 3, (11, 14))
TINY = SegNetConfig(
    name="tiny", encoder=EncoderConfig(widths=((2,),)), decoder=DecoderConfig(widths=((2,),)), classes=2
)

quickly = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(st.integers(-3, 300), st.integers(-(2**70), 2**70), st.floats())
words = st.one_of(st.text(max_size=12), st.sampled_from(["", ".", "..", "../..", "/", "~", "train", "no", "1e3", "\0"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with a few edits: overwritten, left out, doubled, or cut off."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from([1, 1, 2, 4, 16, 200]))
        kind = draw(st.sampled_from(["overwrite", "delete", "double", "cut", "limits"]))
        if kind == "overwrite":
            content[start : start + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "delete":
            del content[start : start + length]
        elif kind == "double":
            content[start:start] = content[start : start + length]
        elif kind == "cut":
            del content[start:]
        else:
            content[start : start + length] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"])) * length
    return bytes(content)


@st.composite
def edited(draw: st.DrawFn, whole: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts with a few values replaced, left out or added."""
    result: dict[str, Any] = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        place = result
        while nested := [key for key, value in place.items() if isinstance(value, dict) and value]:
            if not draw(st.booleans()):
                break
            place = place[draw(st.sampled_from(nested))]
        key = draw(st.one_of(st.sampled_from(sorted(place, key=str)) if place else words, words))
        if draw(st.integers(0, 5)):
            place[key] = draw(values)
        else:
            place.pop(key, None)
    return result


def attempt(read: Callable[[], object]) -> None:
    """Read, or say why not; any other error is a failure."""
    with suppress(SegNetError):
        read()


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    assert grown < MOST_MEGABYTES, f"{grown:.0f} MB for files of a few kilobytes"


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder; nothing may appear beside it."""
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def model_bytes() -> bytes:
    path = Path("tiny.safetensors")
    whole = checkpoint.save(SegNet(TINY), ClassTable.from_names(["a", "b"]), path).read_bytes()
    path.unlink()
    return whole


# --- model files


@quickly
@given(st.data())
def test_model_files(inside: Path, data: st.DataObject) -> None:
    path = inside / "m.safetensors"
    path.write_bytes(data.draw(damaged(model_bytes())))
    attempt(lambda: checkpoint.load(path))


@quickly
@given(st.data())
def test_descriptions_in_model_files(inside: Path, data: st.DataObject) -> None:
    """Without digests, which would refuse them before they are used."""
    path = inside / "m.safetensors"
    path.write_bytes(model_bytes())
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["segnet"])
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    del header["sha256"], header["tensors"]
    path.write_bytes(save(state, metadata={"segnet": json.dumps(data.draw(edited(header)))}))
    attempt(lambda: checkpoint.load(path))


# --- Caffe


@quickly
@given(damaged(caffemodel(TEXT, random_weights(TEXT, np.random.default_rng(0)))))
def test_weights_of_caffe(inside: Path, content: bytes) -> None:
    path = inside / "net.caffemodel"
    path.write_bytes(content)

    def read() -> None:
        weights = read_weights(path)
        convert(weights, weights, name="net")

    attempt(read)


@quickly
@given(damaged(TEXT.encode()))
def test_descriptions_of_caffe(inside: Path, content: bytes) -> None:
    path, weights = inside / "net.prototxt", inside / "net.caffemodel"
    path.write_bytes(content)
    weights.write_bytes(caffemodel(TEXT, random_weights(TEXT, np.random.default_rng(0))))
    attempt(lambda: convert(read_weights(weights), read_description(path), name="net"))


# --- data sets


DATA = {"path": ".", "train": "images/train", "val": "images/val", "names": {0: "a", 1: "b"}, "ignore_index": 255}


def write_data_set(folder: Path) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            target = folder / kind / split / "0.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 6) if kind == "masks" else (4, 6, 3), np.uint8)).save(target)


def open_data(path: Path) -> None:
    source = open_source(path)
    for split in ("train", "val"):
        with suppress(SegNetError):
            source.dataset(split)[0]


@quickly
@given(edited(DATA))
def test_values_in_data_yaml(inside: Path, content: dict[str, Any]) -> None:
    write_data_set(inside)
    (inside / "data.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    attempt(lambda: open_data(inside / "data.yaml"))


@quickly
@given(damaged(yaml.safe_dump(DATA).encode()))
def test_text_of_data_yaml(inside: Path, content: bytes) -> None:
    write_data_set(inside)
    (inside / "data.yaml").write_bytes(content)
    attempt(lambda: open_data(inside / "data.yaml"))


@quickly
@given(damaged(b"images/train/0.png masks/train/0.png\nimages/val/0.png masks/val/0.png\n"))
def test_pair_lists(inside: Path, content: bytes) -> None:
    write_data_set(inside)
    (inside / "train.txt").write_bytes(content)
    attempt(lambda: open_data(inside / "train.txt"))


@quickly
@given(damaged(b"# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:0,0,0::\n") | damaged(b"road\nsky\n"))
def test_class_tables(inside: Path, content: bytes) -> None:
    (inside / "names.txt").write_bytes(content)
    attempt(lambda: open_labels(str(inside / "names.txt")))


# --- images and masks


def encoded(form: str, mode: str) -> bytes:
    values = np.arange(12 * 9, dtype=np.uint8).reshape(9, 12) % 5
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(CAMVID.file_palette())
    else:
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


FORMS = [("PNG", "P"), ("PNG", "L"), ("PNG", "RGB"), ("TIFF", "L"), ("BMP", "P"), ("GIF", "P"), ("TGA", "L"),
         ("PPM", "L"), ("JPEG", "RGB"), ("WEBP", "RGB")]  # fmt: skip
FILES = [encoded(*form) for form in FORMS]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # on damaged metadata of images that can be read
@quickly
@given(st.sampled_from(FILES).flatmap(damaged))
def test_images_and_masks(inside: Path, content: bytes) -> None:
    path = inside / "image.png"
    path.write_bytes(content)
    attempt(lambda: read_mask(path))
    attempt(lambda: read_mask_file(path))
    attempt(lambda: read_image(path))


# --- the command line


FLAGS = ["--out", "--model", "--size", "--resize", "--crop", "--classes", "--json", "--config", "--device",
         "--batch", "--lr", "--save", "--precision", "--time", "--memory", "--show-classes", "--help"]  # fmt: skip


@quickly
@given(st.sampled_from(sorted(COMMANDS)), st.lists(st.sampled_from(FLAGS) | words | numbers.map(str), max_size=6))
def test_arguments(inside: Path, command: str, arguments: list[str]) -> None:
    run = import_module(f"segnet.cli.commands.{command.replace('-', '_')}").run

    def read() -> None:
        with suppress(SystemExit):  # --help
            parse(command, run, arguments)

    attempt(read)
    assert not list(inside.iterdir())


@quickly
@given(edited({"model": "segnet", "epochs": 3, "crop": [24, 32], "lr": 0.1, "out": "runs/x", "loss": "focal"}))
def test_config_files(inside: Path, content: dict[str, Any]) -> None:
    (inside / "mine.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    run = import_module("segnet.cli.commands.train").run
    attempt(lambda: parse("train", run, ["data", "--config", str(inside / "mine.yaml")]))


PLACES = st.lists(st.sampled_from(["a", "b", ".", "*", "**", "*.png", "[", "", "a/..", "0.png"]), max_size=4)


@quickly
@given(st.sampled_from(["", "./", "../", "../inside/", "a/../"]), PLACES)
def test_results_stay_in_the_output_folder(inside: Path, start: str, parts: list[str]) -> None:
    for folder in ("a", "b/a"):
        (inside / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(inside / folder / "0.png")
    word = start + "/".join(parts).lstrip("/") or "."
    found: list[Any] = []
    attempt(lambda: found.extend(find_sources(word, exclude=inside / "out", failures=[])))
    with suppress(SegNetError):
        for job in find_jobs([image for image in found if isinstance(image, ImageFile)]):
            assert not job.name.is_absolute()
            assert ".." not in job.name.parts
    shutil.rmtree(inside / "a")
