"""Random encoder-decoders with max-unpooling: modules and functions, shared modules, lists, two decoders, odd sizes.

No net needs more than a few thousand numbers; a seed always gives the same net and the same example.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Stage:
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    ceil_mode: bool


class RandomNet(nn.Module):
    """``form``: how a stage pools: modules, functions, or the two by turns; ``shared``: one module for all stages."""

    def __init__(self, stages: list[Stage], width: int, form: str, *, shared: bool, decoders: int) -> None:
        super().__init__()
        self.stages, self.form = stages, form
        self.encoder = nn.ModuleList(_block(3 if not i else width, width) for i in range(len(stages)))
        shared_pool, shared_unpool = _modules(stages[0])
        pairs = [(shared_pool, shared_unpool) if shared else _modules(stage) for stage in stages]
        self.pools = nn.ModuleList(pool for pool, _ in pairs)
        self.unpools = nn.ModuleList(unpool for _, unpool in pairs)
        self.decoders = nn.ModuleList(nn.ModuleList(_block(width, width) for _ in stages) for _ in range(decoders))
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        kept: list[tuple[Tensor, torch.Size]] = []
        for i, block in enumerate(self.encoder):
            x = block(x)
            size = x.shape
            x, indices = self._pool(i, x)
            kept.append((indices, size))
        return {f"out{number}": self._decode(decoder, x, kept) for number, decoder in enumerate(self.decoders)}

    def _decode(self, decoder: nn.Module, x: Tensor, kept: list[tuple[Tensor, torch.Size]]) -> Tensor:
        assert isinstance(decoder, nn.ModuleList)
        for i in reversed(range(len(self.stages))):
            x = decoder[i](self._unpool(i, x, *kept[i]))
        return self.head(x)

    def _is_function(self, i: int) -> bool:
        return self.form == "functions" or (self.form == "mixed" and i % 2 == 0)

    def _pool(self, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        one = self.stages[i]
        if self._is_function(i):
            return F.max_pool2d(x, one.kernel, one.stride, one.padding, ceil_mode=one.ceil_mode, return_indices=True)  # type: ignore[return-value]
        return self.pools[i](x)

    def _unpool(self, i: int, x: Tensor, indices: Tensor, size: torch.Size) -> Tensor:
        one = self.stages[i]
        if self._is_function(i):
            return F.max_unpool2d(x, indices, one.kernel, one.stride, one.padding, output_size=size[2:])
        return self.unpools[i](x, indices, output_size=size)


def random_net(seed: int) -> tuple[RandomNet, Tensor]:
    """A net in evaluation mode, and an example."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    depth, size = rng.randint(1, 5), (rng.randint(33, 75), rng.randint(33, 75))
    shared = rng.random() < 0.25
    stages = _stages(rng, depth, size, shared=shared)
    form = rng.choice(["modules", "modules", "functions", "mixed"])
    net = RandomNet(stages, rng.choice([1, 4, 6]), form, shared=shared, decoders=rng.choice([1, 1, 2]))
    dtype, layout = rng.choice(DTYPES), rng.choice([torch.contiguous_format, torch.channels_last])
    # Rounded numbers have equal maxima.
    x = torch.randn(rng.choice([1, 2]), 3, *size).mul_(4).round_().div_(4)
    return net.to(dtype).eval(), x.to(dtype).contiguous(memory_format=layout)


def _stages(rng: random.Random, depth: int, size: tuple[int, int], *, shared: bool) -> list[Stage]:
    stages: list[Stage] = []
    for _ in range(depth):
        one = stages[0] if stages and shared else _stage(rng)
        pooled = F.max_pool2d(
            torch.zeros(1, 1, *size), one.kernel, one.stride, one.padding, ceil_mode=one.ceil_mode
        ) if min(size) >= 5 else None  # fmt: skip
        if pooled is None or min(pooled.shape) < 1:
            break
        stages.append(one)
        size = (pooled.shape[2], pooled.shape[3])
    return stages


def _stage(rng: random.Random) -> Stage:
    kernel = rng.choice([(2, 2)] * 6 + [(3, 3), (2, 3), (1, 2), (4, 4)])
    gap = rng.choice([0] * 9 + [1])
    padding = (kernel[0] // 2, kernel[1] // 2) if rng.random() < 0.1 else (0, 0)
    return Stage(kernel, (kernel[0] + gap, kernel[1] + gap), padding, rng.random() < 0.4)


def _modules(one: Stage) -> tuple[nn.MaxPool2d, nn.MaxUnpool2d]:
    pool = nn.MaxPool2d(one.kernel, one.stride, one.padding, ceil_mode=one.ceil_mode, return_indices=True)
    return pool, nn.MaxUnpool2d(one.kernel, one.stride, one.padding)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
