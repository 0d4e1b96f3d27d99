"""A small network, and the files that it is exported to, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from segnet.exporting.export import export
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet

NAMES = ["sky", "Straße", "<tree>"]


@pytest.fixture(scope="session")
def exported(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """By format and suffix, the file; not to be changed."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def make(kind: str, suffix: str) -> Path:
        path = folder / f"{kind}{suffix}"
        labels = ClassTable.from_names(NAMES)
        return export(toy, labels, path, format=kind, provenance={"licence": "mine"}, scores={"miou": 0.5}).path

    return make


@pytest.fixture(params=[(1, 1, 1), (1, 1, 9), (2, 37, 42), (1, 8, 8)], ids=str)
def image(request: pytest.FixtureRequest) -> np.ndarray:
    number, height, width = request.param
    return np.random.default_rng(0).random((number, 3, height, width), dtype=np.float32)
