from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segnet.errors import ModelError, ShapeError
from segnet.inference.prediction import argmax
from segnet.labels import ClassTable
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image, open_runtime, softmax

LABELS = ClassTable.from_names(["red", "green", "blue"])


class Brightest(FileRuntime):
    """The image's own channels are the logits; keeps how many images came at once."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(Path("brightest.onnx"), ModelInfo(name="brightest", labels=LABELS, **changes))
        self.batches: list[int] = []

    def run(self, image: Image) -> list[np.ndarray]:
        self.batches.append(len(image))
        output = image.argmax(axis=1).astype(np.uint8) if self.info.output == "mask" else image
        return [output, image.max(axis=1)] if self.info.samples else [output]


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(0).random((4, 3, 5, 7), dtype=np.float32)


def test_argmax_is_numpys_and_takes_the_first_of_equals() -> None:
    logits = np.random.default_rng(0).integers(0, 3, (2, 11, 9, 8)).astype(np.float32)
    found = argmax(logits)
    np.testing.assert_array_equal(found, logits.argmax(axis=1))
    assert found.dtype == np.uint8


def test_softmax_is_pytorchs_and_takes_large_numbers() -> None:
    logits = np.random.default_rng(0).normal(0, 200, (2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(dim=1), atol=1e-6)


def test_of_logits_come_mask_and_probabilities(image: Image) -> None:
    runtime = Brightest()
    np.testing.assert_array_equal(runtime.mask(image), image.argmax(axis=1))
    np.testing.assert_allclose(runtime.probabilities(image).sum(axis=1), 1.0, rtol=1e-6)


def test_probabilities_stay_as_they_are(image: Image) -> None:
    np.testing.assert_array_equal(Brightest(output="probabilities").probabilities(image), image)


def test_a_mask_stays_as_it_is_and_has_no_probabilities(image: Image) -> None:
    runtime = Brightest(output="mask")
    np.testing.assert_array_equal(runtime.mask(image), image.argmax(axis=1))
    with pytest.raises(ModelError, match=r"brightest.onnx: gives masks alone; export with --output"):
        runtime.probabilities(image)


@pytest.mark.parametrize(("batch", "batches"), [(None, [4]), (1, [1, 1, 1, 1]), (2, [2, 2])])
def test_a_batch_is_cut_to_what_the_file_takes(batch: int | None, batches: list[int], image: Image) -> None:
    runtime = Brightest(batch=batch)
    np.testing.assert_array_equal(runtime.output(image), image)
    assert runtime.batches == batches


def test_every_output_is_put_together_again(image: Image) -> None:
    mean, uncertainty = Brightest(batch=2, samples=3).outputs(image)
    np.testing.assert_array_equal(mean, image)
    np.testing.assert_array_equal(uncertainty, image.max(axis=1))


def test_a_batch_that_cannot_be_cut_is_told(image: Image) -> None:
    with pytest.raises(ShapeError, match=r"brightest.onnx: was exported for 3 images at once, and 4 were given"):
        Brightest(batch=3).mask(image)


def test_another_size_is_told(image: Image) -> None:
    assert Brightest(size=(5, 7)).mask(image).shape == (4, 5, 7)
    with pytest.raises(ShapeError, match=r"exported for images of 6x7, not 5x7; .* or with --size 5 7"):
        Brightest(size=(6, 7)).mask(image)


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.pte", "a.tflite", "a.pt2"])
def test_a_missing_file_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{name}: there is no such file; 'segnet export' writes it"):
        open_runtime(tmp_path / name)


def test_a_bundled_name_is_a_network_of_pytorch() -> None:
    runtime = open_runtime("segnet_basic", device="cpu")
    assert runtime.info.labels.classes == 11
    assert runtime.mask(np.zeros((1, 3, 9, 11), dtype=np.float32)).shape == (1, 9, 11)
