"""Published data sets, with the files that each of them has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layout_files import MASK, check_and_train, colored, masks_of, numbered, photo, save, text
from segnet.data.layouts import open_source
from segnet.data.mapping import map_classes
from segnet.data.sequences import hold_out, sequence_of
from segnet.errors import DataError
from segnet.labels import CAMVID, CITYSCAPES, PASCAL, SUN, ClassTable


def palette(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8)).convert("P")
    image.putpalette(PASCAL.palette().tobytes())
    image.putdata(values.ravel().tolist())
    image.save(path)
    return path


def camvid_original(root: Path) -> None:
    sky, road, nothing = (128, 128, 128), (128, 64, 128), (0, 0, 0)
    for name in ("0001TP_006690", "0016E5_07959", "0016E5_07960", "0001TP_008550", "Seq05VD_f00000"):
        photo(root / "701_StillsRaw_full" / f"{name}.png")
        save(root / "LabeledApproved_full" / f"{name}_L.png", colored(sky, road, nothing))
    text(root / "label_colors.txt", "128 128 128\tSky\n128 64 128\tRoad\n0 0 0\t\tVoid\n128 0 192\tLaneMkgsDriv\n")


def cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        stem = f"{split}/aachen/aachen_000000_000019"
        photo(root / "leftImg8bit" / f"{stem}_leftImg8bit.png")
        save(root / "gtFine" / f"{stem}_gtFine_labelIds.png", numbered((7, 8, 4)))
        save(root / "gtFine" / f"{stem}_gtFine_color.png", np.zeros((2, 3, 4)))
        save(root / "gtFine" / f"{stem}_gtFine_instanceIds.png", MASK)
        text(root / "gtFine" / f"{stem}_gtFine_polygons.json", "{}")


def bdd100k(root: Path) -> None:
    for split in ("train", "val", "test"):
        photo(root / "images" / split / "0a1b-2c3d.jpg")
        if split != "test":
            save(root / "labels" / split / "0a1b-2c3d_train_id.png", MASK)
            save(root / "color_labels" / split / "0a1b-2c3d_train_color.png", colored((1, 2, 3), (4, 5, 6), (0, 0, 0)))


def bdd100k_10k(root: Path) -> None:
    for split in ("train", "val", "test"):
        photo(root / "images" / "10k" / split / "0a1b-2c3d.jpg")
        if split != "test":
            save(root / "labels" / "sem_seg" / "masks" / split / "0a1b-2c3d.png", MASK)
            save(root / "labels" / "sem_seg" / "colormaps" / split / "0a1b-2c3d.png", MASK)


def kitti(root: Path) -> None:
    for number in range(3):
        photo(root / "training" / "image_2" / f"00000{number}_10.png")
        save(root / "training" / "semantic" / f"00000{number}_10.png", numbered((7, 8, 0)))


def kitti_road(root: Path) -> None:
    for number in range(3):
        photo(root / "training" / "image_2" / f"um_00000{number}.png")
        for kind in ("road", "lane"):
            mask = colored((255, 0, 0), (255, 0, 255), (0, 0, 0))
            save(root / "training" / "gt_image_2" / f"um_{kind}_00000{number}.png", mask)


def pascal(root: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for name in ("2007_000032", "2007_000033"):
        photo(base / "JPEGImages" / f"{name}.jpg")
        palette(base / "SegmentationClass" / f"{name}.png", MASK)
    photo(base / "JPEGImages" / "2007_000001.jpg")  # of the other tasks
    text(base / "ImageSets" / "Segmentation" / "train.txt", "2007_000032\n")
    text(base / "ImageSets" / "Segmentation" / "val.txt", "2007_000033\n")
    text(base / "ImageSets" / "Segmentation" / "trainval.txt", "2007_000032\n2007_000033\n")
    text(base / "ImageSets" / "Segmentation" / "test.txt", "2008_000006\n")


def cvat(root: Path) -> None:
    for name in ("image1", "image2"):
        photo(root / "images" / f"{name}.jpg")
        save(root / "SegmentationClass" / f"{name}.png", colored((0, 0, 0), (10, 10, 128), (51, 51, 51)))
        save(root / "SegmentationObject" / f"{name}.png", MASK)
    text(root / "ImageSets" / "Segmentation" / "default.txt", "image1\nimage2\n")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "aeroplane:10,10,128::", "ignored:51,51,51::"]
    text(root / "labelmap.txt", "\n".join(lines))


def ade20k(root: Path) -> None:
    for split in ("training", "validation"):
        name = f"ADE_{split[:-3].replace('validat', 'val')}_00000001"
        photo(root / "images" / split / f"{name}.jpg")
        save(root / "annotations" / split / f"{name}.png", numbered((1, 2, 0)))
    rows = [f"{number}\t0.1\t10\t1\tclass {number}, other name" for number in range(1, 151)]
    text(root / "objectInfo150.txt", "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))


def sun(root: Path) -> None:
    for split, number in (("train", 1), ("train", 2), ("test", 1)):
        photo(root / "image" / split / f"img-{number:06}.jpg")
        save(root / "label37" / split / f"img37labels-{number:06}.png", numbered((1, 2, 0)))
        save(root / "depth" / split / f"{number:08}.png", MASK)


LAYOUTS: dict[str, tuple[Callable[[Path], None], int]] = {
    "camvid-original": (camvid_original, 3),
    "cityscapes": (cityscapes, 19),
    "bdd100k": (bdd100k, 19),
    "bdd100k of 10k": (bdd100k_10k, 19),
    "kitti": (kitti, 19),
    "kitti-road": (kitti_road, 2),
    "pascal": (pascal, 21),
    "ade20k": (ade20k, 150),
    "sun": (sun, 37),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layout_gives_the_classes_of_its_masks(name: str, tmp_path: Path) -> None:
    write, classes = LAYOUTS[name]
    write(tmp_path)
    source = open_source(tmp_path)
    np.testing.assert_array_equal(masks_of(source), MASK)
    np.testing.assert_array_equal(masks_of(source, "val"), MASK)
    assert source.labels.classes == classes
    assert open_source(tmp_path, layout=name.split()[0]).splits == source.splits
    assert not set(source.splits["train"]) & set(source.splits["val"])
    check_and_train(tmp_path, out=tmp_path / "run")


def test_masks_of_cvat_count_by_the_colors_of_its_label_map(tmp_path: Path) -> None:
    cvat(tmp_path)
    source = open_source(tmp_path)
    np.testing.assert_array_equal(masks_of(source), MASK)
    assert source.labels.names == ("background", "aeroplane")
    check_and_train(tmp_path, out=tmp_path / "run")


def test_camvid_frames_have_the_splits_of_the_authors(tmp_path: Path) -> None:
    camvid_original(tmp_path)
    splits = {split: [one.name for one in samples] for split, samples in open_source(tmp_path).splits.items()}
    assert splits == {
        "train": ["0001TP_006690", "0016E5_07960"],
        "val": ["0016E5_07959"],
        "test": ["0001TP_008550", "Seq05VD_f00000"],
    }


def test_camvid_maps_its_classes_to_the_eleven_of_the_paper(tmp_path: Path) -> None:
    camvid_original(tmp_path)
    source = open_source(tmp_path).mapped("camvid11")
    assert dict(zip(source.labels.names, source.labels.members, strict=True)) == {
        "Sky": ("Sky",),
        "Road": ("Road", "LaneMkgsDriv"),
    }
    assert source.labels.colors == (CAMVID.colors[0], CAMVID.colors[3])
    np.testing.assert_array_equal(masks_of(source), MASK)


def test_masks_of_cityscapes_that_are_not_labelids_are_refused_with_their_name(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    for path in tmp_path.rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    with pytest.raises(DataError, match=r"holds no mask that is called \*_gtFine_labelIds\.png; unpack"):
        open_source(tmp_path)


def test_all_classes_of_camvid_and_cityscapes_have_one_of_the_eleven() -> None:
    camvid = """Animal Archway Bicyclist Bridge Building Car CartLuggagePram Child Column_Pole Fence LaneMkgsDriv
        LaneMkgsNonDriv Misc_Text MotorcycleScooter OtherMoving ParkingBlock Pedestrian Road RoadShoulder Sidewalk
        SignSymbol Sky SUVPickupTruck TrafficCone TrafficLight Train Tree Truck_Bus Tunnel VegetationMisc Wall"""
    for labels in (ClassTable.from_names(camvid.split()), CITYSCAPES):
        mapped = map_classes(labels, "camvid11")
        assert mapped.names == CAMVID.names
        assert sorted(name for names in mapped.members for name in names) == sorted(labels.names)


def test_a_listed_image_without_mask_is_refused(tmp_path: Path) -> None:
    pascal(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png").unlink()
    with pytest.raises(DataError, match=r"val\.txt: lists 2007_000033, whose image or mask is missing"):
        open_source(tmp_path)


def test_lists_of_pascal_may_name_images_with_blanks(tmp_path: Path) -> None:
    for name in ("my image", "another one"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg")
        palette(tmp_path / "SegmentationClass" / f"{name}.png", MASK)
    text(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "my image\n")
    text(tmp_path / "ImageSets" / "Segmentation" / "val.txt", "another one  \n")
    splits = open_source(tmp_path).splits
    assert {split: [one.name for one in samples] for split, samples in splits.items()} == {
        "train": ["my image"], "val": ["another one"],
    }  # fmt: skip


def test_masks_of_cvat_without_images_are_refused(tmp_path: Path) -> None:
    cvat(tmp_path)
    (tmp_path / "images" / "image1.jpg").unlink()
    with pytest.raises(DataError, match="has masks but no images of image1"):
        open_source(tmp_path)


def test_a_table_of_ade20k_without_its_classes_is_refused(tmp_path: Path) -> None:
    ade20k(tmp_path)
    text(tmp_path / "objectInfo150.txt", "Idx\tName\n1\twall\n")
    with pytest.raises(DataError, match="names 1 classes, not 150"):
        open_source(tmp_path)


def test_sun_has_no_unlabeled_class(tmp_path: Path) -> None:
    sun(tmp_path)
    assert open_source(tmp_path).labels.names == SUN.names[1:]


def test_camvid_without_its_colors_is_refused(tmp_path: Path) -> None:
    camvid_original(tmp_path)
    (tmp_path / "label_colors.txt").unlink()
    with pytest.raises(DataError, match=r"label_colors\.txt is missing"):
        open_source(tmp_path)


# Validation by sequence.


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("0001TP_006690", "0001TP_"),
        ("Seq05VD_f02370", "Seq05VD_"),
        ("day/img-7", "day/img-"),
        ("image1", "image"),
        ("a", "a"),
    ],
)
def test_a_sequence_is_what_stands_before_the_running_number(name: str, sequence: str) -> None:
    assert sequence_of(name) == sequence


def test_whole_sequences_are_held_out_where_names_show_them() -> None:
    names = [f"{film}_{number:04}" for film, count in (("a", 10), ("b", 20), ("c", 70)) for number in range(count)]
    held, how = hold_out(names)
    assert held == {name for name in names if name.startswith("a_")}
    assert how == "sequences a_"


@pytest.mark.parametrize("films", [["a"], ["a", "b"]])
def test_the_end_of_a_sequence_is_held_out_where_no_other_is_small_enough(films: list[str]) -> None:
    names = [f"{film}_{number}" for film in films for number in range(10)]
    assert hold_out(names)[0] == {"a_8", "a_9"}


def test_every_fifth_image_is_held_out_without_sequences() -> None:
    assert hold_out(list("abcdefgh"))[0] == {"c", "h"}
    assert hold_out(["a", "b"])[0] == {"b"}
    assert hold_out(["a"])[0] == set()
