"""Scores of a model on a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segnet.bands import Bands
from segnet.cli.main import main
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.data.samples import Sample
from segnet.errors import ConfigError, DataError, ModelError, ShapeError
from segnet.inference.evaluation import check_same_classes, evaluate
from segnet.inference.predictor import Predictor
from segnet.inference.tta import TTAConfig
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.metrics.uncertainty import Measure
from segnet.models import checkpoint
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.pytorch import TorchRuntime

LABELS = ClassTable.from_names(["black", "dark", "light"])


@pytest.fixture
def shades(tmp_path: Path) -> SegmentationDataset:
    """Gray images whose brightness is 100 times the class; sizes differ, some truth is ignored."""
    samples = []
    for number, shape in enumerate([(4, 6), (5, 3), (1, 1)]):
        mask = np.random.default_rng(number).integers(0, 3, shape).astype(np.uint8)
        image, truth = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        Image.fromarray(mask * 100).save(image)
        Image.fromarray(
            np.where(np.arange(mask.size).reshape(shape) % 5 == 4, IGNORE_INDEX, mask).astype(np.uint8)
        ).save(truth)
        samples.append(Sample(image=image, mask=truth, name=str(number)))
    return SegmentationDataset(samples, LABELS)


class Saying(nn.Module):
    """A function as a network."""

    def __init__(self, say: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.say = say

    def forward(self, image: Tensor) -> Tensor:
        return self.say(image)


def knows(image: Tensor) -> Tensor:
    return F.one_hot((image[:, 0] * 2.55).round().long(), 3).permute(0, 3, 1, 2).float()


def says_dark(image: Tensor) -> Tensor:
    logits = torch.zeros(len(image), 3, *image.shape[2:])
    logits[:, 1] = 1
    return logits


@pytest.mark.parametrize("workers", [0, 1])
def test_a_perfect_model_scores_one_on_images_of_any_size(shades: SegmentationDataset, workers: int):
    scores = evaluate(Saying(knows), shades, workers=workers)
    assert scores.global_accuracy == scores.miou == 1.0
    assert scores.counts.sum() == sum((shades.read_classes(index) != IGNORE_INDEX).sum() for index in range(3))
    assert scores.labels == LABELS


def test_counts_are_summed_over_all_images(shades: SegmentationDataset):
    every = np.concatenate([shades.read_classes(index).ravel() for index in range(3)])
    scores = evaluate(Saying(says_dark), shades, workers=0)
    assert scores.counts[:, 1].tolist() == [(every == index).sum() for index in range(3)]
    assert scores.counts.sum() == (every != IGNORE_INDEX).sum()


def test_progress_is_reported_after_every_image(shades: SegmentationDataset):
    reported: list[tuple[int, int]] = []
    evaluate(Saying(says_dark), shades, workers=0, progress=lambda done, every: reported.append((done, every)))
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_the_observer_sees_each_predicted_and_true_mask(shades: SegmentationDataset):
    seen: list[tuple[str, np.ndarray, np.ndarray]] = []
    evaluate(Saying(says_dark), shades, observe=lambda *image: seen.append(image))
    assert [name for name, _, _ in seen] == ["0", "1", "2"]
    for index, (_, predicted, truth) in enumerate(seen):
        assert predicted.dtype == truth.dtype == np.uint8
        np.testing.assert_array_equal(predicted, np.ones(truth.shape))
        np.testing.assert_array_equal(truth, shades.read_classes(index))


def test_a_network_is_calibrated_by_the_entropy_of_its_softmax(shades: SegmentationDataset):
    meter = CalibrationMeter("entropy")
    scores = evaluate(Saying(lambda image: 3 * knows(image)), shades, calibration=meter)
    assert scores.global_accuracy == meter.scores.accuracy == 1.0
    confidence = np.exp(3) / (np.exp(3) + 2)
    assert meter.scores.pixels == scores.counts.sum()
    assert meter.scores.confidence == pytest.approx(confidence, abs=1e-6)
    assert meter.scores.nll == pytest.approx(-np.log(confidence), abs=1e-6)
    assert meter.scores.ece == pytest.approx(1 - confidence, abs=1e-6)


class ClassIndices(FileRuntime):
    """A file that draws samples, and outputs their mask and variance."""

    def forward(self, image: np.ndarray) -> list[np.ndarray]:
        size = (len(image), *image.shape[2:])
        return [np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.float32)]


def test_class_indices_have_no_calibration(shades: SegmentationDataset):
    runtime = ClassIndices(Path("a.onnx"), ModelInfo(name="a", labels=LABELS, output="mask", samples=4))
    with pytest.raises(ModelError, match=r"a\.onnx: outputs class indices only; export it with --output probabilities"):
        evaluate(Predictor(runtime, uncertainty=True), shades, calibration=CalibrationMeter("variance"))


@pytest.fixture
def runtime(narrow_config: SegNetConfig) -> TorchRuntime:
    config = replace(narrow_config, classes=3, dropout=0.5)
    return TorchRuntime(SegNet(config).eval(), LABELS, device="cpu", samples=2)


@pytest.mark.parametrize("measure", ["variance", "entropy"])
def test_the_calibration_counts_the_predictors_uncertainty(
    shades: SegmentationDataset, runtime: TorchRuntime, measure: Measure
):
    meter, expected = CalibrationMeter(measure), CalibrationMeter(measure)
    predictor = Predictor(runtime, uncertainty=True, measure=measure, image_scale=2)
    scores = evaluate(predictor, shades, calibration=meter)
    for index in range(len(shades)):
        image, truth = shades.read(index)
        planes = predictor.predict_planes(image)
        expected.add(planes[:3], truth, planes[3])
    assert meter.scores.to_dict() == expected.scores.to_dict()
    np.testing.assert_array_equal(scores.counts, evaluate(predictor, shades).counts)


def test_a_predictor_of_another_measure_is_refused(shades: SegmentationDataset, runtime: TorchRuntime):
    with pytest.raises(ConfigError, match="load it with uncertainty=True, measure='mutual_information'"):
        evaluate(Predictor(runtime, uncertainty=True), shades, calibration=CalibrationMeter("mutual_information"))


def test_a_predictor_without_uncertainty_is_calibrated_by_the_entropy(
    shades: SegmentationDataset, runtime: TorchRuntime
):
    plain, asked = CalibrationMeter("entropy"), CalibrationMeter("entropy")
    evaluate(Predictor(runtime), shades, calibration=plain)
    evaluate(Predictor(runtime, uncertainty=True, measure="entropy"), shades, calibration=asked)
    assert plain.scores.to_dict() == asked.scores.to_dict()


def test_a_predictor_is_scored_as_it_predicts(shades: SegmentationDataset, runtime: TorchRuntime):
    predictor, seen = Predictor(runtime, max_size=3, tta=TTAConfig(tta_flip=True)), {}
    evaluate(predictor, shades, observe=lambda name, predicted, truth: seen.setdefault(name, predicted))
    for index, sample in enumerate(shades.samples):
        np.testing.assert_array_equal(seen[sample.name], predictor(shades.read(index)[0]).mask)


def test_python_and_the_command_score_the_same_on_images_larger_than_the_training_images(
    camvid_root: Path, camvid: Source, narrow_config: SegNetConfig, tmp_path: Path
):
    model = SegNet(replace(narrow_config, classes=11))
    path = checkpoint.save(model, camvid.labels, tmp_path / "a.safetensors", provenance={"longest": 40})
    with pytest.raises(SystemExit) as left:
        main(
            ["evaluate", str(camvid_root), "--model", str(path), "--json", str(tmp_path / "a.json"), "--device", "cpu"]
        )
    assert not left.value.code
    command = json.loads((tmp_path / "a.json").read_text())
    predictor, data = Predictor.load(path, device="cpu"), camvid.dataset("val")
    height, width = data.read(0)[1].shape
    assert max(predictor.working_size(height, width)) == 40 < max(height, width)
    counts = evaluate(predictor, data).counts
    assert command["confusion"] == counts.tolist()
    own_size = evaluate(Predictor.load(path, device="cpu", max_size=None), data).counts
    assert counts.tolist() != own_size.tolist()
    np.testing.assert_array_equal(
        evaluate(checkpoint.load(path).model, data, device="cpu").counts.sum(), own_size.sum()
    )


class Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool, bool]] = []

    def forward(self, image: Tensor) -> Tensor:
        turned = image.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((self.training, torch.is_inference_mode_enabled(), turned))
        return says_dark(image)


@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_scored_in_evaluation_mode_and_given_back_in_its_own(shades: SegmentationDataset, training: bool):
    model = Watched().train(training)
    evaluate(model, shades, workers=0)
    assert model.seen == [(False, True, True)] * 3
    assert model.training is training


def test_modules_in_evaluation_mode_of_their_own_stay_in_it(shades: SegmentationDataset):
    model = Watched().train()
    model.frozen = nn.BatchNorm2d(3).eval()
    evaluate(model, shades, workers=0)
    assert model.training
    assert not model.frozen.training


def test_the_mode_is_given_back_after_an_error_too(shades: SegmentationDataset, narrow: SegNet):
    shades.channels = 1
    with pytest.raises(ShapeError, match=r"model wants floating numbers \(N, 3, H, W\)"):
        evaluate(narrow, shades, workers=0)
    assert narrow.training


def test_statistics_of_the_norms_are_left_alone(camvid, narrow: SegNet):
    narrow.classifier = nn.Conv2d(4, 11, 1)
    before = narrow.encoder.stages[0][0].bn.running_mean.clone()
    scores = evaluate(narrow, camvid.dataset("val", size=(24, 32)), workers=0)
    assert torch.equal(narrow.encoder.stages[0][0].bn.running_mean, before)
    assert 0 < scores.counts.sum() <= 3 * 24 * 32


@pytest.mark.parametrize(
    ("say", "given"),
    [
        (lambda image: F.pad(knows(image), (0, 0, 0, 0, 0, 2)), r"\(1, 5, 4, 6\)"),  # classes that nobody predicts
        (lambda image: knows(image)[:, :2], r"\(1, 2, 4, 6\)"),
        (lambda image: knows(image)[..., ::2, ::2], r"\(1, 3, 2, 3\)"),
        (lambda image: {"out": knows(image)}, "a value of type dict"),
    ],
)
def test_a_network_without_logits_of_the_classes_is_refused(shades: SegmentationDataset, say: Any, given: str):
    with pytest.raises(
        ModelError, match=rf"Saying gave {given}; expected logits \(N, classes, H, W\), here \(1, 3, 4, 6\)"
    ):
        evaluate(Saying(say), shades)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_an_error_of_one_line(shades: SegmentationDataset, workers: int):
    path = shades.samples[1].image
    path.write_bytes(b"a text")
    with pytest.raises(DataError) as caught:
        evaluate(Saying(knows), shades, workers=workers)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_same_classes_are_fine_whatever_their_colors():
    other = ClassTable(names=LABELS.names, colors=((1, 1, 1), (2, 2, 2), (3, 3, 3)))
    check_same_classes(LABELS, other, model="m", data="d")


def test_another_number_of_classes_is_refused():
    with pytest.raises(ModelError, match="m knows 3 classes but d has 2"):
        check_same_classes(LABELS, ClassTable.from_names(["black", "dark"]), model="m", data="d")


def test_other_names_are_refused_with_the_first_that_differs():
    with pytest.raises(ModelError, match="m calls a class 'dark' that d calls 'light'"):
        check_same_classes(LABELS, ClassTable.from_names(["black", "light", "dark"]), model="m", data="d")


def test_what_is_no_data_set_or_no_model_is_refused(shades: SegmentationDataset):
    with pytest.raises(DataError, match=r"the data is a DataLoader; give a SegmentationDataset"):
        evaluate(nn.Identity(), DataLoader(shades))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"the model is a str; give a network, or a file or name to Predictor.load"):
        evaluate("segnet_light", shades)  # type: ignore[arg-type]


def test_a_predictor_of_other_classes_or_channels_than_the_data_is_refused(
    shades: SegmentationDataset, runtime: TorchRuntime
):
    named = SegmentationDataset(shades.samples, ClassTable.from_names(["black", "light", "dark"]))
    with pytest.raises(ModelError, match="calls a class 'dark' that the data set calls 'light'"):
        evaluate(Predictor(runtime), named)
    with pytest.raises(ModelError, match="knows 3 classes but the data set has 2"):
        evaluate(Predictor(runtime), SegmentationDataset(shades.samples, LABELS, ignore_index=(2, 255)))
    for channels, words in ((1, "gray"), (Bands(indices=(2, 1, 0)), "bands 2, 1, 0")):
        other = SegmentationDataset(shades.samples, LABELS, channels=channels)
        with pytest.raises(DataError, match=rf"read as {words}, and the model takes RGB; open it with channels=pred"):
            evaluate(Predictor(runtime), other)
