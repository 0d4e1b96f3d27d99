"""The flags of ``segnet predict --engine ray``, without Ray: what would run is kept instead."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from segnet.batch import run as module
from segnet.batch.run import BatchRun, Outcome
from segnet.cli.main import main
from segnet.models.bundled import bundled_models


def test_a_folder_with_the_name_of_a_bundled_model_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[BatchRun] = []
    monkeypatch.setattr(module, "predict_batches", lambda run: kept.append(run) or Outcome())
    monkeypatch.chdir(tmp_path)
    Path("segnet_basic").mkdir()  # such as that of a run
    with pytest.raises(SystemExit) as left:
        main(["predict", "in", "--engine", "ray", "--model", "segnet_basic", "--runtime", "onnx"])
    assert not left.value.code
    assert hashlib.sha256(bundled_models()["segnet_basic"].read_bytes()).hexdigest() in kept[0].settings
