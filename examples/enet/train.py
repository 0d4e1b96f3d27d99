"""Train ENet a little on the synthetic street, and store its weights.

    python examples/enet/train.py --steps 300 --out enet.pth

The network and its training are plain PyTorch; ``segnet`` only renders the images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from enet import build
from torch import Tensor

import segnet

SIZE = (96, 128)
BATCH = 8
HELD_OUT = 10_000  # seeds from here on are not trained on


def batch(first_seed: int, count: int = BATCH) -> tuple[Tensor, Tensor]:
    """Images float32 (N, 3, H, W) in [0, 1], and masks int64 (N, H, W)."""
    scenes = [segnet.render_scene(seed, size=SIZE) for seed in range(first_seed, first_seed + count)]
    images, masks = (np.stack(arrays) for arrays in zip(*scenes, strict=True))
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(masks).long()


def pixel_accuracy(model: torch.nn.Module) -> float:
    """Share of the pixels of 16 other scenes with the right class."""
    images, masks = batch(HELD_OUT, 16)
    with torch.no_grad():
        right = model.eval()(images).argmax(dim=1) == masks
    return float(right[masks != segnet.IGNORE_INDEX].float().mean())


def main() -> None:
    """Train, store and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("enet.pth"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=arguments.steps)
    for step in range(arguments.steps):
        images, masks = batch(step * BATCH % 800)
        loss = F.cross_entropy(model.train()(images), masks, ignore_index=segnet.IGNORE_INDEX)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    torch.save(model.state_dict(), arguments.out)
    print(f"{arguments.out}: {pixel_accuracy(model):.3f} of the pixels of other scenes have the right class")


if __name__ == "__main__":
    main()
