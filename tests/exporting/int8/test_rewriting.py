from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from segnet.errors import ConfigError
from segnet.exporting.formats import to_onnx
from segnet.exporting.int8.calibration import measure_maps
from segnet.exporting.int8.graph import convolutions, find_groups
from segnet.exporting.int8.rewriting import MapStatistics, quantize_graph
from segnet.exporting.int8.saturation import fitting_scales
from segnet.exporting.programs import make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import CAMVID
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.base import ImageBatch
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.onnx import open_session


def quantized(model: ModelProto, images: list[ImageBatch]) -> ModelProto:
    """All convolutions in INT8, with ranges of these images."""
    return quantize_graph(model, measure_maps(model, images))


def output(model: ModelProto, image: ImageBatch, name: str | None = None) -> Any:
    copy = ModelProto()
    copy.CopyFrom(model)
    if name is not None:
        copy.graph.output.append(helper.make_empty_tensor_value_info(name))
    return open_session(copy.SerializeToString()).run([name or copy.graph.output[0].name], {"image": image})[0]


def in_openvino(model: ModelProto, image: ImageBatch) -> Any:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return compiled([image])[0]


def makers(model: ModelProto) -> dict[str, Any]:
    return {name: node for node in model.graph.node for name in node.output}


def rounded(x: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    """Ten lines that say what a map becomes: 256 steps, one of them zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    zero = round(-low / float(scale))
    return ((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)


def one_convolution(filters: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]) -> ModelProto:
    shape = ["N", filters.shape[1], "H", "W"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["logits"], name="only", pads=[1, 1, 1, 1])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(filters), "H", "W"])],
        [numpy_helper.from_array(filters, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_one_convolution_computes_with_rounded_numbers() -> None:
    random = np.random.default_rng(0)
    filters = (
        random.normal(size=(3, 2, 3, 3)).astype(np.float32) * np.array([1, 10, 0.1], np.float32)[:, None, None, None]
    )
    bias = random.normal(size=3).astype(np.float32)
    image = random.normal(size=(1, 2, 7, 9)).astype(np.float32)
    scales = fitting_scales(filters)[:, None, None, None]
    coarse = np.rint(filters / scales) * scales
    lost = (filters - coarse).sum(axis=(2, 3)) @ image.mean(axis=(0, 2, 3))
    by_hand = one_convolution(coarse, bias + lost)
    found = output(quantized(one_convolution(filters, bias), [image]), image)
    wanted = output(by_hand, rounded(image, float(image.min()), float(image.max())))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-2)
    assert np.abs(found - output(one_convolution(filters, bias), image)).max() > 1e-4


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_rounding_filters_does_not_move_the_mean(groups: int) -> None:
    random = np.random.default_rng(groups)
    filters = random.normal(size=(8, 4 // groups, 1, 1)).astype(np.float32)
    model = one_convolution(filters, np.zeros(8, np.float32))
    model.graph.node[0].attribute.append(helper.make_attribute("group", groups))
    del model.graph.node[0].attribute[0]  # no padding: the mean is that of the filters alone
    del model.graph.input[0].type.tensor_type.shape.dim[1]
    model.graph.input[0].type.tensor_type.shape.dim.insert(1, onnx.TensorShapeProto.Dimension(dim_value=4))
    image = np.rint(random.uniform(0, 255, size=(2, 4, 32, 32))).astype(np.float32)
    image[0, 0, 0, :2] = 0, 255  # every value is exact in bytes
    exact = output(model, image).mean(axis=(0, 2, 3))
    measured = measure_maps(model, [image])
    shifts = [
        np.abs(
            output(quantize_graph(model, MapStatistics(measured.ranges, means)), image).mean(axis=(0, 2, 3)) - exact
        ).max()
        for means in (measured.means, {})
    ]
    assert shifts[0] < 0.1 * shifts[1]


def handmade(nodes: list[Any], outputs: list[str], **constants: np.ndarray[Any, Any]) -> ModelProto:
    """A network of an image of two channels."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, "H", "W"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def an_image() -> ImageBatch:
    return np.random.default_rng(0).normal(size=(1, 2, 6, 8)).astype(np.float32)


def test_a_convolution_may_read_any_output_of_a_node() -> None:
    split = helper.make_node("Split", ["image"], ["first", "second"], name="split", axis=1, num_outputs=2)
    convolution = helper.make_node("Conv", ["second", "w"], ["logits"], name="only")
    model, image = handmade([split, convolution], ["logits"], w=np.ones((3, 1, 1, 1), np.float32)), an_image()
    np.testing.assert_allclose(output(quantized(model, [image]), image), output(model, image), atol=0.05)


def test_a_comparison_that_is_returned_keeps_its_type() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["logits"], name="only"),
        helper.make_node("Greater", ["logits", "limit"], ["is_larger"], name="greater"),
        helper.make_node("Cast", ["is_larger"], ["larger"], name="cast", to=TensorProto.FLOAT),
    ]
    filters, image = np.ones((3, 2, 1, 1), np.float32), an_image()
    model = handmade(nodes, ["logits", "larger"], w=filters, limit=np.zeros((), np.float32))
    logits, larger = (output(quantized(model, [image]), image, name) for name in ("logits", "larger"))
    np.testing.assert_array_equal(larger, (logits > 0).astype(np.float32))


def test_convolutions_of_one_axis_and_with_computed_biases_stay_in_float32() -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["x"], name="plain"),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Conv", ["x", "w", "mean"], ["y"], name="with a computed bias"),
        helper.make_node("Flatten", ["y"], ["flat"], name="flatten", axis=2),
        helper.make_node("Reshape", ["flat", "shape"], ["row"], name="reshape"),
        helper.make_node("Conv", ["row", "v"], ["logits"], name="of one axis"),
    ]
    constants = {"axes": np.array([0, 2, 3]), "shape": np.array([1, 2, -1])}
    filters, row_filters = np.ones((2, 2, 1, 1), np.float32), np.ones((3, 2, 1), np.float32)
    model, image = handmade(nodes, ["logits"], w=filters, v=row_filters, **constants), an_image()
    assert convolutions(model) == ["plain"]
    exact = output(model, image)
    np.testing.assert_allclose(output(quantized(model, [image]), image), exact, atol=0.02 * np.abs(exact).max())


def test_a_bias_survives_filters_of_nothing() -> None:
    image = np.full((1, 1, 4, 4), 0.5, np.float32)
    model = one_convolution(np.zeros((1, 1, 3, 3), np.float32), np.array([3.0], np.float32))
    np.testing.assert_allclose(output(quantized(model, [image]), image), 3.0, rtol=1e-4)


def test_every_convolution_reads_whole_numbers(network: ModelProto, images: list[ImageBatch]) -> None:
    model = quantized(network, images)
    onnx.checker.check_model(model, full_check=True)
    made = makers(model)
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert all(made[name].op_type == "DequantizeLinear" for name in node.input)


def test_the_float_network_stays_as_it_is(network: ModelProto, images: list[ImageBatch]) -> None:
    before = network.SerializeToString(deterministic=True)
    quantized(network, images)
    assert network.SerializeToString(deterministic=True) == before


def test_pooling_and_unpooling_move_bytes(network: ModelProto, images: list[ImageBatch]) -> None:
    model = quantized(network, images)
    kinds = {node.name: node for node in onnx.shape_inference.infer_shapes(model).graph.node}
    for kind in ("Max", "Resize", "Slice", "Greater"):
        nodes = [node for node in kinds.values() if node.op_type == kind]
        assert nodes, kind
        for node in nodes:
            values = output(model, images[0], node.output[0])
            assert values.dtype == (bool if kind == "Greater" else np.uint8), node.name


def test_onnx_runtime_takes_every_convolution_but_the_classifier_for_int8(
    images: list[ImageBatch], tmp_path: Path
) -> None:
    """Of a network with sums of maps: it takes only those whose output is rounded too."""
    torch.manual_seed(0)
    encoder = EncoderConfig(widths=((8,), (8, 8)))
    decoder = DecoderConfig(widths=((8,), (8,)), addition="maps", addition_norm=True)
    model = SegNet(SegNetConfig(name="sums", encoder=encoder, decoder=decoder, classes=CAMVID.classes)).eval()
    proto = to_onnx(make_program(model, ExportConfig()), ModelInfo(name="sums", labels=CAMVID))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(quantized(proto, images).SerializeToString(), options)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert "Add" in {node.op_type for node in proto.graph.node}
    assert kinds["QLinearConv"] == len(convolutions(proto)) - 1
    assert kinds["Conv"] + kinds["FusedConv"] == 1


def test_codes_are_those_of_the_rounded_map(network: ModelProto, images: list[ImageBatch]) -> None:
    """The encoder's first pooling, against a loop over windows."""
    model = quantized(network, images)
    made = makers(model)
    pad = next(node for node in model.graph.node if node.op_type == "Pad")
    image = images[0][:, :, :5, :7]
    x = output(model, image, pad.input[0])
    assert made[pad.input[0]].op_type == "QuantizeLinear"
    codes = output(model, image, [node.input[0] for node in model.graph.node if node.op_type == "Resize"][-1])
    for plane in range(x.shape[1]):
        for row in range(3):
            for column in range(4):
                window = x[0, plane, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                r, c = np.unravel_index(window.argmax(), window.shape)
                assert codes[0, plane, row, column] == r * 2 + c


@pytest.mark.parametrize("size", [(48, 64), (37, 42), (1, 1), (1, 9)])
def test_int8_is_near_float32_on_any_size(network: ModelProto, images: list[ImageBatch], size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(images[0][:, :, : size[0], : size[1]])
    exact, rough = output(network, image), output(quantized(network, images), image)
    assert exact.shape == rough.shape
    # A maximum that changes places moves a value, so the mean counts.
    assert np.abs(rough - exact).mean() < 0.2 * exact.std() + 0.1


def test_int8_in_openvino_is_near_float32(network: ModelProto, images: list[ImageBatch]) -> None:
    image = np.ascontiguousarray(images[1][:, :, :37, :42])
    exact, rough = output(network, image), in_openvino(quantized(network, images), image)
    assert np.abs(rough - exact).mean() < 0.2 * exact.std() + 0.1


def test_onnx_runtime_and_openvino_agree(network: ModelProto, images: list[ImageBatch]) -> None:
    model = quantized(network, images)
    image = images[1][:, :, :37, :42]
    first, second = output(model, image), in_openvino(model, image)
    assert (first.argmax(1) == second.argmax(1)).mean() > 0.97


def test_what_is_kept_stays_in_float32(network: ModelProto, images: list[ImageBatch]) -> None:
    names = convolutions(network)
    statistics = measure_maps(network, images)
    model = quantize_graph(network, statistics, keep=names)
    np.testing.assert_array_equal(output(model, images[0]), output(network, images[0]))
    partly = quantize_graph(network, statistics, keep=names[1:2])
    made = makers(partly)
    conv = next(node for node in partly.graph.node if node.name == names[1])
    assert conv.input[1] not in made
    assert len([node for node in partly.graph.node if node.op_type == "Conv"]) == len(names)


def test_maps_that_meet_before_a_convolution_share_a_scale() -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["a"]),
        helper.make_node("Neg", ["image"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w"], ["logits"], name="last"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", TensorProto.FLOAT, [1, 1, 2, 2])],
        [value("logits", TensorProto.FLOAT, [1, 1, 2, 2])],
        [numpy_helper.from_array(np.ones((1, 2, 1, 1), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (group,) = find_groups(model)
    assert group.sources == {"a", "b"}
    image = np.array([[[[-1.0, 2.0], [3.0, 0.5]]]], np.float32)
    np.testing.assert_allclose(output(quantized(model, [image]), image), output(model, image), atol=0.05)


def test_no_images_is_an_error(network: ModelProto) -> None:
    with pytest.raises(ConfigError, match="needs images"):
        quantized(network, [])
