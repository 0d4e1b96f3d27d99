"""A model file that ONNX Runtime and OpenVINO run: exported once, then taken from the cache."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from segnet.cli.main import main
from segnet.data.synthetic.scenes import render_scene
from segnet.errors import ModelError
from segnet.exporting import cached
from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.models import bundled, checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes import choice
from segnet.runtimes.exported import exported_file


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_nvidia_gpu", lambda: False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    parts = {"encoder": EncoderConfig(widths=((4,),)), "decoder": DecoderConfig(widths=((4,),))}
    network = SegNet(SegNetConfig(name="toy", classes=3, **parts)).eval()
    return checkpoint.save(network, ClassTable.from_names(["sky", "house", "road"]), tmp_path / "toy.safetensors")


def runs_in(predictor: Predictor) -> str:
    return type(predictor.runtime).__name__


def mask(runtime: str, model: str | Path, photo: Path) -> np.ndarray:
    out = photo.with_name(f"{runtime}.png")
    words = [
        str(photo),
        "--model",
        str(model),
        "--runtime",
        runtime,
        "--out",
        str(out.parent / runtime),
        "--save",
        "mask",
    ]
    with pytest.raises(SystemExit) as left:
        main(["predict", *words])
    assert not left.value.code
    with Image.open(next((out.parent / runtime).rglob("*.png"))) as image:
        return np.array(image)


def test_a_model_file_is_exported_once_and_auto_takes_the_export(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(render_scene(0, size=(24, 32))[0]).save(photo)
    assert exported_file(model) is None
    assert runs_in(Predictor.load(model)) == "TorchRuntime"
    with caplog.at_level(logging.INFO, "segnet"):
        by_openvino = mask("openvino", model, photo)
    assert "exporting" in caplog.text
    monkeypatch.setattr(cached, "export", lambda *_, **__: pytest.fail("exported twice"))
    np.testing.assert_array_equal(by_openvino, mask("torch", model, photo))
    np.testing.assert_array_equal(by_openvino, mask("onnx", model, photo))
    assert runs_in(Predictor.load(model)) == "OpenVinoRuntime"
    assert runs_in(Predictor.load(model, precision="auto")) == "TorchRuntime"
    model.write_bytes(model.read_bytes())  # perhaps another one now
    assert exported_file(model) is None


def test_a_bundled_model_without_an_onnx_file_is_exported_once_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "_files", lambda suffix: {"toy": model} if suffix == ".safetensors" else {})
    photo = tmp_path / "photo.png"
    Image.fromarray(render_scene(0, size=(24, 32))[0]).save(photo)
    assert exported_file("toy") is None
    assert runs_in(Predictor.load("toy")) == "TorchRuntime"
    np.testing.assert_array_equal(mask("onnx", "toy", photo), mask("torch", "toy", photo))
    assert exported_file("toy") is not None
    assert runs_in(Predictor.load("toy")) == "OpenVinoRuntime"


def test_the_cache_keeps_no_export_that_differs_and_only_some(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(model: object, labels: object, out: Path, **_: object) -> SimpleNamespace:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path in (out, out.with_name(f"{out.name}.report.json")):
            path.touch()
        return SimpleNamespace(agreement=0.99995)

    monkeypatch.setattr(cached, "_KEPT", 1)
    monkeypatch.setattr(cached, "export", export)
    first = cached.export_to_cache(model)
    model.write_bytes(model.read_bytes())
    gone = first.with_name("gone.onnx")
    gone.symlink_to("nowhere")  # as if another process removed its oldest export just now
    second = cached.export_to_cache(model)
    gone.unlink()
    assert sorted(second.parent.iterdir()) == [second, second.with_name(f"{second.name}.report.json")]
    assert first != second
    model.write_bytes(model.read_bytes())
    monkeypatch.setattr(cached, "AGREEMENT", 0.99999)
    with pytest.raises(ModelError, match=r"only 99.995% of the pixels .* use --runtime torch"):
        cached.export_to_cache(model)
    assert exported_file(model) is None
    assert len(list(second.parent.iterdir())) == 2
