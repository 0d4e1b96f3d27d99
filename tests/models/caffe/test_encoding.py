"""Protobuf's encodings: what is well formed is read, everything else refused within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe_oracle import field, real, varint, whole
from segnet.errors import ModelError
from segnet.models.caffe.encoding import Wire, parse_text

PATH = Path("some.file")
FIELDS = {
    1: ("name", "text"), 2: ("count", "int"), 3: ("ratio", "float"), 4: ("raw", "bytes"), 5: ("dim", "ints"),
    6: ("mode", ("LEARN", "INFERENCE")), 7: ("inner", {1: ("name", "text")}),
}  # fmt: skip


def read(content: bytes) -> dict:
    return Wire(PATH).message(memoryview(content), FIELDS)


def test_every_kind_of_field_is_read():
    content = (
        field(1, "conv1") + whole(2, 300) + real(3, 0.5) + field(4, b"\xff\x00") + field(5, varint(3) + varint(-2))
        + whole(5, 7) + whole(6, 1) + whole(6, 9) + field(7, field(1, "deep")) + whole(2, -1)
    )  # fmt: skip
    found = read(content)
    assert bytes(found.pop("raw")[0]) == b"\xff\x00"
    assert found == {
        "name": ["conv1"], "count": [300, -1], "ratio": [0.5], "dim": [[3, -2], [7]], "mode": ["INFERENCE", "9"],
        "inner": [{"name": ["deep"]}],
    }  # fmt: skip


def test_unknown_fields_of_every_kind_are_passed_over():
    fixed64 = varint(1000 << 3 | 1) + bytes(8)
    assert read(whole(99, 5) + field(100, b"\xff" * 500) + fixed64 + real(12, 1.0) + field(1, "x")) == {"name": ["x"]}


def test_bytes_are_not_copied():
    content = memoryview(field(4, b"x" * 1000))
    assert Wire(PATH).message(content, FIELDS)["raw"][0].obj is content.obj


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80", "a number that is cut off"),
        (b"\x08", "a number that is cut off"),
        (b"\xff" * 11, "a number of more than ten bytes"),
        (field(4, b"abc")[:-1], "a field of 3 bytes where 2 are left"),
        (varint(4 << 3 | 2) + varint(2**31), "a field of 2147483648 bytes where 0 are left"),
        (varint(4 << 3 | 2) + varint(2**64 - 1), "a field of 18446744073709551615 bytes"),
        (real(3, 1.0)[:-1], "a field of 4 bytes where 3 are left"),
        (b"\x0b" * 1000, "a field of wire type 3"),
        (b"\x0c", "a field of wire type 4"),
        (b"\x0f", "a field of wire type 7"),
        (bytes(64), "a field of number 0"),
        (whole(1, 5), "a field 'name' of wire type 0"),
        (field(2, b"x"), "a field 'count' of wire type 2"),
        (whole(7, 5), "a field 'inner' of wire type 0"),
        (real(4, 1.0), "'raw' number by number instead of packed"),
        (field(1, b"\xff\xfe"), "a name that is no text"),
        (field(1, b"x" * 1001), "a name of 1001 bytes"),
        (field(5, b"\x01" * 1001), "a list of more than 1000 numbers"),
        (field(5, b"\x80"), "a number that is cut off"),
    ],
)
def test_damage_is_refused_with_what_it_is(content: bytes, message: str):
    with pytest.raises(ModelError, match=f"some.file: holds {message}.*give the whole .caffemodel"):
        read(content)


def test_a_file_may_have_so_many_fields_and_no_more():
    content = memoryview(b"\x78\x00" * 120_000)
    wire = Wire(PATH)
    assert wire.message(content, FIELDS) == {}
    with pytest.raises(ModelError, match="holds more than 200000 fields"):
        wire.message(content, FIELDS)


def test_text_is_read_as_protobuf_writes_it():
    text = """
    name: "net" # a remark: { "
    layer { name: 'a' param { lr_mult: 1 } param { lr_mult: 2.5e-1 }, top: "x"; top: "y" }
    layer: < name: "b # c" flag: true other: false mode: INFERENCE count: -3 tiny: .5 >
    """
    assert parse_text(text, PATH) == {
        "name": ["net"],
        "layer": [
            {"name": ["a"], "param": [{"lr_mult": [1]}, {"lr_mult": [0.25]}], "top": ["x", "y"]},
            {"name": ["b # c"], "flag": [True], "other": [False], "mode": ["INFERENCE"], "count": [-3], "tiny": [0.5]},
        ],
    }
    assert parse_text("", PATH) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer {", "ends within a layer"),
        ("layer", "ends within a layer"),
        ("a:", "ends within a layer"),
        ("}", "'}' stands where it does not belong"),
        ("a: }", "'}' stands"),
        ("layer { a }", "'}' stands"),
        ("{ a: 1 }", "'{' stands"),
        ("a: : 1", "':' stands"),
        ("a 1", "'1' stands"),
        ("a: 1 2", "'2' stands"),
        ('"a": 1', "'a' stands"),
        ("a: 1\nb: @", "line 2 holds '@'"),
        ('a: "open', "line 1 holds '\"open'"),
        ("a: [1, 2]", r"line 1 holds '\[1, 2\]'"),
        ("<html>", "'<' stands"),
        ("a {" * 21, "more than 20 brackets are open"),
        ("a {" * 100_000, "more than 20 brackets are open"),
    ],
)
def test_other_texts_are_refused_with_the_place(text: str, message: str):
    with pytest.raises(ModelError, match=f"some.file: is no description of a net .*{message}"):
        parse_text(text, PATH)


def test_numbers_that_are_none_stay_words_for_those_who_ask():
    assert parse_text("a: 1.2.3 b: " + "9" * 5000, PATH) == {"a": ["1.2.3"], "b": ["9" * 5000]}
