"""Recalibration: batch-norm statistics over a whole data set, by the paper's procedure.

After training, the statistics are an exponential average over the last batches, while the weights still changed. The
authors run the finished network once over the training images, in shuffled batches, and take the mean of the batch
means and of the biased batch variances.

Source: PAMI paper, section 4.1 ("a complete run through the dataset to obtain batch norm statistics"), and
SegNet-Tutorial, Scripts/compute_bn_statistics.py. That script runs n // batch + n % batch full batches, which
reads a few images twice. Here each image is read once, and a smaller last batch counts as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segnet.data.dataset import SegmentationDataset, require_dataset
from segnet.data.image_sizes import batches_of_one_size, read_sizes
from segnet.data.tensors import collate, worker_error
from segnet.errors import ConfigError, DataError, ModelError, SegNetError
from segnet.models.segnet import SegNet, require_segnet
from segnet.nn.modes import in_evaluation
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

    Batch norms use the statistics of each batch, as in training; dropout is off. The images are shuffled, always in
    the same order. After an error the statistics are unchanged.

    Args:
        model: Changed in place and moved to the device. The mode of each module is restored.
        data: Images; each batch holds images of one size. Masks are not used.
        batch: Images per batch.
        device: Where the network runs; auto takes a GPU if there is one.
        workers: Processes that read images; 0: this one reads them.
        progress: Called with (images done, all images) after every batch.

    Raises:
        ConfigError: The batch is below 1.
        ModelError: The network is no SegNet, or has no batch norm with running statistics.
        DataError: The data is of another type, there is no image, one cannot be read, or a batch norm would see a
            single value per channel.
    """
    require_segnet(model)
    require_dataset(data)
    averages = {
        part: _MeanStatistics(name)
        for name, part in model.named_modules()
        if isinstance(part, nn.BatchNorm2d) and part.track_running_stats
    }
    if not averages:
        raise ModelError(f"{model.config.name} has no batch norm, so there is nothing to recalibrate; use it as it is")
    loader = _batches(data, batch, workers)
    device = pick_device(device)
    model.to(device)
    done = 0
    with torch.inference_mode(), _batch_statistics(model, averages):
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


class _MeanStatistics:
    """Forward pre-hook that averages the batch statistics of the inputs of a batch norm.

    Args:
        name: Name of the batch norm, for the error.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.batches = 0
        self.total = torch.zeros(1, dtype=torch.float64)  # after the first batch (2, C): variance, mean

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
        """Write the mean statistics into the batch norm, unless the network never called it."""
        if self.batches and norm.running_mean is not None and norm.running_var is not None:
            variance, mean = self.total / self.batches
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)


@contextmanager
def _batch_statistics(model: nn.Module, averages: Mapping[nn.BatchNorm2d, _MeanStatistics]) -> Iterator[None]:
    """Evaluation mode, but batch norms use batch statistics, call their hooks, and do not update running statistics."""
    hooks = [norm.register_forward_pre_hook(average) for norm, average in averages.items()]
    try:
        with in_evaluation(model):
            for norm in averages:
                norm.training, norm.track_running_stats = True, False
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in averages:
            norm.track_running_stats = True


def _batches(data: SegmentationDataset, batch: int, workers: int) -> DataLoader[Any]:
    """Every image once, in batches of one size each, shuffled.

    Consecutive images are often frames of one video, whose variance is too small.
    """
    if batch < 1:
        raise ConfigError(f"batch={batch} is not possible; give 1 or more")
    if not len(data):
        raise DataError("the data set has no image to compute statistics from; give at least one")
    own = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data), generator=own).tolist()
    batches = batches_of_one_size(order, read_sizes(data), lambda _: batch)
    return DataLoader(data, batch_sampler=batches, num_workers=workers, collate_fn=collate, generator=own)
