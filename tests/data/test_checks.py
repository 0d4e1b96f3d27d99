"""Masks against which every prediction would be right are refused wherever something is scored."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.data.check.report import check_data
from segnet.data.checks import check_masks
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import open_source
from segnet.data.samples import Sample
from segnet.errors import ConfigError, DataError
from segnet.inference.evaluation import evaluate
from segnet.labels import ClassTable
from segnet.media.images.headers import read_size
from segnet.scoring.counting import score_all
from segnet.scoring.pairs import open_truth, pair_up

TWO = ClassTable.from_names(["background", "person"])
ONE_LEFT = r"hold only ignored pixels and class 0 \(background\).*save them as 0 and 1"


def write_masks(folder: Path, *masks: list[int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(masks):
        Image.fromarray(np.array([values], np.uint8)).save(folder / f"{index}.png")
    return folder


def dataset(folder: Path, *masks: list[int], labels: ClassTable = TWO) -> SegmentationDataset:
    write_masks(folder, *masks)
    paths = [folder / f"{index}.png" for index in range(len(masks))]
    return SegmentationDataset([Sample(path, path, path.stem) for path in paths], labels)


def test_a_network_is_not_evaluated_on_black_and_white_masks(tmp_path: Path) -> None:
    network = torch.nn.Conv2d(3, 2, 1)
    with pytest.raises(DataError, match=ONE_LEFT):
        evaluate(network, dataset(tmp_path, [0, 255], [0, 0]), device="cpu")


@pytest.mark.parametrize("side", ["predicted", "truth"])
def test_black_and_white_masks_are_not_scored(side: str, tmp_path: Path) -> None:
    folders = {name: write_masks(tmp_path / name, [0, 255 if name == side else 1]) for name in ("predicted", "truth")}
    pairing = pair_up(folders["predicted"], open_truth(str(folders["truth"]), labels=TWO))
    with pytest.raises(DataError, match=rf"{side.replace('truth', 'true')} masks, such as .*0\.png, {ONE_LEFT}"):
        score_all(pairing)


def test_ignored_pixels_beside_two_classes_are_fine(tmp_path: Path) -> None:
    assert check_masks(dataset(tmp_path, [0, 1, 255])).ignored == 1


def test_one_class_without_ignored_pixels_gets_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="segnet"):
        check_masks(dataset(tmp_path, [0, 0]))
    assert "hold class 0 (background) only" in caplog.text


def test_some_black_and_white_masks_among_others_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="segnet"):
        check_masks(dataset(tmp_path, [0, 1], [0, 255]))
        check_masks(dataset(tmp_path, [0, 1], [0, 255]))  # from the cache
    assert caplog.text.count(f"1 of 2 masks, such as {tmp_path / '1.png'}, hold class 0") == 2


@pytest.mark.parametrize("side", ["predicted", "truth"])
def test_some_black_and_white_masks_are_named_by_score(
    side: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("predicted", "truth"):
        write_masks(tmp_path / name, [0, 1], [0, 255 if name == side else 1])
    score_all(pair_up(tmp_path / "predicted", open_truth(str(tmp_path / "truth"), labels=TWO)))
    assert f"1 of 4 masks, such as {tmp_path / side / '1.png'}, hold class 0" in caplog.text


def test_masks_of_ignored_pixels_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hold ignored pixels only"):
        check_masks(dataset(tmp_path, [255, 255]))


def test_a_data_set_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        check_masks(dataset(tmp_path, [0, 1]).only([]))


def test_a_data_set_of_one_class_is_refused(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        write_masks(tmp_path / folder, [0, 255])
    (tmp_path / "classes.txt").write_text("person\n")
    with pytest.raises(DataError, match=rf"{tmp_path}: person is the only class.*name the background"):
        open_source(tmp_path).dataset("train")
    with pytest.raises(ConfigError, match="person is the only class"):
        open_truth(str(tmp_path / "masks"), labels=ClassTable.from_names(["person"]))


def oriented(path: Path, orientation: int, size: tuple[int, int] = (4, 4)) -> Path:
    """A file of this size as stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[274] = orientation
    values = np.zeros(size, np.uint8)
    values[0] = 1
    Image.fromarray(values).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("image", "mask", "warned"), [(6, 1, True), (3, 1, True), (1, 8, True), (6, 6, False), (1, 1, False)]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_an_orientation_of_one_side_gets_a_warning(
    suffix: str, image: int, mask: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = oriented(tmp_path / f"photo{suffix}", image), oriented(tmp_path / "mask.png", mask)
    with caplog.at_level(logging.WARNING, logger="segnet"):
        check_masks(SegmentationDataset([Sample(*paths, "photo")], TWO))
    assert (f"{paths[0]} has EXIF orientation {image} and {paths[1]} has {mask}" in caplog.text) == warned


def test_portraits_of_phones_with_upright_masks_get_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "val"):
        photo = oriented(tmp_path / "images" / split / "a.jpg", 6, (4, 6))  # 6 wide as stored, 4 wide upright
        assert read_size(photo) == (6, 4)
        oriented(tmp_path / "masks" / split / "a.png", 1, (6, 4))
    (tmp_path / "classes.txt").write_text("field\nroad\n")
    with caplog.at_level(logging.WARNING, logger="segnet"):
        check_masks(open_source(tmp_path).dataset("train"))
    assert "orientation" not in caplog.text
    assert "orientation" not in {finding.kind for finding in check_data(tmp_path).findings}


@pytest.mark.parametrize(("image", "mask", "warned"), [(6, 1, True), (1, 8, True), (6, 6, False), (1, 1, False)])
def test_a_check_warns_of_an_orientation_of_one_side(image: int, mask: int, warned: bool, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind, orientation in (("images", image), ("masks", mask)):
            oriented(tmp_path / kind / split / f"{split}.png", orientation if split == "val" else 1)
    (tmp_path / "classes.txt").write_text("field\nroad\n")
    for _ in range(2):  # and again by what the check has read
        report = check_data(tmp_path)
        found = [finding for finding in report.findings if finding.kind == "orientation"]
        marks = [(finding.severity, mark.path, mark.text) for finding in found for mark in finding.marks]
        paths = [tmp_path / kind / "val" / "val.png" for kind in ("images", "masks")]
        text = f"EXIF orientation {image}, {paths[1]} has {mask}"
        assert marks == [("warning", str(paths[0]), text)] * warned


def test_annotations_of_another_size_name_the_orientation_and_no_drawn_mask(tmp_path: Path) -> None:
    image, mask = oriented(tmp_path / "a.jpg", 6, (4, 6)), oriented(tmp_path / "drawn.png", 1, (4, 6))
    with pytest.raises(DataError, match=r"a\.json \(image .*EXIF orientation 6; annotate the upright") as refused:
        SegmentationDataset([Sample(image, mask, "a", tmp_path / "a.json")], TWO).read(0)
    assert "drawn.png" not in str(refused.value)
    assert Sample(image, mask, "a", image).mask_source == f"{image} (no annotation)"


def test_sizes_that_differ_by_the_orientation_name_it(tmp_path: Path) -> None:
    paths = oriented(tmp_path / "a.jpg", 6, (4, 6)), oriented(tmp_path / "a.png", 1, (4, 6))
    with pytest.raises(DataError, match=r"a\.jpg has EXIF orientation 6 and a\.png 1.*remove the orientation"):
        SegmentationDataset([Sample(*paths, "a")], TWO).read(0)
    for name, orientation in (("predicted", 1), ("truth", 5)):
        oriented(tmp_path / name / "a.png", orientation, (4, 6))
    truth = open_truth(str(tmp_path / "truth"), labels=TWO)
    with pytest.raises(DataError, match=r"a\.png has EXIF orientation 1 and a\.png 5"):
        score_all(pair_up(tmp_path / "predicted", truth))
