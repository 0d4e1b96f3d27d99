"""Which predictions belong to which truth, and what is said if they do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.layouts import open_source
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError, DataError
from segnet.labels import CAMVID, CAMVID12, IGNORE_INDEX, ClassTable
from segnet.scoring.pairs import open_truth, pair_up


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 3), dtype=np.uint8)).save(folder / name)
    return folder


def folder_truth(folder: Path, *names: str):
    return open_truth(str(write(folder, *names)), labels=CAMVID)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_data_set_gives_its_masks_its_images_and_its_classes(camvid_root: Path, split: str) -> None:
    truth = open_truth(str(camvid_root), split=split)
    data = open_source(camvid_root).dataset(split)
    assert truth.masks == {sample.name: sample.mask for sample in data.samples}
    assert truth.images == {sample.name: sample.image for sample in data.samples}
    assert truth.reader.labels == CAMVID
    for index, sample in enumerate(data.samples):
        np.testing.assert_array_equal(truth.reader.read(sample.mask), data.read_classes(index))


def test_a_pair_list_is_found_too(tmp_path: Path, camvid_root: Path) -> None:
    samples = open_source(camvid_root).splits["val"]
    (tmp_path / "val.txt").write_text(
        "".join(f"/S/val/{one.image.name} /S/valannot/{one.mask.name}\n" for one in samples)
    )
    for sample in samples:
        for path in (sample.image, sample.mask):
            (tmp_path / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.parent.name)
    truth = open_truth(str(tmp_path / "val.txt"))
    pairing = pair_up(tmp_path / "valannot", truth)
    assert [pair.name for pair in pairing.pairs] == [sample.name for sample in samples]
    assert all(pair.predicted == pair.truth for pair in pairing.pairs)


@pytest.mark.parametrize("source", [SourceConfig(map="Sky=ignore"), SourceConfig(only=("Road", "Car"))])
def test_classes_of_a_folder_of_masks_cannot_be_mapped(tmp_path: Path, source: SourceConfig) -> None:
    with pytest.raises(ConfigError, match=r"holds masks only, and --map and --only choose from the classes of a data"):
        open_truth(str(write(tmp_path, "a.png")), source=source, labels=CAMVID)


def test_a_layout_is_of_a_data_set_not_of_a_folder_of_masks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no split .val.; it has none$"):
        open_truth(str(write(tmp_path, "a.png")), source=SourceConfig(layout="cityscapes"), labels=CAMVID)


def test_ignored_values_hold_for_masks_of_mapped_classes_too(camvid_root: Path) -> None:
    mapped = SourceConfig(only=("Road", "Car"))
    car = CAMVID.names.index("Car")
    truth = open_truth(str(camvid_root), source=mapped, ignore_index=(car, 11))
    own = open_truth(str(camvid_root), source=mapped)
    name = next(iter(own.masks))
    mask, found = own.reader.read(own.masks[name]), truth.reader.read(truth.masks[name])
    np.testing.assert_array_equal(found, np.where(mask == 1, IGNORE_INDEX, mask))
    assert (truth.reader.classes.names, (mask == 1).any()) == (("Road", "Car"), True)


def test_ignored_values_leave_colors_of_a_data_set_colors(tmp_path: Path) -> None:
    for folder in ("images/train", "masks/train", "images/val", "masks/val"):
        (tmp_path / folder).mkdir(parents=True)
        color = (0, 0, 200) if folder.startswith("masks") else (9, 9, 9)
        image = Image.new("RGB", (6, 4), color)
        image.putpixel((0, 0), (200, 0, 0))
        image.save(tmp_path / folder / "a.png")
    (tmp_path / "data.yaml").write_text("names: [red, blue]\npalette: [[200, 0, 0], [0, 0, 200]]\n")
    truth = open_truth(str(tmp_path), ignore_index=(255,))
    assert np.unique(truth.reader.read(truth.masks["a"])).tolist() == [0, 1]


def test_predictions_of_the_classes_before_a_map_are_refused_with_an_advice_that_works(
    tmp_path: Path, camvid_root: Path
) -> None:
    truth = open_truth(str(camvid_root), source=SourceConfig(map="Car,Bicyclist=Vehicle"))
    pairing = pair_up(write(tmp_path, *(f"{name}.png" for name in truth.masks)), truth)
    Image.fromarray(np.full((2, 3), CAMVID.names.index("Bicyclist"), dtype=np.uint8)).save(pairing.pairs[0].predicted)
    with pytest.raises(DataError, match=r"value 10 on 6 pixels, .* numbered from 0; .* score without --map and --only"):
        pairing.predicted.read(pairing.pairs[0].predicted)


def test_a_folder_of_label_maps_needs_a_class_table(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    with pytest.raises(ConfigError, match=r"holds no data set, .* give the data set, or the .* with --classes"):
        open_truth(str(tmp_path))
    truth = open_truth(str(tmp_path), labels=CAMVID, ignore_index=(11,))
    assert (list(truth.masks), truth.images, truth.reader.ignore_index) == (["a"], {}, (11,))


def test_classes_and_void_that_are_given_count_instead_of_the_data_sets_own(camvid_root: Path) -> None:
    labels = ClassTable.numbered(12)
    truth = open_truth(str(camvid_root), labels=labels, ignore_index=(7,))
    assert (truth.reader.labels, truth.reader.ignore_index) == (labels.without([7]), (7,))
    pairing = pair_up(camvid_root / "valannot", truth)
    assert pairing.labels == pairing.predicted.labels == truth.reader.labels
    assert pairing.predicted.ignore_index == (7, IGNORE_INDEX)


@pytest.mark.parametrize("split", ["test", "vla"])
def test_a_missing_split_is_told(camvid_root: Path, split: str) -> None:
    with pytest.raises(DataError, match=f"has no split '{split}'; it has train, val"):
        open_truth(str(camvid_root), split=split)


def test_endings_do_not_matter_and_the_order_is_that_of_the_truth(tmp_path: Path) -> None:
    truth = folder_truth(tmp_path / "truth", "b.png", "a.tif", "c.d.png")
    pairing = pair_up(write(tmp_path / "found", "c.d.tif", "a.bmp", "b.png"), truth)
    assert [(pair.name, pair.predicted.name) for pair in pairing.pairs] == [
        ("a", "a.bmp"), ("b", "b.png"), ("c.d", "c.d.tif"),
    ]  # fmt: skip
    assert (pairing.missing, pairing.superfluous) == ((), ())


def test_folders_belong_to_the_name_if_the_truth_has_some(tmp_path: Path) -> None:
    truth = folder_truth(tmp_path / "truth", "day/1.png", "night/1.png")
    pairing = pair_up(write(tmp_path / "found", "night/1.png", "day/1.png"), truth)
    assert [pair.predicted.parent.name for pair in pairing.pairs] == ["day", "night"]
    flat = folder_truth(tmp_path / "flat", "1.png")
    assert pair_up(write(tmp_path / "deep", "any/where/1.png"), flat).pairs[0].name == "1"


def test_missing_and_superfluous_predictions_are_named(tmp_path: Path) -> None:
    truth = folder_truth(tmp_path / "truth", *(f"{number}.png" for number in range(8)))
    found = write(tmp_path / "found", "0.png", "extra.png")
    told = (
        r"found and .*truth do not pair up by name; without prediction \(7 of 8\): 1, 2, 3, 4, 5 and 2 more; "
        r"predictions without truth \(1\): extra; give each .* or score those that have a partner with --partial"
    )
    with pytest.raises(DataError, match=told):
        pair_up(found, truth)
    pairing = pair_up(found, truth, partial=True)
    assert [pair.name for pair in pairing.pairs] == ["0"]
    assert pairing.missing == tuple("1234567")
    assert pairing.superfluous == ("extra",)


def test_without_any_pair_partial_does_not_help(tmp_path: Path) -> None:
    truth = folder_truth(tmp_path / "truth", "a.png")
    with pytest.raises(DataError, match=r"without prediction \(1 of 1\): a; .* the name of its image$"):
        pair_up(write(tmp_path / "found", "b.png"), truth, partial=True)


def test_two_maps_of_one_name_are_refused(tmp_path: Path) -> None:
    truth = folder_truth(tmp_path / "truth", "a.png")
    told = r"mask.a\.png and .*overlay.a\.png are both named a; keep one of them, or give the folder"
    with pytest.raises(DataError, match=told):
        pair_up(write(tmp_path / "found", "mask/a.png", "overlay/a.png"), truth)


def test_images_of_one_name_in_a_list_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write(tmp_path, "day/1.png", "night/1.png")
    (tmp_path / "val.txt").write_text("day/1.png day/1.png\nnight/1.png night/1.png\n")
    pairing = pair_up(write(tmp_path / "found", "night/1.png", "day/1.png"), open_truth(str(tmp_path / "val.txt")))
    assert [(pair.name, pair.predicted.parent.name) for pair in pairing.pairs] == [
        ("day/1", "day"),
        ("night/1", "night"),
    ]


def test_an_image_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "val.txt").write_text("1.png 1.png\n1.png 1.png\n")
    with pytest.raises(DataError, match="the image 1 is listed twice, so it would count twice; list it once"):
        open_truth(str(tmp_path / "val.txt"))


def test_a_folder_that_is_not_there_or_empty_is_told(tmp_path: Path) -> None:
    truth = folder_truth(tmp_path / "truth", "a.png")
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        pair_up(tmp_path / "nowhere", truth)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no masks; expected one image file for each, such as PNG or TIFF"):
        pair_up(tmp_path / "empty", truth)


def test_a_void_value_that_is_a_class_of_the_given_table_is_refused(camvid_root: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"11 is the ignore value of this data set, and Bicyclist in the class table; .* --ignore-index",
    ):
        open_truth(str(camvid_root), labels=CAMVID12)
    assert open_truth(str(camvid_root), labels=CAMVID12, ignore_index=(255,)).reader.ignore_index == (255,)
    assert (
        open_truth(str(camvid_root), labels=CAMVID).reader.ignore_index
        == open_truth(str(camvid_root)).reader.ignore_index
    )


def test_letters_with_marks_may_be_spelt_as_macos_stores_them(tmp_path: Path) -> None:
    composed, parted = "\u00dcn\u00ef.png", "U\u0308ni\u0308.png"
    truth = folder_truth(tmp_path / "t", composed)
    pairing = pair_up(write(tmp_path / "p", parted), truth)
    assert [pair.name for pair in pairing.pairs] == ["\u00dcn\u00ef"]
