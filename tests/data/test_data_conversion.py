"""Data sets written anew, and folders that get their description."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from layout_files import MASK, colored, masks_of, photo, save, text
from segnet.cli.main import main
from segnet.data.conversion import convert_data
from segnet.data.describing import describe_folder
from segnet.data.layouts import open_source
from segnet.errors import DataError, OutputError
from segnet.system.files import holding_folder


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


def test_a_converted_data_set_holds_the_same_images_and_mapped_masks(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert leave("convert-data", camvid_root, out, "--map", "Car,Bicyclist=mover; Sky=ignore") == 0
    before, after = open_source(camvid_root).mapped("Car,Bicyclist=mover; Sky=ignore"), open_source(out)
    assert after.labels.names == before.labels.names
    assert after.labels.colors == before.labels.colors
    for split, samples in before.splits.items():
        assert [sample.name for sample in after.splits[split]] == [sample.name for sample in samples]
        for old, new in zip(before.dataset(split), after.dataset(split), strict=True):
            assert np.array_equal(old["mask"], new["mask"])
            assert np.array_equal(old["image"], new["image"])
    with Image.open(after.splits["val"][0].mask) as mask:
        assert mask.mode == "P"
    capsys.readouterr()
    assert leave("convert-data", camvid_root, out) == 2
    assert "is there already; give another folder, or --force" in capsys.readouterr().err
    assert open_source(out).labels == after.labels
    assert leave("convert-data", camvid_root, out, "--force") == 0
    assert open_source(out).labels.classes == 11


def test_a_data_set_is_not_written_over_itself(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, link = tmp_path / "new", tmp_path / "link"
    assert leave("convert-data", camvid_root, new) == 0
    link.symlink_to(new)
    mask = open_source(new).splits["val"][0].mask
    before = mask.read_bytes()
    for out in (new, link, f"{new}/../new"):
        assert leave("convert-data", new, out, "--map", "Car=ignore", "--force") == 2
        assert f"{Path(out)} holds the data set that is read; give another folder" in capsys.readouterr().err
    for out in (mask.parent, mask.parent / "new"):
        assert leave("convert-data", new, out) == 2
        assert f"{out} lies among the images or masks of the data set that is read" in capsys.readouterr().err
    (tmp_path / "train.txt").write_text("".join(
        f"{sample.image} {sample.mask}\n" for sample in open_source(new).splits["train"]
    ))  # fmt: skip
    assert leave("convert-data", tmp_path / "train.txt", new, "--force") == 2
    assert mask.read_bytes() == before


def test_two_data_sets_are_not_written_into_one_folder_at_the_same_time(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    with holding_folder(new):  # as another run does
        assert leave("convert-data", camvid_root, new, "--force") == 2
    assert f"{new}: another run writes into this folder at the moment; wait until it ends" in capsys.readouterr().err
    assert not new.exists()


def test_images_that_are_every_split_are_written_once(tmp_path: Path) -> None:
    photo(tmp_path / "a" / "images" / "x y.jpg")
    save(tmp_path / "a" / "masks" / "x y.png", MASK)
    text(tmp_path / "a" / "classes.txt", "sky\nroad\n")
    assert leave("convert-data", tmp_path / "a", tmp_path / "b") == 0
    assert (tmp_path / "b" / "masks" / "x y.png").is_file()
    np.testing.assert_array_equal(masks_of(open_source(tmp_path / "b")), MASK)


@pytest.fixture
def day_and_night(tmp_path: Path) -> Path:
    """A pair list of two images of one name, the second of which is ignored."""
    for film, mask in (("day", MASK), ("night", np.full_like(MASK, 255))):
        photo(tmp_path / film / "1.png")
        save(tmp_path / "masks" / film / "1.png", mask)
    text(tmp_path / "classes.txt", "sky\nroad\n")
    return text(tmp_path / "train.txt", "day/1.png masks/day/1.png\nnight/1.png masks/night/1.png\n")


def test_images_of_one_name_in_several_folders_are_all_written(day_and_night: Path) -> None:
    out = day_and_night.parent / "out"
    assert [sample.name for sample in open_source(day_and_night).splits["train"]] == ["day/1", "night/1"]
    convert_data(open_source(day_and_night), out)
    first, second = open_source(out).dataset("train")
    np.testing.assert_array_equal(first["mask"], MASK)
    assert (np.asarray(second["mask"]) == 255).all()


def test_images_that_would_be_one_file_are_refused(day_and_night: Path) -> None:
    root = day_and_night.parent
    (root / "night" / "1.png").rename(root / "day" / "1.bmp")
    text(day_and_night, "day/1.png masks/day/1.png\nday/1.bmp masks/night/1.png\n")
    with pytest.raises(DataError, match=r"1\.png and .*1\.bmp would both be written as 1, .*; rename one of them"):
        convert_data(open_source(day_and_night), root / "out", force=True)
    assert not (root / "out").exists()


def test_an_image_that_is_listed_twice_is_written_once(day_and_night: Path) -> None:
    text(day_and_night, "day/1.png masks/day/1.png\n" * 2)
    convert_data(open_source(day_and_night), day_and_night.parent / "out")
    assert [sample.name for sample in open_source(day_and_night.parent / "out").splits["train"]] == ["1"]


def test_names_with_blanks_in_a_written_list_are_found(tmp_path: Path) -> None:
    for name in ("my photo 1.jpg", "my photo 2.jpg", "my.jpg"):
        photo(tmp_path / "images" / name)
        save(tmp_path / "masks" / Path(name).with_suffix(".png"), MASK)
    written = describe_folder(tmp_path)
    splits = open_source(tmp_path).splits
    assert {split: len(samples) for split, samples in splits.items()} == written.images
    assert {sample.name for split in ("train", "val") for sample in splits[split]} == {"my photo 1", "my photo 2", "my"}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for film, frames in (("day", 8), ("night", 2)):
        for number in range(frames):
            photo(tmp_path / "images" / f"{film}_{number:03}.jpg")
            save(tmp_path / "masks" / f"{film}_{number:03}.png", np.where(MASK == 1, 7, MASK))
    return tmp_path


def test_a_folder_gets_its_classes_and_a_validation_split_by_sequence(
    films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("init", films) == 0
    printed = capsys.readouterr().out
    assert "val is sequences night_" in printed
    assert "a value of pixels without a label is no class: add it to ignore_index" in printed
    assert "names:\n  0: class0\n  7: class7\ncolors:\n- [" in (films / "data.yaml").read_text()
    source = open_source(films)
    assert (source.labels.names, source.labels.values) == (("class0", "class7"), (0, 7))
    assert [sample.name for sample in source.splits["val"]] == ["night_000", "night_001"]
    assert len(source.splits["train"]) == 8
    np.testing.assert_array_equal(masks_of(source), MASK)
    assert leave("init", films) == 2
    assert "is there already" in capsys.readouterr().err
    assert leave("init", films, "--force") == 0


@pytest.mark.parametrize("kind", ["black and white", "colors", "named"])
def test_a_folder_is_described_by_what_its_masks_hold(
    kind: str, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (films / "masks").iterdir():
        colors = colored((9, 0, 0), (0, 200, 0), (0, 0, 0))
        save(path, {"black and white": np.where(MASK == 1, 255, 0), "colors": colors, "named": MASK}[kind])
    if kind == "named":
        text(films / "classes.txt", "sky\nroad\n")
    names = {
        "black and white": ("background", "object"),
        "colors": ("color 0 200 0", "color 9 0 0"),
        "named": ("sky", "road"),
    }
    assert leave("init", films) == 0
    printed = capsys.readouterr().out
    assert ("the names of the classes are not known" in printed) == (kind != "named")
    assert ("black is ignored: if it is a class, add its name and its color" in printed) == (kind == "colors")
    assert open_source(films).labels.names == names[kind]
    found = masks_of(open_source(films))
    expected = {"black and white": MASK == 1, "colors": np.where(MASK == 255, 255, 1 - MASK % 2), "named": MASK}[kind]
    np.testing.assert_array_equal(found, expected)


def test_folders_that_hold_no_classes_are_refused(films: Path) -> None:
    save(films / "masks" / "day_000.png", np.arange(300).reshape(10, 10, 3) % 251)
    with pytest.raises(DataError, match="some masks hold colors and some class numbers"):
        describe_folder(films)
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    for path in (films / "masks").iterdir():
        save(path, noise)
    with pytest.raises(DataError, match="which are no classes"):
        describe_folder(films)
    for path in (films / "masks").iterdir():
        save(path, np.full((20, 20), 255))
    with pytest.raises(DataError, match=r"the masks hold ignored pixels \(255\) only; give masks with classes"):
        describe_folder(films)
    shutil.rmtree(films / "images")
    with pytest.raises(DataError, match="no folder images or img_dir or image is there"):
        describe_folder(films)
    with pytest.raises(DataError, match="there is no such folder"):
        describe_folder(films / "none")


def test_a_data_set_that_is_read_as_it_lies_needs_no_description(camvid_root: Path) -> None:
    with pytest.raises(DataError, match=r"layout camvid-folders, which needs no data\.yaml; run segnet train"):
        describe_folder(camvid_root)
    assert not (camvid_root / "data.yaml").exists()


def test_folders_within_those_of_the_splits_are_described(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "valid"):
        for kind in ("images", "masks"):
            shutil.copytree(films / kind, tmp_path / "new" / split / kind)
    assert leave("init", tmp_path / "new") == 0
    assert "train 10, val 10" in capsys.readouterr().out
    source = open_source(tmp_path / "new")
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 10, "val": 10}
    np.testing.assert_array_equal(masks_of(source), MASK)


def test_lists_that_are_there_are_kept(films: Path) -> None:
    text(films / "val.txt", "mine")
    with pytest.raises(OutputError, match=r"val\.txt is there already"):
        describe_folder(films)
    assert not (films / "data.yaml").exists()


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("channels: 1", {"channels": 1}),
        ("channels: [2, 0]\nvalue_range: [0, 9]\nshown_bands: [0]",
         {"channels": [2, 0], "value_range": [0, 9], "shown_bands": [0]}),
        ("channels: 4", {"channels": 4}),
        ("", {}),
    ],
)  # fmt: skip
def test_a_converted_data_set_keeps_its_bands(tmp_path: Path, written: str, keys: dict[str, object]) -> None:
    root = tmp_path / "from"
    for split in ("train", "val"):
        photo(root / "images" / split / "a.png")
        save(root / "masks" / split / "a.png", MASK)
    text(root / "data.yaml", f"names: [a, b]\n{written}\n")
    table = yaml.safe_load(convert_data(open_source(root), tmp_path / "to").read_text(encoding="utf-8"))
    assert {key: table[key] for key in table if key in {"channels", "value_range", "shown_bands"}} == keys
