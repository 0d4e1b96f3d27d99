"""Data sets as they lie on disk: every layout, and every way in which one is wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.class_tables import open_labels
from segnet.data.layouts import LAYOUTS, SPLITS, Source, open_dataset, open_source
from segnet.data.layouts import synthetic as drawn
from segnet.data.synthetic.scenes import write_scenes
from segnet.errors import DataError, OutputError
from segnet.labels import CAMVID, ClassTable


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(path)
    return path


def pair(root: Path, name: str, images: str = "images", masks: str = "masks") -> None:
    image(root / images / f"{name}.png")
    image(root / masks / f"{name}.png")


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def names(source: Source, split: str = "train") -> list[str]:
    return [sample.name for sample in source.splits[split]]


# CamVid, as folders and as lists.


def test_classes_beside_a_pair_list_replace_those_of_camvid(tmp_path: Path) -> None:
    pair(tmp_path, "a")
    text(tmp_path / "pairs.txt", "images/a.png masks/a.png\n")
    text(tmp_path / "classes.txt", "even\nodd\n")
    source = open_source(tmp_path / "pairs.txt")
    assert (source.labels.names, source.ignore_index) == (("even", "odd"), (255,))


def test_camvid_folders(camvid_root: Path):
    source = open_source(str(camvid_root))
    assert (source.layout, source.labels, source.ignore_index) == ("CamVid folders", CAMVID, (11,))
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 6, "val": 3}
    for sample in source.splits["val"]:
        assert sample.image == camvid_root / "val" / f"{sample.name}.png"
        assert sample.mask == camvid_root / "valannot" / f"{sample.name}.png"
    assert names(source) == sorted(names(source))


def test_one_split_as_a_dataset(camvid_root: Path):
    data = open_dataset(camvid_root, split="train", size=(24, 32), channels=1)
    assert len(data) == 6
    assert data[0]["image"].shape == (1, 24, 32)
    assert data.ignore_index == (11,)
    assert len(open_dataset(camvid_root)) == 3


def test_a_split_that_is_not_there_is_refused_with_those_that_are(camvid_root: Path):
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        open_dataset(camvid_root, split="test")


def test_annotations_without_images_folder_are_refused(tmp_path: Path):
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(DataError, match="must stand beside trainannot"):
        open_source(tmp_path)


@pytest.mark.parametrize("prefix", ["/SegNet/CamVid/", "", "../CamVid/", "./"])
def test_pair_lists_with_the_paths_of_another_machine(camvid_root: Path, tmp_path: Path, prefix: str):
    for split in ("train", "trainannot", "val", "valannot"):
        (tmp_path / split).symlink_to(camvid_root / split)
    folders = open_source(camvid_root)
    for split in ("train", "val"):
        lines = [f"{prefix}{split}/{n}.png {prefix}{split}annot/{n}.png" for n in names(folders, split)]
        text(tmp_path / f"{split}.txt", "\n".join(lines) + "\n\n")
    source = open_source(tmp_path / "val.txt")
    assert (source.layout, source.labels, source.ignore_index) == ("pair list", CAMVID, (11,))
    assert set(source.splits) == {"train", "val"}
    for split in ("train", "val"):
        assert names(source, split) == names(folders, split)
        for sample in source.splits[split]:
            assert sample.image.samefile(camvid_root / split / f"{sample.name}.png")
            assert sample.mask.samefile(camvid_root / f"{split}annot" / f"{sample.name}.png")


def test_pair_list_with_absolute_paths_of_this_machine(tmp_path: Path):
    pair(tmp_path / "far", "a")
    line = f"{tmp_path}/far/images/a.png {tmp_path}/far/masks/a.png"
    source = open_source(text(tmp_path / "lists" / "mine.txt", line))
    assert source.splits["train"][0].image == tmp_path / "far/images/a.png"
    assert all(source.splits[split] == source.splits["train"] for split in SPLITS)  # a list of no split is all of them


def test_pair_list_paths_are_first_taken_as_written(tmp_path: Path):
    for root in ("set", "set/lists"):
        pair(tmp_path / root, "a")
    source = open_source(text(tmp_path / "set" / "lists" / "train.txt", "../images/a.png ../masks/a.png"))
    (sample,) = source.splits["train"]
    assert sample.image.samefile(tmp_path / "set/images/a.png")
    assert sample.mask.samefile(tmp_path / "set/masks/a.png")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no pairs"),
        ("\n\n", "holds no pairs"),
        ("images/a.png masks/a.png\nimages/a.png\n", "line 2: expected 'image mask', got 'images/a.png'"),
        ("a b c", "line 1"),
        ("images/a.png masks/gone.png", "names masks/gone.png, which is not there"),
        ("/x/y/gone.png masks/a.png", "names /x/y/gone.png, which is not there"),
    ],
)
def test_a_wrong_pair_list_is_refused(tmp_path: Path, content: str, told: str):
    pair(tmp_path, "a")
    with pytest.raises(DataError, match=told):
        open_source(text(tmp_path / "train.txt", content))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"a\.png: is not a text in UTF-8"):
        open_source(image(tmp_path / "a.png"))


# Image folders.


@pytest.mark.parametrize("masks", ["masks", "labels"])
def test_image_folders(tmp_path: Path, masks: str):
    for name in ("b", "a", "c.d"):
        pair(tmp_path, name, masks=masks)
    text(tmp_path / "classes.txt", "sky\n\n wide road \ncar\n")
    source = open_source(tmp_path)
    assert (source.layout, source.ignore_index) == ("image folders", (255,))
    assert source.labels.names == ("sky", "wide road", "car")
    for split in SPLITS:
        assert names(source, split) == ["a", "b", "c.d"]
    assert source.splits["val"][0].mask == tmp_path / masks / "a.png"


def test_image_folders_with_splits_and_folders_below(tmp_path: Path):
    for name in ("train/x/1", "train/y/1", "train/2", "val/3"):
        pair(tmp_path, name)
    text(tmp_path / "classes.txt", "sky")
    source = open_source(tmp_path)
    assert set(source.splits) == {"train", "val"}
    assert names(source) == ["2", "x/1", "y/1"]
    assert names(source, "val") == ["3"]


def test_suffixes_may_differ_and_be_upper_case(tmp_path: Path):
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(image(tmp_path / "images/a.JPG"), format="JPEG")
    image(tmp_path / "masks/a.PNG")
    text(tmp_path / "classes.txt", "sky")
    assert names(open_source(tmp_path)) == ["a"]


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path):
    pair(tmp_path, "a")
    image(tmp_path / "images/.ipynb_checkpoints/a-checkpoint.png")
    image(tmp_path / "images/.b.png")
    text(tmp_path / "images/notes.txt", "")
    (tmp_path / "images" / "folder.png").mkdir()
    text(tmp_path / "classes.txt", "sky")
    assert names(open_source(tmp_path)) == ["a"]


def test_class_names_with_the_mark_of_windows_editors(tmp_path: Path):
    pair(tmp_path, "a")
    (tmp_path / "classes.txt").write_bytes("\ufeffStraße\r\ncar\r\n".encode())
    assert open_source(tmp_path).labels.names == ("Straße", "car")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "0 class names"), (b"a\na\n", "'a' stands twice"), ("Straße".encode("latin-1"), "not a text in UTF-8")],
)
def test_wrong_class_names_are_refused_with_the_file(tmp_path: Path, content: bytes, told: str):
    pair(tmp_path, "a")
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"classes\.txt: .*{told}"):
        open_source(tmp_path)


def test_missing_class_names_are_refused(tmp_path: Path):
    pair(tmp_path, "a")
    with pytest.raises(DataError, match=r"classes\.txt is missing"):
        open_source(tmp_path)


def test_missing_masks_folder_is_refused(tmp_path: Path):
    image(tmp_path / "images/a.png")
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match="no folder masks or labels"):
        open_source(tmp_path)


def test_both_lists_of_what_does_not_pair_up_are_told(tmp_path: Path):
    for name in [f"image{number}" for number in range(7)]:
        image(tmp_path / "images" / f"{name}.png")
    image(tmp_path / "masks/mask0.png")
    text(tmp_path / "classes.txt", "sky")
    told = "without mask: image0, image1, image2, image3, image4 and 2 more; mask without image: mask0"
    with pytest.raises(DataError, match=told):
        open_source(tmp_path)


@pytest.mark.parametrize(("folder", "told"), [("images", "without mask: b"), ("masks", "mask without image: b")])
def test_one_list_of_what_does_not_pair_up_is_told(tmp_path: Path, folder: str, told: str):
    pair(tmp_path, "a")
    image(tmp_path / folder / "b.png")
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match=f"{told}; add or remove files$"):
        open_source(tmp_path)


def test_an_image_of_a_format_that_is_not_read_is_named(tmp_path: Path):
    pair(tmp_path, "a")
    image(tmp_path / "masks" / "IMG_1.png")
    (tmp_path / "images" / "IMG_1.HEIC").write_bytes(b"ftypheic")
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match=r"without image: IMG_1; IMG_1\.HEIC is no image that can be read; convert"):
        open_source(tmp_path)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_two_files_of_one_stem_are_refused(tmp_path: Path, folder: str):
    pair(tmp_path, "a")
    image(tmp_path / folder / "a.bmp")
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match=r"a\.png and a\.bmp have the same name"):
        open_source(tmp_path)


def test_linked_folders_are_searched(tmp_path: Path):
    for folder in ("images", "masks"):
        image(tmp_path / "far" / folder / "a.png")
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "day").symlink_to(tmp_path / "far" / folder)
    text(tmp_path / "classes.txt", "sky")
    assert names(open_source(tmp_path)) == ["day/a"]


def test_an_empty_masks_folder_is_told_as_images_without_mask(tmp_path: Path):
    image(tmp_path / "images/a.png")
    (tmp_path / "masks").mkdir()
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match=r"do not pair up by name; without mask: a; add or remove files$"):
        open_source(tmp_path)


def test_empty_folders_are_refused(tmp_path: Path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match=r"images: holds no images; expected .*\.png"):
        open_source(tmp_path)


def test_a_split_without_its_masks_is_refused(tmp_path: Path):
    pair(tmp_path, "train/a")
    image(tmp_path / "images/val/b.png")
    text(tmp_path / "classes.txt", "sky")
    with pytest.raises(DataError, match="masks/val: there is no such folder"):
        open_source(tmp_path)


# Splits by other names.


@pytest.mark.parametrize(
    ("train", "val"),
    [("training", "validation"), ("Train", "Val"), ("train", "valid"), ("train2017", "val2017"), ("train", "dev")],
)
@pytest.mark.parametrize("masks", ["masks", "annotations"])
def test_other_spellings_are_splits(train: str, val: str, masks: str, tmp_path: Path):
    pair(tmp_path, f"{train}/a", masks=masks)
    pair(tmp_path, f"{val}/b", masks=masks)
    text(tmp_path / "classes.txt", "sky\nroad")
    source = open_source(tmp_path)
    assert {split: names(source, split) for split in source.splits} == {"train": ["a"], "val": ["b"]}


def test_images_and_masks_may_spell_a_split_differently(tmp_path: Path):
    image(tmp_path / "images/validation/a.png")
    image(tmp_path / "masks/val/a.png")
    text(tmp_path / "classes.txt", "sky\nroad")
    assert open_source(tmp_path).splits["val"][0].mask == tmp_path / "masks/val/a.png"


@pytest.mark.parametrize(
    "folder", ["trainset", "train_split", "my-val", "Testing set", "trainval", "holdout", "val.old"]
)
def test_a_folder_that_looks_like_a_split_is_named(folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pair(tmp_path, f"{folder}/a")
    text(tmp_path / "classes.txt", "sky\nroad")
    with pytest.raises(DataError, match=f"images: the folder {folder} looks like a split.*rename it"):
        open_source(tmp_path)
    pair(tmp_path, "train/b")
    assert names(open_source(tmp_path)) == ["b"]
    assert f"the folder {folder} looks like a split" in caplog.text
    assert "it is left out" in caplog.text


@pytest.mark.parametrize("folder", ["valley", "developed", "day", "contest", "trainers"])
def test_other_folders_are_no_splits(folder: str, tmp_path: Path):
    pair(tmp_path, f"{folder}/a")
    text(tmp_path / "classes.txt", "sky\nroad")
    assert names(open_source(tmp_path), "val") == [f"{folder}/a"]


def test_two_folders_of_one_split_are_refused(tmp_path: Path):
    for folder in ("val", "validation"):
        pair(tmp_path, f"{folder}/a")
    text(tmp_path / "classes.txt", "sky\nroad")
    with pytest.raises(DataError, match=r"images/val and validation are both the split val"):
        open_source(tmp_path)


def test_lists_may_spell_splits_differently(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ("a", "b"):
        pair(tmp_path, name)
    text(tmp_path / "training.txt", "images/a.png masks/a.png")
    text(tmp_path / "validation.txt", "images/b.png masks/b.png")
    source = open_source(tmp_path / "training.txt")
    assert {split: names(source, split) for split in source.splits} == {"train": ["a"], "val": ["b"]}
    open_source(text(tmp_path / "train_list.txt", "images/a.png masks/a.png"))
    assert "train_list.txt: the name is none of train, val, test" in caplog.text


# Lines of lists.


@pytest.mark.parametrize(
    "line",
    [
        "images/my photo.png\tmasks/my mask.png",
        "images/my photo.png masks/my mask.png",
        "images\\my photo.png\tmasks\\my mask.png",
        "C:\\data\\images\\my photo.png C:\\data\\masks\\my mask.png",
        '"images/my photo.png" "masks/my mask.png"',
        "images/my photo.png \t masks/my mask.png\r",
        "/far/away/images/my photo.png   masks/my mask.png",
    ],
)
def test_paths_with_blanks_tabs_and_backslashes_are_read(line: str, tmp_path: Path):
    image(tmp_path / "images/my photo.png")
    image(tmp_path / "masks/my mask.png")
    (sample,) = open_source(text(tmp_path / "train.txt", line)).splits["train"]
    assert (sample.image, sample.mask) == (tmp_path / "images/my photo.png", tmp_path / "masks/my mask.png")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("images/a b.png masks/gone.png", "expected 'image mask'.*put one tab between"),
        ("images/a.png\tmasks/gone.png", "names masks/gone.png, which is not there"),
        ("images/a.png,masks/a.png", "expected 'image mask'"),
        ("images/a.png\tmasks/a.png\t1", "expected 'image mask'"),
        ("x" * 5000 + " masks/a.png", "is 5000 characters long"),
        ("images/a.png masks/a\0.png", "holds a NUL character"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(line: str, told: str, tmp_path: Path):
    pair(tmp_path, "a")
    with pytest.raises(DataError, match=rf"train\.txt, line 2: .*{told}"):
        open_source(text(tmp_path / "train.txt", f"images/a.png masks/a.png\n{line}\n"))


# data.yaml.


@pytest.mark.parametrize("file", ["data.yaml", "other.yml"])
@pytest.mark.parametrize("listed", ["names: [sky, road]", "names: {1: road, 0: sky}", "names:\n- sky\n- road"])
def test_data_yaml_with_names_alone(tmp_path: Path, file: str, listed: str):
    pair(tmp_path, "a")
    path = text(tmp_path / file, listed)
    source = open_source(tmp_path if file == "data.yaml" else path)
    assert (source.layout, source.ignore_index, source.labels.names) == ("data.yaml", (255,), ("sky", "road"))
    assert names(source, "val") == ["a"]


def test_data_yaml_with_everything(tmp_path: Path):
    pair(tmp_path / "far", "day/a", images="pics", masks="truth")
    pair(tmp_path / "far", "night/b", images="pics", masks="truth")
    path = text(
        tmp_path / "here" / "set.yaml",
        "path: ../far\nnames: [sky, road]\ntrain: pics/day\nval: pics/night\nmasks: truth\n"
        "ignore_index: [255, 11]\ncolors: [[1, 2, 3], [4, 5, 6]]\n",
    )
    source = open_source(path)
    assert (names(source, "train"), names(source, "val")) == (["a"], ["b"])
    assert set(source.splits) == {"train", "val"}
    assert source.ignore_index == (255, 11)
    assert source.labels.colors == ((1, 2, 3), (4, 5, 6))
    assert source.splits["train"][0].mask.samefile(tmp_path / "far/truth/day/a.png")


def test_data_yaml_with_absolute_path_and_folder_names(tmp_path: Path):
    pair(tmp_path / "far", "train/a", images="pics", masks="truth")
    path = text(
        tmp_path / "set.yaml", f"{{path: {tmp_path}/far, names: [a, b], images: pics, masks: truth, ignore_index: 0}}"
    )
    source = open_source(path)
    assert names(source) == ["a"]
    assert source.ignore_index == (0,)
    assert (source.labels.names, source.labels.values) == (("b",), (1,))


@pytest.mark.parametrize(
    ("content", "classes", "ignored"),
    [
        ("{names: {7: b, 0: a}}", {"a": 0, "b": 7}, (255,)),
        ("{names: {1: a, 2: b}, ignore_index: 0}", {"a": 1, "b": 2}, (0,)),
        ("{names: [void, a, b], ignore_index: 0}", {"a": 1, "b": 2}, (0,)),
        ("{names: {0: a, 5: void, 254: b}, ignore_index: 5}", {"a": 0, "b": 254}, (5,)),
        ("{names: [a, b], ignore_index: 254}", {"a": 0, "b": 1}, (254,)),
        ("{names: [a, b], ignore_index: -1}", {"a": 0, "b": 1}, (255, 65535)),
        ("{names: {0: a, 255: b}}", {"a": 0, "b": 255}, ()),
    ],
)
def test_classes_have_the_values_of_data_yaml_without_the_ignored_ones(
    tmp_path: Path, content: str, classes: dict[str, int], ignored: tuple[int, ...]
):
    pair(tmp_path, "a")
    source = open_source(text(tmp_path / "data.yaml", content))
    assert dict(zip(source.labels.names, source.labels.values, strict=True)) == classes
    assert source.labels.colors == ClassTable.from_names(["a", "b"]).colors
    assert source.ignore_index == ignored
    assert open_labels(str(tmp_path / "data.yaml")) == source.labels


def test_colors_stand_in_the_order_of_the_values_and_an_ignored_class_takes_its_own_along(tmp_path: Path):
    pair(tmp_path, "a")
    content = "{names: {3: b, 0: void, 1: a}, colors: [[0, 0, 0], [1, 1, 1], [3, 3, 3]], ignore_index: 0}"
    labels = open_source(text(tmp_path / "data.yaml", content)).labels
    assert dict(zip(labels.names, labels.colors, strict=True)) == {"a": (1, 1, 1), "b": (3, 3, 3)}


@pytest.mark.parametrize("masks", ["masks", "labels"])
def test_data_yaml_with_images_and_masks_in_the_folder_of_each_split(tmp_path: Path, masks: str):
    pair(tmp_path / "train", "a", masks=masks)
    pair(tmp_path / "valid", "b", masks=masks)
    source = open_source(text(tmp_path / "data.yaml", "names: [sky]\ntrain: train/images\nval: valid/images\n"))
    assert (names(source, "train"), names(source, "val")) == (["a"], ["b"])
    assert source.splits["val"][0].mask == tmp_path / "valid" / masks / "b.png"


def test_data_yaml_with_named_masks_takes_none_beside_the_images(tmp_path: Path):
    pair(tmp_path, "a", images="day/images", masks="day/masks")
    image(tmp_path / "truth/images/a.png")
    source = open_source(text(tmp_path / "data.yaml", "{names: [sky], train: day/images, masks: truth}"))
    assert source.splits["train"][0].mask == tmp_path / "truth/images/a.png"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("names: [a", "is not YAML"),
        ("names: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("", "needs at least the key 'names'"),
        ("just text", "needs at least the key 'names'"),
        ("images: images", "needs at least the key 'names'"),
        ("{names: [a], nx: 1}", "unknown key 'nx'; known are band_names, channels, colors, ignore_index"),
        ("{names: [a], 5: 1, x: 2}", "unknown key 5"),
        ("{names: {0: a, 256: b}}", "gives a class the mask value 256"),
        ("{names: {0: a, x: b}}", "gives a class the mask value 'x'"),
        ("{names: [a], ignore_index: 0}", "all classes have an ignored value"),
        ("names: sky", "'names' must be a list"),
        ("names: 2", "'names' must be a list"),
        ("names: []", "0 class names"),
        ("names: {}", "0 class names"),
        ("names: [a, a]", "'a' stands twice"),
        ("{names: [a], colors: [[1, 2]]}", "three numbers each"),
        ("{names: [a], colors: [[1, 2, 3], [1, 2, 3]]}", "2 colors for 1 classes"),
        ("{names: [a], ignore_index: none}", "'ignore_index' must be mask values"),
        ("{names: [a], ignore_index: null}", "'ignore_index' must be mask values"),
        ("{names: [a], ignore_index: -2}", "'ignore_index' must be mask values"),
        ("{names: [a], ignore_index: [70000]}", "'ignore_index' must be mask values"),
        ("{names: [a], ignore_index: [1.5]}", "'ignore_index' must be mask values"),
        ("{names: [a], path: 5}", "'path' must name one folder, got 5"),
        ("{names: [a], train: [[images]]}", "'train' must name one folder"),
        ("{names: [a], masks: null}", "'masks' must name one folder"),
        ("{names: [a], masks: nowhere}", "nowhere: there is no such folder"),
        ("{names: [a], path: nowhere}", "no folder masks or labels"),
        ("{names: [a], val: images/val}", "there is no such folder"),
    ],
)
def test_a_wrong_data_yaml_is_refused_with_its_reason(tmp_path: Path, content: str, told: str):
    pair(tmp_path, "a")
    text(tmp_path / "data.yaml", content)
    with pytest.raises(DataError, match=told):
        open_source(tmp_path)


def test_a_data_yaml_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "data.yaml").write_bytes(b"\xff\x00names")
    with pytest.raises(DataError, match="not a text in UTF-8"):
        open_source(tmp_path)


# Neither.


def test_no_such_place_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"no such data set; give a folder, a pair list, a data\.yaml, or 'synthetic'"):
        open_source(tmp_path / "nowhere")


def test_a_folder_of_no_known_layout_is_refused_with_what_was_looked_for(tmp_path: Path):
    with pytest.raises(DataError, match=r"looked for data\.yaml.*trainannot.*images/"):
        open_source(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_another_layout_than_demanded_is_refused(layout: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=str(tmp_path)):
        open_source(tmp_path, layout=layout).dataset("train")


def test_a_folder_inside_a_data_set_is_refused_with_that_data_set(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=f"images: no data set was recognized, but {tmp_path} is one; give that folder"):
        open_source(tmp_path / "images")


def test_a_folder_around_a_data_set_is_refused_with_that_data_set(tmp_path: Path) -> None:
    """As archives are unpacked into a folder of their own name."""
    (tmp_path / "__MACOSX" / "mine").mkdir(parents=True)
    (tmp_path / "mine" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=rf"no data set was recognized, but {tmp_path / 'mine'} is one; give that"):
        open_source(tmp_path)


# Drawn scenes.


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "write_scenes", partial(write_scenes, train=2, val=1, size=(16, 16)))


@pytest.mark.usefixtures("few_scenes")
def test_synthetic_scenes_are_drawn_once_into_the_cache(own_cache: Path):
    source = open_source("synthetic")
    assert (len(source.splits["train"]), len(source.splits["val"]), source.labels) == (2, 1, CAMVID)
    assert own_cache in source.root.parents
    assert list(own_cache.iterdir()) == [source.root]
    written = source.splits["val"][0].image.stat().st_mtime_ns
    assert open_source("synthetic") == source
    assert source.splits["val"][0].image.stat().st_mtime_ns == written


def test_drawing_that_was_stopped_leaves_no_half_data_set(own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(root: Path) -> Path:
        write_scenes(root, train=1, val=1, size=(16, 16))
        raise KeyboardInterrupt

    monkeypatch.setattr(drawn, "write_scenes", stopped)
    with pytest.raises(KeyboardInterrupt):
        open_source("synthetic")
    assert not list(own_cache.iterdir())


@pytest.mark.usefixtures("few_scenes")
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGNET_CACHE", str(text(tmp_path / "file", "")))
    with pytest.raises(OutputError, match="set SEGNET_CACHE"):
        open_source("synthetic")


@pytest.mark.usefixtures("few_scenes")
def test_a_folder_named_synthetic_is_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    pair(tmp_path / "synthetic", "mine")
    text(tmp_path / "synthetic" / "classes.txt", "sky")
    assert names(open_source("synthetic")) == ["mine"]
