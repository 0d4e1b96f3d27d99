"""The class table."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from segnet.errors import ConfigError
from segnet.labels import CAMVID, CAMVID12, PASCAL, SUN, VOID, Labels


def test_camvid_has_the_published_classes_and_colours_in_the_published_order():
    # SegNet-Tutorial, Scripts/camvid11.png, and the label order of the prototxt's class weights.
    published = {
        "Sky": (128, 128, 128), "Building": (128, 0, 0), "Pole": (192, 192, 128), "Road": (128, 64, 128),
        "Pavement": (60, 40, 222), "Tree": (128, 128, 0), "SignSymbol": (192, 128, 128), "Fence": (64, 64, 128),
        "Car": (64, 0, 128), "Pedestrian": (64, 64, 0), "Bicyclist": (0, 128, 192),
    }  # fmt: skip
    assert dict(zip(CAMVID.names, CAMVID.colors, strict=True)) == published
    assert list(published) == list(CAMVID.names)
    assert CAMVID.classes == 11


def test_camvid12_is_camvid_with_road_markings_behind_the_pole():
    # SegNet-Tutorial, Scripts/camvid12.png.
    assert CAMVID12.classes == 12
    assert (CAMVID12.names[3], CAMVID12.colors[3]) == ("Road_marking", (255, 69, 0))
    assert CAMVID12.names[:3] + CAMVID12.names[4:] == CAMVID.names
    assert CAMVID12.colors[:3] + CAMVID12.colors[4:] == CAMVID.colors


def test_pascal_has_the_colours_of_the_development_kit():
    # The figures that the VOC2012 documentation shows for some classes.
    assert PASCAL.classes == 21
    known = {
        "background": (0, 0, 0), "aeroplane": (128, 0, 0), "bicycle": (0, 128, 0), "bus": (0, 128, 128),
        "car": (128, 128, 128), "cat": (64, 0, 0), "person": (192, 128, 128), "tvmonitor": (0, 64, 128),
    }  # fmt: skip
    assert {name: PASCAL.colors[PASCAL.names.index(name)] for name in known} == known


def test_sun_has_37_classes_behind_one_that_is_never_learned():
    assert (SUN.classes, SUN.names[:2], SUN.names[-1]) == (38, ("Unlabelled", "Wall"), "Bag")
    assert SUN.colors[0] == (0, 0, 0)
    assert len(set(SUN.colors)) == 38


def test_labels_survive_json():
    assert Labels.from_dict(json.loads(json.dumps(CAMVID.to_dict()))) == CAMVID


def test_palette_gives_each_class_its_colour_and_void_black():
    palette = CAMVID.palette()
    assert palette.dtype == np.uint8
    assert palette.shape == (256, 3)
    assert [tuple(color) for color in palette[:11].tolist()] == list(CAMVID.colors)
    assert not palette[11:].any()
    assert VOID == 255


@pytest.mark.parametrize("count", [1, 8, 9, 40, 255])
def test_any_possible_number_of_names_gets_valid_colours(count: int):
    labels = Labels.from_names([f"class {index}" for index in range(count)])
    assert labels.classes == len(labels.colors) == count
    assert len(set(labels.colors[:40])) == min(count, 40)


def test_labels_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CAMVID.names = ("a",)  # type: ignore[misc]


@pytest.mark.parametrize("count", [0, 256])
def test_impossible_number_of_names_is_refused(count: int):
    with pytest.raises(ConfigError, match=f"{count} class names"):
        Labels.from_names([str(index) for index in range(count)])


def test_a_name_given_twice_is_refused():
    with pytest.raises(ConfigError, match="'road' stands twice"):
        Labels.from_names(["road", "sky", "road"])


def test_another_number_of_colours_is_refused():
    with pytest.raises(ConfigError, match="1 colours for 2 classes"):
        Labels(names=("a", "b"), colors=((0, 0, 0),))


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0), (0, 0)])
def test_a_colour_out_of_range_is_refused(color: tuple[int, ...]):
    with pytest.raises(ConfigError, match="three numbers from 0 to 255"):
        Labels(names=("a",), colors=(color,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "table",
    [
        {}, {"names": ["a"]}, {"colors": [[0, 0, 0]]}, {"names": 3, "colors": []},
        {"names": ["a"], "colors": [[0, 0]]}, {"names": ["a"], "colors": ["red"]}, {"names": ["a"], "colors": [7]},
    ],
)  # fmt: skip
def test_a_table_of_another_form_is_refused(table: dict[str, object]):
    with pytest.raises(ConfigError, match="class table needs 'names' and 'colors'"):
        Labels.from_dict(table)
