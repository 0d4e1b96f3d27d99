from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segnet.errors import ConfigError, ModelError, ShapeError
from segnet.inference.predictor import Predictor, as_batch
from segnet.inference.predictor_runtime import PredictorRuntime
from segnet.inference.tiling import TileConfig
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image
from segnet.runtimes.pytorch import TorchRuntime

SETTINGS = (
    {},
    {"longest": 20},
    {"scale": 1.7},
    {"tiles": TileConfig(tile=160, overlap=32)},
    {"tiles": TileConfig(tile=160, overlap=32), "scale": 0.8},
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (250, 210, 3), dtype=np.uint8)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_says_what_the_predictor_says(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray, settings: dict[str, object]
) -> None:
    runtime = TorchRuntime(narrow, five_labels, device="cpu")
    predictor = Predictor(runtime, confidence=True, uncertainty=True, **settings)  # type: ignore[arg-type]
    wanted, found = predictor(image), PredictorRuntime(predictor)
    estimate = found.estimate(as_batch(image))
    assert estimate.probabilities is not None
    assert estimate.probabilities.shape == (1, 5, 250, 210)
    for mask in (found.mask(as_batch(image)), estimate.mask):
        np.testing.assert_array_equal(mask[0], wanted.mask)
    for probabilities in (found.probabilities(as_batch(image)), estimate.probabilities):
        np.testing.assert_array_equal(probabilities.max(axis=1)[0], wanted.confidence)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(estimate.uncertainty[0], wanted.uncertainty)
    assert found.resized == (3 if "longest" in settings or "scale" in settings else 0)
    assert found.tiled == (3 if "tiles" in settings else 0)


def test_the_measure_is_the_predictors(narrow_config: SegNetConfig, five_labels: ClassTable, image: np.ndarray) -> None:
    runtime = TorchRuntime(SegNet(replace(narrow_config, dropout=0.5)), five_labels, device="cpu", samples=2)
    found = PredictorRuntime(Predictor(runtime, uncertainty=True, longest=40))
    assert found.measures == ("variance",)
    assert found.estimate(as_batch(image), "variance").uncertainty.shape == (1, 250, 210)
    with pytest.raises(ConfigError, match="gives no entropy as it is used here, but variance"):
        found.estimate(as_batch(image), "entropy")


def test_a_predictor_without_uncertainty_gives_the_entropy(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    runtime = TorchRuntime(narrow, five_labels, device="cpu")
    found = PredictorRuntime(Predictor(runtime)).estimate(as_batch(image))
    np.testing.assert_allclose(found.uncertainty, runtime.estimate(as_batch(image)).uncertainty, atol=1e-6)


class Masks(FileRuntime):
    """A file that gives masks alone: the left half is class 1, the right half class 2."""

    def run(self, image: Image) -> list[np.ndarray]:
        height, width = image.shape[2:]
        halves = np.where(np.arange(width) < width / 2, 1, 2).astype(np.uint8)
        return [np.broadcast_to(halves, (len(image), height, width))]


def test_of_masks_alone_there_are_no_probabilities(five_labels: ClassTable, image: np.ndarray) -> None:
    runtime = Masks(Path("toy.onnx"), ModelInfo(name="toy", labels=five_labels, output="mask"))
    found = PredictorRuntime(Predictor(runtime, longest=50))
    mask = found.mask(as_batch(image))[0]
    assert (mask[:, :105] == 1).all()
    assert (mask[:, 105:] == 2).all()
    assert found.measures == ()
    with pytest.raises(ModelError, match="toy: gives masks alone; export it with --output logits or probabilities"):
        found.probabilities(as_batch(image))
    with pytest.raises(ConfigError, match="toy gives masks alone"):
        found.estimate(as_batch(image))


def test_of_samples_and_masks_alone_there_is_uncertainty(five_labels: ClassTable, single: np.ndarray) -> None:
    class Samples(Masks):
        def run(self, image: Image) -> list[np.ndarray]:
            return [*super().run(image), np.full((len(image), *image.shape[2:]), 0.5, np.float32)]

    runtime = Samples(Path("toy.onnx"), ModelInfo(name="toy", labels=five_labels, output="mask", samples=4))
    found = PredictorRuntime(Predictor(runtime, longest=50, uncertainty=True)).estimate(as_batch(single))
    assert found.probabilities is None
    np.testing.assert_allclose(found.uncertainty, 0.5)


def test_a_runtime_that_remembers_is_told_of_each_image(
    narrow: SegNet, five_labels: ClassTable, image: np.ndarray
) -> None:
    told: list[None] = []

    class Remembering(TorchRuntime):
        def next_image(self) -> None:
            told.append(None)

    found = PredictorRuntime(Predictor(Remembering(narrow, five_labels, device="cpu"), longest=50))
    found.mask(as_batch(image))
    found.probabilities(as_batch(image))
    assert len(told) == 2


def test_planes_are_refused_of_what_is_no_image(narrow: SegNet, five_labels: ClassTable, image: np.ndarray) -> None:
    predictor = Predictor(TorchRuntime(narrow, five_labels, device="cpu"))
    for wrong in (image[..., :1], image.astype(np.float32)):
        with pytest.raises(ShapeError, match=r"this model wants uint8 \(H, W, 3\)"):
            predictor.predict_planes(wrong)
