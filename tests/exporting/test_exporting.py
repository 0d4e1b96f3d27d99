from __future__ import annotations

import json
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from segnet.errors import ConfigError, MissingPackageError, ModelError, OutputError
from segnet.exporting.export import export
from segnet.exporting.modules import export_module
from segnet.exporting.programs import make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import verify

FILES = {"onnx": "toy.onnx", "openvino": "toy.xml", "torch": "toy.pt2"}
ONE_SIZE = ExportConfig(size=(13, 41))
"""Takes half the time to export, where it does not matter which sizes a file takes."""


@pytest.fixture
def shallow(narrow_config: SegNetConfig) -> SegNet:
    """One stage: the time that an export takes grows fast with their number."""
    encoder, decoder = EncoderConfig(widths=((4,),)), DecoderConfig(widths=((4,),))
    return SegNet(replace(narrow_config, encoder=encoder, decoder=decoder))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("onnx", {"toy.onnx"}), ("openvino", {"toy.xml", "toy.bin"}), ("torch", {"toy.pt2"})],
)
def test_a_file_and_its_report_are_all_that_is_left(
    kind: str, expected: set[str], shallow: SegNet, five_labels: ClassTable, tmp_path: Path
) -> None:
    out = tmp_path / "new" / FILES[kind]
    report = export(shallow, five_labels, out, format=kind)
    assert names(out.parent) == expected | {f"{out.name}.report.json"}
    kept = json.loads(out.with_name(f"{out.name}.report.json").read_text())
    assert kept == json.loads(json.dumps(report.to_dict()))
    assert kept["bytes"] == sum((out.parent / name).stat().st_size for name in expected)
    assert kept["agreement"] >= 0.999
    assert (kept["size"], kept["output"], kept["precision"]) == (None, "logits", "float32")
    assert {"segnet", "torch"} <= set(kept["versions"])
    assert kept["images"][0]["shape"] == [1, 3, 1, 1]
    assert kept["reference"] == open_runtime(out).info.reference == report.info.reference
    assert kept["reference"]["shape"] == [3, 120, 160]
    assert shallow.training


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_file_is_refused_and_the_old_one_stays(
    kind: str, shallow: SegNet, five_labels: ClassTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(model: SegNet, config: ExportConfig, **words: Any) -> ExportedProgram:
        model = deepcopy(model)
        with torch.no_grad():
            model.classifier.bias[0] += 0.01
        return make_program(model, config, **words)

    monkeypatch.setattr("segnet.exporting.export.make_program", spoilt)
    out = tmp_path / FILES[kind]
    out.write_text("old")
    with pytest.raises(ModelError, match="the exported file does not give what PyTorch gives"):
        export(shallow, five_labels, out, format=kind, config=ONE_SIZE)
    assert names(tmp_path) == {out.name}
    assert out.read_text() == "old"


def test_weights_of_another_program_stay(shallow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    (tmp_path / "toy.bin").write_bytes(b"others")
    with pytest.raises(OutputError, match=r"toy.bin exists, but no .*toy.xml that it belongs to; it stays"):
        export(shallow, five_labels, tmp_path / "toy.xml", format="openvino")
    with pytest.raises(OutputError, match=r"toy.bin exists, but no .*toy.xml that it belongs to; it stays"):
        export_module(shallow, torch.rand(1, 3, 8, 8), tmp_path / "toy.xml")
    assert (tmp_path / "toy.bin").read_bytes() == b"others"


@pytest.mark.parametrize(("kind", "output"), [("onnx", "mask"), ("openvino", "probabilities")])
def test_what_is_around_the_network_is_in_the_file(
    kind: str, output: Any, shallow: SegNet, five_labels: ClassTable, tmp_path: Path
) -> None:
    config = ExportConfig(output=output, resize_to=(24, 32))
    report = export(shallow, five_labels, tmp_path / FILES[kind], format=kind, config=config)
    runtime = open_runtime(report.path)
    image = np.random.default_rng(0).random((2, 3, 13, 41), dtype=np.float32)
    mask = runtime.run(image).mask
    assert (mask.shape, mask.dtype) == ((2, 13, 41), np.uint8)
    assert verify(runtime).passed
    if output == "probabilities":
        np.testing.assert_allclose(runtime.run(image, probabilities=True).probabilities.sum(axis=1), 1.0, rtol=1e-5)


def test_a_file_of_one_size_is_checked_at_that_size(shallow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    report = export(shallow, five_labels, tmp_path / "toy.onnx", config=ExportConfig(size=(20, 27)))
    assert {comparison.shape for comparison in report.comparisons} == {(1, 3, 20, 27)}
    assert open_runtime(report.path).info.size == (20, 27)
    assert verify(open_runtime(report.path)).pixels == 3 * 20 * 27


def test_half_takes_two_bytes_a_weight(shallow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    out = tmp_path / "toy.xml"
    report = export(shallow, five_labels, out, format="openvino", config=ExportConfig(half=True))
    weights = sum(parameter.numel() for parameter in shallow.parameters())
    assert report.info.precision == "float16"
    assert out.with_suffix(".bin").stat().st_size < 3 * weights


def test_half_keeps_what_onnx_runtime_takes_and_gives_float32(tmp_path: Path, five_labels: ClassTable) -> None:
    """Filters alone are halved; one of 64 channels shows that they are most of the file."""
    encoder, decoder = EncoderConfig(widths=((64, 64),)), DecoderConfig(widths=((64,),))
    model = SegNet(SegNetConfig(name="wide", encoder=encoder, decoder=decoder, classes=5))
    config = ExportConfig(size=(16, 21))
    whole = export(model, five_labels, tmp_path / "whole.onnx", config=config)
    half = export(model, five_labels, tmp_path / "half.onnx", config=replace(config, half=True))
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 4)
    assert half.info.precision == "float16"
    assert whole.size_bytes - half.size_bytes == pytest.approx(2 * weights, rel=0.02)
    session = ort.InferenceSession(half.path)
    assert {entry.type for entry in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"format": "caffe"}, "format 'caffe' is unknown; choose one of onnx, openvino"),
        ({"format": "openvino"}, r"toy.onnx is no name for this format; give one that ends in \.xml"),
        ({"format": "executorch"}, "executorch takes images of one size; give it"),
        (
            {"format": "torch", "config": ExportConfig(half=True)},
            "torch cannot keep filters in float16 here; leave --half out, or choose onnx or openvino",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    words: dict[str, Any], message: str, shallow: SegNet, five_labels: ClassTable, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(shallow, five_labels, tmp_path / "toy.onnx", **words)


def test_another_class_table_is_refused(shallow: SegNet, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the network has 5 classes but the class table 2"):
        export(shallow, ClassTable.from_names(["a", "b"]), tmp_path / "toy.onnx")


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("onnx", "onnxscript", "export"),
        ("onnx", "onnxruntime", "export"),
        ("openvino", "openvino", "export"),
        ("executorch", "executorch.exir", "executorch"),
        ("litert", "litert_torch", "litert"),
    ],
)
def test_a_missing_library_is_an_error_before_work_begins(
    kind: str, package: str, extra: str, shallow: SegNet, five_labels: ClassTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    out = {"executorch": "toy.pte", "litert": "toy.tflite", **FILES}[kind]
    with pytest.raises(MissingPackageError, match=rf"{package.split('.')[0]} is not installed; .*segnet\[{extra}\]"):
        export(shallow, five_labels, out, format=kind, config=ExportConfig(size=(8, 8)))


def test_a_place_that_cannot_be_written_is_refused(shallow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"toy.onnx cannot be written"):
        export(shallow, five_labels, tmp_path / "file" / "toy.onnx")


def test_an_encoder_that_is_not_ours_is_checked_on_larger_images(five_labels: ClassTable, tmp_path: Path) -> None:
    """Filters without a border cannot halve one pixel."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 2, stride=2)

        def forward(self, x: Tensor) -> list[Tensor]:
            first = self.first(x).relu()
            return [first, self.second(first).relu()]

    model = create_model("segnet", classes=5, encoder=Body())
    report = export(model, five_labels, tmp_path / "toy.onnx")
    assert min(comparison.shape[2] for comparison in report.comparisons) == 33
    assert repr(report) == f"ExportReport('{report.path}', {report.size_bytes:,} bytes, agreement 1.00000)"


def test_what_is_no_segnet_or_no_table_is_refused(shallow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a ReLU is no SegNet; segnet.export_module takes any module"):
        export(nn.ReLU(), five_labels, tmp_path / "toy.onnx")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"scores: a list was given; give a dict"):
        export(shallow, five_labels, tmp_path / "toy.onnx", scores=[0.5])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="a str was given as class table"):
        export(shallow, "toy.onnx", five_labels)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"config={'half': True} is not possible; give segnet.ExportConfig\(\)"):
        export(shallow, five_labels, tmp_path / "toy.onnx", config={"half": True})  # type: ignore[arg-type]
