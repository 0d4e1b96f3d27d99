from __future__ import annotations

import copy
import csv
import importlib
import math
import os
import re
import shlex
import signal
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source, open_dataset, open_source
from segnet.data.source_config import SourceConfig
from segnet.data.synthetic.scenes import write_scenes
from segnet.data.tensors import collate
from segnet.errors import (
    ConfigError,
    DataError,
    MissingPackageError,
    ModelError,
    OutputError,
    ShapeError,
    TrainingError,
)
from segnet.inference.evaluation import evaluate
from segnet.media.images.writing import write_image
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.distributed import count_processes
from segnet.training.loaders import Order
from segnet.training.losses import make_loss
from segnet.training.module import SegmentationModule
from segnet.training.planning import continue_run
from segnet.training.run import train
from segnet.training.run_config import NetworkConfig, RunInputs
from segnet.training.score_log import ScoreLog
from segnet.training.settings import TrainConfig

TOY = SegNetConfig(
    name="toy",
    encoder=EncoderConfig(widths=((4,), (6,)), dropout_after_pooling=(2,)),
    decoder=DecoderConfig(widths=((4,), (4,)), dropout_stages=(2,)),
    classes=11,
    dropout=0.1,
)
INPUTS = RunInputs(data="here", network=NetworkConfig(model="toy"))
FILES = {"best.safetensors", "last.ckpt", "previous.ckpt", "metrics.csv", "config.yaml", "report.html"}
QUICK: dict[str, Any] = {"batch": 2, "precision": "float32", "workers": 0, "warmup": 0.0, "validate_every": 1}


@pytest.fixture
def toy() -> SegNet:
    return SegNet(TOY)


@pytest.fixture
def sets(camvid: Source) -> tuple[SegmentationDataset, SegmentationDataset]:
    return camvid.dataset("train"), camvid.dataset("val")


Sets = tuple[SegmentationDataset, SegmentationDataset]


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def quick(**changes: Any) -> TrainConfig:
    return TrainConfig(**{**QUICK, **changes})


# --- optimizer and schedule


def optimizers(model: SegNet, config: TrainConfig, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    task = SegmentationModule(model, torch.ones(11), config)
    task._trainer = SimpleNamespace(estimated_stepping_batches=steps)  # type: ignore[assignment]
    made = task.configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    return made["optimizer"], made["lr_scheduler"]["scheduler"]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 1e-3, 5: 0.5, 10: 1.0, 55: 1.0, 100: 1.0}),
        ("cosine", {0: 1e-3, 5: 0.5, 10: 1.0, 55: 0.5, 100: 0.0}),
        ("poly", {0: 1e-3, 5: 0.5, 10: 1.0, 55: 0.5**0.9, 100: 0.0}),
    ],
)
def test_the_learning_rate_warms_up_and_follows_its_schedule(
    toy: SegNet, schedule: str, expected: dict[int, float]
) -> None:
    config = quick(lr=0.2, warmup=0.1, schedule=schedule, optimizer="sgd")
    optimizer, scheduler = optimizers(toy, config, steps=100)
    seen = []
    for _ in range(101):
        seen.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert {step: seen[step] for step in expected} == pytest.approx({s: 0.2 * f for s, f in expected.items()}, abs=1e-9)
    assert seen[:11] == sorted(seen[:11])


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_one_cycle_is_pytorchs(toy: SegNet) -> None:
    _, ours = optimizers(toy, quick(lr=0.2, schedule="one_cycle", optimizer="sgd"), steps=100)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD(toy.parameters(), lr=0.2), 0.2, total_steps=101, pct_start=31 / 101, final_div_factor=1e12
    )
    for _ in range(100):
        assert ours.get_last_lr()[0] == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        ours.step()
        theirs.step()


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_the_encoder_may_learn_more_slowly(toy: SegNet, name: str) -> None:
    rates = {}
    for share in (1.0, 0.1):
        optimizer, _ = optimizers(toy, quick(optimizer=name, encoder_lr=share, warmup=0.0), steps=10)
        rates[share] = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    encoder = {id(p) for p in toy.encoder.parameters()}
    assert set(rates[0.1]) == {id(p) for p in toy.parameters()}
    for key, rate in rates[0.1].items():
        assert rate == pytest.approx(rates[1.0][key] * (0.1 if key in encoder else 1.0))


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_weight_decay_spares_norms_and_biases(toy: SegNet, name: str, kind: type) -> None:
    optimizer, _ = optimizers(toy, quick(optimizer=name, weight_decay=0.3), steps=10)
    assert type(optimizer) is kind
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    filters = {id(m.weight) for m in toy.modules() if isinstance(m, torch.nn.Conv2d)}
    assert decay == {id(p): 0.3 if id(p) in filters else 0.0 for p in toy.parameters()}


def test_a_frozen_encoder_is_not_optimized(toy: SegNet) -> None:
    toy.freeze_encoder()
    for name in ("muon", "adamw", "sgd"):
        optimizer, _ = optimizers(toy, quick(optimizer=name), steps=10)
        found = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert found == {id(p) for part in (toy.decoder, toy.classifier) for p in part.parameters()}


# --- a run


def test_a_run_leaves_its_files_and_ends_with_the_best_weights(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    out, config = tmp_path / "new" / "run", quick(epochs=4, lr=0.02, ema=0.5, augment=AugmentConfig(flip=0.5))
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    scores = train(toy, *sets, out=out, config=config, provenance={"data": "drawn"}, inputs=INPUTS)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert {path.name for path in out.iterdir()} == FILES
    table = rows(out)
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    assert [row["step"] for row in table] == ["3", "6", "9", "12"]
    assert all(math.isfinite(float(row["train_loss"])) for row in table)

    kept = checkpoint.load(out / "best.safetensors")
    best = max(table, key=lambda row: float(row["miou"]))
    assert kept.provenance["epoch"] == int(best["epoch"])
    assert kept.scores["miou"] == pytest.approx(float(best["miou"])) == pytest.approx(scores.miou)
    again = evaluate(kept.model, sets[1], workers=0)
    np.testing.assert_array_equal(again.counts, scores.counts)
    assert all(torch.equal(value, kept.model.state_dict()[name]) for name, value in toy.state_dict().items())

    written = yaml.safe_load((out / "config.yaml").read_text())
    assert written == {**INPUTS.to_dict(), **config.to_dict()} == kept.provenance["settings"]
    assert kept.provenance["data"] == "drawn"
    assert (written["flip"], written["crop_area"]) == (0.5, [0.25, 1.0])


def test_the_averaged_weights_are_the_ones_that_are_scored_and_kept(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    """Against a plain loop: SGD with momentum by hand, the average by hand."""
    toy = SegNet(SegNetConfig(**{**TOY.__dict__, "dropout": 0.0}))
    copied, settings = copy.deepcopy(toy), {"lr": 0.05, "optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0}
    config = quick(
        epochs=1, ema=0.6, clip=0.0, class_weights="none", seed=3, augment=AugmentConfig(flip=0.0), **settings
    )
    train_set, val_set = sets
    scores = train(toy, train_set, val_set, out=tmp_path, config=config)

    present = torch.zeros(11)
    for sample in (train_set[index] for index in range(6)):
        present[sample["mask"][sample["mask"] != 255].unique()] = 1
    order, loss_of = [index for _, index in Order(6, 2, seed=3)], make_loss("cross_entropy", present)
    copied.train().to(memory_format=torch.channels_last)
    speed = {name: torch.zeros_like(p) for name, p in copied.named_parameters()}
    average: dict[str, torch.Tensor] = {}
    for taken, first in enumerate(range(0, 6, 2)):
        rate = min(0.6, (1 + taken) / (10 + taken))  # the decay begins low
        batch = collate([train_set[index] for index in order[first : first + 2]])
        loss = loss_of(copied(batch["image"]), batch["mask"])
        gradients = torch.autograd.grad(loss, list(copied.parameters()))
        with torch.no_grad():
            for (name, parameter), gradient in zip(copied.named_parameters(), gradients, strict=True):
                speed[name] = 0.9 * speed[name] + gradient
                parameter -= 0.05 * speed[name]
                before = average.get(name, parameter)
                average[name] = rate * before + (1 - rate) * parameter
    kept = checkpoint.load(tmp_path / "best.safetensors").model
    for name, parameter in kept.named_parameters():
        torch.testing.assert_close(parameter, average[name], rtol=1e-3, atol=1e-5)
    final = dict(copied.named_parameters())["classifier.weight"]
    assert (kept.classifier.weight - final).abs().max() > 1e-3
    np.testing.assert_array_equal(evaluate(kept, val_set, workers=0).counts, scores.counts)


def test_a_finished_run_can_be_resumed_and_gives_its_scores(sets: Sets, tmp_path: Path) -> None:
    first = train(SegNet(TOY), *sets, out=tmp_path, config=quick(epochs=1))
    again = train(SegNet(TOY), *sets, out=tmp_path, config=quick(epochs=1), resume=True)
    np.testing.assert_array_equal(first.counts, again.counts)
    assert len(rows(tmp_path)) == 1


def test_the_last_epoch_is_validated_whatever_the_rhythm(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=3, validate_every=2))
    assert [row["epoch"] for row in rows(tmp_path)] == ["2", "3"]


def test_a_frozen_encoder_stays_to_the_last_bit(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    toy.freeze_encoder()
    before = copy.deepcopy(toy.state_dict())
    train(toy, *sets, out=tmp_path, config=quick(epochs=1, lr=0.05, ema=0.0))  # averaging rounds
    changed = {name.split(".")[0] for name, value in toy.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder", "classifier"}


def test_stages_are_unfrozen_deepest_first(sets: Sets, tmp_path: Path) -> None:
    changed = []
    for epochs in (1, 2, 3):
        torch.manual_seed(0)
        toy = SegNet(TOY)
        before = copy.deepcopy(toy.state_dict())
        config = quick(epochs=epochs, lr=0.05, ema=0.0, unfreeze_at=(1, 2), monitor="global_accuracy")
        train(toy, *sets, out=tmp_path / str(epochs), config=config)
        after = weights_of(tmp_path / str(epochs) / "last.ckpt")
        stages = [
            any(
                not torch.equal(after[f"model.{name}"], value)
                for name, value in before.items()
                if name.startswith(f"encoder.stages.{number}.")
            )
            for number in (0, 1)
        ]
        changed.append(stages)
    assert changed == [[False, False], [False, True], [True, True]]


def test_a_schedule_longer_than_the_encoder_leaves_no_stage_in_evaluation_mode(toy: SegNet) -> None:
    module = SegmentationModule(toy, torch.ones(11), quick(unfreeze_at=(1, 2, 3, 9))).train()
    for epoch in range(10):
        module._trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        module.on_train_epoch_start()
        learning = [all(value.requires_grad for value in stage.parameters()) for stage in toy.encoder.stages]
        assert [stage.training for stage in toy.encoder.stages] == learning, epoch


def test_an_unfreezing_schedule_that_the_run_is_too_short_for_is_named(
    sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for epochs in (1, 2):
        train(SegNet(TOY), *sets, out=tmp_path / str(epochs), config=quick(epochs=epochs, unfreeze_at=(1,)))
        assert ("unfreeze_at 1 comes after all 1 epochs" in caplog.text) == (epochs == 1)
        caplog.clear()


def test_frozen_statistics_stay_as_they_were(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    before = copy.deepcopy(toy.state_dict())
    train(toy, *sets, out=tmp_path, config=quick(epochs=1, batch_norm="frozen", ema=0.0))
    after = toy.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if "running" in name)
    assert not all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("loss", ["focal", "ohem+0.5*dice", "boundary", "cross_entropy+lovasz"])
def test_other_losses_learn(loss: str, sets: Sets, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = quick(epochs=4, lr=0.02, optimizer="adamw", ema=0.0, loss=loss)
    train(SegNet(TOY), *sets, out=tmp_path, config=config)
    losses = [float(row["train_loss"]) for row in rows(tmp_path)]
    assert losses[-1] < losses[0]


def test_accumulated_halves_are_the_gradient_of_their_mean(sets: Sets, tmp_path: Path) -> None:
    """Without batch norm, and with every pixel counted, two halves are the whole."""
    plain = SegNetConfig(
        name="plain",
        encoder=EncoderConfig(widths=((4,),), batch_norm=False),
        decoder=DecoderConfig(widths=((),)),
        classes=11,
    )
    train_set = sets[0].only([0, 0])  # the same image twice, so that both halves count as many pixels
    kept, losses = [], []
    for batch, accumulate in ((2, 1), (1, 2)):
        torch.manual_seed(0)
        model = SegNet(plain)
        config = quick(
            epochs=2, batch=batch, accumulate=accumulate, optimizer="sgd", ema=0.0, augment=AugmentConfig(flip=0.0)
        )
        train(model, train_set, sets[1], out=tmp_path / str(batch), config=config)
        kept.append(weights_of(tmp_path / str(batch) / "last.ckpt"))
        losses.append([float(row["train_loss"]) for row in rows(tmp_path / str(batch))])
    torch.testing.assert_close(kept[0], kept[1], rtol=1e-4, atol=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_training_learns(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=4, lr=0.02, optimizer="adamw", ema=0.0))
    losses = [float(row["train_loss"]) for row in rows(tmp_path)]
    assert losses[-1] < 0.95 * losses[0]


def test_bf16_trains(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=1, precision="bf16"))
    assert all(value.dtype == torch.float32 for value in toy.parameters())


# --- what goes wrong


def test_a_loss_that_is_not_finite_names_step_epoch_and_samples(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    with torch.no_grad():
        toy.classifier.bias[0] = float("nan")
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 0 \(epoch 1\), samples (scene_0000\d(, )?){2};"):
        train(toy, *sets, out=tmp_path / "out", config=quick(epochs=1))
    assert not (tmp_path / "out").exists(), "a start that fails leaves nothing"


def test_an_error_for_too_little_memory_names_the_settings_to_change(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    class Enormous(SegmentationDataset):
        def read(self, index: int) -> Any:
            torch.empty(2**55, dtype=torch.uint8)

    train_set = Enormous(sets[0].samples, sets[0].labels, ignore_index=sets[0].ignore_index)
    told = "memory ran out with a batch of 2: halve --batch and double --accumulate"
    with pytest.raises(TrainingError, match=told):
        train(toy, train_set, sets[1], out=tmp_path, config=quick(epochs=1))


def test_float16_is_for_cuda(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16 needs a scaled loss, which only cuda has, not cpu"):
        train(toy, *sets, out=tmp_path / "out", config=quick(epochs=1, precision="float16"), device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strategy": "fsdp", "optimizer": "adamw", "ema": 0.0}, "fsdp needs cuda, not cpu; use ddp"),
        ({"batch": "auto", "devices": 2}, "batch auto works with one process, not with 2; give a multiple of 2"),
    ],
)
def test_what_the_device_does_not_support_is_refused(
    settings: dict[str, Any], told: str, toy: SegNet, sets: Sets, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        train(toy, *sets, out=tmp_path / "out", config=quick(**settings), device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_frozen_encoder_has_no_unfreezing_schedule(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    toy.freeze_encoder()
    with pytest.raises(ConfigError, match="a frozen encoder has no unfreezing schedule; leave one of the two out"):
        train(toy, *sets, out=tmp_path / "out", config=quick(unfreeze_at=(1,)))


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_reader_that_dies_while_it_hands_over_a_batch_is_reported(
    error: Exception, toy: SegNet, sets: Sets, tmp_path: Path
) -> None:
    class CutOff(SegmentationDataset):
        def read(self, index: int) -> Any:
            raise error

    train_set = CutOff(sets[0].samples, sets[0].labels, ignore_index=sets[0].ignore_index)
    with pytest.raises(TrainingError, match="a worker process that reads images was killed"):
        train(toy, train_set, sets[1], out=tmp_path, config=quick(epochs=1, workers=0))


def test_a_killed_reader_is_reported(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    class Deadly(SegmentationDataset):
        def read(self, index: int) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    train_set = Deadly(sets[0].samples, sets[0].labels, ignore_index=sets[0].ignore_index)
    with pytest.raises(
        TrainingError, match="a worker process that reads images was killed, often because memory ran out"
    ):
        train(toy, train_set, sets[1], out=tmp_path, config=quick(epochs=1, workers=1))


def test_a_finished_run_says_so(sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for resume in (False, True):
        train(SegNet(TOY), *sets, out=tmp_path, config=quick(epochs=1), resume=resume)
    assert "all 1 epochs of this run are done; give more --epochs to continue" in caplog.text


def test_slurm_decides_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}.items():
        monkeypatch.setenv(name, value)
    assert count_processes(TrainConfig()) == (4, 2)


def test_torchrun_decides_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "3", "WORLD_SIZE": "6"}.items():
        monkeypatch.setenv(name, value)
    assert count_processes(TrainConfig(devices=5)) == (3, 2)


def test_an_unknown_loss_is_reported_before_anything_is_written(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hinge"):
        train(toy, *sets, out=tmp_path / "out", config=quick(epochs=1, loss="cross_entropy+hinge"))
    assert not (tmp_path / "out").exists()


def test_the_report_tells_every_class_and_setting(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    source = SourceConfig(layout="camvid", map="a, b=c", only=("c", "d"))
    train(toy, *sets, out=out, config=quick(epochs=1), inputs=replace(INPUTS, data="my data", source=source))
    page = (out / "report.html").read_text()
    assert all(name in page for name in (*sets[0].labels.names, "weight_decay"))
    again, score = (shlex.split(unescape(text)) for text in re.findall(r"<code>(segnet .*?)</code>", page))
    assert again == ["segnet", "train", "--config", str(out / "config.yaml"), "--out", f"{out}-again"]
    assert score[:5] == ["segnet", "evaluate", "my data", "--model", str(out / "best.safetensors")]
    assert score[5:] == ["--layout", "camvid", "--map", "a, b=c", "--only", "c,d"]
    assert page.count("data:image") >= 4 * len(sets[1])
    assert all(name in page for name in ("training images per second", "waiting for images", "update by the optimizer"))


def test_the_report_shows_training_images_before_the_first_validation(
    toy: SegNet, sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    monkeypatch.setattr(
        ScoreLog,
        "on_validation_epoch_start",
        lambda *_: pages.append((tmp_path / "report.html").read_text()),
        raising=False,
    )
    train(toy, *sets, out=tmp_path, config=quick(epochs=1), inputs=INPUTS)
    page = pages[0]
    assert "The scores are added after the first validation" in page
    assert page.count("as the network sees it</figcaption>") == 4
    assert all(f">{name}" in page for name in ("Training images", "Data", "Settings", sets[0].labels.names[0]))
    assert "Confusion matrix" not in page


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("last.ckpt", "already holds a run; add --resume"),
        ("previous.ckpt", "already holds a run; add --resume"),
        ("best.safetensors", r"already holds a run \(best\.safetensors\), without a checkpoint"),
        ("metrics.csv", r"already holds a run \(metrics\.csv\), without a checkpoint"),
    ],
)
def test_a_used_folder_is_refused_and_stays(toy: SegNet, sets: Sets, tmp_path: Path, name: str, error: str) -> None:
    (tmp_path / name).write_bytes(b"of another run")
    with pytest.raises(ConfigError, match=error):
        train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    assert {path.name for path in tmp_path.iterdir()} == {name}


def interrupted(model: SegNet, sets: Sets, out: Path) -> None:
    """A start that fails before the run has something to keep."""

    class Interrupting(SegmentationDataset):
        def read(self, index: int) -> Any:
            raise KeyboardInterrupt

    train_set = Interrupting(sets[0].samples, sets[0].labels, ignore_index=sets[0].ignore_index)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(model, train_set, sets[1], out=out, config=quick(epochs=1))
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_config_file_of_the_users_is_not_replaced(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for text in ("epochs: 1\nlr: 0.05\n", "a: [", yaml.safe_dump(quick(epochs=2).to_dict())):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"config\.yaml was not written by a run, .* rename it, or give another"):
            train(toy, *sets, out=tmp_path, config=quick(epochs=1))
        assert [path.read_text() for path in tmp_path.iterdir()] == [text]


def test_a_config_file_with_the_same_settings_stays_as_it_is(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path / "a", config=quick(epochs=1))
    file = tmp_path / "b" / "config.yaml"
    file.parent.mkdir()
    file.write_text(text := "# mine\n" + (tmp_path / "a" / "config.yaml").read_text())
    train(toy, *sets, out=tmp_path / "b", config=quick(epochs=1))
    assert file.read_text() == text


def test_what_a_killed_start_left_is_replaced(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    killed = {**quick(epochs=3).to_dict(), "precision": "float32"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(killed, sort_keys=False))
    (tmp_path / "report.html").touch()
    train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["epochs"] == 1


def test_a_failed_start_removes_only_what_it_wrote(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    interrupted(toy, sets, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    interrupted(toy, sets, tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    train(toy, *sets, out=tmp_path / "run", config=quick(epochs=1))
    (tmp_path / "mine").mkdir()
    for name in ("config.yaml", "report.html"):
        (tmp_path / "run" / name).rename(tmp_path / "mine" / name)
    interrupted(toy, sets, tmp_path / "mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"config.yaml", "report.html"}


def test_there_must_be_a_run_to_resume(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no last\.ckpt to resume from"):
        train(toy, *sets, out=tmp_path / "nowhere", config=quick(epochs=1), resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_of_another_network_is_reported(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    other = SegNet(
        SegNetConfig(name="other", encoder=EncoderConfig(widths=((5,),)), decoder=DecoderConfig(widths=((5,),)))
    )
    train(other, *sets, out=tmp_path, config=quick(epochs=1))
    with pytest.raises(ConfigError, match=r"belongs to another network.*--config .*config\.yaml"):
        train(toy, *sets, out=tmp_path, config=quick(epochs=1), resume=True)


def test_a_folder_that_cannot_be_made_is_reported(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="the folder of the run cannot be created"):
        train(toy, *sets, out=tmp_path / "file", config=quick(epochs=1))


def test_fewer_images_than_a_batch_are_reported(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="6 training images are fewer than one batch of 7"):
        train(toy, *sets, out=tmp_path / "out", config=quick(epochs=1, batch=7))
    assert not (tmp_path / "out").exists()


def test_another_number_of_classes_is_reported_before_training(sets: Sets, tmp_path: Path) -> None:
    model = SegNet(
        SegNetConfig(
            name="two", encoder=EncoderConfig(widths=((4,),)), decoder=DecoderConfig(widths=((4,),)), classes=2
        )
    )
    with pytest.raises(ModelError, match="the network has 2 classes but the data 11"):
        train(model, *sets, out=tmp_path / "out", config=quick(epochs=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("value", [77, 11])
def test_a_bad_mask_is_reported_before_anything_is_written(toy: SegNet, tmp_path: Path, split: str, value: int) -> None:
    """77 is no class; 11 is void, and a split of nothing else cannot be used either."""
    root = write_scenes(tmp_path / "data", train=2, val=1, size=(16, 16))
    for path in (root / f"{split}annot").iterdir():
        Image.fromarray(np.full((16, 16), value, np.uint8)).save(path)
    source = open_source(root)
    told = rf"{split}annot/scene_0000\d\.png.*value 77 on 256 pixels" if value == 77 else "hold ignored pixels only"
    with pytest.raises(DataError, match=told):
        train(toy, source.dataset("train"), source.dataset("val"), out=tmp_path / "out", config=quick(epochs=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_sentence_also_out_of_a_worker(toy: SegNet, tmp_path: Path, workers: int) -> None:
    root = write_scenes(tmp_path / "data", train=2, val=1, size=(16, 16))
    (root / "train" / "scene_00001.png").write_bytes(b"no image")
    source = open_source(root)
    with pytest.raises(DataError, match=r"scene_00001\.png is not an image") as caught:
        train(toy, source.dataset("train"), source.dataset("val"), out=tmp_path / "out", config=quick(workers=workers))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(root))


def test_images_of_other_channels_than_the_networks_are_reported(toy: SegNet, camvid: Source, tmp_path: Path) -> None:
    gray = camvid.dataset("train", channels=1), camvid.dataset("val", channels=1)
    with pytest.raises(ShapeError, match=r"this model wants .*\(N, 3, H, W\)"):
        train(toy, *gray, out=tmp_path, config=quick(epochs=1))


def test_a_missing_lightning_is_an_error_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "segnet.training.lightning")
    with pytest.raises(MissingPackageError, match=r"pip install 'segnet\[train\]'"):
        importlib.import_module("segnet.training.lightning")


def test_a_device_that_is_not_there_is_reported(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used"):
        train(toy, *sets, out=tmp_path / "out", config=quick(epochs=1), device="gpu")
    assert not (tmp_path / "out").exists()


def test_masks_of_one_class_and_ignored_pixels_are_refused_with_the_likely_cause(
    toy: SegNet, sets: Sets, tmp_path: Path
) -> None:
    root = tmp_path / "black_and_white"
    for name in ("a", "b"):
        write_image(root / "images" / f"{name}.png", np.zeros((16, 16, 3), np.uint8))
        write_image(root / "masks" / f"{name}.png", np.eye(16, dtype=np.uint8)[..., None] * 255)
    (root / "data.yaml").write_text("train: images\nval: images\nnames: [ground, object]\nignore_index: 255\n")
    data = open_dataset(root, split="train")
    two = SegNet(replace(TOY, classes=2))
    with pytest.raises(DataError, match=r"only ignored pixels and class 0 \(ground\).*save them as 0 and 1"):
        train(two, data, data, out=tmp_path / "out", config=quick(epochs=1))
    assert not (tmp_path / "out").exists()


def test_images_used_for_both_training_and_validation_are_reported(
    toy: SegNet, sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "segnet")
    train(toy, sets[0], sets[0], out=tmp_path, config=quick(epochs=1))
    assert "the same 6 images are used for training and validation" in caplog.text


def test_a_resumed_run_tells_which_settings_changed(
    toy: SegNet, sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "segnet")
    train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    assert "resuming" not in caplog.text
    train(toy, *sets, out=tmp_path, config=quick(epochs=2), resume=True)
    assert "resuming with epochs 2 instead of 1" in caplog.text


def test_a_resumed_run_may_not_change_what_a_step_does(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    with pytest.raises(ConfigError, match=r"started with lr 0\.05, not 0\.01; resume with --config"):
        train(toy, *sets, out=tmp_path, config=quick(epochs=2, lr=0.01), resume=True)


def test_a_resumed_run_has_its_settings_even_without_their_file(
    toy: SegNet, sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    (tmp_path / "config.yaml").unlink()
    _, config, given = continue_run(tmp_path, RunInputs(data="toy"), TrainConfig(epochs=2), {"epochs"})
    assert (config.batch, config.lr, "batch" in given) == (settings["batch"], settings["lr"], True)
    with pytest.raises(ConfigError, match=f"started with batch {settings['batch']}, not 1; "):
        train(toy, *sets, out=tmp_path, config=quick(epochs=2, batch=1), resume=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**settings, "batch": 1}))  # edited
    with pytest.raises(ConfigError, match=f"started with batch {settings['batch']}, not 1; "):
        train(toy, *sets, out=tmp_path, config=quick(epochs=2, batch=1), resume=True)


def test_a_run_whose_best_weights_are_gone_keeps_the_next_ones(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    (tmp_path / "best.safetensors").unlink()
    train(toy, *sets, out=tmp_path, config=quick(epochs=2), resume=True)
    assert checkpoint.load(tmp_path / "best.safetensors").provenance["epoch"] == 2


def test_auto_precision_is_decided_once_and_kept_for_the_resumed_run(
    toy: SegNet, sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: 0.1}
    monkeypatch.setattr("segnet.system.devices.why_emulated", lambda name: None)
    monkeypatch.setattr("segnet.system.devices._product_seconds", seconds.__getitem__)
    train(toy, *sets, out=tmp_path, config=quick(epochs=1, precision="auto"), device="cpu")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["precision"] == "bf16"
    seconds[torch.bfloat16] = 9.0
    train(toy, *sets, out=tmp_path, config=quick(epochs=2, precision="auto"), resume=True, device="cpu")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["precision"] == "bf16"


def test_a_batch_left_to_the_machine_is_decided_once(sets: Sets, tmp_path: Path) -> None:
    many = sets[0].only([index % 6 for index in range(24)])
    train(SegNet(TOY), many, sets[1], out=tmp_path, config=quick(epochs=1, batch="auto"))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["batch"] == 3  # an eighth of all
    assert rows(tmp_path)[0]["step"] == "8"
    train(SegNet(TOY), many, sets[1], out=tmp_path, config=quick(epochs=2, batch="auto"), resume=True)
    assert rows(tmp_path)[1]["step"] == "16"


def test_a_damaged_config_file_is_reported_on_resume(toy: SegNet, sets: Sets, tmp_path: Path) -> None:
    train(toy, *sets, out=tmp_path, config=quick(epochs=1))
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"config\.yaml is damaged"):
        train(toy, *sets, out=tmp_path, config=quick(epochs=2), resume=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "lion"}, {"schedule": "step"}, {"precision": "fp8"}, {"monitor": "loss"},
        {"class_weights": "some"},
        {"epochs": 0}, {"batch": 0}, {"batch": -1}, {"validate_every": 0}, {"warmup": 1.0}, {"ema": 1.0}, {"ema": -0.1},
        {"label_smoothing": 1.0}, {"prior_correction": 1.1}, {"lr": 0.0}, {"lr": float("nan")}, {"lr": float("inf")},
        {"weight_decay": -1.0},
        {"clip": float("nan")}, {"clip": -1.0}, {"workers": -2}, {"seed": -1}, {"seed": 2**32},
        {"accumulate": 0}, {"devices": 0}, {"nodes": 0}, {"patience": -1}, {"encoder_lr": -1.0}, {"save_every": 0.0},
        {"loss_divisor": "all"}, {"batch_norm": "off"}, {"strategy": "horovod"},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_out_of_range_is_reported_by_name_and_value(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"^{name}={value!r} "):
        TrainConfig(**wrong)


@pytest.mark.parametrize("unfreeze_at", [(0,), (3, 2), (2, 2)])
def test_the_unfreezing_schedule_wants_rising_epochs(unfreeze_at: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"unfreeze_at=.* is not possible; give rising epochs"):
        TrainConfig(unfreeze_at=unfreeze_at)


def test_what_fsdp_cannot_do_is_reported() -> None:
    with pytest.raises(ConfigError, match="which muon and averaging do not support; use adamw and ema 0"):
        TrainConfig(strategy="fsdp", optimizer="adamw")


def test_settings_as_a_table_are_plain_and_flat() -> None:
    table = TrainConfig(augment=AugmentConfig(crop=(8, 9))).to_dict()
    assert yaml.safe_load(yaml.safe_dump(table)) == table
    assert table["crop"] == [8, 9]
    assert "augment" not in table
