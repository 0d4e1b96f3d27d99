"""Images so small that a batch of one leaves batch norm a single value are refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.models.segnet import SegNet
from segnet.models.zoo import MODELS, create_model
from segnet.training.lr_finder import find_lr
from segnet.training.overfitting import overfit
from segnet.training.run import train
from segnet.training.settings import TrainConfig
from segnet.training.setup import check_batch_norm, check_sets

ONE = TrainConfig(epochs=1, batch=1, precision="float32", workers=0)
MESSAGE = r"one value per channel at the batch norm .*give --batch 2 or more, .*--batch-norm frozen"


@pytest.fixture
def small(camvid: Source) -> SegmentationDataset:
    return camvid.dataset("train", size=(2, 2))


def model() -> SegNet:
    return create_model("segnet_light", classes=11)


# Dropout and the number of classes, in which these differ from others, change nothing.
NETWORKS = sorted(
    set(MODELS) - {"bayesian_segnet", "bayesian_segnet_basic", "segnet_pascal", "segnet_sun", "segnet_webdemo"}
)


def trains(network: SegNet, side: int) -> bool:
    """Whether PyTorch itself takes one image of that size."""
    try:
        network.train()(torch.rand(1, 3, side, side))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_refused_where_pytorch_refuses_it(name: str, camvid: Source) -> None:
    network = create_model(name, classes=11)
    for side in (1, 8, 33):
        data = camvid.dataset("train", size=(side, side))
        try:
            check_batch_norm(network, ONE, data)
            accepted = True
        except ConfigError:
            accepted = False
        assert accepted == trains(network, side), (name, side)


def test_train_refuses_them_and_writes_nothing(small: SegmentationDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"2x2 pixels .*{MESSAGE}"):
        train(model(), small, small, out=tmp_path / "out", config=ONE)
    assert not (tmp_path / "out").exists()


def test_the_range_test_and_overfitting_refuse_them(small: SegmentationDataset) -> None:
    with pytest.raises(ConfigError, match=MESSAGE):
        find_lr(model(), small, config=ONE)
    with pytest.raises(ConfigError, match=MESSAGE):
        overfit(model(), small, replace(ONE, batch=2), 1)


def test_the_smallest_of_images_of_several_sizes_decides(camvid: Source) -> None:
    whole = camvid.dataset("train")
    check_batch_norm(model(), ONE, whole)
    with pytest.raises(ConfigError, match=MESSAGE):
        check_batch_norm(model(), replace(ONE, augment=AugmentConfig(crop=(16, 16))), whole)


@pytest.mark.parametrize("changes", [{"batch": 2}, {"batch_norm": "frozen"}])
def test_the_remedies_help(changes: dict[str, object], small: SegmentationDataset) -> None:
    check_batch_norm(model(), replace(ONE, **changes), small)  # type: ignore[arg-type]


def test_a_batch_of_one_per_process_with_local_statistics_is_refused(small: SegmentationDataset) -> None:
    config = replace(ONE, batch=2, devices=2, batch_norm="local")
    with pytest.raises(ConfigError, match=MESSAGE):
        check_batch_norm(model(), config, small)
    check_batch_norm(model(), replace(config, batch_norm="synced"), small)


def test_the_network_is_left_as_it_was(small: SegmentationDataset) -> None:
    network = model().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ConfigError):
        check_batch_norm(network, ONE, small)
    assert not network.training
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_a_device_that_holds_no_values_is_refused(camvid: Source, tmp_path: Path) -> None:
    data = camvid.dataset("train")
    with pytest.raises(ConfigError, match="device 'meta' cannot train; choose auto, cpu, cuda or mps"):
        train(model(), data, data, out=tmp_path / "out", config=ONE, device="meta")


def test_compile_with_an_old_pytorch_is_refused_before_the_run(
    camvid: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segnet.nn.codes.COMPILES", False)
    data = camvid.dataset("train")
    with pytest.raises(ConfigError, match=r"compile needs PyTorch 2\.12"):
        train(model(), data, data, out=tmp_path / "out", config=replace(ONE, compile=True))
    assert not (tmp_path / "out").exists()


def test_fewer_validation_images_than_processes_are_refused(camvid: Source, tmp_path: Path) -> None:
    data = camvid.dataset("train")
    config = replace(ONE, devices=len(data) + 1, batch=len(data) + 1)
    with pytest.raises(ConfigError, match=f"{len(data)} validation images cannot be divided among {len(data) + 1}"):
        train(model(), data, data, out=tmp_path / "out", config=config, device="cpu")
    assert not (tmp_path / "out").exists()


def test_compile_with_save_memory_is_refused_before_the_run(camvid: Source, tmp_path: Path) -> None:
    data = camvid.dataset("train")
    with pytest.raises(ConfigError, match="compile and save_memory exclude each other"):
        train(model(), data, data, out=tmp_path / "out", config=replace(ONE, compile=True, save_memory=True))
    assert not (tmp_path / "out").exists()


def test_a_batch_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch='hello' is not possible"):
        replace(ONE, batch="hello")  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "told"), [(1, True), (3, False)])
def test_augmentation_of_colors_that_a_network_does_not_see_is_named(
    channels: int, told: bool, camvid: Source, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(ONE, augment=AugmentConfig(color=0.3, fog=0.1, jpeg=0.2))
    network = create_model("segnet_basic", classes=11, in_channels=channels)
    check_sets(config, network, camvid.dataset("train"), camvid.dataset("val"))
    line = "fog, jpeg only change color images, and the network takes gray, so they have no effect"
    assert (line in caplog.messages) == told


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            replace(ONE, augment=AugmentConfig(crop_area=(0.3, 1.0))),
            "crop_area and crop_stretch have no effect without",
        ),
        (replace(ONE, augment=AugmentConfig(crop=(24, 32), crop_area=(0.3, 1.0))), None),
        (replace(ONE, prior_correction=0.5, class_weights="none"), "prior_correction has no effect without class weig"),
        (replace(ONE, prior_correction=0.5, class_weights="median"), None),
        (
            replace(ONE, label_smoothing=0.1, loss="focal+dice"),
            "label_smoothing has no effect on loss focal+dice; it w",
        ),
        (replace(ONE, label_smoothing=0.1, loss="0.5*ohem+dice"), None),
    ],
)
def test_settings_without_effect_are_named(
    config: TrainConfig, told: str | None, camvid: Source, caplog: pytest.LogCaptureFixture
) -> None:
    check_sets(config, model(), camvid.dataset("train"), camvid.dataset("val"))
    assert len(caplog.messages) == (told is not None)
    assert told is None or caplog.messages[0].startswith(told)
