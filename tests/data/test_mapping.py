"""Classes that are merged, ignored or left out, from the masks to a model and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layout_files import MASK, masks_of, numbered, photo, save, text
from segnet.data.class_weights import count_classes
from segnet.data.layouts import Source, open_source
from segnet.data.mapping import map_classes, matching_classes, same_mapping
from segnet.errors import ConfigError, DataError
from segnet.labels import ClassTable

TABLE = ClassTable.from_names(["sky", "car", "truck", "bus", "Road"], [3, 7, 9, 11, 20])


def members(labels: ClassTable) -> dict[str, tuple[str, ...]]:
    return dict(zip(labels.names, labels.members, strict=True))


def test_classes_are_merged_in_the_order_of_their_first_member() -> None:
    mapped = map_classes(TABLE, "bus,truck=vehicle; sky = ignore")
    assert members(mapped) == {"car": ("car",), "vehicle": ("truck", "bus"), "Road": ("Road",)}
    assert mapped.values == (0, 1, 2)
    assert mapped.colors == (TABLE.colors[1], TABLE.colors[2], TABLE.colors[4])


def test_a_class_takes_others_in_and_names_are_found_in_any_case() -> None:
    assert members(map_classes(TABLE, "Truck,BUS=car", ["ROAD", "car"])) == {
        "car": ("car", "truck", "bus"),
        "Road": ("Road",),
    }
    assert members(map_classes(TABLE, "truck,bus=CAR; sky=Ignore; Road=ROAD")) == {
        "car": ("car", "truck", "bus"),
        "ROAD": ("Road",),
    }


def test_a_name_that_holds_a_comma_stands_in_double_quotes() -> None:
    table = ClassTable.from_names(["sky", "box, red", "box"])
    assert members(map_classes(table, '"box, red",box=boxes')) == {"sky": ("sky",), "boxes": ("box, red", "box")}
    assert members(map_classes(table, 'box="box, red"')) == {"sky": ("sky",), "box, red": ("box, red", "box")}
    with pytest.raises(ConfigError, match="no class 'red'; a name that holds a comma stands in double quotes; the cla"):
        map_classes(table, "box,red=boxes")


@pytest.mark.parametrize(
    ("rules", "only", "message"),
    [
        ("lorry=car", (), "--map: there is no class 'lorry'; the classes are sky, car"),
        ("", ("lorry",), "--only: there is no class 'lorry'"),
        ("car", (), "--map 'car' is no rule"),
        ("=car", (), "is no rule"),
        ("car=a\nsky=b", (), r"'car=a\\nsky=b' is no rule; write .* sky=ignore"),
        ("car=a;car=b", (), "names the class car twice"),
        ("sky,car,truck,bus,road=ignore", (), "leaves no class"),
        ("camvid11", (), "is for other classes than x, y"),
    ],
)
def test_a_wrong_rule_is_refused(rules: str, only: tuple[str, ...], message: str) -> None:
    table = ClassTable.from_names(["x", "y"]) if rules == "camvid11" else TABLE
    with pytest.raises(ConfigError, match=message):
        map_classes(table, rules, only)


def test_the_mapping_of_a_model_is_found_again_by_its_members() -> None:
    mapped = map_classes(TABLE, "bus,truck=vehicle")
    assert ClassTable.from_dict(mapped.to_dict()) == mapped
    assert same_mapping(TABLE, mapped) == mapped
    assert same_mapping(ClassTable.from_names(mapped.names), mapped) is None
    assert same_mapping(ClassTable.from_names(["a", "b"]), mapped) is None
    assert same_mapping(TABLE, TABLE) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo(tmp_path / "images" / "a.jpg")
    save(tmp_path / "masks" / "a.png", numbered((3, 20, 9)))
    text(tmp_path / "data.yaml", "names: {3: sky, 7: car, 9: truck, 11: bus, 20: Road}\n")
    return tmp_path


def test_masks_are_read_as_mapped_classes_and_mapped_again(folder: Path) -> None:
    source = open_source(folder).mapped("bus,truck=ignore")
    np.testing.assert_array_equal(masks_of(source), np.where(MASK == 1, 2, MASK))
    again = source.mapped("car,road=thing")
    assert again.labels.members == (("sky",), ("car", "Road"))
    np.testing.assert_array_equal(masks_of(again), MASK)
    np.testing.assert_array_equal(masks_of(open_source(folder).for_model(source.labels)), masks_of(source))


def test_one_class_after_the_mapping_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="Road is the only class"):
        open_source(folder).mapped("", ["road"]).dataset("train")


def folders(root: Path, names: str, mask: object, splits: tuple[str, ...] = ("train", "val")) -> Source:
    for split in splits:
        photo(root / "images" / split / "a.png")
        save(root / "masks" / split / "a.png", np.asarray(mask, np.uint8))
    text(root / "data.yaml", f"names: {names}")
    return open_source(root)


def test_training_images_of_another_data_set_are_read_by_the_names_of_its_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="segnet")
    mask = numbered((0, 1, 255))
    first = folders(tmp_path / "first", "[road, car]", mask)
    other = folders(tmp_path / "other", "{3: Car, 5: tree, 9: ROAD}", np.select([mask == 0, mask == 1], [9, 5], 3))
    both = first.with_training_images(other)
    own, added = (both.dataset("train").read_classes(index) for index in range(2))
    np.testing.assert_array_equal(own, mask)
    np.testing.assert_array_equal(added, np.select([mask == 0, mask == 1], [0, 255], 1))
    assert (both.labels, len(both.splits["val"])) == (first.labels, 1)
    assert [sample.name for sample in both.splits["train"]] == ["first/images/train/a", "other/images/train/a"]
    counts = [count_classes(source.dataset("train")).pixels for source in (first, both)]
    assert (counts[1] - counts[0]).tolist() == [(mask == 0).sum(), (mask == 255).sum()]
    assert caplog.messages[-1] == f"1 training images of {tmp_path / 'other'} are added; their classes tree are ignored"


def test_added_classes_follow_the_mapping_of_the_first_data_set() -> None:
    merged = map_classes(TABLE, "bus,truck=vehicle; sky=ignore")
    names = ["vehicle", "TRUCK", "sky", "road", "tram"]
    assert members(matching_classes(ClassTable.from_names(names), merged)) == {
        "car": (), "vehicle": ("vehicle", "TRUCK"), "Road": ("road",),
    }  # fmt: skip
    cityscapes = ClassTable.from_names(["road", "car", "person", "rider"])
    camvid = ClassTable.from_names(["Road", "LaneMkgsDriv", "Child", "SUVPickupTruck"])
    assert members(matching_classes(camvid, map_classes(cityscapes, "camvid11"), "camvid11")) == {
        "Road": ("Road", "LaneMkgsDriv"), "Car": ("SUVPickupTruck",), "Pedestrian": ("Child",), "Bicyclist": (),
    }  # fmt: skip


def test_no_validation_image_is_added(tmp_path: Path) -> None:
    first = folders(tmp_path / "first", "[road, car]", numbered((0, 1, 255)))
    turned = replace(first, splits={"train": first.splits["val"], "val": first.splits["train"]})
    with pytest.raises(DataError, match=r"1 of its training images, such as .*val/a.png, are not for training in "):
        first.with_training_images(turned)
    assert len(first.with_training_images(first).splits["train"]) == 2


def test_a_data_set_that_adds_nothing_is_refused(tmp_path: Path) -> None:
    first = folders(tmp_path / "first", "[road, car]", numbered((0, 1, 255)))
    cats = folders(tmp_path / "cats", "[cat, dog]", numbered((0, 1, 255)))
    with pytest.raises(ConfigError, match="cats: none of its classes cat, dog has the name of one of road, car"):
        first.with_training_images(cats)
    single = folders(tmp_path / "single", "{0: nothing, 1: road}", numbered((0, 1, 255)))
    with pytest.raises(ConfigError, match="single: road is the only class, so any prediction would be right"):
        first.with_training_images(replace(single, ignore_index=(0, 255)))
    test = folders(tmp_path / "test", "[road, car]", numbered((0, 1, 255)), splits=("val",))
    with pytest.raises(DataError, match=r"test: has no split 'train'; it has val"):
        first.with_training_images(test)
