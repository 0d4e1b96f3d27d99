"""How far the ways to replace EfficientNet-Lite0's strides by pooling move its features from those of ImageNet.

    python benchmarks/bench_strides.py CAMVID --weights FILE [--images 12] [--out benchmarks/results/strides.json]

The network with its strides is the reference. In each form the strided depthwise convolutions have stride 1, and a 2x2
max-pooling stands before the block, behind the depthwise convolution, or behind the block. Compared are the outputs of
blocks by their correlation, channel means removed: once with the statistics of the file, once with those of the images
themselves (recalibration).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.data.layouts import open_source
from segnet.models.efficientnet import EfficientNetLite0, InvertedResidual
from segnet.models.zoo import create_model
from segnet.system.files import write_json
from segnet.system.hardware import about

BLOCKS = (2, 4, 7, 10, 14)  # the last of each group of equal channels
SIZE = (352, 480)  # even at every stride, so that all forms have maps of one size
PLACES = ("before the block", "behind the depthwise convolution", "behind the block")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "strides.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = create_model("segnet_light", encoder_weights=arguments.weights).eval()
    body = model.encoder.body
    assert isinstance(body, EfficientNetLite0)
    data = open_source(arguments.data).dataset("train", size=SIZE)
    step = max(1, len(data) // arguments.images)
    images = model.normalized(torch.stack([data[i]["image"] for i in range(0, len(data), step)]))
    reference = outputs(body, images)
    forms = {place: pooled(body, place) for place in PLACES}
    table = {"strides, recalibrated": compare(outputs(recalibrated(body, images), images), reference)}
    for place, form in forms.items():
        table[f"pooling {place}"] = compare(outputs(form, images), reference)
        table[f"pooling {place}, recalibrated"] = compare(outputs(recalibrated(form, images), images), reference)
    report = {"machine": about("segnet", "torch"), "images": len(images), "size": SIZE, "correlation": table}
    write_json(arguments.out, report)
    print(json.dumps(table, indent=2))


def pooled(body: EfficientNetLite0, place: str) -> EfficientNetLite0:
    """A copy without strides, pooled at a place."""
    copy = deepcopy(body)
    for block in copy.blocks:
        assert isinstance(block, InvertedResidual)
        if block.stride == 2:
            _stride_one(block)
            if place == PLACES[0]:
                block.expand = nn.Sequential(_Halved(), block.expand)
            elif place == PLACES[1]:
                block.depthwise = nn.Sequential(block.depthwise, _Halved())
            else:
                block.project = nn.Sequential(block.project, _Halved())
    return copy


class _Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, ceil_mode=True)


def _stride_one(block: InvertedResidual) -> None:
    """The original filters, whose first two rows and columns of zeros were for the stride only."""
    conv = block.depthwise.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d)
    conv.weight = nn.Parameter(conv.weight.detach()[:, :, 2:, 2:].contiguous())
    conv.kernel_size, conv.stride = tuple(conv.weight.shape[2:]), (1, 1)
    conv.padding = tuple(side // 2 for side in conv.kernel_size)


@torch.no_grad()
def outputs(body: nn.Module, images: Tensor) -> list[Tensor]:
    """The results of the blocks in ``BLOCKS``."""
    with _records(body) as kept:
        body(images)
    return [kept[number] for number in BLOCKS]


@contextmanager
def _records(body: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    blocks = body.get_submodule("blocks")
    assert isinstance(blocks, nn.ModuleList)
    hooks = [block.register_forward_hook(lambda _module, _inputs, result: kept.append(result)) for block in blocks]
    yield kept
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def recalibrated(body: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose batch norms have the statistics of the images."""
    copy = deepcopy(body)
    for part in copy.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # the mean of all batches, of which there is one
            part.train()
    copy(images)
    return copy.eval()


def compare(found: list[Tensor], wanted: list[Tensor]) -> dict[str, float]:
    """Correlation by block, channel means removed."""
    return {
        f"block {number}": round(_correlation(one, other), 3)
        for number, one, other in zip(BLOCKS, found, wanted, strict=True)
    }


def _correlation(one: Tensor, other: Tensor) -> float:
    centered = [(x - x.mean(dim=(0, 2, 3), keepdim=True)).flatten() for x in (one, other)]
    return F.cosine_similarity(*centered, dim=0).item()


if __name__ == "__main__":
    main()
