from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segnet.cli.main import main
from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.errors import ConfigError, TrainingError
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.training import batch_size
from segnet.training.batch_size import fit_batch
from segnet.training.distillation import Teacher
from segnet.training.lr_finder import find_lr, steepest
from segnet.training.overfitting import make_overfit_run, overfit
from segnet.training.pace import measure_pace
from segnet.training.settings import TrainConfig

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((8,), (8,))), decoder=DecoderConfig(widths=((8,), (8,))), classes=11
)
QUICK = TrainConfig(batch=2, precision="float32", workers=0)
CPU = torch.device("cpu")


@pytest.fixture
def data(camvid: Source) -> SegmentationDataset:
    return camvid.dataset("train")


def test_the_batch_that_fits_follows_memory_and_size(
    data: SegmentationDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = data.only([0] * 1000)
    model = create_model("segnet_basic")
    batches = {}
    for memory in (2**26, 2**28, 2**40):
        monkeypatch.setattr(batch_size, "memory", lambda memory=memory: memory)
        batches[memory] = fit_batch(model, many, QUICK, CPU)
    assert 1 <= batches[2**26] < batches[2**28] < batches[2**40] == 32
    assert batches[2**28] == pytest.approx(4 * batches[2**26], abs=4)
    monkeypatch.setattr(batch_size, "memory", lambda: 2**26)
    crop = replace(QUICK, augment=AugmentConfig(crop=(24, 32)))
    assert fit_batch(model, many, crop, CPU) == pytest.approx(4 * batches[2**26], abs=4)


def test_what_a_step_keeps_is_counted_as_the_plain_sum(data: SegmentationDataset) -> None:
    """One convolution without batch norm or codes: the image (normalized) and the map are kept."""
    config = SegNetConfig(
        name="one", encoder=EncoderConfig(widths=((8,),), batch_norm=False),
        decoder=DecoderConfig(widths=((8,),), upsampling="bilinear"),
    )  # fmt: skip
    kept = batch_size._saved_bytes(SegNet(config), torch.rand(1, 3, 32, 32))
    maps = 4 * 32 * 32
    assert kept >= (3 + 8) * maps
    assert kept <= (3 + 5 * 8) * maps


def test_few_images_get_a_small_batch(data: SegmentationDataset) -> None:
    assert fit_batch(SegNet(TOY), data.only(range(6)), QUICK, CPU) == 1


def test_the_learning_rates_rise_and_the_network_stays(data: SegmentationDataset) -> None:
    model = SegNet(TOY)
    before = copy.deepcopy(model.state_dict())
    seen: list[tuple[int, int]] = []
    found = find_lr(
        model, data, config=replace(QUICK, optimizer="adamw"), device="cpu", steps=40,
        progress=lambda done, every: seen.append((done, every)),
    )  # fmt: skip
    rates = [rate for rate, _ in found]
    assert rates[0] == pytest.approx(1e-5)
    assert all(later / earlier == pytest.approx((10 / 1e-5) ** (1 / 39)) for earlier, later in zip(rates, rates[1:]))  # noqa: B905, RUF007
    assert seen == [(step, 40) for step in range(1, len(found) + 1)]
    assert 1e-4 < steepest(found) < 1
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_frozen_batch_norm_needs_no_variance(data: SegmentationDataset, camvid: Source) -> None:
    """A crop of two pixels leaves the deepest batch norm one value per channel."""
    config = replace(QUICK, batch=1, batch_norm="frozen", augment=AugmentConfig(crop=(2, 2)))
    assert len(find_lr(SegNet(TOY), data, config=config, device="cpu", steps=3)) == 3
    assert measure_pace(SegNet(TOY), data, camvid.dataset("val"), config, CPU, most=1).crop == (2, 2)


def test_batches_of_ignored_pixels_say_nothing_about_a_learning_rate(data: SegmentationDataset) -> None:
    class Ignoring(SegmentationDataset):
        def read(self, index: int) -> tuple[Any, Any]:
            image, mask = super().read(index)
            return image, np.full_like(mask, 255) if index else mask

    config = replace(QUICK, batch=1, optimizer="adamw")
    ignoring = Ignoring(data.samples, data.labels, ignore_index=data.ignore_index)
    found = find_lr(SegNet(TOY), ignoring, config=config, device="cpu", steps=5)
    assert len(found) == 5
    assert min(loss for _, loss in found) > 0


def test_teachers_take_part_in_what_is_tried_before_a_run(
    data: SegmentationDataset, camvid: Source, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    answer = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, image: calls.append(len(image)) or answer(self, image))
    config = replace(QUICK, teacher=(str(model_file),))
    find_lr(SegNet(TOY), data, config=config, device="cpu", steps=2)
    assert calls == [2, 2]
    measure_pace(SegNet(TOY), data, camvid.dataset("val"), config, CPU, most=0)
    assert calls == [2, 2, 2]


def test_the_steepest_fall_is_found() -> None:
    assert steepest([(10.0**-k, 3.0 - 2.0 / (1 + math.exp(2 * (k - 3)))) for k in range(6, -1, -1)]) == 1e-3


def test_a_fall_after_the_loss_has_grown_is_no_advice() -> None:
    losses = [2.0, 2.0, 1.9, 1.7, 1.6, 1.6, 2.4, 2.9, 2.2, 1.7]
    assert steepest([(10.0 ** (k - 8), loss) for k, loss in enumerate(losses)]) == 1e-6


@pytest.mark.parametrize("found", [[(0.1, 1.0)], [(0.1 * k, float(k)) for k in range(9)], [(0.1, math.nan)] * 9])
def test_a_loss_that_never_falls_is_reported(found: list[tuple[float, float]]) -> None:
    with pytest.raises(TrainingError, match="the loss fell at no learning rate"):
        steepest(found)


def test_overfitting_takes_few_images_again_and_again_unchanged(data: SegmentationDataset) -> None:
    config = replace(QUICK, batch=4, augment=AugmentConfig(color=0.3))
    repeated, few, changed = make_overfit_run(data, config, 3)
    assert [sample.name for sample in few.samples] == [sample.name for sample in data.samples[:3]]
    assert set(repeated.samples) == set(few.samples)
    assert len(repeated) == 20 * 3
    assert (changed.batch, changed.augment) == (3, AugmentConfig(flip=0.0))


def test_overfitting_takes_its_steps_in_one_process_whatever_the_run_would(data: SegmentationDataset) -> None:
    config = replace(QUICK, accumulate=4, time="90s", patience=1, unfreeze_at=(5, 20), devices=2, nodes=2)
    repeated, _, changed = make_overfit_run(data, config, 1)
    assert len(repeated) // (changed.batch * changed.accumulate) == 20
    assert replace(changed, accumulate=1) == make_overfit_run(data, QUICK, 1)[2]


def test_overfitting_refuses_further_processes(data: SegmentationDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="--overfit works with one process, not with 2; start it without torchrun"):
        overfit(SegNet(TOY), data, QUICK, 1, device="cpu")


@pytest.mark.parametrize("images", [0, 7])
def test_overfitting_needs_images_that_are_there(data: SegmentationDataset, images: int) -> None:
    with pytest.raises(ConfigError, match=f"overfit={images} is not possible; give 1 to 6"):
        make_overfit_run(data, QUICK, images)


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["train", *map(str, words)])
    return int(left.value.code or 0)


FLAGS = ("--batch", 2, "--precision", "float32", "--workers", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    checkpoint.save(SegNet(TOY), CAMVID, path)
    return path


def test_the_command_finds_a_learning_rate_and_writes_nothing(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        leave(camvid_root, "--model", model_file, *FLAGS, "--find-lr", "--crop", 16, 16, "--out", tmp_path / "out") == 0
    )
    assert "the loss falls fastest at --lr " in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_sound_network_overfits_one_image(
    camvid_root: Path,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert leave(camvid_root, "--model", model_file, *FLAGS, "--overfit", 1, "--resize", 24, 32, "--out", tmp_path) == 0
    assert "overfit images: 1" in capsys.readouterr().out
    assert "overfit 1: these images only, whole and without augmentation, for 15 epochs of 20 steps" in caplog.messages
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_learn_is_reported(
    camvid_root: Path,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("segnet.training.overfitting._EPOCHS", 1)
    words = ("--overfit", 1, "--resize", 24, 32, "--out", tmp_path, "--lr", "1e-9", "--optimizer", "sgd")
    assert leave(camvid_root, "--model", model_file, *FLAGS, *words) == 2
    assert "on the 1 images that it was trained on, where 0.9 is expected" in capsys.readouterr().err
