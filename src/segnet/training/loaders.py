"""Data loaders, and the order of images over batches and processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from segnet.data.dataset import SegmentationDataset, collate

__all__ = ["Order", "Share", "make_loaders"]


class Order(Sampler[int]):
    """Shuffles the images of an epoch for one process, by seed and epoch only.

    The batches of all processes together do not depend on the number of processes.

    Args:
        images: Number of images.
        batch: Images per step, over all processes. An incomplete last batch is dropped.
        seed: Random seed of the order.
        rank: Rank of this process, from 0.
        processes: Number of processes.
        epoch: First epoch, from 0.
        done: Batches of that epoch to skip, since they are done.
    """

    def __init__(
        self, images: int, batch: int, *, seed: int, rank: int = 0, processes: int = 1, epoch: int = 0, done: int = 0
    ) -> None:
        self.images = images
        self.batch = batch
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = epoch
        self.done = done

    def __len__(self) -> int:
        return self.images // self.batch * self.batch // self.processes

    def __iter__(self) -> Iterator[int]:
        """Indices of images, batch after batch."""
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(self.images, generator=generator).tolist()
        for first in range(self.done * self.batch, self.images // self.batch * self.batch, self.batch):
            yield from order[first + self.rank : first + self.batch : self.processes]

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch. An epoch that was interrupted continues where it was."""
        if epoch != self.epoch:
            self.epoch, self.done = epoch, 0


class Share(Sampler[int]):
    """Gives each image to exactly one process. No image is scored twice, as padding to equal parts would do.

    Args:
        images: Number of images.
        rank: Rank of this process, from 0.
        processes: Number of processes.
    """

    def __init__(self, images: int, *, rank: int = 0, processes: int = 1) -> None:
        self.indices = range(rank, images, processes)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """Indices of images."""
        return iter(self.indices)


def make_loaders(
    train_set: SegmentationDataset, val_set: SegmentationDataset, order: Order, *, workers: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of training batches and of single validation images.

    Args:
        train_set, val_set: Images with masks.
        order: Order of the training images.
        workers: Processes that read images. -1 takes half the cores, 1 to 4.
    """
    count = workers if workers >= 0 else min(4, max(1, (os.cpu_count() or 1) // 2))
    # A loader draws a random number when it starts. Its own generator keeps those of augmentation reproducible.
    loader = partial(
        DataLoader,
        num_workers=count,
        persistent_workers=count > 0,
        collate_fn=collate,
        generator=torch.Generator(),
        worker_init_fn=_ignore_signals,
    )
    share = Share(len(val_set), rank=order.rank, processes=order.processes)
    train_loader = loader(train_set, batch_size=order.batch // order.processes, sampler=order, drop_last=True)
    return train_loader, loader(val_set, batch_size=1, sampler=share)


def _ignore_signals(worker: int) -> None:
    """Let only the training process handle signals: it still needs images to finish its step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
