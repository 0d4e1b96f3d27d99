"""A run that was killed and resumed ends as one that was left alone."""

from __future__ import annotations

import csv
import hashlib
import itertools
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.loaders import Order
from segnet.training.resume import newest_checkpoint
from segnet.training.run import train
from segnet.training.settings import TrainConfig

TOY = SegNetConfig(
    name="toy",
    encoder=EncoderConfig(widths=((4,), (6,)), dropout_after_pooling=(2,)),
    decoder=DecoderConfig(widths=((4,), (4,)), dropout_stages=(2,)),
    classes=11,
    dropout=0.1,
)
CONFIG = TrainConfig(
    epochs=3,
    batch=2,
    precision="float32",
    workers=0,
    ema=0.5,
    save_every=1e-9,
    augment=AugmentConfig(crop=(24, 32), flip=0.5, color=0.2, noise=0.3),
)


class PowerCutError(Exception):
    """Nothing that the program knows of."""


class Fragile(SegmentationDataset):
    """Fails for good once it has been read so many times."""

    left = 0

    def read(self, index: int) -> tuple[Any, Any]:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError
        return super().read(index)


def run(camvid: Source, out: Path, *, config: TrainConfig = CONFIG, reads: int = 0, resume: bool = False) -> None:
    """A run of three epochs of three steps of two images; with ``reads``, the power is cut after so many."""
    torch.manual_seed(0)
    train_set = camvid.dataset("train")
    if reads:
        train_set = Fragile(train_set.samples, train_set.labels, ignore_index=train_set.ignore_index)
        train_set.left = reads + min(4, reads // 2 * 2)  # the report shows the first four images too
    train(SegNet(TOY), train_set, camvid.dataset("val"), out=out, config=config, resume=resume)


def flip_bit_of_largest_tensor(checkpoint: Path) -> None:
    """PyTorch itself would not notice: it ignores the checksums of the zip file."""
    data = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        header = max(archive.infolist(), key=lambda info: info.file_size).header_offset
    name, extra = (int.from_bytes(data[header + at : header + at + 2], "little") for at in (26, 28))
    data[header + 30 + name + extra] ^= 1
    checkpoint.write_bytes(data)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same(one: Path, other: Path) -> None:
    """Weights, averaged weights, optimizer and scores agree to the last bit."""
    assert rows(one) == rows(other)
    assert digest(one / "best.safetensors") == digest(other / "best.safetensors")
    states = [torch.load(out / "last.ckpt", weights_only=True) for out in (one, other)]
    for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0)


@pytest.fixture(scope="module")
def whole(camvid: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    run(camvid, out)
    return out


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_a_run_cut_off_after_any_step_ends_the_same(steps: int, whole: Path, camvid: Source, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        run(camvid, tmp_path, reads=2 * steps + 1)
    if steps % 3:  # within an epoch
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == steps
    run(camvid, tmp_path, resume=True)
    assert_same(whole, tmp_path)


def test_a_run_cut_off_again_and_again_ends_the_same(whole: Path, camvid: Source, tmp_path: Path) -> None:
    for _ in range(8):
        try:
            run(camvid, tmp_path, reads=3, resume=(tmp_path / "last.ckpt").exists())
        except PowerCutError:
            continue
    run(camvid, tmp_path, resume=True)
    assert_same(whole, tmp_path)


def test_accumulated_batches_are_cut_off_between_steps_alone(camvid: Source, tmp_path: Path) -> None:
    config = replace(CONFIG, batch=1, accumulate=2)
    run(camvid, tmp_path / "whole", config=config)
    with pytest.raises(PowerCutError):
        run(camvid, tmp_path / "parts", config=config, reads=9)
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 4
    run(camvid, tmp_path / "parts", config=config, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_more_epochs_give_their_learning_rate_to_the_first_step_too(camvid: Source, tmp_path: Path) -> None:
    """One step an epoch; the schedule of one epoch ends at zero."""
    config = replace(CONFIG, batch=6, epochs=1, optimizer="sgd", ema=0.0)
    weights = []
    for epochs in (1, 2):
        run(camvid, tmp_path, config=replace(config, epochs=epochs), resume=epochs > 1)
        weights.append(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["model.classifier.weight"])
    assert not torch.equal(*weights)


def test_fewer_epochs_than_are_done_are_refused(whole: Path, camvid: Source) -> None:
    before = (whole / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"3 epochs of this run are done, and --epochs is 1; give more than 3"):
        run(camvid, whole, config=replace(CONFIG, epochs=1), resume=True)
    assert (whole / "config.yaml").read_bytes() == before


def test_a_run_that_ended_early_goes_on_with_more_patience_only(camvid: Source, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=9, patience=1, lr=1e-12, ema=0.0)
    run(camvid, tmp_path, config=config)
    epochs = len(rows(tmp_path))
    assert 1 < epochs < 9
    run(camvid, tmp_path, config=config, resume=True)
    assert len(rows(tmp_path)) == epochs
    run(camvid, tmp_path, config=replace(config, epochs=epochs + 1, patience=0), resume=True)
    assert len(rows(tmp_path)) == epochs + 1


def test_reading_in_other_processes_changes_nothing(whole: Path, camvid: Source, tmp_path: Path) -> None:
    run(camvid, tmp_path, config=replace(CONFIG, workers=2))
    assert rows(whole) == rows(tmp_path)
    one, other = (load_file(out / "best.safetensors") for out in (whole, tmp_path))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    whole: Path, camvid: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PowerCutError):
        run(camvid, tmp_path, reads=11)
    flip_bit_of_largest_tensor(tmp_path / "last.ckpt")
    run(camvid, tmp_path, resume=True)
    assert "last.ckpt is damaged; resuming from previous.ckpt, step 4" in caplog.text
    assert_same(whole, tmp_path)


LOOPS = {"fit_loop": {"epoch_loop.batch_progress": {"is_last_batch": True}}}


@pytest.mark.parametrize(
    ("loops", "callbacks"), [(3, {}), ({"fit_loop": []}, {}), (None, []), (None, {"ResumeCheckpoint": []})]
)
def test_a_checkpoint_of_another_form_is_a_damaged_one(loops: object, callbacks: object, tmp_path: Path) -> None:
    state = {"state_dict": {}, "epoch": 1, "global_step": 2, "loops": loops or LOOPS, "callbacks": callbacks}
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"last\.ckpt is damaged and cannot be resumed"):
        newest_checkpoint(tmp_path)


def test_two_damaged_checkpoints_are_reported(camvid: Source, tmp_path: Path) -> None:
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"not a checkpoint at all")
    with pytest.raises(ConfigError, match=r"last\.ckpt is damaged and cannot be resumed; start a new run"):
        run(camvid, tmp_path, resume=True)


def test_no_damage_to_the_table_of_a_checkpoint_keeps_the_one_before_from_being_read(tmp_path: Path) -> None:
    """A bit may make a name no text, or name a compression or a password."""
    state = {"state_dict": {"a": torch.zeros(2)}, "epoch": 1, "loops": LOOPS, "callbacks": {}}
    torch.save({**state, "global_step": 4}, tmp_path / "previous.ckpt")
    torch.save({**state, "global_step": 6}, tmp_path / "last.ckpt")
    whole = (tmp_path / "last.ckpt").read_bytes()
    steps = []
    for place in range(whole.index(b"PK\1\2"), len(whole), 3):
        for bit in (1, 8, 128):
            damaged = bytes([*whole[:place], whole[place] ^ bit, *whole[place + 1 :]])
            (tmp_path / "last.ckpt").write_bytes(damaged)
            steps.append(newest_checkpoint(tmp_path).state["global_step"])
    assert set(steps) == {4, 6}  # 6: what tells the date or the system of a file is not needed


def test_a_checkpoint_that_is_not_ours_is_reported(camvid: Source, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match="is damaged"):
        run(camvid, tmp_path, resume=True)


def test_a_checkpoint_of_another_version_is_refused(camvid: Source, tmp_path: Path) -> None:
    """The versions before this one had other callbacks, whose state Lightning would silently ignore."""
    run(camvid, tmp_path, config=replace(CONFIG, epochs=1))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    state["callbacks"]["Keeper"] = state["callbacks"].pop("BestWeights")
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"last\.ckpt was written by another version of segnet and cannot be resumed"):
        run(camvid, tmp_path, resume=True)


def test_what_a_killed_run_left_half_written_is_removed(camvid: Source, tmp_path: Path) -> None:
    run(camvid, tmp_path, config=replace(CONFIG, epochs=1))
    (tmp_path / ".segnet-0123456789abcdef.ckpt").write_bytes(b"half")
    run(camvid, tmp_path, config=replace(CONFIG, epochs=1), resume=True)
    assert not list(tmp_path.glob(".segnet-*"))


# --- which image comes when


def indices(order: Iterable[tuple[int, int]]) -> list[int]:
    return [index for _, index in order]


def test_every_process_sees_its_part_of_the_same_batches() -> None:
    alone = list(Order(11, 4, seed=5, epoch=2))
    parts = [list(Order(11, 4, seed=5, epoch=2, rank=rank, processes=2)) for rank in (0, 1)]
    assert len(alone) == 8 == len(set(alone))
    for batch in range(2):
        together = [index for part in parts for index in part[2 * batch : 2 * batch + 2]]
        assert sorted(together) == sorted(alone[4 * batch : 4 * batch + 4])
    assert [len(Order(11, 4, seed=5, processes=count)) for count in (1, 2, 4)] == [8, 4, 2]


def test_order_depends_on_seed_and_epoch_and_goes_on_within_one() -> None:
    order = Order(10, 2, seed=1)
    first = list(order)
    assert list(order) == first
    order.set_epoch(1)
    assert indices(order) != indices(first)
    assert list(Order(10, 2, seed=2)) != first
    begun = Order(10, 2, seed=1, epoch=0, done=3)
    begun.set_epoch(0)
    assert list(begun) == first[6:]
    begun.set_epoch(1)
    assert list(begun) == list(order)


def test_the_first_checkpoint_comes_after_a_minute(
    camvid: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that goes on by 40 s each time it is read: at the start, and after each step."""
    seconds = itertools.count(0.0, 40.0)
    monkeypatch.setattr("segnet.training.resume.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with pytest.raises(PowerCutError):
        run(camvid, tmp_path, config=replace(CONFIG, save_every=10.0), reads=5)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
