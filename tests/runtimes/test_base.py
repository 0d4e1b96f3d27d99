from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segnet.errors import ModelError, ShapeError
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import entropy
from segnet.runtimes.base import FileRuntime, ImageBatch, argmax, softmax
from segnet.runtimes.model_info import ModelInfo

LABELS = ClassTable.from_names(["red", "green", "blue"])


class Brightest(FileRuntime):
    """The image's own channels are the logits; records the batch sizes."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(Path("brightest.onnx"), ModelInfo(name="brightest", labels=LABELS, **changes))
        self.batches: list[int] = []

    def forward(self, image: ImageBatch) -> list[np.ndarray]:
        self.batches.append(len(image))
        output = image.argmax(axis=1).astype(np.uint8) if self.info.output == "mask" else image
        return [output, image.max(axis=1)] if self.info.samples else [output]


@pytest.fixture
def image() -> ImageBatch:
    return np.random.default_rng(0).random((4, 3, 5, 7), dtype=np.float32)


def test_argmax_is_numpys_and_takes_the_first_of_equals() -> None:
    logits = np.random.default_rng(0).integers(0, 3, (2, 11, 9, 8)).astype(np.float32)
    found = argmax(logits)
    np.testing.assert_array_equal(found, logits.argmax(axis=1))
    assert found.dtype == np.uint8


def test_softmax_is_pytorchs_and_takes_large_numbers() -> None:
    logits = np.random.default_rng(0).normal(0, 200, (2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("batch", "remedy"),
    [(None, "; export it without --size for any, or with --size 5 7"), (1, "; export it with --size 5 7")],
)
def test_the_remedy_for_another_size_is_one_that_the_format_has(
    batch: int | None, remedy: str, image: ImageBatch
) -> None:
    runtime = Brightest(size=(4, 4), batch=batch)
    with pytest.raises(ShapeError, match=f"{runtime.path}: was exported for images of 4x4, not 5x7{remedy}$"):
        runtime.run(image)


def test_logits_become_mask_and_probabilities(image: ImageBatch) -> None:
    runtime = Brightest()
    assert runtime.gives_probabilities
    assert runtime.run(image).probabilities is None
    np.testing.assert_array_equal(runtime.run(image).mask, image.argmax(axis=1))
    output = runtime.run(image, probabilities=True)
    np.testing.assert_array_equal(output.mask, image.argmax(axis=1))
    np.testing.assert_array_equal(output.probabilities, softmax(image))
    assert output.uncertainty is None


def test_probabilities_stay_as_they_are(image: ImageBatch) -> None:
    np.testing.assert_array_equal(Brightest(output="probabilities").run(image, probabilities=True).probabilities, image)


def test_class_indices_stay_as_they_are_without_probabilities(image: ImageBatch) -> None:
    runtime = Brightest(output="mask")
    assert not runtime.gives_probabilities
    np.testing.assert_array_equal(runtime.run(image).mask, image.argmax(axis=1))
    with pytest.raises(ModelError, match=r"brightest.onnx: outputs class indices only; export it with --output"):
        runtime.run(image, probabilities=True)


@pytest.mark.parametrize(("batch", "batches"), [(None, [4]), (1, [1, 1, 1, 1]), (2, [2, 2])])
def test_a_batch_is_cut_to_what_the_file_takes(batch: int | None, batches: list[int], image: ImageBatch) -> None:
    runtime = Brightest(batch=batch)
    np.testing.assert_array_equal(runtime.output(image), image)
    assert runtime.batches == batches


def test_every_output_is_put_together_again(image: ImageBatch) -> None:
    mean, uncertainty = Brightest(batch=2, samples=3).outputs(image)
    np.testing.assert_array_equal(mean, image)
    np.testing.assert_array_equal(uncertainty, image.max(axis=1))


def test_a_batch_that_cannot_be_divided_is_refused(image: ImageBatch) -> None:
    with pytest.raises(ShapeError, match=r"brightest.onnx: was exported for 3 images at once, and 4 were given"):
        Brightest(batch=3).run(image)


def test_another_size_is_refused(image: ImageBatch) -> None:
    assert Brightest(size=(5, 7)).run(image).mask.shape == (4, 5, 7)
    with pytest.raises(ShapeError, match=r"exported for images of 6x7, not 5x7; .* or with --size 5 7"):
        Brightest(size=(6, 7)).run(image)


def test_the_entropy_is_that_of_the_probabilities(image: ImageBatch) -> None:
    output = Brightest().run(image, measure="entropy")
    assert output.probabilities is not None
    np.testing.assert_array_equal(output.uncertainty, entropy(output.probabilities))


@pytest.mark.parametrize(
    "changes",
    [{"labels": ClassTable.from_names(["red", "green"])}, {"output": "mask"}, {"samples": 2}],
    ids=["classes", "kind", "number"],
)
def test_outputs_that_the_metadata_does_not_describe_are_refused(changes: dict[str, Any], image: ImageBatch) -> None:
    runtime = Brightest()
    outputs = runtime.outputs(image)
    runtime.forward = lambda image: outputs
    runtime.info = replace(runtime.info, **changes)
    with pytest.raises(ModelError, match=r"brightest.onnx: gives .*, but its metadata describes .*export the model"):
        runtime.run(image)
