"""Muon for convolution filters, AdamW for everything else.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon/), which gives the coefficients below. PyTorch's own ``torch.optim.Muon``
takes matrices only; here a filter bank (out, in, k, k) counts as the matrix (out, in*k*k).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalized", "slowed"]

Groups = list[dict[str, Any]]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95
_REST_LR = 1 / 25


class Muon(torch.optim.AdamW):
    """Every step of a filter bank is made orthogonal, so that no direction dominates; the rest is AdamW's.

    Args:
        model: its trainable convolution filters, but for ``spared``, go by Muon.
        lr: learning rate of the filters; everything else learns at a 25th of it.
        weight_decay: on filters; vectors are spared.
        spared: modules whose filters go by AdamW, such as the classifier.
        change: what is to be done to the groups of parameters, as ``slowed`` does.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float,
        spared: tuple[nn.Module, ...] = (),
        change: Callable[[Groups], Groups] = list,
    ) -> None:
        kept = {id(parameter) for module in spared for parameter in module.parameters()}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        banks = [parameter for parameter in trained if parameter.ndim == 4 and id(parameter) not in kept]
        single = [parameter for parameter in trained if parameter.ndim == 4 and id(parameter) in kept]
        vectors = [parameter for parameter in trained if parameter.ndim != 4]
        rest = {"lr": lr * _REST_LR, "orthogonal": False}
        groups = [
            {"params": banks, "lr": lr, "weight_decay": weight_decay, "orthogonal": True},
            {"params": single, "weight_decay": weight_decay, **rest},
            {"params": vectors, "weight_decay": 0.0, **rest},
        ]
        super().__init__(change(groups))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure``, if given, computes the gradients first and its result is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._step_bank(parameter, group)
                    parameter.grad = None  # AdamW passes over it
        super().step()
        return loss

    def _step_bank(self, bank: Tensor, group: dict[str, Any]) -> None:
        state = self.state[bank]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(bank)
            state["step"] = torch.tensor(0.0)  # AdamW looks for it when its state is loaded
        momentum = state["momentum"].mul_(_MOMENTUM).add_(bank.grad)
        direction = orthogonalized((bank.grad + _MOMENTUM * momentum).flatten(1)).view_as(bank)
        bank.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])


def slowed(groups: Groups, *, module: nn.Module, share: float) -> Groups:
    """The same groups, but what belongs to ``module`` in groups of its own with ``share`` of the learning rate."""
    if share == 1.0:
        return groups
    inside = {id(parameter) for parameter in module.parameters()}
    split: Groups = []
    for group in groups:
        for slow in (False, True):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in inside) == slow]
            split.append({**group, "params": chosen, "lr": group["lr"] * (share if slow else 1.0)})
    return split


def orthogonalized(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal rows (or columns, whichever are fewer), roughly: singular values 0.7 to 1.2.

    Five Newton-Schulz rounds in bfloat16, as in the source.

    Args:
        matrix: (rows, columns).
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result
