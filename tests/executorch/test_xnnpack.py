from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node

from segnet.data.dataset import SegmentationDataset
from segnet.data.samples import Sample
from segnet.errors import ConfigError, MissingPackageError, ModelError, ShapeError
from segnet.exporting.int8.export import export_int8
from segnet.exporting.int8.gate import Calibration, Quantized, sensitivities
from segnet.exporting.int8.xnnpack import CalibratedProgram
from segnet.exporting.programs import make_program
from segnet.exporting.report import ExportReport
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.media.images.writing import write_image, write_mask
from segnet.models.segnet import SegNet
from segnet.runtimes.base import ImageBatch, argmax
from segnet.runtimes.executorch import ExecuTorchRuntime

SIZE = (17, 22)
LABELS = ClassTable.from_names(["sky", "house", "road"])
ALLOWED = 0.6
"""Much, since weights by chance leave no margin between the classes."""


@pytest.fixture(scope="session")
def images() -> list[ImageBatch]:
    generator = np.random.default_rng(0)
    return [np.rint(generator.random((1, 3, *SIZE)) * 255).astype(np.float32) / 255 for _ in range(4)]


@pytest.fixture(scope="session")
def calibrated(toy: SegNet, images: list[ImageBatch]) -> CalibratedProgram:
    return CalibratedProgram(make_program(toy, ExportConfig(size=SIZE), batch=1), images)


@pytest.fixture(scope="session")
def data(toy: SegNet, images: list[ImageBatch], tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    """Images whose masks are what the float32 network says of them: its mIoU is 1."""
    root, samples = tmp_path_factory.mktemp("data"), []
    for number, image in enumerate(images):
        name = f"{number}.png"
        sample = Sample(root / "images" / name, root / "masks" / name, name)
        write_image(sample.image, np.rint(image[0].transpose(1, 2, 0) * 255).astype(np.uint8))
        with torch.no_grad():
            write_mask(sample.mask, argmax(toy(torch.from_numpy(image)).numpy())[0], LABELS)
        samples.append(sample)
    return SegmentationDataset(samples, LABELS)


@pytest.fixture(scope="session")
def exported(
    toy: SegNet, images: list[ImageBatch], data: SegmentationDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExportReport, Quantized[Any]]:
    return export_int8(
        toy,
        LABELS,
        tmp_path_factory.mktemp("exported") / "toy.pte",
        format="executorch",
        config=ExportConfig(size=SIZE),
        calibration=Calibration(images=images, data=data, max_drop=ALLOWED),
        provenance={"terms": "mine"},
    )


class Recorder(Interpreter):
    """Runs a program and keeps the value of every node."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.module(check_guards=False))
        self.values: dict[Node, Any] = {}

    def run_node(self, node: Node) -> Any:
        self.values[node] = super().run_node(node)
        return self.values[node]

    def nodes(self, name: str) -> list[Node]:
        return [node for node in self.values if name in str(node.target)]


@pytest.fixture
def recorded(calibrated: CalibratedProgram) -> Recorder:
    recorder = Recorder(calibrated.quantize(()))
    with torch.no_grad():
        recorder.run(torch.from_numpy(np.random.default_rng(1).random((1, 3, *SIZE), dtype=np.float32)))
    return recorder


def is_pool(node: Node) -> bool:
    return node.args[-1] == -float("inf")


def is_unpool(node: Node) -> bool:
    return "upsample" in str(node.args[0].target)


def test_the_codes_tell_where_the_maxima_of_the_stored_bytes_are(recorded: Recorder) -> None:
    read = [recorded.values[node.args[0]] for node in recorded.nodes("conv2d")]
    pools = list(filter(is_pool, recorded.nodes("aten.pad")))
    unpools = list(filter(is_unpool, recorded.nodes("aten.mul")))
    assert len(pools) == len(unpools) == 2
    for pool, unpool in zip(pools, reversed(unpools), strict=True):
        assert "dequantize_per_tensor" in str(pool.args[0].target)
        stored = recorded.values[pool.args[0]]
        values, places = F.max_pool2d(stored, 2, 2, ceil_mode=True, return_indices=True)
        given = recorded.values[unpool.args[0].args[0]]
        expected = F.max_unpool2d(given, places, 2, output_size=stored.shape[2:])
        assert any(torch.equal(expected, one) for one in read)
        assert pool is pools[-1] or any(torch.equal(values, one) for one in read)


def test_nothing_is_rounded_between_pooling_and_its_end(recorded: Recorder) -> None:
    rounded = [node.args[0].target for node in recorded.nodes(".quantize_per_tensor")]
    aten = torch.ops.aten
    assert {aten.conv2d.default, aten.relu.default, aten.maximum.default, aten.mul.Tensor} >= set(rounded[1:])
    unpools = list(filter(is_unpool, recorded.nodes("aten.mul")))
    assert {node.args[0] for node in recorded.nodes(".quantize_per_tensor")} & set(recorded.nodes("aten.mul")) == set(
        unpools
    )
    assert len(rounded) == 1 + len(recorded.nodes("relu")) + len(unpools) + 1 + 1


@pytest.mark.parametrize("activation", [torch.nn.ReLU(), torch.nn.ReLU6()], ids=["relu", "relu6"])
def test_a_convolution_is_rounded_behind_its_activation(activation: torch.nn.Module, images: list[ImageBatch]) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), activation, torch.nn.Conv2d(4, 3, 1)).eval()
    program = torch.export.export(network, (torch.from_numpy(images[0]),))
    graph = CalibratedProgram(program, images).quantize(()).graph
    (node,) = (node for node in graph.nodes if "relu" in str(node.target) or "hardtanh" in str(node.target))
    assert node.args[0].target is torch.ops.aten.conv2d.default
    assert all(".quantize_per_tensor" in str(user.target) for user in node.users)


def test_a_convolution_that_is_kept_has_its_own_filters(calibrated: CalibratedProgram) -> None:
    kept = calibrated.convolutions[1]
    nodes = {node.name: node for node in calibrated.quantize([kept]).graph.nodes}
    for name in calibrated.convolutions:
        assert ("dequantize" in str(nodes[name].args[1].target)) == (name != kept)


def test_with_all_convolutions_kept_nothing_changes(calibrated: CalibratedProgram, images: list[ImageBatch]) -> None:
    same = calibrated.quantize(calibrated.convolutions)
    assert not [node for node in same.graph.nodes if "quantize" in str(node.target)]
    for exact, found in zip(
        calibrated.outputs(calibrated.exact, images), calibrated.outputs(same, images), strict=True
    ):
        np.testing.assert_allclose(found, exact, atol=1e-5)


def test_sensitivities_name_every_convolution(calibrated: CalibratedProgram, images: list[ImageBatch]) -> None:
    found = sensitivities(calibrated, images[:1])
    assert set(found) == set(calibrated.convolutions)
    assert min(found.values()) > 0.0


def test_a_file_keeps_its_scores_in_its_metadata(exported: tuple[ExportReport, Quantized[Any]]) -> None:
    report, found = exported
    assert found.reference.miou > 0.999
    assert found.kept == ()
    table = json.loads(report.path.with_name("toy.pte.report.json").read_text(encoding="utf-8"))
    assert table["accuracy"]["int8"]["miou"] == found.scores.miou
    info = ExecuTorchRuntime(report.path).info
    assert (info.precision, info.batch, info.provenance) == ("int8", 1, {"terms": "mine"})


def test_a_file_gives_what_the_rounded_program_gives(
    exported: tuple[ExportReport, Quantized[Any]], calibrated: CalibratedProgram, images: list[ImageBatch]
) -> None:
    runtime = ExecuTorchRuntime(exported[0].path)
    for image, logits in zip(images, calibrated.outputs(calibrated.quantize(()), images), strict=True):
        assert (runtime.run(image).mask == argmax(logits)).mean() > 0.9


def test_convolutions_and_rounding_are_xnnpacks(exported: tuple[ExportReport, Quantized[Any]]) -> None:
    content = exported[0].path.read_bytes()
    assert b"XnnpackBackend" in content
    assert b"aten::convolution" not in content
    assert b"quantized_decomposed" not in content


def test_a_loss_that_cannot_be_helped_is_an_error_and_nothing_is_written(
    toy: SegNet, images: list[ImageBatch], data: SegmentationDataset, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"float32 has 1\.0000, INT8 0\.\d+ with 0, 0\.\d+ with 1, 0\.\d+ with 2 of 5"):
        export_int8(
            toy,
            LABELS,
            tmp_path / "toy.pte",
            format="executorch",
            config=ExportConfig(size=SIZE),
            calibration=Calibration(images=images, data=data, max_drop=0.0),
        )
    assert list(tmp_path.iterdir()) == []


def test_no_image_is_refused(calibrated: CalibratedProgram) -> None:
    with pytest.raises(ConfigError, match="none was given"):
        CalibratedProgram(calibrated.exact, [])


def test_an_image_of_another_size_is_refused(calibrated: CalibratedProgram) -> None:
    with pytest.raises(ShapeError, match=r"\(1, 3, 8, 8\); give all of them \(1, 3, 17, 22\)"):
        CalibratedProgram(calibrated.exact, [np.zeros((1, 3, 8, 8), dtype=np.float32)])


def test_a_missing_library_is_refused(calibrated: CalibratedProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e", None)
    with pytest.raises(MissingPackageError, match=r"torchao is not installed; .*'segnet\[executorch\]'"):
        CalibratedProgram(calibrated.exact, [])
