"""Layouts of tools and of one's own folders, with the files that each of them has."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from layout_files import MASK, check_and_train, colored, masks_of, numbered, photo, save, text
from segnet.data.layouts import contents, open_dataset, open_source
from segnet.errors import ConfigError, DataError
from segnet.media.images.masks import read_mask
from segnet.training.network import make_network
from segnet.training.run_config import NetworkConfig

Write = Callable[[Path], None]


def splits_above(root: Path) -> None:
    for split in ("train", "val"):
        photo(root / split / "images" / "a b.jpg")
        save(root / split / "labels" / "a b_label.png", MASK)
    text(root / "classes.txt", "sky\nroad\n")


def camvid_of_kaggle(root: Path) -> None:
    for split in ("train", "val", "test"):
        photo(root / split / "0001TP_009210.png")
        save(root / f"{split}_labels" / "0001TP_009210_L.png", colored((64, 128, 64), (192, 0, 128), (0, 0, 0)))
    text(root / "class_dict.csv", "name,r,g,b\nAnimal,64,128,64\nArchway,192,0,128\nVoid,0,0,0\n")


def suffixes(root: Path) -> None:
    for number, ending in enumerate(("_mask", "_gt", "_labelIds", "_P", "_train_id", "_segmentation", "")):
        photo(root / "images" / f"{number}.jpg")
        save(root / "annotations" / f"{number}{ending}.png", MASK)
    text(root / "classes.txt", "sky\nroad\n")


def mmsegmentation(root: Path) -> None:
    for split in ("train", "val"):
        photo(root / "img_dir" / split / "xxx.jpg")
        save(root / "ann_dir" / split / "xxx.png", MASK)
    text(root / "classes.txt", "sky\nroad\n")


def paddleseg(root: Path) -> None:
    for name in ("image1", "image2"):
        photo(root / "images" / f"{name}.jpg")
        save(root / "annotations" / f"{name}.png", MASK)
    text(root / "train.txt", "images/image1.jpg annotations/image1.png\n")
    text(root / "val.txt", "images/image2.jpg annotations/image2.png\n")
    text(root / "labels.txt", "sky\nroad\n")


def fastai(root: Path) -> None:
    for name in ("0001TP_006690", "Seq05VD_f02370"):
        photo(root / "images" / f"{name}.png")
        save(root / "labels" / f"{name}_P.png", np.where(MASK == 255, 2, MASK))
    text(root / "codes.txt", "Animal\nArchway\nVoid\n")
    text(root / "valid.txt", "Seq05VD_f02370.png\n")


def roboflow(root: Path) -> None:
    for split in ("train", "valid", "test"):
        photo(root / split / "street_jpg.rf.8a1f.jpg")
        save(root / split / "street_jpg.rf.8a1f_mask.png", MASK)
        text(root / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, road\n")


def black_and_white(root: Path) -> None:
    for name in ("train/a", "val/b"):
        photo(root / "images" / f"{name}.jpg")
        save(root / "masks" / f"{name}.png", np.where(MASK == 1, 255, 0))
    text(root / "classes.txt", "background\nroad\n")


def ultralytics(root: Path) -> None:
    for split in ("train", "val"):
        photo(root / "images" / split / "aachen_000000_000019.png")
        save(root / "truth" / split / "aachen_000000_000019.png", numbered((7, 9, 4)))
    text(
        root / "data.yaml",
        f"path: {root}\ntrain: images/train\nval: images/val\nmasks_dir: truth\nnames: {{0: sky, 1: road}}\n"
        "label_mapping: {-1: 255, 4: ignore_label, 7: 0, 8: 1, 9: 1}\nchannels: 1\n",
    )


def palette(root: Path) -> None:
    for split in ("train", "val"):
        photo(root / "images" / split / "a.jpg")
        save(root / "masks" / split / "a.png", colored((1, 1, 1), (200, 0, 7), (0, 0, 0)))
    text(root / "data.yaml", "names: [sky, road]\npalette: {0: [1, 1, 1], 1: [200, 0, 7]}\n")


def one_hot(root: Path) -> None:
    for name in ("train/a", "val/b"):
        photo(root / "images" / f"{name}.jpg")
        (root / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "masks" / f"{name}.npy", np.stack([MASK == 0, MASK == 1]))
    text(root / "classes.txt", "sky\nroad\n")


def one_hot_pages(root: Path) -> None:
    for name in ("train/a", "val/b"):
        photo(root / "images" / f"{name}.jpg")
        (root / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        first, *others = [Image.fromarray((index == MASK).astype(np.uint8) * 255) for index in (0, 1)]
        first.save(root / "masks" / f"{name}.tif", save_all=True, append_images=others)
    text(root / "classes.txt", "sky\nroad\n")


def bits(root: Path) -> None:
    """PNG of 1 bit, and gray of 16 bits."""
    for split, mode in (("train", "1"), ("val", "I;16")):
        photo(root / "images" / split / "a.jpg")
        save(root / "masks" / split / "a.png", MASK == 1)
        Image.fromarray((MASK == 1).astype(np.uint16 if mode == "I;16" else bool)).save(
            root / "masks" / split / "a.png"
        )
    text(root / "classes.txt", "sky\nroad\n")


def test_images_are_read_as_the_description_says_unless_channels_are_given(tmp_path: Path) -> None:
    ultralytics(tmp_path)  # channels: 1
    assert open_dataset(tmp_path)[0]["image"].shape[0] == open_source(tmp_path).dataset("train").channels == 1
    assert open_dataset(tmp_path, channels=3)[0]["image"].shape[0] == 3


LAYOUTS: dict[str, tuple[Write, str]] = {
    "train/images with train/labels": (splits_above, "split-folders"),
    "train with train_labels": (camvid_of_kaggle, "split-folders"),
    "endings of masks": (suffixes, "image-folders"),
    "mmsegmentation": (mmsegmentation, "image-folders"),
    "Ultralytics": (ultralytics, "data.yaml"),
    "palette": (palette, "data.yaml"),
    "one-hot arrays": (one_hot, "image-folders"),
    "one-hot pages": (one_hot_pages, "image-folders"),
    "PaddleSeg": (paddleseg, "lists"),
    "fastai": (fastai, "image-folders"),
    "Roboflow": (roboflow, "roboflow"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_gives_the_classes_of_its_masks(name: str, tmp_path: Path) -> None:
    write, layout = LAYOUTS[name]
    write(tmp_path)
    source = open_source(tmp_path)
    np.testing.assert_array_equal(masks_of(source), MASK)
    assert source.labels.classes == 2
    assert open_source(tmp_path, layout=layout).splits == source.splits
    if name != "endings of masks":
        assert set(source.splits) >= {"train", "val"}
        assert source.splits["train"] != source.splits["val"]
        check_and_train(tmp_path, out=tmp_path / "run")


def test_all_usual_endings_of_masks_are_paired(tmp_path: Path) -> None:
    suffixes(tmp_path)
    assert [sample.name for sample in open_source(tmp_path).splits["train"]] == list("0123456")


def test_black_and_white_masks_of_two_classes_ignore_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    black_and_white(tmp_path)
    with caplog.at_level("INFO", logger="segnet"):
        source = open_source(tmp_path)
    np.testing.assert_array_equal(masks_of(source), MASK == 1)
    assert (source.labels.values, source.ignore_index) == ((0, 255), ())
    assert "0 is background and 255 is road" in caplog.text
    check_and_train(tmp_path, out=tmp_path / "run")


def test_masks_of_1_and_16_bits_are_numbers(tmp_path: Path) -> None:
    bits(tmp_path)
    for split in ("train", "val"):
        np.testing.assert_array_equal(masks_of(open_source(tmp_path), split), MASK == 1)
    check_and_train(tmp_path, out=tmp_path / "run")


def test_masks_of_zero_one_and_255_keep_their_ignored_pixels(tmp_path: Path) -> None:
    black_and_white(tmp_path)
    photo(tmp_path / "images" / "train" / "c.jpg")
    save(tmp_path / "masks" / "train" / "c.png", MASK)
    assert open_source(tmp_path).ignore_index == (255,)


def test_class_1_in_a_few_masks_of_many_keeps_255_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(72):
        photo(tmp_path / "images" / f"{number:02}.png", (6, 6))
        mask = np.pad(np.full((4, 4), int(number % 12 == 1)), 1, constant_values=255)
        save(tmp_path / "masks" / f"{number:02}.png", mask)
    text(tmp_path / "classes.txt", "ok\ndefect\n")
    source = open_source(tmp_path)
    assert (source.labels.values, source.ignore_index) == ((0, 1), (255,))
    read: list[Path] = []
    monkeypatch.setattr(contents, "read_mask", lambda path: read.append(path) or read_mask(path))
    assert open_source(tmp_path).ignore_index == (255,)
    assert len(read) == 24


def test_many_black_and_white_masks_are_all_read_and_a_damaged_one_does_not_hide_it(tmp_path: Path) -> None:
    for number in range(60):
        photo(tmp_path / "images" / f"{number:02}.png", (4, 6))
        save(tmp_path / "masks" / f"{number:02}.png", np.full((4, 6), 255 * (number == 31)))
    (tmp_path / "masks" / "33.png").write_bytes(b"damaged")
    text(tmp_path / "classes.txt", "ok\ndefect\n")
    for _ in range(2):  # the second time from the cache
        assert open_source(tmp_path).labels.values == (0, 255)


def test_letters_with_marks_may_be_spelled_as_macos_stores_them(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    photo(tmp_path / "images" / f"{composed}.jpg")
    save(tmp_path / "masks" / f"{decomposed}_mask.png", MASK)
    photo(tmp_path / "images" / "b.jpg")
    save(tmp_path / "masks" / "b.png", MASK)
    text(tmp_path / "classes.txt", "sky\nroad\n")
    text(tmp_path / "val.txt", f"{decomposed}.jpg\n")
    splits = open_source(tmp_path).splits
    assert {split: [sample.name for sample in samples] for split, samples in splits.items()} == {
        "train": ["b"],
        "val": [composed],
    }
    save(tmp_path / "masks" / f"{composed}_mask.png", MASK)
    with pytest.raises(DataError, match="have the same name; keep one of them"):
        open_source(tmp_path)


def test_images_and_masks_in_one_folder_may_spell_letters_with_marks_differently(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        photo(tmp_path / split / f"{unicodedata.normalize('NFC', 'café')}.jpg")
        save(tmp_path / split / f"{unicodedata.normalize('NFD', 'café')}_mask.png", MASK)
        text(tmp_path / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, road\n")
    assert open_source(tmp_path).splits["train"][0].name == unicodedata.normalize("NFC", "café")


def test_lists_of_pascal_and_its_files_may_spell_letters_with_marks_differently(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    photo(tmp_path / "JPEGImages" / f"{composed}.jpg")
    save(tmp_path / "SegmentationClass" / f"{decomposed}.png", MASK)
    text(tmp_path / "ImageSets" / "Segmentation" / "train.txt", f"{decomposed}\n")
    assert [sample.name for sample in open_source(tmp_path).splits["train"]] == [composed]


def test_lists_of_pairs_may_spell_letters_with_marks_differently(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    photo(tmp_path / "day" / f"{decomposed}.jpg")
    save(tmp_path / "day" / f"{decomposed}.png", MASK)
    for beginning in ("day/", "/data/of/others/day/"):
        text(tmp_path / "train.txt", f"{beginning}{composed}.jpg {beginning}{composed}.png\n")
        assert len(open_source(tmp_path / "train.txt").splits["train"]) == 1


@pytest.mark.parametrize("line", ["day/1", "day/1.jpg", "./images/day/1.jpg", "/data/of/others/images/day/1.jpg 0"])
def test_a_list_may_name_images_by_any_end_of_their_path(line: str, tmp_path: Path) -> None:
    for name in ("day/1", "night/1"):
        photo(tmp_path / "images" / f"{name}.jpg")
        save(tmp_path / "masks" / f"{name}.png", MASK)
    text(tmp_path / "classes.txt", "sky\nroad\n")
    text(tmp_path / "val.txt", f"{line}\n")
    splits = open_source(tmp_path).splits
    assert [[sample.name for sample in splits[split]] for split in ("train", "val")] == [["night/1"], ["day/1"]]


def test_an_image_that_a_list_names_must_be_there(tmp_path: Path) -> None:
    fastai(tmp_path)
    text(tmp_path / "valid.txt", "gone.png\n")
    with pytest.raises(DataError, match=r"valid\.txt: lists gone\.png, but no image with a mask has that name"):
        open_source(tmp_path)


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    suffixes(tmp_path)
    save(tmp_path / "annotations" / "0_gt.png", MASK)
    with pytest.raises(DataError, match="are both masks of 0"):
        open_source(tmp_path)


def test_splits_with_other_classes_are_refused(tmp_path: Path) -> None:
    roboflow(tmp_path)
    text(tmp_path / "test" / "_classes.csv", "Pixel Value, Class\n0, background\n1, car\n")
    with pytest.raises(DataError, match=r"test: its _classes\.csv differs"):
        open_source(tmp_path)


def test_two_images_of_one_mask_beside_them_are_refused(tmp_path: Path) -> None:
    roboflow(tmp_path)
    save(tmp_path / "train" / "street_jpg.rf.8a1f.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"street_jpg\.rf\.8a1f\.\w+ and street_jpg\.rf\.8a1f\.\w+ have the same name"):
        open_source(tmp_path)


def test_a_value_without_a_class_name_is_refused(tmp_path: Path) -> None:
    roboflow(tmp_path)
    text(tmp_path / "train" / "_classes.csv", "Pixel Value, Class\n0, background\n1\n")
    with pytest.raises(DataError, match=r"_classes\.csv: the line '1' has no name; expected a value and the name"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b,c\n1,2,3\n", "'a,b,c' heads neither"),
        ("name,r,g,b\nroad,²,1,1\n", "invalid literal for int"),
        ("name,r,g,b\n" + "x" * 150_000, "field larger than field limit"),
    ],
)
def test_a_table_that_names_no_classes_is_refused(content: str, message: str, tmp_path: Path) -> None:
    camvid_of_kaggle(tmp_path)
    text(tmp_path / "class_dict.csv", content)
    with pytest.raises(DataError, match=rf"class_dict\.csv: {message}"):
        open_source(tmp_path)


def test_split_folders_without_class_names_are_refused(tmp_path: Path) -> None:
    splits_above(tmp_path)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match="the class names are missing"):
        open_source(tmp_path)


@pytest.mark.parametrize("location", [".", "masks/.."])
def test_class_names_above_the_folders_are_found_from_within(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "field" / "images" / "a.jpg")
    save(tmp_path / "field" / "masks" / "a.png", MASK)
    text(tmp_path / "classes.txt", "sky\nroad\n")
    monkeypatch.chdir(tmp_path / "field")
    assert open_source(location).labels.names == ("sky", "road")


def test_an_unknown_layout_is_refused_and_a_file_has_no_layout_of_folders(tmp_path: Path) -> None:
    paddleseg(tmp_path)
    with pytest.raises(ConfigError, match="--layout 'camvit' is unknown; choose one of "):
        open_source(tmp_path, layout="camvit")
    with pytest.raises(ConfigError, match="is a file, and the layout roboflow is one of folders"):
        open_source(tmp_path / "train.txt", layout="roboflow")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("palette: [[1, 1, 1], [2, 2, 2]]\nlabel_mapping: {0: 1}", "give one of them"),
        ("label_mapping: [0, 1]", "'label_mapping' must be mask value"),
        ("label_mapping: {0: 5}", "'label_mapping' maps to 5, which is none of 0 to 1"),
        ("label_mapping: {0: [1, 2]}", r"'label_mapping' maps to \[1, 2\], which is none of 0 to 1"),
        ("label_mapping: {300: 1}", "'label_mapping' makes the mask value 300 a class; only values from 0 to 255"),
        ("channels: 0", "'channels' is 0; give 3 .color., 1 .gray., the number of bands"),
        ("channels: [0, nir]", "'channels': there is no band 'nir'; give a number from 0, or add band_names"),
        ("channels: [red, nir]\nband_names: [blue, red]", "there is no band 'nir'; give one of blue, red"),
        ("channels: [0, 2]\nband_names: [blue, red]", "band 2 is not possible in images of 2 bands"),
        ("channels: [0]\nband_names: [blue, blue]", "'band_names' is .*all different"),
        ("channels: [0, 1]\nshown_bands: [5]", "cannot be shown"),
        ("channels: [0, 1]\nvalue_range: 1", "'value_range' is 1; give a list"),
        ("channels: [0, 1]\nvalue_range: [1, 0]", "give the lowest and the highest value"),
        ("channels: 3\nvalue_range: [0, 1]", "'value_range' is for bands; name them too"),
    ],
)
def test_keys_of_a_data_yaml_that_cannot_be_meant_are_refused(keys: str, message: str, tmp_path: Path) -> None:
    palette(tmp_path)
    text(tmp_path / "data.yaml", f"names: [sky, road]\n{keys}\n")
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


def test_gray_data_make_a_gray_network(tmp_path: Path) -> None:
    ultralytics(tmp_path)
    network = make_network(NetworkConfig(model="segnet_light"), open_source(tmp_path))
    assert network.config.in_channels == 1


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (MASK.astype(np.float32), MASK),
        (np.stack([MASK == 0, MASK == 1], axis=2), MASK),
        (MASK.astype(np.int64) + 1000, MASK.astype(np.uint16) + 1000),
        (MASK == 1, MASK == 1),
        ((MASK == 1)[..., None], MASK == 1),
        (MASK[None], MASK),
    ],
)
def test_arrays_are_masks(array: NDArray[np.generic], expected: NDArray[np.generic], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npy"), expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 3, 3), np.uint8), "a pixel is in several of 2 planes"),
        (MASK.astype(np.int64) - 1, "holds int64 from -1 to 254; expected class values from 0 to 65535; save pixels"),
        (np.full((2, 3), 0.5), r"is an array of float64 in the shape \(2, 3\)"),
        (np.array([{}], dtype=object), "is not a NumPy array that can be read"),
    ],
)
def test_other_arrays_are_refused(array: NDArray[np.generic], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_mask(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([MASK, MASK], "2 pages, which are no planes of 0 and 1"),
        ([MASK == 0, MASK != 1], "a pixel is in several of 2 planes"),
        ([MASK == 0, MASK[:9] == 1], "no planes of one size"),
    ],
)
def test_pages_that_are_no_planes_are_refused(pages: list[NDArray[np.generic]], message: str, tmp_path: Path) -> None:
    first, *others = [Image.fromarray(page.astype(np.uint8)) for page in pages]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    with pytest.raises(DataError, match=message):
        read_mask(tmp_path / "a.tif")


def test_pages_of_one_bit_are_planes(tmp_path: Path) -> None:
    first, second = (Image.fromarray(index == MASK) for index in (0, 1))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], compression="group4")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), MASK)


def test_a_preview_in_a_mask_is_no_plane(tmp_path: Path) -> None:
    with AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as file:
        for page, kind in ((MASK == 0, 0), (MASK == 1, 0), (MASK[::2, ::2] == 1, 1)):
            Image.fromarray(page.astype(np.uint8)).save(file, format="TIFF", tiffinfo={254: kind})
            file.newFrame()
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), MASK)
