"""What computing once what stands before the first dropout gains: samples drawn so, against the network run again.

    python benchmarks/bench_uncertainty.py [--samples 8] [--rounds 5] [--out benchmarks/results/uncertainty.json]

One drawn image of 360x480, random weights, dropout 0.5, batch norm folded, one sample at a time on either side. The
baseline runs the whole network for each sample, with PyTorch's own dropout. Both take turns; the medians of the rounds
are compared. That both give the same where the same is dropped is a test (tests/models/test_sampler.py). ``several``
draws as many together as the program does unasked.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segnet.data.synthetic.scenes import render_scene
from segnet.inference.inferer import as_batch
from segnet.models.mc_dropout import Sampler
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.system.allocator import keep_freed_memory
from segnet.system.files import write_json
from segnet.system.hardware import about, seconds

# ``segnet`` with dropout is ``bayesian_segnet``.
MODELS = ("segnet_light", "bayesian_segnet_basic", "bayesian_segnet")
SIZE = (360, 480)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "uncertainty.json")
    arguments = parser.parse_args()
    keep_freed_memory()
    report = {
        **about("segnet", "torch", "numpy"),
        "size": SIZE,
        "samples": arguments.samples,
        "models": {name: measured(name, arguments.samples, arguments.rounds) for name in MODELS},
    }
    write_json(arguments.out, report)
    print(json.dumps(report, indent=2))


@torch.no_grad()
def measured(name: str, samples: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    network = create_model(name, dropout=0.5)
    image = torch.from_numpy(as_batch(render_scene(1, size=SIZE)[0])).contiguous(memory_format=torch.channels_last)
    baseline, sampler = dropping(network), Sampler(ready(network))
    ways = {
        "whole_network_s": lambda: [baseline(image) for _ in range(samples)],
        "shared_s": lambda: drawn(sampler, image, samples, at_once=1),
        "several_s": lambda: drawn(sampler, image, samples),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    baseline(image)
    drawn(sampler, image, 1)
    for _ in range(rounds):
        for way, run in ways.items():
            taken[way].append(round(seconds(run), 3))
    middle = {way: median(each) for way, each in taken.items()}
    return {
        **taken,
        "gain": round(middle["whole_network_s"] / middle["shared_s"], 3),
        "gain_of_several": round(middle["whole_network_s"] / middle["several_s"], 3),
        "gain_by_multiplications": round(by_multiplications(network, samples), 3),
    }


def ready(network: SegNet) -> SegNet:
    return network.folded().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def dropping(network: SegNet) -> SegNet:
    folded = ready(network)
    for part in folded.modules():
        if isinstance(part, nn.Dropout):
            part.train()
    return folded


def drawn(sampler: Sampler, image: Tensor, samples: int, at_once: int | None = None) -> None:
    for _ in sampler.logits(image, samples, at_once=at_once):
        pass


def by_multiplications(network: SegNet, samples: int) -> float:
    """The gain if time went by multiply-accumulates only, counted at a smaller size."""
    sampler, image = Sampler(ready(network)), torch.rand(1, 3, 96, 128)
    one, two = counted(sampler, image, 1), counted(sampler, image, 2)
    return samples * one / (one + (samples - 1) * (two - one))


def counted(sampler: Sampler, image: Tensor, samples: int) -> int:
    with FlopCounterMode(display=False) as counter:
        drawn(sampler, image, samples, at_once=1)
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
