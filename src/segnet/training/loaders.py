"""Which image goes into which batch, of which process."""

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
    """The shuffled images of an epoch for one process; they depend on seed and epoch alone.

    However many processes there are, the batches of all of them together are the same.

    Args:
        images: how many there are.
        batch: images per step, over all processes; what is left over after the last whole batch is left out.
        seed: of the order.
        rank, processes: which of how many this is.
        epoch: the first to come.
        done: batches of it that were trained on already.
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
        """Indices of images, those of one batch after those of another."""
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(self.images, generator=generator).tolist()
        for first in range(self.done * self.batch, self.images // self.batch * self.batch, self.batch):
            yield from order[first + self.rank : first + self.batch : self.processes]

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next; one that was begun goes on where it was."""
        if epoch != self.epoch:
            self.epoch, self.done = epoch, 0


class Share(Sampler[int]):
    """Every image once, in one of the processes: nothing is scored twice to make the shares equal."""

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
    """Batches to train on, and single images to score.

    Args:
        train_set, val_set: the images.
        order: of the first.
        workers: processes that read; -1: as suits the machine.
    """
    count = workers if workers >= 0 else min(4, max(1, (os.cpu_count() or 1) // 2))
    # A loader draws a number whenever it begins; from a generator of its own, that leaves augmentation's numbers alone.
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
    """A signal to the whole group of processes is for the one that trains: it still wants images to end its step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
