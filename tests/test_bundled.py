"""The models that come with the package."""

from __future__ import annotations

import pytest
import torch

from segnet import checkpoint
from segnet.data.synthetic import SAMPLE_SEED, draw_scene
from segnet.inference import Predictor
from segnet.labels import CAMVID
from segnet.metrics import Scores, confusion

BUNDLED = checkpoint.bundled_models()


def test_segnet_basic_is_bundled() -> None:
    assert "segnet_basic" in BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_is_small_and_tells_where_it_comes_from(name: str) -> None:
    assert BUNDLED[name].stat().st_size <= 4 * 2**20
    kept = checkpoint.load(name)
    assert kept.model.config.name == name
    assert {"data", "terms", "settings", "versions"} <= set(kept.provenance)
    counts = torch.tensor(kept.scores["confusion"]).numpy()
    assert kept.scores["miou"] == pytest.approx(Scores(counts, kept.labels).miou)


def test_the_bundled_model_labels_the_packaged_street_sensibly() -> None:
    """It was trained on photographs alone; a drawn street is enough like one for the large classes to be found."""
    image, truth = draw_scene(SAMPLE_SEED)
    mask = Predictor.load("segnet_basic", device="cpu")(image).mask
    counts = confusion(torch.from_numpy(mask), torch.from_numpy(truth), CAMVID.classes)
    scores = Scores(counts.numpy(), CAMVID)
    assert scores.global_accuracy > 0.7
    found = dict(zip(CAMVID.names, scores.iou, strict=True))
    assert min(found[name] for name in ("Sky", "Road", "Pavement", "Tree", "Car")) > 0.5
