"""Opening a model by its name or suffix."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

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


def test_a_device_of_pytorch_is_taken_as_its_name() -> None:
    predictor = segnet.Predictor.load("segnet_light", device=torch.device("cpu"))
    assert type(predictor.runtime) is type(segnet.Predictor.load("segnet_light", device="cpu").runtime)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps])
def test_an_open_file_is_no_object_to_copy(duplicate: Callable[[object], object]) -> None:
    predictor = segnet.Predictor.load("segnet_light", runtime="onnx")
    with pytest.raises(ModelError, match=r"segnet_light.onnx: cannot be copied or sent to another process while it is"):
        duplicate(predictor)


def test_a_predictor_of_pytorch_can_be_sent_to_another_process() -> None:
    image = segnet.render_scene(1, size=(48, 64))[0]
    predictor = segnet.Predictor.load("segnet_light", runtime="torch")
    again = pickle.loads(pickle.dumps(predictor))  # noqa: S301
    np.testing.assert_array_equal(again(image).mask, predictor(image).mask)
