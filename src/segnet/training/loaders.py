"""Data loaders: random crops of the training images, working sizes of all, and the order over batches and processes.

Every image is resized and cropped by itself before it is part of a batch, so images may differ in size. A crop depends
on the seed of the run, the epoch and the image only, not on the number of processes and workers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from segnet.bands import Pixels
from segnet.data.cropping import RandomCrop
from segnet.data.dataset import SegmentationDataset
from segnet.data.image_sizes import batches_of_one_size, read_sizes
from segnet.data.sizing import Size
from segnet.data.tensors import collate, to_tensors
from segnet.data.unlabeled import UnlabeledImages
from segnet.inference.working_size import ResizePolicy
from segnet.media.images.resizing import resize_image, resize_mask
from segnet.models.segnet import SegNet
from segnet.training.settings import TrainConfig

__all__ = ["Order", "TrainingImages", "ValidationImages", "make_loaders", "training_resize"]

_LOOKED_AT = 100  # images, for the typical size


class Order(Sampler[tuple[int, int]]):
    """Shuffles the images of an epoch for one process, by seed and epoch only: (epoch, index), which decides the crop.

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

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(epoch, index of an image), batch after batch."""
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(self.images, generator=generator).tolist()
        for first in range(self.done * self.batch, self.images // self.batch * self.batch, self.batch):
            for index in order[first + self.rank : first + self.batch : self.processes]:
                yield self.epoch, index

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch. An epoch that was interrupted continues where it was."""
        if epoch != self.epoch:
            self.epoch, self.done = epoch, 0


class TrainingImages(Dataset[dict[str, Tensor | str]]):
    """Training images, each randomly cropped; without a crop each at its working size.

    Args:
        data: Images with masks.
        unlabeled: Images without; they come behind the others.
        resize: Working sizes: those of the images in prediction.
        crop: The crop; None: whole images.
        seed: Random seed of the crops.
        padding: Color of what lies beyond the image, 0 to 1 per channel.
    """

    def __init__(
        self,
        data: SegmentationDataset,
        unlabeled: UnlabeledImages,
        resize: ResizePolicy,
        crop: RandomCrop | None,
        *,
        seed: int,
        padding: list[float],
    ) -> None:
        self._data = data
        self._unlabeled = unlabeled
        self._resize = resize
        self._crop = crop
        self._seed = seed
        self._padding = tuple(padding)

    def __len__(self) -> int:
        return len(self._data) + len(self._unlabeled)

    def __getitem__(self, drawn: tuple[int, int]) -> dict[str, Tensor | str]:
        """One sample as tensors, by (epoch, index)."""
        epoch, index = drawn
        name, image, mask = self._read(index)
        size = self._resize.working_size(*mask.shape)
        if self._crop is None:
            image, mask = resize_image(image, size), resize_mask(mask, size)
        else:
            rng = np.random.default_rng((self._seed, epoch, index))
            scale, in_bytes = size[0] / mask.shape[0], image.dtype == np.uint8
            padding = tuple(round(255 * value) for value in self._padding) if in_bytes else self._padding
            image, mask = self._crop(image, mask, rng, scale=scale, padding=padding)
        return to_tensors(image, mask, name=name)

    def _read(self, index: int) -> tuple[str, Pixels, NDArray[np.uint8]]:
        """Name, image and mask."""
        if index < len(self._data):
            return self._data.samples[index].name, *self._data.read(index)
        index -= len(self._data)
        return str(self._unlabeled.paths[index]), *self._unlabeled.read(index)


class ValidationImages(Dataset[dict[str, Tensor | str]]):
    """Validation images at their working sizes, with masks at the images' own.

    Args:
        data: Images with masks.
        resize: Working sizes.
    """

    def __init__(self, data: SegmentationDataset, resize: ResizePolicy) -> None:
        self._data = data
        self._resize = resize

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """One sample as tensors."""
        image, mask = self._data.read(index)
        image = resize_image(image, self._resize.working_size(*mask.shape))
        return to_tensors(image, mask, name=self._data.samples[index].name)


def training_resize(train_set: SegmentationDataset, longest: int | None) -> ResizePolicy:
    """The working sizes of a run, and of the model that it trains.

    Args:
        train_set: Training images.
        longest: Longest side of a typical one in pixels; larger images are downscaled to it.
    """
    if train_set.size is None:
        return ResizePolicy(max_size=longest)
    return ResizePolicy(box=train_set.size, stretch=train_set.resize_mode == "stretch")


def make_loaders(
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    order: Order,
    *,
    model: SegNet,
    config: TrainConfig,
    resize: ResizePolicy,
    workers: int | None = None,
    unlabeled: UnlabeledImages | None = None,
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of training batches, and of validation batches of one size each.

    Args:
        train_set, val_set: Images with masks.
        order: Order of the training images, those without masks included.
        model: The network; images are padded with its mean.
        config: Settings of the run.
        resize: Working sizes.
        workers: Processes that read images. -1 takes half the cores, 1 to 4. Default: those of the settings.
        unlabeled: Training images without masks.
    """
    workers = config.workers if workers is None else workers
    count = workers if workers >= 0 else min(4, max(1, (os.cpu_count() or 1) // 2))
    # A loader draws a random number when it starts. Its own generator keeps those of augmentation reproducible.
    loader = partial(
        DataLoader,
        num_workers=count,
        persistent_workers=count > 0,
        generator=torch.Generator(),
        worker_init_fn=_ignore_signals,
    )
    padding = [float(value) for value in model.mean.flatten().clamp(0, 1)]
    crop = RandomCrop.from_config(config.augment, _typical_size(train_set, resize))
    images = TrainingImages(
        train_set, unlabeled or UnlabeledImages((), train_set), resize, crop, seed=config.seed, padding=padding
    )
    batch = order.batch // order.processes
    share = range(order.rank, len(val_set), order.processes)  # no image is scored twice, as equal parts would need
    most = partial(_images_per_batch, batch=batch, crop=config.augment.crop, resize=resize)
    return (
        loader(
            images, batch_size=batch, sampler=order, drop_last=True,
            collate_fn=partial(collate, padding=padding),
        ),
        loader(
            ValidationImages(val_set, resize), collate_fn=collate,
            batch_sampler=batches_of_one_size(share, read_sizes(val_set), most),
        ),
    )  # fmt: skip


def _typical_size(data: SegmentationDataset, resize: ResizePolicy) -> Size:
    """Working size of the image with the median area; (1, 1) if no image can be read."""
    sizes = [resize.working_size(*size) for size in read_sizes(data, most=_LOOKED_AT) if size is not None]
    ranked = sorted(sizes, key=lambda size: size[0] * size[1])
    return ranked[len(ranked) // 2] if ranked else (1, 1)


def _images_per_batch(size: Size, *, batch: int, crop: Size | None, resize: ResizePolicy) -> int:
    """As many validation images of a size as have no more pixels than a training step, and at least one."""
    height, width = resize.working_size(*size)
    return batch if crop is None else max(1, min(batch, batch * crop[0] * crop[1] // (height * width)))


def _ignore_signals(worker: int) -> None:
    """Let only the training process handle signals: it still needs images to finish its step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
