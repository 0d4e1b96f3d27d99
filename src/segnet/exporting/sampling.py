"""Monte Carlo dropout in an exported program: the file draws its own random numbers for each sample.

Source: Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet" (arXiv:1511.02680), section 3: the mean of the softmax over
samples is the prediction, their variance the uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.passes.dialect.common.cse_pass import CSEPass, get_CSE_banned_ops

from segnet.models.mc_dropout import dropouts
from segnet.models.segnet import SegNet

__all__ = ["AlwaysOnDropout", "keep_dropout_on", "mean_and_uncertainty", "merge_equal_nodes"]


class AlwaysOnDropout(nn.Module):
    """``nn.Dropout`` that is always on, in operators that no exporter removes as training operators.

    Args:
        probability: probability of each number to become zero; the others are scaled so that the mean stays.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Drop numbers of a map (N, C, H, W), with new random numbers for every call and image."""
        kept = (torch.rand_like(x) >= self.probability).to(x.dtype)
        return x * kept * (1.0 / (1.0 - self.probability))


def keep_dropout_on(model: SegNet) -> SegNet:
    """Replace dropout by ``AlwaysOnDropout``, in place; returns the same network."""
    for name, part in dropouts(model).items():
        model.set_submodule(name, AlwaysOnDropout(part.p))
    for relu in model.modules():
        if isinstance(relu, nn.ReLU):
            relu.inplace = False  # saves ``merge_equal_nodes`` a second and slower tracing
    return model


def mean_and_uncertainty(samples: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (N, classes, H, W) of samples of probabilities, and their variance averaged over the classes (N, H, W).

    At most two samples are in memory at once.
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for sample in samples:
        total, squares, count = total + sample, squares + (sample * sample).mean(dim=1), count + 1
    mean = total / count
    return mean, (squares / count - (mean * mean).mean(dim=1)).clamp_min(0.0)


def merge_equal_nodes(program: ExportedProgram) -> ExportedProgram:
    """Compute equal nodes once, such as the layers before the first dropout of each sample.

    Random nodes are not merged.
    """
    if any(_is_in_place(node) for node in program.graph.nodes):
        program = program.run_decompositions({})  # replaces in-place operators by functional ones
    shared = CSEPass(banned_ops=get_CSE_banned_ops())(program.graph_module)
    assert shared is not None
    program.graph_module.graph = shared.graph_module.graph
    return program


def _is_in_place(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable
