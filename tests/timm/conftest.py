"""timm needs torchvision, of which there is no build for every torch; its two operators that fail are declared here.

These tests stand apart, and ``tools/check.sh`` runs them by themselves, since no other test may see that torchvision.
"""

from __future__ import annotations

import pytest
import torch

_library = torch.library.Library("torchvision", "FRAGMENT")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything imports torchvision; where it is whole, the declaration repeats its own."""
    for name in ("nms", "qnms"):
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
