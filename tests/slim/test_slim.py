"""Without PyTorch, exported models predict what PyTorch predicts.

Run by ``tools/check.sh`` in an environment of its own, into whose folder ``files`` it puts the exported models and
PyTorch's mask of the packaged image.
"""

from __future__ import annotations

import importlib.util
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


def test_commands_that_need_torch_name_the_remedy() -> None:
    done = segnet("predict", "--samples", "4")
    assert done.returncode == 2
    assert done.stderr.strip().startswith("segnet: torch is not installed; run: pip install 'segnet[torch]'")
