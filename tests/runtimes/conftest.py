"""A small network, and the files that it is exported to, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.exporting.export import export
from segnet.labels import Labels
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig

NAMES = ["sky", "Straße", "<tree>"]


@pytest.fixture(scope="session")
def toy() -> SegNet:
    """Two stages, with batch norm that has seen pictures; not to be changed."""
    torch.manual_seed(3)
    model = SegNet(
        SegNetConfig(
            name="toy",
            encoder=EncoderConfig(widths=((4,), (6,))),
            decoder=DecoderConfig(widths=((4,), (4,))),
            classes=len(NAMES),
        )
    )
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(2, 3, 24, 32))
    return model.eval()


@pytest.fixture(scope="session")
def exported(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """By format and suffix, the file; not to be changed."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def make(kind: str, suffix: str) -> Path:
        path = folder / f"{kind}{suffix}"
        labels = Labels.from_names(NAMES)
        return export(toy, labels, path, format=kind, provenance={"licence": "mine"}, scores={"miou": 0.5}).path

    return make


@pytest.fixture(params=[(1, 1, 1), (1, 1, 9), (2, 37, 42), (1, 8, 8)], ids=str)
def image(request: pytest.FixtureRequest) -> np.ndarray:
    number, height, width = request.param
    return np.random.default_rng(0).random((number, 3, height, width), dtype=np.float32)
