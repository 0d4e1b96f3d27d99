"""Caffe's files: what they say is read, and files that lie are refused in bounded time and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe_oracle import basic_text, blob, caffemodel, field, old_caffemodel, random_weights, varint, whole
from segnet.errors import ModelError
from segnet.models.caffe.conversion import convert
from segnet.models.caffe.files import Layer, open_blobs, read_description, read_weights

TEXT = basic_text((3,), 2, (5, 6), side=3, drop=(1,))


def weights_file(folder: Path, content: bytes) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


def with_blob(content: bytes) -> bytes:
    """A file of one layer with these weights."""
    return field(100, field(1, "conv1") + field(2, "Convolution") + field(7, content))


def test_text_and_binary_say_the_same(tmp_path: Path):
    (tmp_path / "net.prototxt").write_text(TEXT)
    described = read_description(tmp_path / "net.prototxt").layers
    saved = read_weights(weights_file(tmp_path, caffemodel(TEXT, {}))).layers
    assert len(described) == len(saved) == 12
    for ours, theirs in zip(described, saved, strict=True):
        assert (ours.name, ours.type, ours.bottoms, ours.tops) == (
            theirs.name,
            theirs.type,
            theirs.bottoms,
            theirs.tops,
        )
        for key, value in theirs.settings.items():
            assert ours.settings[key] == pytest.approx(value), (ours.name, key)
        assert not ours.blobs
        assert not theirs.blobs
    assert described[0].number("alpha", 1.0) == 1e-4
    assert described[1].whole("kernel_size", 0) == 3
    assert described[2].word("bn_mode", "LEARN") == "INFERENCE"
    assert (described[4].tops, described[4].word("pool", "")) == (("pool1", "pool1_mask"), "MAX")


@pytest.mark.parametrize("old", [False, True], ids=["shape", "num, channels, height, width"])
def test_blobs_come_in_the_shape_that_the_file_says(tmp_path: Path, old: bool):
    weights = random_weights(TEXT, np.random.default_rng(0))
    net = read_weights(weights_file(tmp_path, caffemodel(TEXT, weights, old_shapes=old)))
    layer = next(layer for layer in net.layers if layer.name == "conv1")
    filters, bias = open_blobs(layer)
    np.testing.assert_array_equal(filters, weights["conv1"][0])
    np.testing.assert_array_equal(bias.ravel(), weights["conv1"][1])
    assert bias.shape == ((1, 1, 1, 3) if old else (3,))


def test_data_in_several_pieces_is_joined(tmp_path: Path):
    values = np.arange(6, dtype="<f4")
    content = (
        field(7, field(1, varint(2) + varint(3))) + field(5, values[:4].tobytes()) + field(5, values[4:].tobytes())
    )
    layer = read_weights(weights_file(tmp_path, with_blob(content))).layers[0]
    np.testing.assert_array_equal(open_blobs(layer)[0], values.reshape(2, 3))


def test_old_files_are_read(tmp_path: Path):
    content = old_caffemodel(
        [("conv1_1", 4, [np.ones((2, 3, 3, 3), np.float32)]), ("relu1_1", 18, []), ("fc6", 14, [])]
    )
    layers = read_weights(weights_file(tmp_path, content)).layers
    assert [(layer.name, layer.type) for layer in layers] == [
        ("conv1_1", "Convolution"), ("relu1_1", "18"), ("fc6", "InnerProduct"),
    ]  # fmt: skip
    (tmp_path / "net.prototxt").write_text('layers { name: "conv1_1" type: CONVOLUTION bottom: "data" }')
    assert read_description(tmp_path / "net.prototxt").layers[0].type == "Convolution"


OTHER_KINDS = [
    b"layer { name: 'conv1' }", b"name: 'net'\n", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n",
    b"PK\x03\x04" + b"x" * 99, b"\x89HDF\r\n\x1a\n" + bytes(99), b"\x80\x02}q\x00.", b"\x89PNG\r\n\x1a\n" + bytes(99),
    b"\xff" * 64, bytes(4096), b"\x08\x01", np.random.default_rng(0).bytes(9999),
]  # fmt: skip


@pytest.mark.parametrize("content", OTHER_KINDS)
def test_a_file_of_another_kind_is_no_weights(tmp_path: Path, content: bytes):
    with pytest.raises(ModelError, match=r"net\.caffemodel: holds .*; .*give the"):
        read_weights(weights_file(tmp_path, content))


def test_what_is_no_file_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "nowhere.caffemodel"):
        with pytest.raises(ModelError, match=r"there is no such file; give the \.caffemodel"):
            read_weights(path)
        with pytest.raises(ModelError, match=r"there is no such file; give the \.prototxt"):
            read_description(path)
    with pytest.raises(ModelError, match=r"net\.caffemodel: is empty"):
        read_weights(weights_file(tmp_path, b""))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no layers"),
        (b"name: 'net'", "holds no layers"),
        (b"layer: 3", "has 3 where a layer belongs"),
        (b"layer { type: 'BN' bn_param: 3 }", "has bn_param 3 where settings in brackets belong"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"layer {", "is no description of a net"),
        (b"#" * (1 << 20) + b"#", "has 1048577 bytes, more than a description needs"),
    ],
)
def test_a_file_of_another_kind_is_no_description(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "net.prototxt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"net\.prototxt: {message}"):
        read_description(path)


def shaped(*sides: int, data: int) -> bytes:
    return field(7, field(1, b"".join(map(varint, sides)))) + field(5, bytes(4 * data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (shaped(2, 3, data=5), r"the shape \(2, 3\) does not fit the 5 numbers"),
        (shaped(2, 3, data=7), r"the shape \(2, 3\) does not fit the 7 numbers"),
        (shaped(-2, -3, data=6), r"the shape \(-2, -3\) does not fit the 6 numbers"),
        (shaped(0, data=0), r"the shape \(0,\) does not fit the 0 numbers"),
        (shaped(2**62, 2**62, data=1), "does not fit the 1 numbers"),
        (shaped(2**31 - 1, 2**31 - 1, data=0), "does not fit the 0 numbers"),
        (shaped(*[1] * 33, data=1), "does not fit the 1 numbers"),
        (whole(1, 1000000) + whole(2, 1000000) + field(5, bytes(4)), r"the shape \(1000000, 1000000, 0, 0\) does not"),
        (field(7, b"") + field(5, bytes(8)), r"the shape \(\) does not fit the 2 numbers"),
        (field(7, field(1, varint(1))) + field(5, bytes(3)), "does not fit the 0.75 numbers"),
        (blob(np.array([1.0, np.nan], np.float32)), "holds numbers that are not finite"),
        (blob(np.array([1.0, -np.inf], np.float32)), "holds numbers that are not finite"),
    ],
)
def test_weights_that_lie_are_refused_when_they_are_opened(tmp_path: Path, content: bytes, message: str):
    layer = read_weights(weights_file(tmp_path, with_blob(content))).layers[0]
    with pytest.raises(ModelError, match=rf"net\.caffemodel: layer 'conv1', weights 0.*{message}"):
        open_blobs(layer)


def test_unpacked_weights_are_refused(tmp_path: Path):
    unpacked = b"".join(varint(5 << 3 | 5) + bytes(4) for _ in range(3))
    layer = read_weights(weights_file(tmp_path, with_blob(field(7, field(1, varint(3))) + unpacked))).layers[0]
    with pytest.raises(ModelError, match="'data' number by number instead of packed, as Caffe never writes it"):
        open_blobs(layer)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_file_is_refused(tmp_path: Path, share: float):
    whole_file = caffemodel(TEXT, random_weights(TEXT, np.random.default_rng(0)))
    with pytest.raises(ModelError, match=r"net\.caffemodel: holds .*(damaged|no layers)"):
        read_weights(weights_file(tmp_path, whole_file[: max(int(len(whole_file) * share), 1)]))


def test_changed_bytes_are_read_or_refused_and_never_crash(tmp_path: Path):
    generator = np.random.default_rng(0)
    content = caffemodel(TEXT, random_weights(TEXT, generator))
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for place in generator.integers(0, len(content), 3):
            changed[place] = generator.integers(0, 256)
        net = weights_file(tmp_path, bytes(changed))
        try:
            blobs = read_weights(net)
            convert(blobs, blobs, name="x")
        except ModelError:
            refused += 1
    assert 30 < refused < 300


def test_changed_texts_are_read_or_refused_and_never_crash(tmp_path: Path):
    generator = np.random.default_rng(0)
    blobs = read_weights(weights_file(tmp_path, caffemodel(TEXT, random_weights(TEXT, generator))))
    refused = 0
    for _ in range(300):
        changed = list(TEXT)
        for place in generator.integers(0, len(TEXT), 3):
            changed[place] = generator.choice(list('{}:"<>0-9 eax\n'))
        (tmp_path / "net.prototxt").write_text("".join(changed))
        try:
            convert(blobs, read_description(tmp_path / "net.prototxt"), name="x")
        except ModelError:
            refused += 1
    assert 30 < refused < 300


READ = """
import resource, sys
from segnet.models.caffe.files import open_blobs, read_description, read_weights
from segnet.errors import ModelError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read = read_description if sys.argv[1].endswith(".prototxt") else read_weights
try:
    for layer in read(sys.argv[1]).layers:
        open_blobs(layer)
    print("read")
except ModelError as error:
    print("refused:", str(error)[:500])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def limit_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


HOSTILE = {
    "ten million empty layers": b"\xa2\x06\x00" * 10_000_000,
    "ten million empty blobs in a layer": field(100, b"\x3a\x00" * 10_000_000),
    "ten million unknown fields": b"\x78\x01" * 10_000_000,
    "a layer that claims 2 GB": varint(100 << 3 | 2) + varint(2**31 - 1) + bytes(99),
    "weights that claim 2 GB": with_blob(field(7, field(1, varint(2**29))) + varint(5 << 3 | 2) + varint(2**31 - 1)),
    "a shape that claims 2**124 numbers": with_blob(shaped(2**62, 2**62, data=1)),
    "ten million sides": with_blob(field(7, field(1, b"\x01" * 10_000_000)) + field(5, bytes(4))),
    "a million open groups": b"\xa3\x06" * 1_000_000,
    "a name of 20 MB": field(100, field(1, b"x" * 20_000_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_little(tmp_path: Path, name: str):
    path = weights_file(tmp_path, HOSTILE[name])
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True, preexec_fn=limit_time
    )
    outcome, grown = done.stdout.strip().splitlines()
    assert outcome.startswith("refused: ")
    assert int(grown) < 120_000  # KiB; the protobuf library takes 900,000 for the first


@pytest.mark.parametrize("text", ["a{" * 500_000, "a{}" * 300_000, "a:1 " * 250_000, '"' * 1_000_000, "#" * 1_000_000])
def test_hostile_texts_cost_little(tmp_path: Path, text: str):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True, preexec_fn=limit_time
    )
    outcome, grown = done.stdout.strip().splitlines()
    assert outcome.startswith("refused: ")
    assert int(grown) < 250_000


def test_a_huge_sparse_file_is_refused_at_once(tmp_path: Path):
    path = weights_file(tmp_path, b"")
    with path.open("r+b") as file:
        file.truncate(5 << 30)
    with pytest.raises(ModelError, match="holds a field of number 0"):
        read_weights(path)


@pytest.mark.parametrize("value", [-1, 1.5, True, "x", {}])
def test_settings_of_another_kind_are_refused(value: object):
    layer = Layer(path=Path("net.prototxt"), name="conv1", type="Convolution", settings={"pad": [value]})
    with pytest.raises(ModelError, match=r"net\.prototxt: layer 'conv1' has pad .*, where a whole number"):
        layer.whole("pad", 0)
    if not isinstance(value, int | float) or value is True:
        with pytest.raises(ModelError, match=r"net\.prototxt: layer 'conv1' has pad .*, where a number"):
            layer.number("pad", 0)
    assert (layer.whole("other", 3), layer.number("other", 0.5), layer.word("other", "x")) == (3, 0.5, "x")
