"""Scores of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from segnet.data.dataset import Sample, SegmentationDataset
from segnet.errors import DataError, ModelError, ShapeError
from segnet.inference.evaluation import check_same_classes, evaluate
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.models.segnet import SegNet
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.protocol import FileRuntime

LABELS = ClassTable.from_names(["black", "dark", "light"])


@pytest.fixture
def shades(tmp_path: Path) -> SegmentationDataset:
    """Gray images whose brightness is 100 times the class; sizes differ, some truth is void."""
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
def test_a_model_that_knows_scores_one_on_images_of_any_size(shades: SegmentationDataset, workers: int):
    scores = evaluate(Saying(knows), shades, workers=workers)
    assert scores.global_accuracy == scores.miou == 1.0
    assert scores.counts.sum() == sum((shades.read_classes(index) != IGNORE_INDEX).sum() for index in range(3))
    assert scores.labels == LABELS


def test_counts_are_summed_over_all_images(shades: SegmentationDataset):
    every = np.concatenate([shades.read_classes(index).ravel() for index in range(3)])
    scores = evaluate(Saying(says_dark), shades, workers=0)
    assert scores.counts[:, 1].tolist() == [(every == index).sum() for index in range(3)]
    assert scores.counts.sum() == (every != IGNORE_INDEX).sum()


def test_progress_is_told_after_every_image(shades: SegmentationDataset):
    told: list[tuple[int, int]] = []
    evaluate(Saying(says_dark), shades, workers=0, progress=lambda done, every: told.append((done, every)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_every_image_is_shown_to_the_observer_with_what_is_predicted_and_true(shades: SegmentationDataset):
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


class MasksAlone(FileRuntime):
    """A file that draws samples, of which it gives the mask and the variance."""

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        size = (len(image), *image.shape[2:])
        return [np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.float32)]


def test_masks_alone_cannot_be_calibrated(shades: SegmentationDataset):
    runtime = MasksAlone(Path("a.onnx"), ModelInfo(name="a", labels=LABELS, output="mask", samples=4))
    with pytest.raises(ModelError, match="a: gives masks alone; export it with --output probabilities"):
        evaluate(runtime, shades, calibration=CalibrationMeter("variance"))


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


def test_a_model_of_more_classes_than_the_data_is_refused_where_it_matters(shades: SegmentationDataset):
    with pytest.raises(DataError, match="the prediction holds values from 4 to 4"):
        evaluate(Saying(lambda image: torch.eye(5)[4].view(1, 5, 1, 1).expand(1, 5, *image.shape[2:])), shades)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_told_in_one_line(shades: SegmentationDataset, workers: int):
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
