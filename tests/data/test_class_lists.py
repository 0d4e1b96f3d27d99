"""Class lists of labelme, CVAT and others are read right, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from segnet.data.class_lists import read_class_list
from segnet.data.class_tables import open_labels
from segnet.errors import ConfigError

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nwide road:128,64,128::\ncar:0,0,142:a,b:c\n"


def test_a_plain_list_is_its_names() -> None:
    names = "sky\n\n wide road \n3d object\nwall, fence\nSt. Mary's\n"
    assert read_class_list(names).names == ("sky", "wide road", "3d object", "wall, fence", "St. Mary's")


def test_the_ignored_name_of_labelme_is_no_class() -> None:
    assert read_class_list("__ignore__\n_background_\ncar\n").names == ("_background_", "car")


@pytest.mark.parametrize("text", [LABELMAP, LABELMAP.partition("\n")[2], LABELMAP.replace("\n", "\r\n")])
def test_the_labelmap_of_cvat_has_names_and_colors(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_text(text)
    labels = open_labels(str(path))
    assert labels.names == ("background", "wide road", "car")
    assert labels.colors == ((0, 0, 0), (128, 64, 128), (0, 0, 142))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sky\n__ignore__\n", "__ignore__ .labelme. is only possible in the first line"),
        (LABELMAP + "truck\n", "'truck' is no line of CVAT's labelmap.txt"),
        (LABELMAP.replace("142", "999"), "three numbers from 0 to 255"),
        ("# my classes\nsky\nroad\n", "'# my classes' looks like a comment"),
        ("name,r,g,b\nsky,1,2,3\n", "looks like the heading of a table"),
        ("Pixel Value, Class\n0, sky\n", "looks like the heading of a table"),
        ("id\tname\n0\tsky\n", "looks like the heading of a table"),
        ("0 sky\n1 road\n", "hold numbers, not names only"),
        ("0: sky\n1: road\n", "hold numbers, not names only"),
        ("64 128 64\tAnimal\n192 0 128\tArchway\n", "hold numbers, not names only"),
        ("sky,70,130,180\nroad,128,64,128\n", "hold colors, not names only"),
        ('{"0": "sky"}\n', "begins JSON, YAML, XML"),
        ("item {\n  id: 1\n  name: 'sky'\n}\n", "begins JSON, YAML, XML"),
        ("names: [sky]\n", "begins JSON, YAML, XML"),
        ("", "0 class names"),
        ("a\0b\nc\n", "control character"),
    ],
)
def test_what_is_no_class_list_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_class_list(text)
