from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.exporting.float16 import halve_filters
from segnet.exporting.formats import FORMATS, to_onnx, to_openvino, write_onnx, write_openvino
from segnet.exporting.programs import make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import ModelInfo

# What TensorRT 8.5 reads (onnx-tensorrt, docs/operators.md), as far as our files have it. Later versions read more, and
# TensorRT 10.0 up to opset 20.
TENSORRT = {
    "Add", "And", "ArgMax", "Cast", "Concat", "Constant", "Conv", "Div", "Equal", "Expand", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mod", "Mul", "Not", "Or", "Pad", "Pow", "Range", "Relu",
    "Reshape", "Resize", "Shape", "Slice", "Softmax", "Squeeze", "Sub", "Unsqueeze", "Where",
}  # fmt: skip
TENSORRT_RESIZES = {
    "mode": {b"nearest", b"linear"},
    "coordinate_transformation_mode": {b"half_pixel", b"asymmetric"},
    "nearest_mode": {b"floor"},
}


@pytest.fixture(scope="module")
def network() -> SegNet:
    """Two stages show every kind of node; not to be changed."""
    encoder, decoder = EncoderConfig(widths=((4,), (6,))), DecoderConfig(widths=((4,), (4,)))
    return SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, local_response_norm=True, classes=5))


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    labels = ClassTable.from_names(["sky", "a car", "road", "Straße", "<x>"])
    return ModelInfo(name="toy", labels=labels, provenance={"terms": "CC BY 4.0"})


@pytest.fixture(scope="module")
def made(network: SegNet, info: ModelInfo) -> onnx.ModelProto:
    return to_onnx(make_program(network, ExportConfig()), info)


@pytest.fixture
def proto(made: onnx.ModelProto) -> onnx.ModelProto:
    return deepcopy(made)


def test_an_onnx_file_is_one_file_with_plain_names(proto: onnx.ModelProto, info: ModelInfo, tmp_path: Path) -> None:
    write_onnx(proto, info, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = ort.InferenceSession(tmp_path / "model.onnx")
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, image.type) == ("image", ["batch", 3, "height", "width"], "tensor(float)")
    assert (logits.name, logits.shape) == ("logits", ["batch", 5, "height", "width"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert set(metadata) == {"segnet", "names"}
    assert metadata["names"] == '["sky", "a car", "road", "Straße", "<x>"]'
    assert json.loads(metadata["segnet"])["provenance"] == {"terms": "CC BY 4.0"}
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_openvino_files_have_plain_names(proto: onnx.ModelProto, info: ModelInfo, tmp_path: Path) -> None:
    write_openvino(to_openvino(proto), info, tmp_path / "model.xml")
    model = openvino.Core().read_model(tmp_path / "model.xml")
    assert (model.input(0).any_name, model.output(0).any_name) == ("image", "logits")
    assert model.input(0).partial_shape.to_string() == "[?,3,?,?]"
    assert model.get_rt_info(["names"]).value == '["sky", "a car", "road", "Straße", "<x>"]'


def test_openvino_files_that_cannot_be_written_are_an_error_of_the_system(
    proto: onnx.ModelProto, info: ModelInfo, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").mkdir()
    with pytest.raises(OSError, match="OpenVINO failed, as on a full disk: Can't open bin file"):
        write_openvino(to_openvino(proto), info, tmp_path / "model.xml")


@pytest.mark.parametrize(
    "config",
    [
        ExportConfig(),
        ExportConfig(output="mask", size=(24, 31)),
        ExportConfig(output="probabilities", resize_to=(16, 24)),
        ExportConfig(half=True),
    ],
    ids=["logits", "mask", "resized", "half"],
)
def test_tensorrt_knows_every_operator(
    config: ExportConfig, network: SegNet, info: ModelInfo, proto: onnx.ModelProto
) -> None:
    if replace(config, half=False) != ExportConfig():  # which is made already
        proto = to_onnx(make_program(network, config), replace(info, output=config.output, size=config.size))
    proto = halve_filters(proto) if config.half else proto
    known = {tensor.name for tensor in proto.graph.initializer}
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert {node.op_type for node in proto.graph.node} <= TENSORRT
    for node in proto.graph.node:
        if node.op_type in {"Slice", "Squeeze", "Unsqueeze"}:  # their axes, where they name some, must be constants
            place = 3 if node.op_type == "Slice" else 1
            assert all(name in known for name in node.input[place : place + 1])
        if node.op_type == "Resize":
            rules = {attribute.name: attribute.s for attribute in node.attribute if attribute.s}
            assert all(rules[name] in allowed for name, allowed in TENSORRT_RESIZES.items() if name in rules)


def test_resizing_to_a_side_of_one_pixel_is_pytorchs(info: ModelInfo, tmp_path: Path) -> None:
    class Shrink(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return F.interpolate(image, size=(1, image.shape[3]), mode="bilinear", align_corners=False)

    image = torch.rand(2, 3, 6, 7)
    program = torch.export.export(Shrink(), (image,), dynamic_shapes={"image": {0: torch.export.Dim.DYNAMIC}})
    proto = to_onnx(program, replace(info, size=(6, 7)))
    found = ort.InferenceSession(proto.SerializeToString()).run(None, {"image": image.numpy()})[0]
    np.testing.assert_allclose(found, Shrink()(image), atol=1e-6)


def test_a_model_of_other_making_can_be_written(proto: onnx.ModelProto, info: ModelInfo, tmp_path: Path) -> None:
    """What quantizes a file hands it over as a ``ModelProto``; properties that it had give way to ours."""
    onnx.helper.set_model_props(proto, {"quantizer": "someone's"})
    write_onnx(proto, info, tmp_path / "model.onnx")
    assert open_runtime(tmp_path / "model.onnx").info == info


def test_formats_have_the_suffixes_that_runtimes_know() -> None:
    assert {kind.suffix for kind in FORMATS.values()} == {".onnx", ".xml", ".pte", ".tflite", ".mlpackage", ".pt2"}
    assert {"onnx", "onnxscript", "onnxruntime", "segnet", "torch"} == set(FORMATS["onnx"].versions())
