"""A run with a time ends in it, with the schedule finished; the clock is a counter, so nothing here is timed."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training import pace, time_limit
from segnet.training.pace import PaceAdvice, measure_pace
from segnet.training.run import train
from segnet.training.settings import TrainConfig

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((4,), (6,))), decoder=DecoderConfig(widths=((4,), (4,))), classes=11
)
CONFIG = TrainConfig(
    epochs=1000, time="200s", batch=2, precision="float32", workers=0, ema=0, optimizer="adamw", warmup=0.0,
    validate_every=5, augment=AugmentConfig(flip=0.5),
)  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A second passes whenever somebody looks; what the clock shows last."""
    seconds, shown = count(), [0.0]

    def now() -> float:
        shown[0] = float(next(seconds))
        return shown[0]

    monkeypatch.setattr(time_limit, "now", now)
    return shown


def run(camvid: Source, out: Path, config: TrainConfig = CONFIG, *, resume: bool = False, started: float = 0.0) -> None:
    torch.manual_seed(1)
    train(SegNet(TOY), *(camvid.dataset(split) for split in ("train", "val")), out=out, config=config, resume=resume,
          started=started)  # fmt: skip


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_ends_on_time_validated_and_with_its_schedule_finished(
    camvid: Source, tmp_path: Path, clock: list[float]
) -> None:
    run(camvid, tmp_path)
    assert 150 < clock[0] <= 200
    last = rows(tmp_path)[-1]
    assert int(last["epoch"]) < 1000
    assert float(last["lr"]) < 0.02 * CONFIG.lr
    assert (tmp_path / "report.html").exists()
    middle = float(rows(tmp_path)[len(rows(tmp_path)) // 2 - 1]["lr"])
    assert 0.1 * CONFIG.lr < middle < 0.95 * CONFIG.lr


def test_validations_that_come_too_soon_are_left_out(camvid: Source, tmp_path: Path, clock: list[float]) -> None:
    run(camvid, tmp_path, replace(CONFIG, validate_every=1, time="400s"))
    epochs = [int(row["epoch"]) for row in rows(tmp_path)]
    assert 1 < len(epochs) < epochs[-1]
    assert all(second - first > 1 for first, second in pairwise(epochs[:-1]))


def test_epochs_end_a_run_that_has_more_time(camvid: Source, tmp_path: Path, clock: list[float]) -> None:
    run(camvid, tmp_path, replace(CONFIG, epochs=3, time="24h"))
    assert [row["epoch"] for row in rows(tmp_path)] == ["3"]
    assert float(rows(tmp_path)[-1]["lr"]) < 0.1 * CONFIG.lr


def test_a_resumed_run_has_the_time_that_was_left(
    camvid: Source, tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    run(camvid, tmp_path)
    steps = int(rows(tmp_path)[-1]["step"])
    begun = clock[0]
    run(camvid, tmp_path, resume=True, started=begun)
    assert "are over; give more --time to continue" in caplog.text
    assert int(rows(tmp_path)[-1]["step"]) == steps
    begun = clock[0]
    run(camvid, tmp_path, replace(CONFIG, time="300s"), resume=True, started=begun)
    assert 60 < clock[0] - begun <= 110
    assert int(rows(tmp_path)[-1]["step"]) > steps
    assert float(rows(tmp_path)[-1]["lr"]) < 0.02 * CONFIG.lr


def test_a_time_that_is_over_before_a_validation_leaves_no_weights(
    camvid: Source, tmp_path: Path, clock: list[float]
) -> None:
    """The run was killed after two steps, and starting anew takes as long as was left."""

    class Killed(SegmentationDataset):
        reads = 8  # four of them for the report

        def read(self, index: int) -> tuple[Any, Any]:
            self.reads -= 1
            if self.reads < 0:
                raise KeyboardInterrupt
            return super().read(index)

    images, validation = (camvid.dataset(split) for split in ("train", "val"))
    killed = Killed(images.samples, images.labels, ignore_index=images.ignore_index)
    config = replace(CONFIG, save_every=1e-9)
    with pytest.raises(KeyboardInterrupt):
        train(SegNet(TOY), killed, validation, out=tmp_path, config=config, started=0.0)
    with pytest.raises(ConfigError, match="no validated weights and nothing left to train; give --resume with more"):
        train(SegNet(TOY), images, validation, out=tmp_path, config=config, resume=True, started=clock[0] - 180)


def test_a_time_for_no_step_is_refused_in_one_line(camvid: Source, tmp_path: Path, clock: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"--time of 5 seconds leaves no time to learn: .* give --time \dm or more$"):
        run(camvid, tmp_path, replace(CONFIG, time="5s"))


def test_validation_images_are_timed_at_the_size_at_which_they_are_validated(camvid: Source, tmp_path: Path) -> None:
    sizes: list[tuple[int, ...]] = []
    model = SegNet(TOY)
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    small, whole = camvid.dataset("train", size=(24, 32)), camvid.dataset("val")
    measure_pace(model, small, whole, CONFIG, torch.device("cpu"), most=0.0)
    train(model, small, whole, out=tmp_path, config=replace(CONFIG, time="1h", epochs=1))
    assert set(sizes) == {(24, 32)}


@pytest.mark.parametrize("text", ["10", "m", "0s", "-3m", "1:30", "10 minutes"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give a number with s, m or h"):
        TrainConfig(time=text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (None, None)])
def test_a_time_is_read(text: str | None, seconds: float | None) -> None:
    assert TrainConfig(time=text).seconds == seconds


@pytest.mark.parametrize(("hours", "told"), [(3, False), (60, True)])
def test_a_run_of_days_gets_advice(
    hours: int, told: bool, camvid: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Three steps an epoch, of a thousand: each takes as long as the run's share of the hours."""
    times = count(step=3600 * hours / 3000)
    monkeypatch.setattr(pace, "now", lambda: next(times))
    model = PaceAdvice("segnet_basic")
    trained = replace(CONFIG, time=None, epochs=1000, patience=1, validate_every=1)
    monkeypatch.setattr("segnet.training.run.PaceAdvice", lambda name: model)
    with caplog.at_level(logging.WARNING, logger="segnet"):
        run(camvid, tmp_path, replace(trained, lr=1e-12))
    found = [line for line in caplog.messages if "give --time 8h" in line]
    assert bool(found) == told
    assert all("2.5 days" in line and "--model segnet_light" in line for line in found)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_run_ends_on_time_if_no_whole_step_ends_an_epoch(
    camvid: Source, tmp_path: Path, clock: list[float], accumulate: int
) -> None:
    """Three batches an epoch: with two of them a step, and with an epoch shorter than a step."""
    run(camvid, tmp_path, replace(CONFIG, accumulate=accumulate, epochs=60, validate_every=1))
    assert 150 < clock[0] <= 200
    assert float(rows(tmp_path)[-1]["lr"]) < 0.02 * CONFIG.lr
