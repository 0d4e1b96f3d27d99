"""Samples with dropout in a runtime: mean, measures of uncertainty, seeds."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segnet.errors import ConfigError
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import MEASURES, Measure, choose_measure, entropy
from segnet.models import checkpoint
from segnet.models.mc_dropout import Sampler
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.base import FileRuntime, ImageBatch, Runtime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import ModelInfo, OutputKind
from segnet.runtimes.pytorch import TorchRuntime
from segnet.runtimes.running_moments import RunningMoments

SAMPLES = 6


@pytest.fixture
def bayesian(narrow_config: SegNetConfig) -> SegNet:
    return SegNet(replace(narrow_config, dropout=0.5)).eval()


@pytest.fixture
def image() -> ImageBatch:
    return np.random.default_rng(0).random((2, 3, 21, 30), dtype=np.float32)


def probabilities(runtime: Runtime, image: ImageBatch) -> np.ndarray:
    found = runtime.run(image, probabilities=True).probabilities
    assert found is not None
    return found


def all_samples(model: SegNet, image: ImageBatch) -> np.ndarray:
    """Probabilities (samples, classes, H, W) of one image, kept all at once."""
    with torch.no_grad():
        drawn = list(Sampler(deepcopy(model).folded(), seed=3).logits(torch.from_numpy(image[None]), SAMPLES))
    return torch.cat(drawn).softmax(dim=1).double().numpy()


def by_numpy(samples: np.ndarray, measure: Measure) -> np.ndarray:
    mean = samples.mean(axis=0)
    if measure == "variance":
        return samples.var(axis=0).mean(axis=0)
    whole = -(mean * np.log(mean)).sum(axis=0)
    return whole if measure == "entropy" else whole + (samples * np.log(samples)).sum(axis=1).mean(axis=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_mean_and_uncertainty_are_numpys_of_all_samples(bayesian: SegNet, image: ImageBatch, measure: Measure) -> None:
    runtime = TorchRuntime(bayesian, device="cpu", samples=SAMPLES, seed=3)
    found = runtime.run(image, measure=measure)
    assert found.uncertainty.dtype == np.float32
    for number, single in enumerate(image):
        samples = all_samples(bayesian, single)
        np.testing.assert_allclose(found.probabilities[number], samples.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(found.uncertainty[number], by_numpy(samples, measure), atol=1e-5)
        assert (found.mask[number] == samples.mean(axis=0).argmax(axis=0)).mean() > 0.999
    assert found.uncertainty.max() > 1e-3
    plain = runtime.run(image, probabilities=True)
    np.testing.assert_array_equal(plain.probabilities, found.probabilities)
    np.testing.assert_array_equal(plain.mask, found.mask)
    assert plain.uncertainty is None
    np.testing.assert_array_equal(runtime.run(image).mask, found.mask)


def test_the_default_measure_is_the_papers_variance(bayesian: SegNet, image: ImageBatch) -> None:
    runtime = TorchRuntime(bayesian, device="cpu", samples=SAMPLES)
    assert runtime.measures == MEASURES
    assert runtime.info.samples == SAMPLES
    assert choose_measure(None, runtime.measures, model="toy") == "variance"


def test_an_image_gives_the_same_alone_as_in_a_batch(bayesian: SegNet, image: ImageBatch) -> None:
    runtime = TorchRuntime(bayesian, device="cpu", samples=SAMPLES)
    np.testing.assert_array_equal(probabilities(runtime, image)[1:], probabilities(runtime, image[1:]))


def test_a_seed_repeats_itself_in_another_runtime_and_another_differs(bayesian: SegNet, image: ImageBatch) -> None:
    one, same, other = (
        probabilities(TorchRuntime(bayesian, device="cpu", samples=SAMPLES, seed=seed), image) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.mean(one != other) > 0.9


def test_without_samples_only_the_entropy_of_the_plain_network_is_computed(bayesian: SegNet, image: ImageBatch) -> None:
    runtime = TorchRuntime(bayesian, device="cpu")
    assert (runtime.measures, runtime.info.samples) == (("entropy",), None)
    found = runtime.run(image, measure="entropy")
    np.testing.assert_array_equal(found.probabilities, probabilities(runtime, image))
    np.testing.assert_allclose(found.uncertainty, entropy(found.probabilities))
    with pytest.raises(ConfigError, match="narrow gives no variance as it is used here"):
        runtime.run(image, measure="variance")


def test_bf16_samples_are_near_float32(bayesian: SegNet, image: ImageBatch) -> None:
    exact, rough = (
        probabilities(TorchRuntime(bayesian, device="cpu", precision=precision, samples=SAMPLES), image)
        for precision in ("float32", "bf16")
    )
    assert 0 < np.abs(rough - exact).mean() < 0.5 * exact.std()


@pytest.mark.parametrize("wrong", [{"samples": 1}, {"samples": -2}, {"samples": 4, "seed": -1}])
def test_impossible_numbers_of_samples_are_refused(bayesian: SegNet, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give 2 samples or more"):
        TorchRuntime(bayesian, device="cpu", **wrong)


def test_running_moments_of_nearly_equal_samples_keep_their_digits() -> None:
    """Where the squares' mean less the mean's square would have lost all of them."""
    samples = 0.5 + 1e-5 * torch.rand(50, 2, 3, 4)
    moments = RunningMoments("variance")
    for chunk in samples.split(7):
        moments.add(chunk)
    wanted = samples.double().numpy().var(axis=0).mean(axis=0)
    np.testing.assert_allclose(moments.uncertainty.numpy(), wanted, rtol=0.02)


def test_running_moments_do_not_grow_with_the_samples() -> None:
    moments = RunningMoments("mutual_information")
    for _ in range(20):
        moments.add(torch.rand(3, 2, 5, 7).softmax(dim=1))
    held = [value.numel() for value in vars(moments).values() if isinstance(value, torch.Tensor)]
    assert moments.count == 60
    assert sum(held) <= 2 * 5 * 7 + 2 * 5 * 7


class Drawing(FileRuntime):
    """A file that draws samples: what it gives, and how often it is asked."""

    def __init__(self, output: OutputKind, samples: int | None = 16) -> None:
        info = ModelInfo(name="toy", labels=ClassTable.numbered(3), output=output, samples=samples)
        super().__init__(Path("toy.onnx"), info)
        self.runs = 0

    def forward(self, image: ImageBatch) -> list[np.ndarray[Any, Any]]:
        self.runs += 1
        chance = np.random.default_rng(self.runs)
        size = (len(image), *image.shape[2:])
        first = chance.dirichlet(np.ones(3), size).transpose(0, 3, 1, 2).astype(np.float32)
        mask = chance.integers(0, 3, size).astype(np.uint8)
        return [mask if self.info.output == "mask" else first, np.full(size, self.runs / 100, dtype=np.float32)]


def test_a_file_that_samples_returns_its_own_uncertainty_from_the_same_run(image: ImageBatch) -> None:
    runtime = Drawing("probabilities")
    assert runtime.measures == ("variance", "entropy")
    found = runtime.run(image, measure="variance")
    assert runtime.runs == 1
    assert np.unique(found.uncertainty).tolist() == [np.float32(0.01)]
    np.testing.assert_array_equal(found.mask, found.probabilities.argmax(axis=1))
    of_mean = runtime.run(image, measure="entropy")
    np.testing.assert_array_equal(of_mean.uncertainty, entropy(of_mean.probabilities))
    with pytest.raises(ConfigError, match=r"toy\.onnx gives no mutual_information"):
        runtime.run(image, measure="mutual_information")


def test_a_file_of_class_indices_that_samples_returns_mask_and_variance(image: ImageBatch) -> None:
    found = Drawing("mask").run(image, measure="variance")
    assert found.probabilities is None
    assert found.mask.dtype == np.uint8
    assert found.uncertainty.max() > 0


def test_a_file_of_class_indices_without_samples_has_no_uncertainty(image: ImageBatch) -> None:
    with pytest.raises(ConfigError, match=r"toy\.onnx .*export it with --output logits or probabilities"):
        Drawing("mask", samples=None).run(image, measure="entropy")


@pytest.mark.parametrize("name", ["toy.onnx", "toy.xml", "toy.pte", "toy.tflite", "toy.pt2", "toy.mlpackage"])
def test_an_exported_file_takes_no_other_number_of_samples(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: an exported file draws as many samples as it was exported with"):
        open_runtime(name, samples=8)


def test_a_model_file_without_dropout_names_the_remedy(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> None:
    path = checkpoint.save(narrow, five_labels, tmp_path / "plain.safetensors")
    with pytest.raises(ConfigError, match=r"narrow was made without dropout.*train it with --dropout 0\.5"):
        open_runtime(path, samples=8)
