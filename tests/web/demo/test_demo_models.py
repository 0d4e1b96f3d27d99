from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.web.demo.models import Models


@pytest.fixture
def plain(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> str:
    return str(checkpoint.save(narrow, five_labels, tmp_path / "plain.safetensors"))


def test_samples_are_drawn_by_models_with_dropout_only(
    plain: str, narrow_config: SegNetConfig, five_labels: ClassTable, tmp_path: Path
) -> None:
    network = SegNet(replace(narrow_config, dropout=0.5))
    bayesian = str(checkpoint.save(network, five_labels, tmp_path / "bayesian.safetensors"))
    models = Models([plain, bayesian])
    assert (models.open(bayesian, 4).measure, models.open(bayesian).measure) == ("variance", "entropy")
    assert models.open(plain, 4) is models.open(plain)
    assert models.open(plain).confidence


def test_only_what_is_offered_or_uploaded_can_be_opened(plain: str, tmp_path: Path) -> None:
    models = Models([plain])
    upload = tmp_path / "upload.safetensors"
    upload.write_bytes(Path(plain).read_bytes())
    with pytest.raises(ConfigError, match="is not offered here; choose one of"):
        models.open(str(upload))
    models.add(upload)
    assert models.open(str(upload)).labels.classes == 5


def test_an_upload_that_cannot_be_used_is_refused(plain: str, tmp_path: Path) -> None:
    models, damaged = Models([plain]), tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x08")
    with pytest.raises(ModelError, match="not a readable model file"):
        models.add(damaged)
    with pytest.raises(ConfigError, match="is not offered here"):
        models.open(str(damaged))
    with pytest.raises(ModelError, match=r"program.pt2: is no model file that can be uploaded; give .safetensors or"):
        models.add(tmp_path / "program.pt2")


def test_without_a_model_nothing_is_offered() -> None:
    with pytest.raises(ConfigError, match="no model is offered"):
        Models([])
