from __future__ import annotations

import numpy as np
import pytest

from segnet.errors import ConfigError
from segnet.inference.tta import TTAConfig, averaged
from segnet.labels import ClassTable
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.protocol import Image, Runtime, softmax


class Leaning(Runtime):
    """The brighter, the more it is class 1; and it leans to the left: the mirrored image is told otherwise."""

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self.info = ModelInfo(name="leaning", labels=ClassTable.from_names(["a", "b"]), size=size)
        self.seen: list[tuple[int, ...]] = []

    def probabilities(self, image: Image) -> np.ndarray:
        self.seen.append(image.shape[2:])
        lean = np.linspace(-1, 1, image.shape[3], dtype=np.float32)
        logits = image[:, :2] * np.array([-2, 2], dtype=np.float32)[:, None, None]
        logits[:, 1] += lean
        return softmax(logits)

    def mask(self, image: Image) -> np.ndarray:
        raise AssertionError("the mean is taken of probabilities")


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(2).random((2, 3, 12, 20), dtype=np.float32)


def test_one_view_is_the_runtime_itself() -> None:
    runtime = Leaning()
    assert averaged(runtime, TTAConfig()) is runtime


def test_the_mean_of_both_sides_does_not_lean(batch: np.ndarray) -> None:
    runtime = averaged(Leaning(), TTAConfig(tta_flip=True))
    found = runtime.probabilities(batch)
    assert found.dtype == np.float32
    assert found.shape == (2, 2, 12, 20)
    plain = Leaning()
    expected = (plain.probabilities(batch) + plain.probabilities(batch[..., ::-1])[..., ::-1]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(runtime.probabilities(batch[..., ::-1])[..., ::-1], found, rtol=1e-6)
    assert np.abs(found - plain.probabilities(batch)).max() > 0.1


def test_scales_are_labeled_at_their_size_and_come_back(batch: np.ndarray) -> None:
    inner = Leaning()
    runtime = averaged(inner, TTAConfig(tta_scales=(0.5, 1.0, 1.5)))
    found = runtime.probabilities(batch)
    assert inner.seen == [(6, 10), (12, 20), (18, 30)]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(runtime.mask(batch), found.argmax(axis=1))
    estimate = runtime.estimate(batch)
    np.testing.assert_allclose(estimate.uncertainty, -(found * np.log(found)).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (11.0,), (float("nan"),)])
def test_impossible_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"give numbers from 0.1 to 10"):
        TTAConfig(tta_scales=scales)


def test_a_model_of_one_size_takes_no_scales() -> None:
    with pytest.raises(ConfigError, match="takes images of one size"):
        averaged(Leaning(size=(12, 20)), TTAConfig(tta_scales=(0.5, 1.0)))
    assert averaged(Leaning(size=(12, 20)), TTAConfig(tta_flip=True)).info.size == (12, 20)


def test_a_model_that_gives_masks_alone_has_no_mean() -> None:
    runtime = Leaning()
    runtime.info = ModelInfo(name="leaning", labels=runtime.info.labels, output="mask")
    with pytest.raises(ConfigError, match="gives masks alone; export it with --output"):
        averaged(runtime, TTAConfig(tta_flip=True))


def test_variance_of_samples_is_not_given() -> None:
    runtime = averaged(Leaning(), TTAConfig(tta_flip=True))
    assert runtime.measures == ("entropy",)
    with pytest.raises(ConfigError, match="variance"):
        runtime.estimate(np.zeros((1, 3, 4, 4), np.float32), "variance")
