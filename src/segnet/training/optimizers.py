"""Muon for convolution filters, AdamW for everything else.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024
(https://kellerjordan.github.io/posts/muon/); other coefficients for every iteration are the idea of Amsel et al., "The
Polar Express", 2025 (https://arxiv.org/abs/2505.16932). PyTorch's own ``torch.optim.Muon`` takes matrices only; here a
filter bank (out, in, k, k) is taken as the matrix (out, in*k*k).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from segnet.models.segnet import SegNet
from segnet.training.settings import TrainConfig

__all__ = ["Muon", "make_optimizer", "orthogonalize"]

Groups = list[dict[str, Any]]
_Optimizer = TypeVar("_Optimizer", bound=torch.optim.Optimizer)

# Of a s + b s^3 + c s^5, applied to all singular values s: in each iteration that with the least error on the interval
# which the one before leaves of [0.005, 1]. The last leaves [0.917, 1.083].
_COEFFICIENTS = (
    (8.2987, -24.4305, 18.0903),
    (3.9152, -2.9211, 0.5592),
    (3.1746, -2.3804, 0.4978),
    (2.1895, -1.5672, 0.4079),
)
_SAFETY = 1.01  # singular values stay below 1 though sums are rounded
_MOMENTUM = 0.95
_ADAMW_LR = 1 / 25  # of Muon's


def make_optimizer(model: SegNet, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of ``config`` over the trainable parameters; weight decay on filters only."""
    lr, weight_decay = config.lr, config.weight_decay
    scale = partial(_scale_learning_rates, module=model.encoder, factor=config.encoder_lr)
    if config.optimizer == "muon":
        return Muon(model, lr=lr, weight_decay=weight_decay, adamw_modules=(model.classifier,), change_groups=scale)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = scale([
        {"params": [p for p in trained if p.ndim > 1], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "lr": lr, "weight_decay": 0.0},
    ])  # fmt: skip
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9)
    return _unscaled(torch.optim.AdamW(groups, lr=lr, fused=True))


def _unscaled(optimizer: _Optimizer) -> _Optimizer:
    """A fused optimizer that takes gradients as they are: with those it scales by itself, none could be clipped."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


class Muon(torch.optim.AdamW):
    """Orthogonalizes each update of a convolution filter bank, so that no direction dominates; AdamW does the rest.

    Args:
        model: Its trainable convolution filters, except those of ``adamw_modules``, are updated by Muon.
        lr: Learning rate of these filters. All other parameters have 1/25 of it.
        weight_decay: Weight decay of filters. Vectors have none.
        adamw_modules: Modules whose filters are updated by AdamW, such as the classifier.
        change_groups: Called with the parameter groups, and returns those to use.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float,
        adamw_modules: tuple[nn.Module, ...] = (),
        change_groups: Callable[[Groups], Groups] = list,
    ) -> None:
        by_adamw = {id(parameter) for module in adamw_modules for parameter in module.parameters()}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        banks = [parameter for parameter in trained if parameter.ndim == 4 and id(parameter) not in by_adamw]
        single = [parameter for parameter in trained if parameter.ndim == 4 and id(parameter) in by_adamw]
        vectors = [parameter for parameter in trained if parameter.ndim != 4]
        rest = {"lr": lr * _ADAMW_LR, "orthogonal": False}
        groups = [
            {"params": banks, "lr": lr, "weight_decay": weight_decay, "orthogonal": True},
            {"params": single, "weight_decay": weight_decay, **rest},
            {"params": vectors, "weight_decay": 0.0, **rest},
        ]
        super().__init__(change_groups(groups), fused=True)
        _unscaled(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters. ``closure``, if given, computes the gradients first; its result is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._step_bank(parameter, parameter.grad, group)
                    parameter.grad = None  # so that AdamW skips it
        super().step()
        return loss

    def _step_bank(self, bank: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[bank]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(bank)
            state["step"] = torch.tensor(0.0)  # AdamW reads it when its state is loaded
        momentum = state["momentum"].mul_(_MOMENTUM).add_(gradient)
        direction = _orthogonalize_bank(torch.add(gradient, momentum, alpha=_MOMENTUM))
        bank.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])


def _orthogonalize_bank(bank: Tensor) -> Tensor:
    """`orthogonalize` of (out, in*k*k), its columns in the order of the memory, so that nothing is copied."""
    if not bank.is_contiguous(memory_format=torch.channels_last):
        return orthogonalize(bank.flatten(1)).view(bank.shape)
    last = bank.permute(0, 2, 3, 1)
    return orthogonalize(last.flatten(1)).view(last.shape).permute(0, 3, 1, 2)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximate the nearest matrix with orthonormal rows, or columns if they are fewer.

    Singular values are divided by the fourth root of the sum of their fourth powers, which is the largest of them at
    least, and n^(1/4) times that if n are equal; those that are then 0.005 and more become 0.9 to 1.1. Four
    Newton-Schulz iterations take place on the Gram matrix: each multiplies the matrix from the left by a polynomial of
    it, so the long side takes part in the first product and the last only. That needs float32. The norm of the Gram
    matrix bounds the singular values more closely than that of the matrix, which is worth an iteration (figures in
    benchmarks/bench_optimizers.py).

    Args:
        matrix: (rows, columns), any floating type.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).float()
    gram = x @ x.T
    scale = 1 / (_SAFETY * gram.norm().sqrt() + 1e-7)
    gram.mul_(scale * scale)
    total = polynomial = _polynomial(gram, *_COEFFICIENTS[0])
    for coefficients in _COEFFICIENTS[1:]:
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram, *coefficients)
        total = polynomial @ total
    result: Tensor = total.mul_(scale) @ x
    return (result.T if tall else result).to(matrix.dtype)


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    polynomial.diagonal().add_(a)
    return polynomial


def _scale_learning_rates(groups: Groups, *, module: nn.Module, factor: float) -> Groups:
    """Split the groups, so that the parameters of ``module`` have ``factor`` times the learning rate."""
    if factor == 1.0:
        return groups
    inside = {id(parameter) for parameter in module.parameters()}
    split: Groups = []
    for group in groups:
        for scaled in (False, True):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in inside) == scaled]
            split.append({**group, "params": chosen, "lr": group["lr"] * (factor if scaled else 1.0)})
    return split
