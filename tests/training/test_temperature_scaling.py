"""Temperature scaling, against a plain search and the meter's own NLL."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from segnet.data.layouts import Source
from segnet.errors import ConfigError, DataError, ModelError
from segnet.inference.evaluation import evaluate
from segnet.inference.predictor import Predictor
from segnet.inference.working_size import ResizePolicy
from segnet.metrics.calibration.scores import CalibrationMeter
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.runtimes.pytorch import TorchRuntime
from segnet.training.temperature import fit_temperature, scale_logits


@pytest.fixture
def unsure() -> SegNet:
    """A network that has seen no truth, so that any confidence of its is too much."""
    torch.manual_seed(5)
    encoder = EncoderConfig(widths=((4,), (6,)), dropout_after_pooling=(1, 2))
    decoder = DecoderConfig(widths=((4,), (4,)), dropout_stages=(2,))
    model = SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, dropout=0.5, classes=11))
    scale_logits(model, 0.2)
    return model.eval()


def measured(model: SegNet, data: Source, samples: int) -> tuple[float, np.ndarray]:
    """NLL by the meter that ``segnet evaluate`` uses, and the confusion matrix."""
    meter = CalibrationMeter("entropy")
    scores = evaluate(
        Predictor(TorchRuntime(model, data.labels, device="cpu", samples=samples)),
        data.dataset("val"),
        calibration=meter,
    )
    return meter.scores.nll, scores.counts


@pytest.mark.parametrize("samples", [0, 3])
def test_the_likelihood_rises_as_it_says_and_is_the_highest_around(
    unsure: SegNet, camvid: Source, samples: int
) -> None:
    found = fit_temperature(unsure, camvid.dataset("val"), samples=samples, device="cpu")
    before, counts = measured(unsure, camvid, samples)
    nll = {}
    for factor in (0.95, 1.0, 1.05):
        scaled = deepcopy(unsure)
        scale_logits(scaled, found.value * factor)
        nll[factor], after = measured(scaled, camvid, samples)
        if not samples:
            assert np.abs(after - counts).sum() <= 0.001 * counts.sum()  # no more than rounding turns ties
    assert found.value > 1.5
    assert found.nll_before == pytest.approx(before, abs=1e-4)
    assert found.nll_after == pytest.approx(nll[1.0], abs=5e-4)  # between what was tried
    assert nll[1.0] < min(before, nll[0.95], nll[1.05])
    assert found.pixels == counts.sum()


def test_larger_images_are_segmented_as_predict_segments_them(unsure: SegNet, camvid: Source) -> None:
    meter = CalibrationMeter("entropy")
    predictor = Predictor(TorchRuntime(unsure, camvid.labels, device="cpu"), max_size=32, uncertainty=True)
    evaluate(predictor, camvid.dataset("val"), calibration=meter)
    found = fit_temperature(unsure, camvid.dataset("val"), resize=ResizePolicy(max_size=32), device="cpu")
    assert found.nll_before == pytest.approx(meter.scores.nll, rel=1e-3)  # upsampled by another library
    own = fit_temperature(unsure, camvid.dataset("val"), device="cpu")
    assert abs(own.nll_before - meter.scores.nll) > 2 * abs(found.nll_before - meter.scores.nll)
    assert fit_temperature(unsure, camvid.dataset("val"), resize=ResizePolicy(max_size=5000), device="cpu") == own


def test_what_has_the_best_temperature_keeps_it(unsure: SegNet, camvid: Source) -> None:
    scale_logits(unsure, fit_temperature(unsure, camvid.dataset("val"), device="cpu").value)
    again = fit_temperature(unsure, camvid.dataset("val"), device="cpu")
    assert again.value == pytest.approx(1.0, abs=0.01)
    assert again.nll_after <= again.nll_before


def test_the_model_stays_as_it_is(unsure: SegNet, camvid: Source) -> None:
    before = {name: value.clone() for name, value in unsure.state_dict().items()}
    unsure.train()
    fit_temperature(unsure, camvid.dataset("val"), samples=2, device="cpu")
    assert unsure.training
    assert all(torch.equal(value, before[name]) for name, value in unsure.state_dict().items())


@pytest.mark.parametrize(
    "name",
    ["segnet_light", "segnet_basic", "bilinear", "fcn_basic", "fcn_basic_no_addition", "fcn_basic_no_dim_reduction"],
)
@torch.no_grad()
def test_logits_are_divided(name: str) -> None:
    model = create_model(name).eval()
    for parameter in model.parameters():  # biases too, which begin as 0
        if parameter.ndim == 1:
            parameter.uniform_(-0.1, 0.1)
    image = torch.rand(1, 3, 37, 50)
    wanted = model(image) / 1.7
    scale_logits(model, 1.7)
    torch.testing.assert_close(model(image), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_logits_that_are_sums_of_encoder_maps_are_refused() -> None:
    config = create_model("fcn_basic").config
    with pytest.raises(ModelError, match="temperature cannot be set"):
        scale_logits(SegNet(replace(config, classes=64)), 2.0)  # as many classes as channels: nothing is projected


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_0(wrong: float, unsure: SegNet) -> None:
    with pytest.raises(ConfigError, match="give a number above 0"):
        scale_logits(unsure, wrong)


def test_images_without_truth_have_no_temperature(unsure: SegNet, camvid: Source) -> None:
    with pytest.raises(DataError, match="the data set holds no images"):
        fit_temperature(unsure, camvid.dataset("val").only([]), device="cpu")


def test_data_of_other_classes_has_no_temperature(camvid: Source) -> None:
    with pytest.raises(ModelError, match="the network has 3 classes but the class table 11"):
        fit_temperature(create_model("segnet_basic", classes=3), camvid.dataset("val"), device="cpu")
