"""Which library runs a bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segnet.data.synthetic.scenes import SAMPLE_SEED, render_scene
from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.inference.predictor import Predictor
from segnet.runtimes import choice
from segnet.runtimes.choice import check_runtime, choose_runtime
from segnet.runtimes.exported import exported_file

EVERYTHING = {"torch", "onnxruntime", "openvino"}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_nvidia_gpu", lambda: False)


def install(monkeypatch: pytest.MonkeyPatch, packages: set[str]) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: name if name in packages else None)


@pytest.mark.parametrize(
    ("packages", "asked", "chosen"),
    [
        (EVERYTHING, {}, "openvino"),
        ({"torch", "onnxruntime"}, {}, "onnx"),
        ({"onnxruntime"}, {}, "onnx"),
        ({"torch"}, {}, "torch"),
        (EVERYTHING, {"samples": 8}, "torch"),
        (EVERYTHING, {"precision": "bf16"}, "torch"),
        (EVERYTHING, {"device": "cuda"}, "torch"),
        (EVERYTHING, {"wanted": "torch"}, "torch"),
        (EVERYTHING, {"wanted": "onnx"}, "onnx"),
    ],
)
def test_the_fastest_that_is_installed_and_able(
    monkeypatch: pytest.MonkeyPatch, packages: set[str], asked: dict[str, Any], chosen: str
) -> None:
    install(monkeypatch, packages)
    assert choose_runtime("segnet_light", **asked) == chosen


def test_a_gpu_and_model_files_take_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, EVERYTHING)
    assert choose_runtime("runs/a/best.safetensors") == "torch"
    monkeypatch.setattr(choice, "has_nvidia_gpu", lambda: True)
    assert choose_runtime("segnet_light") == "torch"
    assert choose_runtime("segnet_light", device="cpu") == "openvino"


def test_a_file_named_as_a_bundled_model_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert exported_file("segnet_light") is not None
    Path("segnet_light").write_bytes(b"another model")
    assert exported_file("segnet_light") is None


def test_without_any_library_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, set())
    with pytest.raises(MissingPackageError, match=r"onnxruntime is not installed; run: pip install 'segnet\[onnx\]'"):
        choose_runtime("segnet_light")


@pytest.mark.parametrize(
    ("source", "asked", "message"),
    [
        (__file__, {}, "a model file that was not exported needs PyTorch; leave --runtime onnx out"),
        ("segnet_light", {"samples": 8}, r"Monte Carlo dropout \(--samples\) needs PyTorch"),
        ("segnet_light", {"precision": "bf16"}, "--precision bf16 needs PyTorch"),
    ],
)
def test_what_needs_pytorch_is_refused_elsewhere(source: str, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_runtime(source, "onnx", **asked)


@pytest.mark.parametrize("asked", [{"runtime": "onyx"}, {"verify": "allways"}])
def test_a_misspelled_setting_is_no_setting(asked: dict[str, Any]) -> None:
    ((name, value),) = asked.items()
    with pytest.raises(ConfigError, match=f"{name}.{value!r} is unknown; choose one of "):
        Predictor.load("segnet_light", **asked)


def test_a_model_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match=r"best.safetensors: there is no such model file; 'segnet train' writes one"):
        choose_runtime("best.safetensors", "openvino")


def test_exported_files_run_where_they_can() -> None:
    check_runtime(Path("model.onnx"), "openvino")
    with pytest.raises(ConfigError, match=r"model.xml: --runtime onnx cannot run .xml files; leave it out"):
        check_runtime(Path("model.xml"), "onnx")


def test_every_library_gives_the_same_mask_as_pytorch() -> None:
    image, _ = render_scene(SAMPLE_SEED)
    expected = Predictor.load("segnet_light", runtime="torch", device="cpu")(image).mask
    for runtime in ("onnx", "openvino"):
        predictor = Predictor.load("segnet_light", runtime=runtime, device="cpu")  # type: ignore[arg-type]
        assert predictor.labels.names[0] == "Sky"
        assert np.mean(predictor(image).mask == expected) >= 0.9999
