"""Training, evaluation, prediction and scoring of one data set agree on classes, values, sizes and score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.cli.main import main
from segnet.data.layouts import open_source
from segnet.data.synthetic.scenes import render_scene
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.media.images.masks import read_mask_file
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

VALUES = {"Building": 7, "Road": 1, "Car": 254}  # all else, and class 0, is ignored
SIZES = ((48, 64), (64, 48), (40, 90), (48, 64))  # the third is larger than the typical image, and is downscaled
YAML = "names: {0: Unlabeled, 7: Building, 1: Road, 254: Car}\nignore_index: 0\n"


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([*map(str, words)])
    assert not left.value.code


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of several sizes to train and to validate on, in classes with gaps and an ignored class 0."""
    root = tmp_path_factory.mktemp("mixed")
    for split, scenes in (("train", range(4)), ("val", range(4, 9))):
        for scene in scenes:
            image, mask = render_scene(scene, size=SIZES[scene % 4])
            stored = np.zeros_like(mask)
            for name, value in VALUES.items():
                stored[mask == CAMVID.names.index(name)] = value
            for kind, values in (("images", image), ("masks", stored)):
                path = root / kind / split / f"{scene}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
    (root / "data.yaml").write_text(YAML)
    return root


FLAGS = {
    "whole": (),
    "crops": ("--crop", 32, 40),
    "letterbox": ("--resize", 40, 56, "--crop", 32, 40),
    "stretch": ("--resize", 40, 56, "--resize-mode", "stretch"),
}


@pytest.fixture(scope="module", params=FLAGS)
def trained(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    config = SegNetConfig(
        name="tiny", encoder=EncoderConfig(widths=((8,), (8,))), decoder=DecoderConfig(widths=((8,), (8,))), classes=3
    )
    model = checkpoint.save(SegNet(config), open_source(root).labels, out / "first.safetensors")
    run(
        "train", root, "--model", model, "--epochs", 3, "--batch", 2, "--workers", 0, "--device", "cpu",
        "--precision", "float32", "--out", out / "run", *FLAGS[request.param],
    )  # fmt: skip
    return out / "run"


def test_ignored_values_have_no_output_and_no_row(trained: Path) -> None:
    kept = checkpoint.load(trained / "best.safetensors")
    assert kept.labels == ClassTable.from_names(["Road", "Building", "Car"], [1, 7, 254])
    assert kept.model.config.classes == 3
    assert list(kept.scores["per_class"]) == ["Road", "Building", "Car"]
    assert (trained / "metrics.csv").read_text().splitlines()[0].endswith("iou_Road,iou_Building,iou_Car")
    assert "Unlabeled" not in (trained / "report.html").read_text()


def test_validation_evaluation_and_predicted_masks_have_one_score(root: Path, trained: Path, tmp_path: Path) -> None:
    model = trained / "best.safetensors"
    run("evaluate", root, "--model", model, "--json", tmp_path / "evaluate.json")
    run("predict", root / "images" / "val", "--model", model, "--out", tmp_path / "predicted", "--save", "mask")
    run("score", tmp_path / "predicted" / "mask", root, "--json", tmp_path / "score.json")
    evaluated, scored = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("evaluate", "score"))
    expected = checkpoint.load(model).scores
    assert evaluated["confusion"] == scored["confusion"] == expected["confusion"]
    assert evaluated["miou"] == scored["miou"] == expected["miou"]
    assert scored["unlabeled_pixels"] == 0
    for path in (tmp_path / "predicted" / "mask").iterdir():
        stored = read_mask_file(path)
        assert set(np.unique(stored.values).tolist()) <= set(VALUES.values())
        assert IGNORE_INDEX not in stored.values


def test_masks_that_are_written_are_masks_that_can_be_trained_on(root: Path, trained: Path, tmp_path: Path) -> None:
    run(
        "predict", root / "images", "--model", trained / "best.safetensors", "--out", tmp_path / "out", "--save", "mask"
    )
    again = tmp_path / "again"
    (again / "masks").parent.mkdir()
    (tmp_path / "out" / "mask").rename(again / "masks")
    (again / "images").symlink_to(root / "images")
    (again / "data.yaml").write_text(YAML)
    data = open_source(again).dataset("train")
    assert set(np.unique(data.read_classes(0)).tolist()) <= {0, 1, 2}
