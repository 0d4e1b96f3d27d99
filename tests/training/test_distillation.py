"""Distillation: what a teacher predicts, and that a student learns it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segnet.data.augment_config import AugmentConfig
from segnet.data.layouts import Source
from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.training.distillation import Teacher, distillation_loss
from segnet.training.module import SegmentationModule
from segnet.training.run import train
from segnet.training.settings import TrainConfig


@pytest.fixture
def other(toy: SegNet) -> SegNet:
    torch.manual_seed(8)
    made = deepcopy(toy)
    torch.nn.init.normal_(made.classifier.weight)
    return made


@torch.no_grad()
def test_a_teacher_is_the_mean_of_networks_and_mirror_images(toy: SegNet, other: SegNet):
    image = torch.rand(2, 3, 9, 13)
    wanted = sum(
        model(image).softmax(1) + model(image.flip(3)).softmax(1).flip(3) for model in (toy.eval(), other.eval())
    )
    torch.testing.assert_close(Teacher([toy, other])(image), wanted / 4)


@torch.no_grad()
def test_a_teacher_averages_over_scales(toy: SegNet):
    image, toy = torch.rand(1, 3, 12, 16), toy.eval()

    def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(planes, size, mode="bilinear", antialias=True)

    copies = [resize(image, (6, 8)), image, resize(image, (24, 32))]
    seen = [(toy(one).softmax(1) + toy(one.flip(3)).softmax(1).flip(3)) / 2 for one in copies]
    wanted = resize(seen[0], (12, 16)) + seen[1] + resize(seen[2], (12, 16))
    found = Teacher([toy], (0.5, 1, 2))(image)
    torch.testing.assert_close(found, wanted / 3)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 12, 16))


@pytest.mark.parametrize("scales", [(), (0.05,), (1.0, 11.0)])
def test_scales_out_of_range_are_refused(scales: tuple[float, ...]):
    with pytest.raises(ConfigError, match=r"teacher_scales=.* is not possible; give numbers from 0\.1 to 10"):
        TrainConfig(teacher_scales=scales)


def test_the_loss_is_zero_for_equal_probabilities_and_the_divergence_else():
    logits, wanted = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5).softmax(1)
    assert distillation_loss(logits, logits.softmax(1)).item() == pytest.approx(0, abs=1e-6)
    found = logits.softmax(1)
    divergence = (wanted * (wanted / found).log()).sum() / (2 * 3 * 5)
    torch.testing.assert_close(distillation_loss(logits, wanted), divergence)


def test_ignored_pixels_are_learned_from_the_teacher(toy: SegNet, other: SegNet):
    config = TrainConfig(augment=AugmentConfig(flip=0.0), distillation=2.0)
    classes = toy.config.classes
    batch = {"image": torch.rand(2, 3, 8, 8), "mask": torch.full((2, 8, 8), 255), "name": ["a", "b"]}
    batch["mask"][0, 0, 0] = 1
    student = deepcopy(toy).eval()
    plain = SegmentationModule(student, torch.ones(classes), config).compute_loss(batch)
    taught = SegmentationModule(student, torch.ones(classes), config, Teacher([other])).compute_loss(batch)
    with torch.no_grad():
        added = distillation_loss(student(batch["image"]), Teacher([other])(batch["image"]))
    torch.testing.assert_close(taught, plain + 2 * added)
    assert added > 0


def test_checkpoints_do_not_hold_the_teacher(toy: SegNet, other: SegNet):
    classes = toy.config.classes
    modules = [
        SegmentationModule(deepcopy(toy), torch.ones(classes), TrainConfig(), t) for t in (None, Teacher([other]))
    ]
    assert modules[0].state_dict().keys() == modules[1].state_dict().keys()
    assert len(list(modules[0].parameters())) == len(list(modules[1].parameters()))


def saved(model: SegNet, labels: ClassTable, path: Path) -> str:
    return str(checkpoint.save(model, labels, path))


def test_a_run_has_the_teacher_of_its_settings(camvid: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):

    labels = camvid.labels
    source = saved(
        create_model("fcn_basic_no_addition", classes=labels.classes), labels, tmp_path / "teacher.safetensors"
    )
    asked: list[Tensor] = []

    def probabilities(self: Teacher, image: Tensor) -> Tensor:
        asked.append(image)
        return torch.full((len(image), labels.classes, *image.shape[2:]), 1 / labels.classes)

    monkeypatch.setattr(Teacher, "__call__", probabilities)
    student = create_model("bilinear", classes=labels.classes)
    config = TrainConfig(epochs=1, batch=3, precision="float32", workers=0, teacher=(source,))
    train(student, camvid.dataset("train"), camvid.dataset("val"), out=tmp_path / "run", config=config, device="cpu")
    assert len(asked) == 2


def test_a_teacher_of_other_classes_or_channels_is_refused(
    narrow: SegNet, five_labels: ClassTable, camvid: Source, tmp_path: Path
):
    source = saved(narrow, five_labels, tmp_path / "teacher.safetensors")
    with pytest.raises(ModelError, match="knows 5 classes but the training set has 11"):
        Teacher.load([source], camvid.labels)
    with pytest.raises(ModelError, match="takes RGB, and the network in training gray"):
        Teacher.load([source], five_labels, channels=1)
    assert Teacher.load([], five_labels) is None


def test_a_negative_factor_is_refused():
    with pytest.raises(ConfigError, match=r"distillation=-1\.0"):
        TrainConfig(distillation=-1.0)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "dice", "lovasz", "ohem", "boundary"])
@pytest.mark.parametrize("divisor", ["pixels", "weights"])
def test_a_batch_without_masks_is_learned_from_the_teacher_alone(toy: SegNet, other: SegNet, loss: str, divisor: Any):
    config = TrainConfig(augment=AugmentConfig(flip=0.0), loss=loss, loss_divisor=divisor, prior_correction=0.5)
    batch = {"image": torch.rand(2, 3, 8, 8), "mask": torch.full((2, 8, 8), 255), "name": ["a", "b"]}
    student = deepcopy(toy).eval().requires_grad_()
    found = SegmentationModule(student, torch.ones(toy.config.classes), config, Teacher([other])).compute_loss(batch)
    torch.testing.assert_close(found, distillation_loss(student(batch["image"]), Teacher([other])(batch["image"])))
    found.backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_a_run_learns_from_images_without_masks_too(
    camvid: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", logger="segnet")
    labels, train_set, val_set = camvid.labels, camvid.dataset("train"), camvid.dataset("val")
    source = saved(create_model("bilinear", classes=labels.classes), labels, tmp_path / "teacher.safetensors")
    frames = tuple(str(sample.image) for sample in val_set.samples)
    config = TrainConfig(
        epochs=1, batch=3, precision="float32", workers=0, teacher=(source,), unlabeled=frames,
        augment=AugmentConfig(crop=(24, 32)),
    )  # fmt: skip
    seen: list[str] = []
    step = SegmentationModule.training_step

    def training_step(self: SegmentationModule, batch: Any, index: int) -> Tensor:
        seen.extend(batch["name"])
        unlabeled = torch.tensor([name in frames for name in batch["name"]])
        assert ((batch["mask"] == 255).all(dim=2).all(dim=1) == unlabeled).all()
        return step(self, batch, index)

    monkeypatch.setattr(SegmentationModule, "training_step", training_step)
    student = create_model("bilinear", classes=labels.classes)
    train(student, train_set, val_set, out=tmp_path / "run", config=config, device="cpu")
    assert sorted(seen) == sorted([*frames, *(sample.name for sample in train_set.samples)])
    assert "teachers alone teach 3 images without masks, besides 6 with" in caplog.text
    fewer = replace(config, epochs=2, unlabeled=frames[:2])
    with pytest.raises(ConfigError, match=r"started with unlabeled images 3 \(.*, but the data now has 2 \("):
        train(student, train_set, val_set, out=tmp_path / "run", config=fewer, device="cpu", resume=True)


def test_unlabeled_images_without_a_teacher_are_refused():
    with pytest.raises(ConfigError, match="unlabeled images need a teacher"):
        TrainConfig(unlabeled=("frames",))
