"""A module of the user's with two outputs, in executorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from segnet.exporting.modules import export_module


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        values, indices = self.pool(self.first(x))
        return {"logits": self.unpool(values, indices), "values": values}


def test_a_module_gives_what_pytorch_gives(tmp_path: Path) -> None:
    report = export_module(Net(), torch.randn(1, 3, 16, 24), tmp_path / "net.pte")
    assert report.agreement == 1.0
    assert report.sizes == {"x": (1, 3, 16, 24)}
    assert report.info.output_names == ("logits", "values")
