"""From a data set as it lies, over its mapped classes, to a model, scores and masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from segnet.cli.main import main
from segnet.data.layouts import open_source
from segnet.labels import CAMVID
from segnet.models import checkpoint

QUICK = (
    "--epochs", "1", "--batch", "2", "--crop", "32", "32", "--precision", "float32", "--workers", "0", "--device",
    "cpu",
)  # fmt: skip


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


def write_color_masks(camvid_root: Path, root: Path) -> Path:
    """The drawn scenes as CamVid distributes its own: all frames in one folder, masks of colors with ``_L``."""
    source, palette = open_source(camvid_root), CAMVID.palette()
    for name in ("701_StillsRaw_full", "LabeledApproved_full"):
        (root / name).mkdir(parents=True)
    for number, sample in enumerate((*source.splits["train"], *source.splits["val"])):
        name = "0016E5_07959" if number == 0 else f"0006R0_f{number:05}"
        Image.open(sample.image).save(root / "701_StillsRaw_full" / f"{name}.png")
        Image.fromarray(palette[np.array(Image.open(sample.mask))]).save(
            root / "LabeledApproved_full" / f"{name}_L.png"
        )
    rows = [
        f"{red} {green} {blue}\t{name}" for name, (red, green, blue) in zip(CAMVID.names, CAMVID.colors, strict=True)
    ]
    (root / "label_colors.txt").write_text("\n".join([*rows, "0 0 0\t\tVoid"]))
    return root


@pytest.mark.parametrize("layout", ["camvid-folders", "camvid-original"])
def test_a_mapping_of_the_training_holds_in_every_use_of_the_model(
    layout: str, camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = camvid_root if layout == "camvid-folders" else write_color_masks(camvid_root, tmp_path / "data")
    rules, out = "Car,Pedestrian,Bicyclist=mover; Sky=ignore", tmp_path / "run"
    assert leave("train", data, "--model", model_file, "--layout", layout, "--map", rules, "--out", out, *QUICK) == 0
    kept = checkpoint.load(out / "best.safetensors")
    assert "mover" in kept.labels.names
    assert "Sky" not in kept.labels.names
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert (settings["map"], settings["only"], settings["layout"]) == (rules, [], layout)

    assert leave("evaluate", data, "--model", kept.path, "--json", tmp_path / "a.json") == 0
    masks = tmp_path / "masks"
    images = open_source(data).splits["val"][0].image.parent
    assert leave("predict", images, "--model", kept.path, "--out", masks, "--save", "mask", "--max-size", "0") == 0
    score = ("score", masks, data, "--json", tmp_path / "b.json", "--partial")
    assert leave(*score, "--map", rules) == 0
    evaluated, scored = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert scored["miou"] == pytest.approx(evaluated["miou"], abs=0.02)
    capsys.readouterr()
    assert leave(*score) == 2


def test_training_images_of_other_data_sets_are_added(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = write_color_masks(camvid_root, tmp_path / "other"), tmp_path / "run"
    words = ("train", camvid_root, "--model", model_file, "--out", out, *QUICK)
    assert leave(*words, "--add", tmp_path / "missing") == 2
    assert "missing: there is no such data set" in capsys.readouterr().err
    assert not out.exists()
    assert leave(*words, "--add", other) == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["add"] == [str(other)]
    images = [len(open_source(root).splits["train"]) for root in (camvid_root, other)]
    steps = [int(row.split(",")[1]) for row in (out / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [sum(images) // 2]
    assert leave("train", camvid_root, "--out", out, "--resume", "--epochs", "2") == 0
    steps = [int(row.split(",")[1]) for row in (out / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [sum(images) // 2, 2 * (sum(images) // 2)]
