"""Batch-norm statistics over a data set, by the paper's procedure.

What training leaves in a batch norm is an exponential average over its last batches, taken while the weights still
moved. The authors run the finished network once over the training images, in shuffled batches, and take the plain
mean of the batches' means and of their biased variances.

Source: PAMI paper, section 4.1 ("a complete run through the dataset to obtain batch norm statistics"), and
SegNet-Tutorial, Scripts/compute_bn_statistics.py. That script runs n // batch + n % batch full batches and so sees a
few images twice; here each is seen once, and the last, smaller batch counts as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segnet.data.dataset import SegmentationDataset, collate, worker_error
from segnet.errors import ConfigError, DataError, ModelError, SegNetError
from segnet.models.segnet import SegNet
from segnet.system.devices import pick_device

__all__ = ["recalibrate"]


def recalibrate(
    model: SegNet,
    data: SegmentationDataset,
    *,
    batch: int = 4,
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Replace the running mean and variance of every batch norm by those of a data set.

    Batch norms compute with the statistics of the batch meanwhile, as in training; dropout is off. The images are
    shuffled, the same way every time. After an error the statistics are what they were.

    Args:
        model: changed in place and moved to the device; the mode of each of its parts is restored.
        data: only its images matter; they must be of one size, unless ``batch`` is 1.
        batch: how many images share their statistics.
        device: where to compute; ``auto`` takes a GPU if there is one.
        workers: processes that read images meanwhile; see ``evaluate``.
        progress: called with (images done, all images) after every batch.

    Raises:
        ConfigError: the batch is smaller than one image.
        ModelError: the network has no batch norm that keeps statistics.
        DataError: there is no image, one cannot be read, sizes differ within a batch, or a batch is so small that a
            batch norm would see a single value.
    """
    averages = {
        part: _Average(name)
        for name, part in model.named_modules()
        if isinstance(part, nn.BatchNorm2d) and part.track_running_stats
    }
    if not averages:
        raise ModelError(f"{model.config.name} has no batch norm, so there is nothing to recalibrate; use it as it is")
    loader = _batches(data, batch, workers)
    device = pick_device(device)
    model.to(device)
    done = 0
    with torch.inference_mode(), _learning(model, averages):
        try:
            for samples in loader:
                model(samples["image"].to(device, memory_format=torch.channels_last))
                done += len(samples["image"])
                if progress is not None:
                    progress(done, len(data))
        except SegNetError as error:
            raise worker_error(error) from None
    for norm, average in averages.items():
        average.write(norm)


class _Average:
    """The plain mean of what a batch norm sees, batch by batch: called before its forward pass.

    Args:
        name: of the batch norm, for the error.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.batches = 0
        self.total = torch.zeros(1, dtype=torch.float64)  # (2, C) once a batch was seen: variance, mean

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        (x,) = inputs
        if x.numel() == x.shape[1]:
            raise DataError(
                f"{self.name} would see a single value per channel in a batch of one image, which has no variance; "
                "give larger images (--resize HEIGHT WIDTH) or another --batch"
            )
        self.total = self.total + torch.stack(torch.var_mean(x, dim=(0, 2, 3), correction=0)).cpu().double()
        self.batches += 1

    def write(self, norm: nn.BatchNorm2d) -> None:
        """Into the batch norm; one that the network never called stays as it is."""
        if self.batches and norm.running_mean is not None and norm.running_var is not None:
            variance, mean = self.total / self.batches
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)


@contextmanager
def _learning(model: nn.Module, averages: Mapping[nn.BatchNorm2d, _Average]) -> Iterator[None]:
    """Evaluation mode, but batch norms compute as in training, are watched, and keep their running statistics."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    watches = [norm.register_forward_pre_hook(average) for norm, average in averages.items()]
    for norm in averages:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for watch in watches:
            watch.remove()
        for norm in averages:
            norm.track_running_stats = True
        for part, training in modes.items():
            part.training = training


def _batches(data: SegmentationDataset, batch: int, workers: int) -> DataLoader[Any]:
    """Every image once, shuffled: neighbors in a list are often frames of one film, whose variance is too small."""
    if batch < 1:
        raise ConfigError(f"batch={batch} is not possible; give 1 or more")
    if not len(data):
        raise DataError("there is no image to take statistics of; give a data set with at least one")
    own = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data), generator=own).tolist()
    return DataLoader(data, batch_size=batch, sampler=order, num_workers=workers, collate_fn=collate, generator=own)
