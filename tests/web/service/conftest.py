"""A service with a tiny model, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_client import Client, run_service

from segnet.inference.predictor import Predictor
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet


@pytest.fixture(scope="module")
def model_file(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = ClassTable(names=("sky", "road", "car"), colors=((9, 8, 7), (1, 2, 3), (4, 5, 6)), values=(0, 7, 9))
    return checkpoint.save(toy, table, tmp_path_factory.mktemp("model") / "toy.safetensors")


@pytest.fixture(scope="module")
def client(model_file: Path) -> Iterator[Client]:
    def open_model() -> Predictor:
        return Predictor.load(model_file)

    with run_service({"toy": open_model, "twin": open_model}) as client:
        yield client
        assert not client.files
    assert not Path(client.service._folder.name).exists()
