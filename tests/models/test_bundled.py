"""The models that come with the package."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import pytest
import torch

from segnet.cli.commands import evaluate, predict
from segnet.data.synthetic.scenes import SAMPLE_SEED, render_scene
from segnet.inference.predictor import Predictor
from segnet.labels import CAMVID
from segnet.metrics.confusion import Scores, confusion
from segnet.models import checkpoint
from segnet.models.bundled import bundled_models, bundled_onnx
from segnet.runtimes.onnx import OnnxRuntime

ROOT = Path(__file__).parents[2]
BUNDLED = bundled_models()


LARGE = {"segnet"}  # filters in eight bits, and for PyTorch alone: an ONNX file would double the package


def test_four_models_are_bundled_and_the_fastest_is_the_default() -> None:
    assert sorted(BUNDLED) == ["bayesian_segnet_basic", "segnet", "segnet_basic", "segnet_light"]
    for command in (predict, evaluate):
        assert inspect.signature(command.run).parameters["model"].default.model == "segnet_light"


@pytest.mark.parametrize("name", BUNDLED)
def test_the_model_card_has_the_checksum_and_the_scores(name: str) -> None:
    card = (ROOT / "docs" / "models" / f"{name}.md").read_text(encoding="utf-8")
    scores = checkpoint.load(name).scores
    assert hashlib.sha256(BUNDLED[name].read_bytes()).hexdigest() in card
    for score in ("global_accuracy", "class_average", "miou"):
        assert f"{scores[score]:.4f}" in card


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_is_small_and_has_its_provenance(name: str) -> None:
    assert BUNDLED[name].stat().st_size <= (30 if name in LARGE else 6) * 2**20
    kept = checkpoint.load(name)
    assert kept.model.config.name == name
    assert {"data", "terms", "settings", "versions"} <= set(kept.provenance)
    counts = torch.tensor(kept.scores["confusion"]).numpy()
    assert kept.scores["miou"] == pytest.approx(Scores(counts, kept.labels).miou)


def test_every_small_bundled_model_is_there_as_onnx_made_from_the_file_beside_it() -> None:
    assert set(bundled_onnx()) == set(BUNDLED) - LARGE
    for name, path in bundled_onnx().items():
        made_from = OnnxRuntime(path).info.provenance["model_file"]
        assert made_from["sha256"] == hashlib.sha256(BUNDLED[name].read_bytes()).hexdigest(), (
            f"{path.name} is outdated; run: python tools/bundle_onnx.py {name}"
        )


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_segments_the_packaged_street_plausibly(name: str) -> None:
    """They were trained on photographs only; a rendered street is similar enough to find the large classes."""
    image, truth = render_scene(SAMPLE_SEED)
    mask = Predictor.load(name, device="cpu")(image).mask
    counts = confusion(torch.from_numpy(mask), torch.from_numpy(truth), CAMVID.classes)
    scores = Scores(counts.numpy(), CAMVID)
    assert scores.global_accuracy > 0.7
    found = dict(zip(CAMVID.names, scores.iou, strict=True))
    assert min(found[name] for name in ("Sky", "Road", "Pavement", "Tree", "Car")) > 0.5
