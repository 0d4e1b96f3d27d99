"""No pair of products overflows 16 bits, whatever the filters, and a file of which that is not true is found."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from segnet.errors import ModelError
from segnet.exporting.int8 import rewriting
from segnet.exporting.int8.calibration import measure_maps
from segnet.exporting.int8.graph import convolutions
from segnet.exporting.int8.rewriting import quantize_graph
from segnet.exporting.int8.saturation import fitting_scales, pair_sums, require_no_overflow
from segnet.runtimes.base import ImageBatch
from segnet.runtimes.model_info import PAIR_LIMIT
from segnet.system.hardware import instruction_sets

Filters = NDArray[np.float32]


def widest(filters: Filters) -> Filters:
    """The scales of older versions: the largest weight becomes 127."""
    return np.maximum(np.abs(filters).max(axis=(1, 2, 3)) / 127, 1e-12).astype(np.float32)


def whole(filters: Filters, scales: Filters) -> NDArray[np.int64]:
    return np.rint(filters / scales[:, None, None, None]).astype(np.int64)


def worst_pair(channel: NDArray[Any]) -> int:
    """By trying all pairs: an input of 0 leaves a product out, one of 255 counts it in full."""
    values = [*channel.reshape(-1).tolist(), 0]
    pairs = [(a, b) for index, a in enumerate(values) for b in values[:index]]
    return max(max(max(a, 0) + max(b, 0), -min(a, 0) - min(b, 0)) for a, b in pairs)


def int8_model(filters: NDArray[Any], zero: NDArray[Any] | None = None) -> ModelProto:
    """One convolution, its filters stored as given."""
    value, initial = helper.make_tensor_value_info, numpy_helper.from_array
    zeros = [] if zero is None else [initial(zero, "zero")]
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["bytes", "scale", *[each.name for each in zeros]], ["w"], axis=0),
            helper.make_node("Conv", ["image", "w"], ["logits"], name="only"),
        ],
        "g",
        [value("image", TensorProto.FLOAT, ["N", filters.shape[1], "H", "W"])],
        [value("logits", TensorProto.FLOAT, ["N", len(filters), "H", "W"])],
        [initial(filters, "bytes"), initial(np.ones(len(filters), np.float32), "scale"), *zeros],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def convolution(filters: Filters, bias: Filters) -> ModelProto:
    """One convolution in float32."""
    value, initial = helper.make_tensor_value_info, numpy_helper.from_array
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["logits"], name="only")],
        "g",
        [value("image", TensorProto.FLOAT, ["N", filters.shape[1], "H", "W"])],
        [value("logits", TensorProto.FLOAT, ["N", len(filters), "H", "W"])],
        [initial(filters, "w"), initial(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


sizes = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-20, -3e30])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=3), elements=sizes))
def test_no_pair_of_any_filters_overflows_and_no_smaller_scale_would_do(filters: Filters) -> None:
    scales = fitting_scales(filters)
    assert all(worst_pair(channel) <= PAIR_LIMIT for channel in whole(filters, scales))
    assert np.abs(whole(filters, scales)).max() <= 127
    smaller = np.nextafter(scales, np.float32(0))
    for channel, scale in zip(whole(filters, smaller), scales, strict=True):
        assert scale <= np.float32(1e-12) or worst_pair(channel) > PAIR_LIMIT or np.abs(channel).max() > 127


@pytest.mark.parametrize(
    "filters",
    [
        np.ones((3, 2, 3, 3)),
        np.full((2, 1, 3, 3), -7.0),
        np.zeros((2, 1, 3, 3)),
        np.array([3.0, -3.0]).reshape(2, 1, 1, 1),
        np.array([100.0, 1, 1, 1, -100, -1, -1, -1, 64.5]).reshape(1, 1, 3, 3),
        np.random.default_rng(0).standard_t(2, size=(8, 16, 3, 3)),
    ],
    ids=["equal", "equal, negative", "zeros", "one weight", "single large ones", "heavy tails"],
)
@pytest.mark.parametrize("bias", [0.0, 1e9])
def test_a_quantized_network_passes_the_check(filters: NDArray[Any], bias: float) -> None:
    model = convolution(filters.astype(np.float32), np.full(len(filters), bias, np.float32))
    image = np.random.default_rng(0).random((1, filters.shape[1], 5, 5), dtype=np.float32)
    (found,) = pair_sums(quantize_graph(model, measure_maps(model, [image])))
    assert found.name == "only"
    assert not found.can_overflow


def test_a_channel_of_one_weight_keeps_all_seven_bits() -> None:
    filters = np.array([3.0, -3.0], np.float32).reshape(2, 1, 1, 1)
    assert whole(filters, fitting_scales(filters)).reshape(-1).tolist() == [127, -127]


@pytest.mark.parametrize(
    ("weights", "zero", "value"),
    [
        (np.int8([64, 64, -100, -28]), None, 128),
        (np.int8([65, 64, 0, 0]), None, 129),
        (np.int8([-65, 127, -64, 1]), np.int8([0]), 129),
        (np.int8([50, -50, 50, 50]), np.int8([-20]), 140),  # less the zero point
        (np.int8([90, 90, 90, 90]), np.int8([90]), 180),  # as they are stored
        (np.uint8([128, 192, 192, 0]), np.uint8([128]), 128),
        (np.uint8([192, 193, 128, 128]), np.uint8([128]), 129),
    ],
)
def test_the_check_finds_the_worst_pair(weights: NDArray[Any], zero: NDArray[Any] | None, value: int) -> None:
    harmless = np.full_like(weights, 0 if zero is None else zero[0])
    filters = np.stack([harmless, weights]).reshape(2, 1, 2, 2)
    zeros = None if zero is None else np.repeat(zero, 2)
    (found,) = pair_sums(int8_model(filters, zeros))
    assert found.value == value
    assert found.can_overflow == (value > 128)


def test_what_can_overflow_is_named() -> None:
    model = int8_model(np.int8([[1, 2], [100, 29]]).reshape(2, 2, 1, 1))
    with pytest.raises(ModelError, match=r"convolution only has two weights of 129 in sum \(channel 1\)"):
        require_no_overflow(model)


def test_filters_that_are_no_constants_cannot_be_judged() -> None:
    model = int8_model(np.int8([[1, 2]]).reshape(1, 2, 1, 1))
    del model.graph.initializer[0]
    with pytest.raises(ModelError, match="the filters of only are not constant"):
        pair_sums(model)


def test_every_convolution_of_a_network_is_judged(
    network: ModelProto, images: list[ImageBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pair_sums(network) == []
    found = pair_sums(quantize_graph(network, measure_maps(network, images)))
    assert [each.name for each in found] == convolutions(network)
    assert not any(each.can_overflow for each in found)
    monkeypatch.setattr(rewriting, "fitting_scales", widest)
    assert all(each.can_overflow for each in pair_sums(quantize_graph(network, measure_maps(network, images))))


def without_vnni(image: NDArray[np.uint8], filters: NDArray[np.int64]) -> NDArray[np.int64]:
    """A convolution as AVX2 computes it: vpmaddubsw over neighbors in rows, columns, channels; then 32 bits."""
    x, w = (
        image.transpose(1, 2, 0).reshape(-1).astype(np.int64),
        filters.transpose(0, 2, 3, 1).reshape(len(filters), -1),
    )
    products = np.pad(w * x, ((0, 0), (0, w.shape[1] % 2))).reshape(len(w), -1, 2)
    return np.clip(products.sum(axis=2), -(2**15), 2**15 - 1).sum(axis=1)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_sums_of_pairs_in_16_bits_are_exact_now_and_were_not(channels: int) -> None:
    random = np.random.default_rng(channels)
    filters = random.normal(size=(32, channels, 3, 3)).astype(np.float32)
    image = random.integers(192, 256, size=(channels, 3, 3), dtype=np.uint8)
    new, old = whole(filters, fitting_scales(filters)), whole(filters, widest(filters))
    exact = [np.einsum("ocij,cij->o", weights, image.astype(np.int64)) for weights in (new, old)]
    np.testing.assert_array_equal(without_vnni(image, new), exact[0])
    assert (without_vnni(image, old) != exact[1]).any()


_IN_OPENVINO = """
import sys, numpy as np, openvino
core = openvino.Core()
image = np.load("image.npy")
for name in ("new", "old"):
    np.save(f"{name}.npy", core.compile_model(core.read_model(f"{name}.onnx"), "CPU")([image])[0])
"""


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="about x86 processors")
def test_openvino_gives_the_same_without_vnni(
    network: ModelProto, images: list[ImageBatch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(quantize_graph(network, measure_maps(network, images)), tmp_path / "new.onnx")
    monkeypatch.setattr(rewriting, "fitting_scales", widest)
    onnx.save(quantize_graph(network, measure_maps(network, images)), tmp_path / "old.onnx")
    np.save(tmp_path / "image.npy", np.ascontiguousarray(images[1][:, :, :17, :22]))
    found: dict[str, list[NDArray[Any]]] = {"new": [], "old": []}
    # Neither has VNNI. OpenVINO 2026.4 crashes where a processor with bfloat16 is limited to AVX2, with any network.
    for limit in ("ALL", "AVX512_CORE" if "avx512_bf16" in instruction_sets() else "AVX2"):
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
        subprocess.run([sys.executable, "-c", _IN_OPENVINO], cwd=tmp_path, env=environment, check=True)
        for name, each in found.items():
            each.append(np.load(tmp_path / f"{name}.npy"))
    np.testing.assert_allclose(*found["new"], atol=1e-3)
    if {"avx512_vnni", "avx_vnni"} & set(instruction_sets()):
        assert np.abs(found["old"][0] - found["old"][1]).max() > 1e-3
