"""Crops and batches of images of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.samples import Sample
from segnet.data.synthetic.scenes import render_scene
from segnet.inference.working_size import ResizePolicy
from segnet.labels import CAMVID
from segnet.media.images.writing import write_image, write_mask
from segnet.models.segnet import SegNet
from segnet.training.loaders import Order, make_loaders, training_resize
from segnet.training.settings import TrainConfig

SIZES = ((48, 64), (64, 48), (48, 64), (40, 90), (48, 64), (64, 48))
CROPPED = TrainConfig(batch=2, augment=AugmentConfig(crop=(24, 32)))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    folder = tmp_path_factory.mktemp("mixed")
    samples = []
    for index, size in enumerate(SIZES):
        image, mask = render_scene(index, size=size)
        paths: tuple[Path, Path] = folder / f"{index}.png", folder / f"{index}_mask.png"
        write_image(paths[0], image)
        write_mask(paths[1], mask, CAMVID)
        samples.append(Sample(*paths, f"{index}"))
    return SegmentationDataset(samples, CAMVID)


def loaders(data: SegmentationDataset, model: SegNet, order: Order, config: TrainConfig = CROPPED, **options: Any):
    return make_loaders(
        data, data, order, model=model, config=config, **{"resize": ResizePolicy(max_size=64), "workers": 0} | options
    )


def crops(batches: Iterator[Any]) -> dict[str, torch.Tensor]:
    return {name: image for batch in batches for name, image in zip(batch["name"], batch["image"], strict=True)}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(image, second[name]) for name, image in first.items())


def test_a_crop_depends_on_seed_epoch_and_image_only(mixed: SegmentationDataset, toy: SegNet) -> None:
    order = Order(6, 2, seed=0)
    loader, _ = loaders(mixed, toy, order)
    first = crops(loader)
    assert {tuple(image.shape) for image in first.values()} == {(3, 24, 32)}
    assert equal(first, crops(loaders(mixed, toy, Order(6, 2, seed=0), workers=1)[0]))
    shared = [crops(loaders(mixed, toy, Order(6, 2, seed=0, rank=rank, processes=2))[0]) for rank in (0, 1)]
    assert equal(first, shared[0] | shared[1])
    resumed = crops(loaders(mixed, toy, Order(6, 2, seed=0, epoch=0, done=1))[0])
    assert equal({name: first[name] for name in resumed}, resumed)
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert not any(torch.equal(image, first[name]) for name, image in crops(loader).items())
    loader.sampler.set_epoch(0)  # type: ignore[attr-defined]
    assert equal(first, crops(loader))


def test_persistent_workers_hear_of_the_next_epoch(mixed: SegmentationDataset, toy: SegNet) -> None:
    loader, _ = loaders(mixed, toy, Order(6, 2, seed=0), workers=1)
    first = crops(loader)
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    expected = crops(loaders(mixed, toy, Order(6, 2, seed=0, epoch=1))[0])
    assert equal(crops(loader), expected)
    assert not equal(first, expected)


def test_whole_images_are_padded_at_their_working_sizes(mixed: SegmentationDataset, toy: SegNet) -> None:
    model = deepcopy(toy)
    model.mean.fill_(0.25)
    (batch,) = loaders(mixed, model, Order(6, 6, seed=0), TrainConfig(batch=6))[0]
    assert batch["image"].shape == (6, 3, 64, 64)
    for name, image, mask in zip(batch["name"], batch["image"], batch["mask"], strict=True):
        height, width = ResizePolicy(max_size=64).working_size(*SIZES[int(name)])
        assert (image[:, height:] == 0.25).all()
        assert (image[:, :, width:] == 0.25).all()
        assert (mask[height:] == 255).all()
        assert (mask[:, width:] == 255).all()
        assert (mask[:height, :width] != 255).float().mean() > 0.5


def test_validation_images_come_at_working_size_with_masks_at_their_own(
    mixed: SegmentationDataset, toy: SegNet
) -> None:
    batches = list(loaders(mixed, toy, Order(6, 6, seed=0), TrainConfig(batch=6))[1])
    assert [len(batch["name"]) for batch in batches] == [3, 2, 1]
    assert batches[2]["image"].shape == (1, 3, 28, 64)
    assert batches[2]["mask"].shape == (1, 40, 90)
    assert sorted(name for batch in batches for name in batch["name"]) == [*"012345"]
    # No more pixels than a training step of six crops.
    small = list(loaders(mixed, toy, Order(6, 6, seed=0), TrainConfig(batch=6, augment=CROPPED.augment))[1])
    assert max(np.prod(batch["image"].shape) for batch in small) <= 6 * 3 * 24 * 32


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_validation_image_is_scored_by_one_process(
    processes: int, mixed: SegmentationDataset, toy: SegNet
) -> None:
    orders = [Order(6, 4, seed=0, rank=rank, processes=processes) for rank in range(processes)]
    names = [name for order in orders for batch in loaders(mixed, toy, order)[1] for name in batch["name"]]
    assert sorted(names) == [*"012345"]


def test_working_sizes_are_those_of_prediction(mixed: SegmentationDataset) -> None:
    assert training_resize(mixed, 64) == ResizePolicy(max_size=64)
    for mode in ("letterbox", "stretch"):
        resized = SegmentationDataset(mixed.samples, CAMVID, size=(32, 40), resize_mode=mode)
        assert training_resize(resized, 40) == ResizePolicy(box=(32, 40), stretch=mode == "stretch")
