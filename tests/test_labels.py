"""The class table."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from segnet.errors import ConfigError
from segnet.labels import CAMVID, CAMVID12, IGNORE_INDEX, PASCAL, SUN, ClassTable, Color

ROOT = Path(__file__).parents[1]


def test_camvid_has_the_published_classes_and_colors_in_the_published_order():
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


def test_pascal_has_the_colors_of_the_development_kit():
    # The figures that the VOC2012 documentation shows for some classes.
    assert PASCAL.classes == 21
    known = {
        "background": (0, 0, 0), "aeroplane": (128, 0, 0), "bicycle": (0, 128, 0), "bus": (0, 128, 128),
        "car": (128, 128, 128), "cat": (64, 0, 0), "person": (192, 128, 128), "tvmonitor": (0, 64, 128),
    }  # fmt: skip
    assert {name: PASCAL.colors[PASCAL.names.index(name)] for name in known} == known


def test_sun_has_37_classes_behind_one_that_is_never_learned():
    assert (SUN.classes, SUN.names[:2], SUN.names[-1]) == (38, ("Unlabeled", "Wall"), "Bag")
    assert SUN.colors[0] == (0, 0, 0)
    assert len(set(SUN.colors)) == 38


GAPS = ClassTable.from_names(["building", "grass"], [1, 254])


@pytest.mark.parametrize("labels", [CAMVID, GAPS])
def test_labels_survive_json(labels: ClassTable):
    assert ClassTable.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels
    assert ("values" in labels.to_dict()) == (labels is GAPS)


def test_mask_files_hold_the_values_of_the_classes_in_their_colors():
    values = GAPS.to_file_values(np.array([[0, 1, 255]], dtype=np.uint8))
    assert (values.dtype, values.tolist()) == (np.uint8, [[1, 254, 255]])
    assert [tuple(color) for color in GAPS.file_palette()[[1, 254]].tolist()] == list(GAPS.colors)
    assert np.count_nonzero(GAPS.file_palette().any(axis=1)) == 2
    assert GAPS.describe_values() == "1 (building), 254 (grass)"
    assert GAPS.colorblind().values == (1, 254)
    assert CAMVID.values == tuple(range(11))


def test_a_table_without_a_value_keeps_names_colors_and_values_of_the_others():
    kept = CAMVID.without([0, 200])
    assert (kept.names, kept.colors, kept.values) == (CAMVID.names[1:], CAMVID.colors[1:], tuple(range(1, 11)))
    assert CAMVID.without([11, 255]) is CAMVID
    with pytest.raises(ConfigError, match="all classes have an ignored value"):
        GAPS.without([1, 254])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1], "1 mask values for 2 classes"), ([3, 3], "two classes have the mask value 3"),
        ([0, 256], "mask value of class 'b' is 256"), ([-1, 0], "mask value of class 'a' is -1"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused(values: list[int], reason: str):
    with pytest.raises(ConfigError, match=reason):
        ClassTable.from_names(["a", "b"], values)


def test_palette_gives_each_class_its_color_and_void_black():
    palette = CAMVID.palette()
    assert palette.dtype == np.uint8
    assert palette.shape == (256, 3)
    assert [tuple(color) for color in palette[:11].tolist()] == list(CAMVID.colors)
    assert not palette[11:].any()
    assert IGNORE_INDEX == 255


@pytest.mark.parametrize("count", [1, 8, 9, 40, 255])
def test_any_possible_number_of_names_gets_a_color_each(count: int):
    labels = ClassTable.from_names([f"class {index}" for index in range(count)])
    assert labels.classes == len(set(labels.colors)) == count
    assert labels.colors == ClassTable.numbered(255).colors[:count]


def test_colorblind_labels_differ_in_their_colors_alone():
    safe = CAMVID.colorblind()
    assert safe.names == CAMVID.names
    assert safe.colors == ClassTable.from_names(CAMVID.names).colors
    assert not set(safe.colors) & set(CAMVID.colors)


# Sight without one kind of cone, by two models: Machado, Oliveira, Fernandes 2009 and Vienot, Brettel, Mollon 1999.
SIGHTS = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "protanopia by Vienot": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia by Vienot": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def smallest_distance(colors: tuple[Color, ...], sight: str) -> float:
    """Of any two, in CIELAB (1976) under D65; the palette itself was chosen in OKLab."""
    parts = np.array(colors) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    simulated = np.clip(linear @ np.array(SIGHTS[sight]).T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.moveaxis(simulated @ to_xyz.T / to_xyz.sum(axis=1), -1, 0)
    x, y, z = (np.where(part > 216 / 24389, np.cbrt(part), (24389 / 27 * part + 16) / 116) for part in (x, y, z))
    points = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(points, 2))


@pytest.mark.parametrize(("count", "least"), [(11, 15), (20, 9), (40, 5)])
@pytest.mark.parametrize("sight", SIGHTS)
def test_the_colors_can_be_told_apart_by_every_kind_of_sight(sight: str, count: int, least: float):
    assert smallest_distance(ClassTable.numbered(count).colors, sight) > least


@pytest.mark.parametrize("sight", [sight for sight in SIGHTS if sight not in {"normal", "tritanopia"}])
def test_twenty_colors_are_farther_apart_than_camvids_eleven(sight: str):
    own = smallest_distance(CAMVID.colors, sight)
    assert smallest_distance(CAMVID.colorblind().colors, sight) > 2 * own
    assert smallest_distance(ClassTable.numbered(20).colors, sight) > 1.2 * own


def test_the_colors_are_those_that_the_program_chooses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    assert import_module("make_palette").choose(40) == list(ClassTable.numbered(40).colors)


def test_labels_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CAMVID.names = ("a",)  # type: ignore[misc]


@pytest.mark.parametrize("count", [0, 256])
def test_impossible_number_of_names_is_refused(count: int):
    with pytest.raises(ConfigError, match=f"{count} class names"):
        ClassTable.from_names([str(index) for index in range(count)])


def test_a_name_given_twice_is_refused():
    with pytest.raises(ConfigError, match="'road' stands twice"):
        ClassTable.from_names(["road", "sky", "road"])


def test_another_number_of_colors_is_refused():
    with pytest.raises(ConfigError, match="1 colors for 2 classes"):
        ClassTable(names=("a", "b"), colors=((0, 0, 0),))


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0), (0, 0), (0.5, 0, 0), "red", 7])
def test_a_color_out_of_range_is_refused(color: tuple[int, ...]):
    with pytest.raises(ConfigError, match="three numbers from 0 to 255"):
        ClassTable(names=("a",), colors=(color,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "table",
    [
        {}, {"names": ["a"]}, {"colors": [[0, 0, 0]]}, {"names": 3, "colors": []},
        {"names": ["a"], "colors": [[0, 0]]}, {"names": ["a"], "colors": ["red"]}, {"names": ["a"], "colors": [7]},
    ],
)  # fmt: skip
def test_a_table_of_another_form_is_refused(table: dict[str, object]):
    with pytest.raises(ConfigError, match="class table needs 'names' and 'colors'"):
        ClassTable.from_dict(table)


def test_the_representation_names_the_first_classes() -> None:
    assert repr(ClassTable.from_names(["a", "b"])) == "ClassTable(2 classes: a, b)"
    assert repr(ClassTable.numbered(30)).endswith("class10, class11 and 18 more)")


def test_values_of_numpy_are_those_of_python():
    table = ClassTable.from_names(["sky", "road"], values=np.unique(np.array([[7, 1]], dtype=np.uint8)))
    assert table == ClassTable.from_names(["sky", "road"], values=[1, 7])
    assert json.dumps(table.to_dict())


def test_one_text_is_no_list_of_names():
    with pytest.raises(ConfigError, match="the class names are one text, 'road'; give a list of names"):
        ClassTable.from_names("road")
    with pytest.raises(ConfigError, match="one text"):
        ClassTable(names="a", colors=((0, 0, 0),))  # type: ignore[arg-type]


def test_tables_of_lists_and_of_arrays_equal_those_of_tuples():
    plain = ClassTable(names=("a", "b"), colors=((0, 0, 0), (255, 0, 0)))
    lists = ClassTable(names=["a", "b"], colors=np.array([[0, 0, 0], [255, 0, 0]], np.uint8))  # type: ignore[arg-type]
    assert lists == plain
    assert hash(lists) == hash(plain)
    assert lists.to_dict() == plain.to_dict()
