"""A data.yaml that somebody wrote in haste, for another tool, or to do harm: one error of ours, at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.bands import Bands, Channels
from segnet.data.class_tables import open_labels
from segnet.data.description import read_description
from segnet.data.layouts import open_source
from segnet.errors import DataError, SegNetError

BOMB = "a: &a [x, x, x]\n" + "".join(f"k{i}: &k{i} [*a, *a, *a]\n" for i in range(9)) + "names: *k8\n"

HOSTILE = {
    "names: " + "[" * 3000: "nested deeper than 20 levels in line 1",
    "names: " + "{a: " * 3000: "nested deeper than 20",
    "names: [a, b]\nignore_index: " + "9" * 5000: "a number of 5000 digits.*line 2",
    "names: [a, b]\nignore_index: 0x" + "f" * 5000: "a number of 5002 digits",
    "names: [a, b]\nignore_index: 2020-13-45": "'ignore_index' must be mask values",
    "names: [!!timestamp x, b]": "does not fit its YAML tag",
    "names: [!!bool x, b]": "does not fit its YAML tag",
    "names: [a, b]\nignore_index: true": "'ignore_index' must be mask values.*got True",
    "names: [a, b]\nignore_index: [255, yes]": "'ignore_index' must be mask values",
    "names: [a, b]\ncolors: [[.inf, 1, 2], [3, 4, 5]]": "'colors'.*inf is no whole number",
    "names: [a, b]\ncolors: [[true, 1, 2], [3, 4, 5]]": "'colors'.*True is no whole number",
    "names: [a, b]\ncolors: [[1.5, 1, 2], [3, 4, 5]]": "'colors'.*1.5 is no whole number",
    "names: [a, b]\npath: " + "x" * 5000: "'path': the path .* is 5000 characters long",
    "names: [a, b]\nmasks: " + "x" * 300: "'masks': the path .* is 300 characters long",
    "names: [a, b]\ntrain: [" + "x/" * 3000 + "]": "'train': the path .* is 6000 characters long",
    'names: [a, b]\ntrain: "a\\0b"': "'train': the path .* holds a NUL character",
    'names: [a, b]\npath: "\\ud800"': "'path': the path .* holds half a character",
    'names: ["a\\0", b]': "holds a line break or control character",
    'names: ["a\\nb", c]': "holds a line break or control character",
    'names: ["\\ud800", b]': "holds a line break or control character",
    'names: ["a\\u2028", b]': "holds a line break or control character",
    "names: ['', b]": "is no text; give each class a name",
    f"names: [{'a' * 300}, b]": "has 300 characters; at most 255",
    BOMB: r"has the alias \*a in line 2",
    "names: [" + ", ".join(f"class{i}" for i in range(90000)) + "]": "is longer than 50,000 characters",
    "names: {0: a, 0: b}": "'0' stands twice",
    "names: [a, b]\nnames: [c, d]": "'names' stands twice",
    "names: {no: a, yes: b}": "gives a class the mask value False",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "masks"):
        write_image(tmp_path / name / "a.png")
    return tmp_path


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(path)


@pytest.mark.parametrize(("content", "reason"), HOSTILE.items(), ids=range(len(HOSTILE)))
def test_a_hostile_description_is_refused_at_once_with_file_and_key(content: str, reason: str, folder: Path) -> None:
    (folder / "data.yaml").write_text(content, encoding="utf-8")
    started = time.process_time()
    with pytest.raises(DataError, match=rf"data\.yaml: .*{reason}"):
        open_source(folder)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("location", ["x" * 5000, "a/" * 3000, "a\0b", "\ud800"])
def test_a_location_that_is_no_path_is_refused(location: str) -> None:
    with pytest.raises(DataError, match=r"the data set .*give the path of a data set"):
        open_source(location)


@pytest.mark.parametrize("name", ["no", "yes", "on", "off", "null", "~", "1", "1.5", "true", "[a]", "{a: b}"])
def test_a_name_that_yaml_reads_as_a_value_is_refused(name: str, folder: Path) -> None:
    (folder / "data.yaml").write_text(f"names: [{name}, other]")
    with pytest.raises(DataError, match=r"data\.yaml: 'names' holds .* quote it"):
        open_source(folder)
    with pytest.raises(SegNetError, match="quote it"):
        open_labels(str(folder / "data.yaml"))


@pytest.mark.parametrize("key", ["path", "images", "masks", "train", "val"])
@pytest.mark.parametrize("value", ["no", "5"])
def test_a_folder_that_yaml_reads_as_a_value_is_refused(key: str, value: str, folder: Path) -> None:
    (folder / "data.yaml").write_text(f"names: [a, b]\n{key}: {value}")
    with pytest.raises(DataError, match=f"'{key}' must name one folder.*quote a name"):
        open_source(folder)


def test_quoted_names_and_dates_are_names(folder: Path) -> None:
    (folder / "data.yaml").write_text("names: ['no', \"yes\", 2020-01-01]")
    assert open_source(folder).labels.names == ("no", "yes", "2020-01-01")


# Fields of other tools.


def test_a_split_may_be_several_folders(tmp_path: Path) -> None:
    for name in ("day/0", "dusk/0", "night/0"):
        write_image(tmp_path / "images" / f"{name}.png")
        write_image(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "data.yaml").write_text(
        "names: [a, b]\ntrain: [images/day, images/dusk]\nval:\n- images/night\ntest:\n"
    )
    source = open_source(tmp_path)
    assert [sample.name for sample in source.splits["train"]] == ["day/0", "dusk/0"]
    assert [sample.name for sample in source.splits["val"]] == ["0"]
    assert list(source.splits) == ["train", "val"]
    assert source.splits["train"][1].mask == tmp_path / "masks/dusk/0.png"


def test_a_yaml_of_roboflow_is_read(tmp_path: Path) -> None:
    for name in ("train/images/a", "train/masks/a", "valid/images/b", "valid/masks/b"):
        write_image(tmp_path / f"{name}.png")
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ..\\valid\\images\nnc: 2\nnames: ['a', 'b']\nroboflow:\n  license: MIT\n"
    )
    assert list(open_source(tmp_path).splits) == ["train", "val"]


@pytest.mark.parametrize(("count", "names"), [("3", "[a, b]"), ("true", "[a, b]"), ("x", "{0: a}")])
def test_another_number_of_classes_than_names_is_refused(count: str, names: str, folder: Path) -> None:
    (folder / "data.yaml").write_text(f"nc: {count}\nnames: {names}")
    with pytest.raises(DataError, match=r"'nc' is .* but 'names' holds"):
        open_source(folder)


@pytest.mark.parametrize(
    ("keys", "channels"),
    [
        ("", 3),
        ("channels: 1", 1),
        ("channels: 13", Bands(indices=tuple(range(13)), count=13)),
        ("channels: [3, 2, 1, 7]", Bands(indices=(3, 2, 1, 7))),
        ("channels: [nir, red]\nband_names: [red, green, nir]", Bands(indices=(2, 0), count=3)),
        (
            "channels: 4\nvalue_range: [0, 10000]\nshown_bands: [2, 1, 0]",
            Bands(indices=(0, 1, 2, 3), count=4, value_range=(0, 10000), shown=(2, 1, 0)),
        ),
    ],
)
def test_channels_are_a_number_or_bands_by_number_or_name(tmp_path: Path, keys: str, channels: Channels) -> None:
    (tmp_path / "data.yaml").write_text(f"names: [a, b]\n{keys}\n", encoding="utf-8")
    assert read_description(tmp_path / "data.yaml").channels == channels
