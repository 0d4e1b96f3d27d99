"""Dropout that stays on in an exported program: the file itself draws what is dropped, anew for each sample.

Source: Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet" (arXiv:1511.02680), section 3: the mean of the softmax over
samples is the prediction, their variance how uncertain it is.
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

__all__ = ["Drop", "computed_once", "kept_on", "mean_and_uncertainty"]


class Drop(nn.Module):
    """``nn.Dropout`` that is always on, in operators that no exporter takes for those of training.

    Args:
        probability: of each number to become zero; the others are enlarged, so that the mean stays.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """The map with other numbers dropped at every call, and in every image of the batch."""
        kept = (torch.rand_like(x) >= self.probability).to(x.dtype)
        return x * kept * (1.0 / (1.0 - self.probability))


def kept_on(model: SegNet) -> SegNet:
    """The same network, changed in place: what drops in training drops always."""
    for name, part in dropouts(model).items():
        model.set_submodule(name, Drop(part.p))
    for relu in model.modules():
        if isinstance(relu, nn.ReLU):
            relu.inplace = False  # spares ``computed_once`` a second and slower tracing
    return model


def mean_and_uncertainty(samples: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Of probabilities (N, classes, H, W), sample by sample: their mean, and (N, H, W) the mean variance of a class.

    No more than two samples are in memory at once.
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for sample in samples:
        total, squares, count = total + sample, squares + (sample * sample).mean(dim=1), count + 1
    mean = total / count
    return mean, (squares / count - (mean * mean).mean(dim=1)).clamp_min(0.0)


def computed_once(program: ExportedProgram) -> ExportedProgram:
    """The program without what it computes twice, such as all that stands before the first dropout of each sample.

    What is drawn at random stays as often as it is there.
    """
    if any(_overwrites(node) for node in program.graph.nodes):
        program = program.run_decompositions({})  # in place of which come operators that give new maps
    shared = CSEPass(banned_ops=get_CSE_banned_ops())(program.graph_module)
    assert shared is not None
    program.graph_module.graph = shared.graph_module.graph
    return program


def _overwrites(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable
