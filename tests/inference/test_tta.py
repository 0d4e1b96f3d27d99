from __future__ import annotations

import numpy as np
import pytest

from segnet.errors import ConfigError, ModelError
from segnet.inference.tta import TTAConfig, with_tta
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output, Runtime, softmax
from segnet.runtimes.model_info import ModelInfo


class Leaning(Runtime):
    """The brighter, the more it is class 1, and the more to the right: the mirrored image differs."""

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self.info = ModelInfo(name="leaning", labels=ClassTable.from_names(["a", "b"]), size=size)
        self.seen: list[tuple[int, ...]] = []

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        assert probabilities, "the mean is taken of probabilities"
        self.seen.append(batch.shape[2:])
        lean = np.linspace(-1, 1, batch.shape[3], dtype=np.float32)
        logits = batch[:, :2] * np.array([-2, 2], dtype=np.float32)[:, None, None]
        logits[:, 1] += lean
        return Output.from_probabilities(softmax(logits), measure)


def probabilities_of(runtime: Runtime, batch: np.ndarray) -> np.ndarray:
    found = runtime.run(batch, probabilities=True).probabilities
    assert found is not None
    return found


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(2).random((2, 3, 12, 20), dtype=np.float32)


def test_nothing_to_average_gives_the_runtime_itself() -> None:
    runtime = Leaning()
    assert with_tta(runtime, TTAConfig()) is runtime


def test_the_mean_of_both_sides_does_not_lean(batch: np.ndarray) -> None:
    runtime = with_tta(Leaning(), TTAConfig(tta_flip=True))
    found = probabilities_of(runtime, batch)
    assert found.dtype == np.float32
    assert found.shape == (2, 2, 12, 20)
    plain = Leaning()
    expected = (probabilities_of(plain, batch) + probabilities_of(plain, batch[..., ::-1])[..., ::-1]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(probabilities_of(runtime, batch[..., ::-1])[..., ::-1], found, rtol=1e-6)
    assert np.abs(found - probabilities_of(plain, batch)).max() > 0.1


def test_scales_are_run_at_their_size_and_resized_back(batch: np.ndarray) -> None:
    inner = Leaning()
    runtime = with_tta(inner, TTAConfig(tta_scales=(0.5, 1.0, 1.5)))
    found = probabilities_of(runtime, batch)
    assert inner.seen == [(6, 10), (12, 20), (18, 30)]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    output = runtime.run(batch, measure="entropy")
    np.testing.assert_array_equal(output.mask, found.argmax(axis=1))
    np.testing.assert_allclose(output.uncertainty, -(found * np.log(found)).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (11.0,)])
def test_impossible_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"give numbers from 0.1 to 10"):
        TTAConfig(tta_scales=scales)


def test_a_model_with_a_fixed_input_size_takes_no_scales() -> None:
    with pytest.raises(ConfigError, match="leaning: has a fixed input size; leave --tta-scales out"):
        with_tta(Leaning(size=(12, 20)), TTAConfig(tta_scales=(0.5, 1.0)))
    assert with_tta(Leaning(size=(12, 20)), TTAConfig(tta_flip=True)).info.size == (12, 20)


def test_a_model_that_outputs_class_indices_only_has_no_mean() -> None:
    runtime = Leaning()
    runtime.info = ModelInfo(name="leaning", labels=runtime.info.labels, output="mask")
    with pytest.raises(ModelError, match="outputs class indices only; export it with --output"):
        with_tta(runtime, TTAConfig(tta_flip=True))


def test_variance_of_samples_is_not_computed() -> None:
    runtime = with_tta(Leaning(), TTAConfig(tta_flip=True))
    assert runtime.measures == ("entropy",)
    with pytest.raises(ConfigError, match="variance"):
        runtime.run(np.zeros((1, 3, 4, 4), np.float32), measure="variance")


def test_an_image_of_one_column_can_be_mirrored() -> None:
    class Strict(Leaning):
        def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
            assert min(batch.strides) > 0, "PyTorch takes no negative strides"
            return super().run(batch, probabilities=probabilities, measure=measure)

    batch = np.full((1, 3, 5, 1), 0.5, np.float32)
    assert with_tta(Strict(), TTAConfig(tta_flip=True)).run(batch).mask.shape == (1, 5, 1)
