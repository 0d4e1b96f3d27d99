"""Masks against which every prediction would be right are refused wherever something is scored."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.data.checks import check_masks
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.layouts import open_source
from segnet.errors import ConfigError, DataError
from segnet.inference.evaluation import evaluate
from segnet.labels import ClassTable
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
    with pytest.raises(ConfigError, match=r"person is the only class.*name the background"):
        open_source(tmp_path).dataset("train")
    with pytest.raises(ConfigError, match="person is the only class"):
        open_truth(str(tmp_path / "masks"), labels=ClassTable.from_names(["person"]))
