"""Batch-norm statistics over a data set."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from segnet.data.dataset import SegmentationDataset
from segnet.data.samples import Sample
from segnet.errors import ConfigError, DataError, ModelError, ShapeError
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.recalibration import recalibrate

LABELS = ClassTable.from_names(["one", "two"])


def images(root: Path, count: int, size: tuple[int, int]) -> SegmentationDataset:
    samples = []
    for number in range(count):
        image, mask = root / f"{number}.png", root / f"{number}_mask.png"
        noise = np.random.default_rng(number).integers(0, 40 * number + 20, (*size, 3))
        Image.fromarray(noise.astype(np.uint8)).save(image)
        Image.fromarray(np.zeros(size, np.uint8)).save(mask)
        samples.append(Sample(image=image, mask=mask, name=str(number)))
    return SegmentationDataset(samples, LABELS)


@pytest.fixture
def five(tmp_path: Path) -> SegmentationDataset:
    """Five images of 11x14 pixels, each brighter than the one before it."""
    return images(tmp_path, 5, (11, 14))


def norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)}


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if "running" in name or "num_" in name}


def seen_by(model: SegNet) -> list[Tensor]:
    """The batches that the model will be called with."""
    batches: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].clone()))
    return batches


def layer_by_layer(model: SegNet, image: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Mean and biased variance at every batch norm, in the order in which they run, in PyTorch's own operators."""
    x, places = (image.double() - model.mean) / model.std, []
    for stage in model.encoder.stages:
        for unit in stage:
            x, *found = learned(unit, x)
            yield tuple(found)
        pooled, where = F.max_pool2d(x, 2, stride=2, ceil_mode=True, return_indices=True)
        places.append((where, x.shape[2:]))
        x = pooled
    for stage in model.decoder.stages:
        where, size = places.pop()
        x = F.max_unpool2d(x, where, 2, output_size=list(size))
        for unit in stage:
            x, *found = learned(unit, x)
            yield tuple(found)


def learned(unit: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = F.conv2d(x, unit.conv.weight, unit.conv.bias, padding=1)
    channels = x.transpose(0, 1).flatten(1)
    mean = channels.sum(1) / channels.shape[1]
    variance = (channels - mean[:, None]).square().sum(1) / channels.shape[1]
    scale = unit.bn.weight / (variance + unit.bn.eps).sqrt()
    x = (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + unit.bn.bias.view(1, -1, 1, 1)
    return x.relu(), mean, variance


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (9, [5])])
@torch.no_grad()
def test_statistics_are_plain_means_over_batches_of_any_size(
    five: SegmentationDataset, narrow: SegNet, batch: int, sizes: list[int]
):
    narrow.double()
    batches = seen_by(narrow)
    recalibrate(narrow, five, batch=batch)
    assert [len(images) for images in batches] == sizes
    per_batch = [list(layer_by_layer(narrow, images)) for images in batches]
    for norm, found in zip(norms(narrow).values(), zip(*per_batch, strict=True), strict=True):
        means, variances = zip(*found, strict=True)
        torch.testing.assert_close(norm.running_mean, sum(means) / len(means), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(norm.running_var, sum(variances) / len(variances), rtol=1e-9, atol=1e-12)


def test_every_image_is_seen_once_in_an_order_that_is_shuffled_and_always_the_same(
    five: SegmentationDataset, narrow: SegNet
):
    batches = seen_by(narrow)
    before = torch.get_rng_state()
    recalibrate(narrow, five, batch=2)
    recalibrate(narrow, five, batch=2)
    assert torch.equal(torch.get_rng_state(), before)
    once, again = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert torch.equal(once, again)
    order = [[torch.equal(image, five[index]["image"]) for index in range(5)].index(True) for image in once]
    assert sorted(order) == [0, 1, 2, 3, 4] != order


@torch.no_grad()
def test_on_a_single_batch_evaluation_mode_gives_the_logits_of_training_mode(five: SegmentationDataset, narrow: SegNet):
    images = torch.stack([five[index]["image"] for index in range(5)])
    wanted = deepcopy(narrow).train()(images)
    recalibrate(narrow, five, batch=5)
    torch.testing.assert_close(narrow.eval()(images), wanted, rtol=1e-4, atol=1e-4)


def test_earlier_statistics_do_not_count(five: SegmentationDataset, narrow: SegNet):
    other = deepcopy(narrow)
    for norm in norms(other).values():
        norm.running_mean.normal_(5)
        norm.running_var.fill_(1e4)
        norm.momentum = 0.7
    recalibrate(narrow, five)
    recalibrate(other, five)
    assert all(torch.equal(value, statistics(narrow)[name]) for name, value in statistics(other).items())


def test_dropout_is_off(five: SegmentationDataset, narrow: SegNet):
    with_dropout = SegNet(replace(narrow.config, dropout=0.5))
    with_dropout.load_state_dict(narrow.state_dict())
    recalibrate(narrow, five)
    recalibrate(with_dropout.train(), five)
    assert all(torch.equal(value, statistics(narrow)[name]) for name, value in statistics(with_dropout).items())


def put_in_modes(model: SegNet) -> None:
    """One that no single call of ``train`` could give."""
    model.train()
    model.freeze_encoder()
    model.decoder.stages[1].eval()


def settings(model: SegNet) -> list[tuple[object, ...]]:
    each = ("training", "track_running_stats", "momentum", "eps")
    return [tuple(getattr(part, name, None) for name in each) for part in model.modules()]


def test_modes_settings_weights_and_counts_are_left_alone(five: SegmentationDataset, narrow: SegNet):
    put_in_modes(narrow)
    before, kept = settings(narrow), {name: value.clone() for name, value in narrow.state_dict().items()}
    recalibrate(narrow, five)
    assert settings(narrow) == before
    changed = {name for name, value in narrow.state_dict().items() if not torch.equal(value, kept[name])}
    assert changed == {f"{name}.running_{which}" for name in norms(narrow) for which in ("mean", "var")}
    assert not any(part._forward_pre_hooks for part in norms(narrow).values())


def test_after_an_error_everything_is_what_it_was(five: SegmentationDataset, narrow: SegNet):
    put_in_modes(narrow)
    before, kept = settings(narrow), statistics(narrow)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recalibrate(narrow, five, progress=stop)
    assert settings(narrow) == before
    assert all(torch.equal(value, kept[name]) for name, value in statistics(narrow).items())
    assert not any(part._forward_pre_hooks for part in norms(narrow).values())


def test_progress_counts_images(five: SegmentationDataset, narrow: SegNet):
    told: list[tuple[int, int]] = []
    recalibrate(narrow, five, batch=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_network_without_batch_norm_is_refused(five: SegmentationDataset):
    encoder = EncoderConfig(widths=((4,),), batch_norm=False)
    plain = SegNet(SegNetConfig(name="plain", encoder=encoder, decoder=DecoderConfig(widths=((),)), classes=2))
    with pytest.raises(ModelError, match="plain has no batch norm, so there is nothing to recalibrate"):
        recalibrate(plain, five)


def test_a_batch_norm_that_keeps_no_statistics_gets_none(five: SegmentationDataset, narrow: SegNet):
    narrow.encoder.stages[0][0].bn = nn.BatchNorm2d(4, track_running_stats=False)
    recalibrate(narrow, five)
    assert narrow.encoder.stages[0][0].bn.running_mean is None
    assert narrow.encoder.stages[0][0].bn.track_running_stats is False


def test_a_batch_norm_that_never_runs_stays_as_it_is(five: SegmentationDataset, narrow: SegNet):
    narrow.spare = nn.BatchNorm2d(4)
    recalibrate(narrow, five)
    assert torch.equal(narrow.spare.running_var, torch.ones(4))


def test_images_of_other_sizes_are_in_batches_of_their_own(five: SegmentationDataset, narrow: SegNet):
    for path in (five.samples[0].image, five.samples[0].mask):
        Image.open(path).resize((20, 16)).save(path)
    shapes = []
    narrow.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    recalibrate(narrow, five, batch=5)
    assert sorted(shape[0] for shape in shapes) == [1, 4]
    assert (1, 3, 16, 20) in shapes


def test_a_single_value_per_channel_is_refused_by_name(tmp_path: Path, narrow: SegNet):
    small, kept = images(tmp_path, 3, (4, 4)), statistics(narrow)
    with pytest.raises(DataError, match=r"encoder\.stages\.2\.0\.bn would see a single value per channel"):
        recalibrate(narrow, small, batch=2)
    assert all(torch.equal(value, kept[name]) for name, value in statistics(narrow).items())
    recalibrate(narrow, small, batch=3)


def test_a_batch_of_no_image_is_refused(five: SegmentationDataset, narrow: SegNet):
    with pytest.raises(ConfigError, match="batch=0 is not possible; give 1 or more"):
        recalibrate(narrow, five, batch=0)


def test_a_data_set_of_no_image_is_refused(narrow: SegNet):
    with pytest.raises(DataError, match="the data set has no image to compute statistics from"):
        recalibrate(narrow, SegmentationDataset([], LABELS))


def test_images_of_other_channels_are_refused(five: SegmentationDataset, narrow: SegNet):
    five.channels = 1
    with pytest.raises(ShapeError, match=r"model wants floating numbers \(N, 3, H, W\)"):
        recalibrate(narrow, five)


def test_a_device_that_is_not_there_is_refused(five: SegmentationDataset, narrow: SegNet):
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used"):
        recalibrate(narrow, five, device="gpu")
