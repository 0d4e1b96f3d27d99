from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from segnet.data.dataset import SegmentationDataset
from segnet.data.samples import Sample
from segnet.errors import ConfigError, ModelError
from segnet.exporting.formats import to_openvino, write_onnx, write_openvino
from segnet.exporting.int8.calibration import CalibratedOnnx
from segnet.exporting.int8.gate import Calibration, quantize_within, sensitivities
from segnet.exporting.int8.graph import convolutions
from segnet.labels import CAMVID
from segnet.media.images.writing import write_image, write_mask
from segnet.metrics.confusion import Scores, score_mask
from segnet.runtimes.base import FileRuntime, ImageBatch, argmax
from segnet.runtimes.load import open_file
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.onnx import open_session

Stage = Callable[[ModelProto], FileRuntime]

ALLOWED = 0.6
"""Much, since weights by chance leave no margin between the classes."""


@pytest.fixture
def data(network: ModelProto, images: list[ImageBatch], tmp_path: Path) -> SegmentationDataset:
    """Images whose masks are what the float32 network says of them: its mIoU is 1."""
    samples = []
    for number, single in enumerate(images):
        name = f"{number}.png"
        image, mask = (
            Sample(tmp_path / "images" / name, tmp_path / "masks" / name, name),
            network_mask(network, single),
        )
        write_image(image.image, np.rint(single[0].transpose(1, 2, 0) * 255).astype(np.uint8))
        write_mask(image.mask, mask, CAMVID)
        samples.append(image)
    return SegmentationDataset(samples, CAMVID)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return lambda model: opened(model, tmp_path / "made.onnx")


def opened(model: ModelProto, path: Path) -> FileRuntime:
    info = ModelInfo(name="toy", labels=CAMVID)
    if path.suffix == ".onnx":
        write_onnx(model, info, path)
    else:
        write_openvino(to_openvino(model), info, path)
    return open_file(path)


def network_mask(network: ModelProto, image: ImageBatch) -> np.ndarray:
    return argmax(open_session(network.SerializeToString()).run(None, {"image": image})[0])[0]


def fragile(network: ModelProto, number: int) -> tuple[ModelProto, str]:
    """The same network, but one channel between two convolutions is 10,000 times as large as the others."""
    model = ModelProto()
    model.CopyFrom(network)
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    constants = {each.name: each for each in model.graph.initializer}

    def scale(name: str, channel: tuple[slice | int, ...], factor: float) -> None:
        values = numpy_helper.to_array(constants[name]).copy()
        values[channel] *= factor
        constants[name].CopyFrom(numpy_helper.from_array(values, name))

    for name in convs[number].input[1:]:
        scale(name, (0,), 1e4)
    scale(convs[number + 1].input[1], (slice(None), 0), 1e-4)
    return model, convs[number + 1].name


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_sound_network_becomes_int8_as_a_whole(
    network: ModelProto, images: list[ImageBatch], data: SegmentationDataset, tmp_path: Path, suffix: str
) -> None:
    done: list[int] = []
    found = quantize_within(
        CalibratedOnnx(network, images),
        Calibration(images=images, data=data, max_drop=ALLOWED),
        stage=lambda model: opened(model, tmp_path / f"made{suffix}"),
        progress=lambda now, of: done.append(now),
    )
    assert found.reference.miou > 0.999
    assert 0.0 < found.drop < ALLOWED
    assert found.kept == ()
    assert done == [1, 2, 3, 4] * 2
    table = found.to_dict()
    assert json.loads(json.dumps(table)) == table
    assert table["int8"]["miou"] == found.scores.miou
    assert list(table["float32"]["iou"]) == list(CAMVID.names)


def test_the_most_sensitive_convolution_stays_in_float32(
    network: ModelProto, images: list[ImageBatch], data: SegmentationDataset, stage: Stage
) -> None:
    model, culprit = fragile(network, number=1)
    calibrated, calibration = CalibratedOnnx(model, images), Calibration(images=images, data=data, max_drop=ALLOWED)
    found = quantize_within(calibrated, calibration, stage=stage)
    assert found.kept == (culprit,)
    assert [len(one.kept) for one in found.attempts] == [0, 1]
    assert found.attempts[0].scores.miou < found.attempts[1].scores.miou - 0.1
    assert next(iter(sensitivities(calibrated, images))) == culprit


def test_a_loss_that_cannot_be_helped_is_an_error_that_lists_all_attempts(
    network: ModelProto, images: list[ImageBatch], data: SegmentationDataset, stage: Stage
) -> None:
    calibration = Calibration(images=images, data=data, max_drop=0.0)
    with pytest.raises(ModelError, match=r"float32 has 1\.0000, INT8 0\.\d+ with 0, 0\.\d+ with 1, 0\.\d+ with 2 of 6"):
        quantize_within(CalibratedOnnx(network, images), calibration, stage=stage)


def test_sensitivities_name_every_convolution(network: ModelProto, images: list[ImageBatch]) -> None:
    found = sensitivities(CalibratedOnnx(network, images), images[:1])
    assert set(found) == set(convolutions(network))
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert min(found.values()) > 0.0


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_drop_that_is_no_share_is_refused(value: float, images: list[ImageBatch], data: SegmentationDataset) -> None:
    with pytest.raises(ConfigError, match="max_drop"):
        Calibration(images=images, data=data, max_drop=value)


def scores(truth: list[int], predicted: list[int]) -> Scores:
    return score_mask(np.array([predicted], np.uint8), np.array([truth], np.uint8), CAMVID)


def test_a_class_that_is_not_in_the_truth_does_not_change_the_drop(
    network: ModelProto, images: list[ImageBatch], data: SegmentationDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = [0, 0, 1, 1]
    rated = iter([scores(truth, [0, 0, 1, 2]), scores(truth, [0, 0, 0, 1])])  # INT8 is worse, and invents no class
    monkeypatch.setattr(Calibration, "rate", lambda *_: next(rated))
    calibration = Calibration(images=images, data=data, max_drop=1.0)
    found = quantize_within(CalibratedOnnx(network, images), calibration, stage=lambda model: cast("FileRuntime", None))
    assert found.scores.miou > found.reference.miou
    assert found.drop == pytest.approx((1 + 1 / 2) / 2 - (2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(("allowed", "warned"), [(0.01, True), (0.0, True), (1.0, False)])
def test_labels_on_which_no_loss_can_be_seen_are_warned_of(
    allowed: float,
    warned: bool,
    network: ModelProto,
    images: list[ImageBatch],
    data: SegmentationDataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Calibration, "rate", lambda *_: scores([0, 0], [1, 1]))
    calibration = Calibration(images=images, data=data, max_drop=allowed)
    quantize_within(CalibratedOnnx(network, images), calibration, stage=lambda model: cast("FileRuntime", None))
    messages = [record.getMessage() for record in caplog.records]
    assert ["float32 has mIoU 0.0000" in message for message in messages] == [True] * warned
