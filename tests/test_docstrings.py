"""Examples in docstrings run, and print what they say; exports, trainings and the hub are left to the docs."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import segnet
from segnet.media.images.writing import write_image
from segnet.models.zoo import MODELS

_MODULES = (
    "data.synthetic.scenes", "inference.prediction", "inference.predictor", "models.cost", "models.efficientnet",
    "models.mc_dropout", "models.segnet", "models.zoo", "nn", "nn.conversion",
)  # fmt: skip


class _Checker(doctest.OutputChecker):
    """Compares the output only where the example has one."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


class _Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"pool": nn.MaxPool2d(2, return_indices=True)})
        self.decoder = nn.ModuleDict({"unpool": nn.MaxUnpool2d(2)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, indices = self.encoder["pool"](x)
        unpooled: torch.Tensor = self.decoder["unpool"](values, indices)
        return unpooled


def _given(module: str) -> dict[str, Any]:
    """What a reader of the module's examples has: the package, a model, an image and a predictor."""
    image = segnet.render_scene(1, size=(48, 64))[0]
    given = {"segnet": segnet, "torch": torch, "MODELS": MODELS, "config": MODELS["segnet_basic"], "image": image}
    if module == "models.mc_dropout":
        model = segnet.create_model("bayesian_segnet_basic").eval()
        return {**given, "model": model, "image": torch.rand(1, 3, 16, 16)}
    if module.startswith("inference"):
        return {**given, "predictor": segnet.Predictor.load("segnet_light")}
    return {**given, "model": _Autoencoder()}


@pytest.mark.parametrize("name", _MODULES)
def test_examples_in_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for photo in ("photo.jpg", "a.jpg", "b.jpg"):
        write_image(tmp_path / photo, segnet.render_scene(1, size=(120, 160))[0])
    module = import_module(f"segnet.{name}")
    runner = doctest.DocTestRunner(checker=_Checker(), verbose=False)
    for test in doctest.DocTestFinder().find(module, extraglobs=_given(name)):
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries > 0
