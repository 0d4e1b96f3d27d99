"""Synchronized batch norm for CPU and GPU, and batch norm with frozen statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

__all__ = ["SyncedBatchNorm", "freeze_statistics", "synced_batch_norm"]


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes.

    ``torch.nn.SyncBatchNorm`` does the same on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  PyTorch's name
        """(N, C, H, W), as ``nn.BatchNorm2d``."""
        if not self.training or not distributed.is_initialized():
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        sums = torch.cat([x.sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])])
        all_sums = _total(sums)
        total, number = all_sums[:-1], all_sums[-1]
        mean = total / number
        centered = x - mean[:, None, None]
        variance = _total(centered.square().sum((0, 2, 3))) / number
        self._update_statistics(mean.detach(), variance.detach() * (number / (number - 1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias[:, None, None], centered, scale[:, None, None]).to(input.dtype)

    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


class _Total(torch.autograd.Function):
    """Sum over all processes, of values and of gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def _total(part: Tensor) -> Tensor:
    total: Tensor = _Total.apply(part)  # type: ignore[no-untyped-call]
    return total


@contextmanager
def synced_batch_norm(model: nn.Module) -> Iterator[None]:
    """Plain batch norms of a model are ``SyncedBatchNorm`` within the block, and plain again after it.

    Each stays the same object, with its parameters, statistics and mode.
    """
    norms = [module for module in model.modules() if type(module) is nn.BatchNorm2d]
    for norm in norms:
        norm.__class__ = SyncedBatchNorm
    try:
        yield
    finally:
        for norm in norms:
            norm.__class__ = nn.BatchNorm2d


def freeze_statistics(model: nn.Module) -> None:
    """Stop updating the statistics of every batch norm; scale and shift are still trained."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
