from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.models.segnet import SegNet
from segnet.runtimes.load import open_runtime
from segnet.runtimes.onnx import OnnxRuntime, Provider, choose_providers


@pytest.fixture(scope="session")
def path(exported: Callable[[str, str], Path]) -> Path:
    return exported("onnx", ".onnx")


def test_a_file_gives_pytorchs_logits(path: Path, toy: SegNet, image: np.ndarray) -> None:
    with torch.no_grad():
        expected = toy(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(OnnxRuntime(path).output(image), expected, atol=1e-4)


def test_a_file_has_its_metadata(path: Path) -> None:
    info = open_runtime(path).info
    assert (info.name, info.output, info.size, info.batch) == ("toy", "logits", None, None)
    assert info.labels.names == ("sky", "Straße", "<tree>")
    assert (info.provenance, info.scores) == ({"terms": "mine"}, {"miou": 0.5})


def test_channels_last_images_and_few_threads_are_taken(path: Path) -> None:
    turned = np.random.default_rng(0).random((1, 9, 8, 3), dtype=np.float32).transpose(0, 3, 1, 2)
    plain = OnnxRuntime(path).output(np.ascontiguousarray(turned))
    np.testing.assert_array_equal(OnnxRuntime(path, device="cpu", threads=1).output(turned), plain)


def test_another_device_is_an_error(path: Path) -> None:
    with pytest.raises(ConfigError, match="device 'abacus' is not available in this ONNX Runtime"):
        OnnxRuntime(path, device="abacus")


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("auto", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("cuda:1", [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]),
        ("cpu", ["CPUExecutionProvider"]),
        ("mps", ["CoreMLExecutionProvider", "CPUExecutionProvider"]),
    ],
)
def test_the_number_of_a_gpu_is_given_to_its_provider(device: str, expected: list[Provider]) -> None:
    available = ["CoreMLExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose_providers(device, available) == expected


def test_a_device_that_is_no_number_is_an_error() -> None:
    for device in ("cuda:one", "cuda:-1"):
        with pytest.raises(
            ConfigError, match=f"device '{device}' is not available in this ONNX Runtime, which has CUDA"
        ):
            choose_providers(device, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert choose_providers("auto", ["CPUExecutionProvider"]) == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-2000],
        lambda data: b"",
        lambda data: b"cut" * 99,
        lambda data: data.replace(b'"name": "toy"', b'"name": "\xff\xfe!"'),
    ],
)
def test_a_damaged_file_is_an_error(damage: Callable[[bytes], bytes], path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"broken.onnx: ") as raised:
        OnnxRuntime(broken)
    assert "\n" not in str(raised.value)


def test_a_file_of_another_program_is_an_error(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"foreign.onnx: has no segnet metadata"):
        OnnxRuntime(tmp_path / "foreign.onnx")


def test_a_missing_library_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"onnxruntime is not installed; .*'segnet\[onnx\]'"):
        OnnxRuntime(path)
