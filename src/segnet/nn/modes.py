"""Training and evaluation mode of the modules of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["in_evaluation"]


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in its own mode again."""
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            for module in training:  # the graphs of torch.export have no eval()
                module.training = False
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
