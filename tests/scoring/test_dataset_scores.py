"""Scores of a predictor on a data set."""

from __future__ import annotations

from dataclasses import replace

from segnet.data.layouts import Source
from segnet.inference.predictor import Predictor
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.runtimes.pytorch import TorchRuntime
from segnet.scoring.evaluation import evaluate_predictor


def test_calibration_is_measured_without_uncertainty_of_the_predictor(
    camvid: Source, narrow_config: SegNetConfig
) -> None:
    """By the entropy, as of a predictor that computes it."""
    dataset = camvid.dataset("val")
    runtime = TorchRuntime(SegNet(replace(narrow_config, classes=11)).eval(), dataset.labels, device="cpu")
    plain, uncertain = (
        evaluate_predictor(Predictor(runtime, uncertainty=uncertainty), dataset, calibration=True).calibration
        for uncertainty in (False, True)
    )
    assert plain is not None
    assert uncertain is not None
    assert (plain.ece, plain.auroc) == (uncertain.ece, uncertain.auroc)
