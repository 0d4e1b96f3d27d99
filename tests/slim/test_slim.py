"""Without PyTorch, exported models predict what PyTorch predicts.

Run by ``tools/check.sh`` in an environment of its own, into whose folder ``files`` it puts the exported models and
PyTorch's mask of the packaged image.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FILES = Path(sys.prefix) / "files"
MODELS = ["segnet_light.onnx", "segnet_light.xml"]


def segnet(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "segnet", *words], capture_output=True, text=True)


def test_torch_is_not_installed() -> None:
    assert importlib.util.find_spec("torch") is None


@pytest.mark.parametrize("model", MODELS)
def test_predict_writes_the_mask_that_pytorch_predicts(model: str, tmp_path: Path) -> None:
    done = segnet("predict", "--model", str(FILES / model), "--out", str(tmp_path), "--save", "mask,overlay,confidence")
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "mask" / "street.png"))
    expected = np.asarray(Image.open(FILES / "torch" / "mask" / "street.png"))
    assert (mask == expected).mean() > 0.999
    kinds = {path.parent.name for path in tmp_path.rglob("street.png")}
    assert kinds == {"mask", "overlay", "confidence", "confidence_color"}


def test_a_predictor_in_python() -> None:
    from segnet import Predictor

    image = np.zeros((37, 45, 3), np.uint8)
    masks = [Predictor.load(FILES / model)(image).mask for model in MODELS]
    assert np.array_equal(*masks)


@pytest.mark.parametrize("model", MODELS)
def test_an_exported_file_is_verified(model: str, tmp_path: Path) -> None:
    done = segnet("predict", "--model", str(FILES / model), "--out", str(tmp_path), "--verify")
    assert done.returncode == 0, done.stderr
    assert f"{model}: same classes as where it was exported in " in done.stderr


@pytest.mark.parametrize("runtime", ["auto", "onnx", "openvino"])
def test_the_bundled_model_needs_no_torch(runtime: str, tmp_path: Path) -> None:
    done = segnet("predict", "--runtime", runtime, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "mask" / "street.png"))
    expected = np.asarray(Image.open(FILES / "torch" / "mask" / "street.png"))
    assert (mask == expected).mean() >= 0.9999


def test_evaluate_and_score_say_the_same_of_a_data_set(tmp_path: Path) -> None:
    from segnet import CAMVID, render_scene

    for split, seeds in (("train", (0, 1)), ("val", (2, 3))):
        for kind in (split, f"{split}annot"):
            (tmp_path / kind).mkdir()
        for seed in seeds:
            image, mask = render_scene(seed)
            mask[mask == 255] = 11  # CamVid's void
            for kind, array in ((split, image), (f"{split}annot", mask)):
                Image.fromarray(array).save(tmp_path / kind / f"{seed}.png")
    commands = {
        "predict": (str(tmp_path / "val"), "--out", str(tmp_path / "p"), "--save", "mask"),
        "check": (str(tmp_path),),
        "score": (str(tmp_path / "p" / "mask"), str(tmp_path), "--boundary", "--json", str(tmp_path / "score.json")),
        "evaluate": (str(tmp_path), "--boundary", "--calibration", "--json", str(tmp_path / "evaluate.json")),
    }
    for name, words in commands.items():
        done = segnet(name, *words)
        assert done.returncode == 0, done.stderr
    scored, evaluated = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("score", "evaluate"))
    assert list(evaluated["per_class"]) == list(CAMVID.names)
    assert evaluated["miou"] > 0.2
    assert evaluated["calibration"]["ece"] < 0.5
    assert scored["miou"] == pytest.approx(evaluated["miou"], abs=1e-3)
    assert scored["boundary"]["bf_paper"] == pytest.approx(evaluated["boundary"]["bf_paper"], abs=1e-3)


def test_exported_files_are_benchmarked(tmp_path: Path) -> None:
    files = [str(FILES / model) for model in MODELS]
    words = ("--rounds", "1", "--images", "1", "--sizes", "96x128", "--json", str(tmp_path / "figures.json"))
    done = segnet("benchmark", *files, *words)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert [Path(row["model"]).name for row in rows] == MODELS
    assert all(row["p50_ms"] > 0 and row["share_of_peak"] is None for row in rows)
    assert "no peak: PyTorch, whose matrix product is compared with, is not installed" in done.stdout


@pytest.mark.parametrize("words", [("predict", "--samples", "4"), ("benchmark", "segnet_light", "--rounds", "1")])
def test_commands_that_need_torch_name_the_remedy(words: tuple[str, ...]) -> None:
    done = segnet(*words)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("segnet: torch is not installed; run: pip install 'segnet[torch]'")
