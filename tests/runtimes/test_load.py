"""Opening a model by its name or suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import segnet
from segnet.errors import ConfigError, ModelError
from segnet.runtimes.load import open_runtime


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.pte", "a.tflite", "a.pt2"])
def test_a_missing_file_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{name}: there is no such file; 'segnet export' writes it"):
        open_runtime(tmp_path / name)


@pytest.mark.parametrize("source", [None, 5, ["a.onnx"], b"a.onnx"])
def test_what_is_neither_a_path_nor_a_name_is_refused(source: object) -> None:
    for load in (open_runtime, segnet.load, segnet.Predictor.load):
        with pytest.raises(ModelError, match=rf"^a {type(source).__name__} is no model file; give the path of one"):
            load(source)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["a.pte", "a.tflite", "a.pt2"])
def test_a_device_that_a_library_does_not_have_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"{name}: .* files run on the cpu here, not on 'cuda:1'; choose --device"):
        open_runtime(tmp_path / name, device="cuda:1")


def test_threads_that_a_library_chooses_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pte").touch()
    with pytest.raises(ConfigError, match=r"a.pte: the library of .pte files chooses its threads itself; leave"):
        open_runtime(tmp_path / "a.pte", threads=1)


def test_a_bundled_name_is_a_network_of_pytorch() -> None:
    runtime = open_runtime("segnet_basic", device="cpu")
    assert runtime.info.labels.classes == 11
    assert runtime.run(np.zeros((1, 3, 9, 11), dtype=np.float32)).mask.shape == (1, 9, 11)
