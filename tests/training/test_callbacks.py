from __future__ import annotations

import csv
import os
import signal
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from segnet.data.dataset import SegmentationDataset
from segnet.data.layouts import Source
from segnet.errors import ConfigError, MissingPackageError
from segnet.labels import CAMVID, ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.averaging import mean_weights
from segnet.training.collapse import describe_collapse
from segnet.training.progress import TrainingProgress
from segnet.training.run import train
from segnet.training.settings import TrainConfig

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((4,), (6,))), decoder=DecoderConfig(widths=((4,), (4,))), classes=11
)
QUICK = TrainConfig(epochs=4, batch=2, precision="float32", workers=0)
STILL = replace(QUICK, lr=1e-12, optimizer="adamw", ema=0.0)


def run(camvid: Source, out: Path, config: TrainConfig, model: SegNet | None = None, **more: Any) -> None:
    torch.manual_seed(0)
    train(model or SegNet(TOY), camvid.dataset("train"), camvid.dataset("val"), out=out, config=config, **more)


def epochs(out: Path) -> list[int]:
    with (out / "metrics.csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def road_alone() -> SegNet:
    model = SegNet(TOY)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        model.classifier.bias[CAMVID.names.index("Road")] = 50
    return model


class Stopped(SegmentationDataset):
    """As by Ctrl-C while the first image of an epoch is read."""

    def read(self, index: int) -> tuple[Any, Any]:
        raise KeyboardInterrupt


def test_a_run_that_is_stopped_shows_the_cursor_of_the_terminal_again(
    camvid: Source, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told that there is a terminal
    images = camvid.dataset("train")
    stopped = Stopped(images.samples, images.labels, ignore_index=images.ignore_index)
    with pytest.raises(KeyboardInterrupt):
        train(SegNet(TOY), stopped, camvid.dataset("val"), out=tmp_path, config=QUICK)
    written = capfd.readouterr().err
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1


def test_a_run_that_is_terminated_before_its_first_step_is_no_success(camvid: Source, tmp_path: Path) -> None:
    class Terminated(SegmentationDataset):
        """Validation images, of which a run with a time reads some before its first step."""

        def read(self, index: int) -> tuple[Any, Any]:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().read(index)

    images = camvid.dataset("val")
    terminated = Terminated(images.samples, images.labels, ignore_index=images.ignore_index)
    with pytest.raises(SystemExit) as left:
        train(SegNet(TOY), camvid.dataset("train"), terminated, out=tmp_path, config=replace(QUICK, time="1h"))
    assert left.value.code == 143


def test_collapse_is_warned_of_once_with_class_and_shares(
    camvid: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(camvid, tmp_path, replace(STILL, epochs=5), road_alone())
    told = [record.message for record in caplog.records if "predicted pixels" in record.message]
    assert len(told) == 1
    assert told[0].startswith("100% of the predicted pixels are Road (")
    assert "for 3 validations up to epoch 3: check the masks and the class table" in told[0]


def test_two_collapsed_validations_give_no_warning(
    camvid: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(camvid, tmp_path, replace(STILL, epochs=2), road_alone())
    assert "predicted pixels" not in caplog.text


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([[50, 0], [48, 2]], "98% of the predicted pixels are a (50% of the true)"),
        ([[95, 0], [3, 2]], ""),  # the class is that common
        ([[50, 0], [20, 30]], ""),
        ([[0, 0], [0, 0]], ""),
    ],
)
def test_collapsed_looks_at_predicted_and_true_shares(counts: list[list[int]], told: str) -> None:
    assert describe_collapse(np.array(counts), ClassTable.from_names(["a", "b"])) == told


def test_patience_ends_a_run_that_does_not_get_better(
    camvid: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = SegNet(TOY)
    run(camvid, tmp_path, replace(STILL, epochs=9, patience=2, batch_norm="frozen"), frozen)
    assert epochs(tmp_path) == [1, 2, 3]
    assert "ended after epoch 3: miou was best in epoch 1" in caplog.text


def test_a_resumed_run_may_set_a_patience_which_counts_earlier_validations(camvid: Source, tmp_path: Path) -> None:
    still = replace(STILL, batch_norm="frozen")
    run(camvid, tmp_path, replace(still, epochs=3, patience=0))
    run(camvid, tmp_path, replace(still, epochs=9, patience=3), resume=True)
    assert epochs(tmp_path) == [1, 2, 3, 4]


def test_loggers_get_loss_rate_and_scores(camvid: Source, tmp_path: Path) -> None:
    run(camvid, tmp_path, replace(QUICK, epochs=1, loggers=("tensorboard",)))
    written = b"".join(path.read_bytes() for path in (tmp_path / "events").iterdir())
    assert all(name in written for name in (b"miou", b"iou_Road", b"loss", b"lr"))


def test_a_missing_logger_is_reported(camvid: Source, tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match="wandb is not installed"):
        run(camvid, tmp_path / "out", replace(QUICK, loggers=("wandb",)))
    assert not (tmp_path / "out").exists()


def test_an_unknown_logger_is_reported() -> None:
    with pytest.raises(ConfigError, match="logger 'paper' is unknown; choose from tensorboard, wandb, mlflow"):
        TrainConfig(loggers=("paper",))  # type: ignore[arg-type]


def test_a_line_of_progress_has_the_time_of_its_own_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    limit: Any = SimpleNamespace(seconds=600.0, elapsed=0.0)
    unused: Any = SimpleNamespace(images_per_second=None)
    best: Any = SimpleNamespace(score=-1.0, monitor="miou")
    trainer: Any = SimpleNamespace(
        is_global_zero=True, current_epoch=0, max_epochs=1, num_training_batches=9, accumulate_grad_batches=1
    )
    trainer.fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=-1))
    progress = TrainingProgress(unused, best, unused, limit)
    progress.on_train_start(trainer, unused)
    for index, best.score in enumerate((-1.0, 0.25)):
        clock[0] = limit.elapsed = 31.0 * (index + 1)
        progress.on_train_batch_end(trainer, unused, {"loss": torch.tensor(0.5)}, None, index)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1  31 of 600 s  loss now 0.500  step 1",
        "epoch 1  62 of 600 s  loss now 0.500  best mIoU 0.250  step 2",
    ]


def test_the_mean_of_weights_is_a_network_between_them() -> None:
    one, other = SegNet(TOY), SegNet(TOY)
    image = torch.rand(2, 3, 16, 16)
    one(image)  # counts a batch
    mean = SegNet(TOY)
    mean.load_state_dict(mean_weights([one, other]))
    for name, value in mean.state_dict().items():
        mine, theirs = one.state_dict()[name], other.state_dict()[name]
        torch.testing.assert_close(value, (mine + theirs) / 2 if value.is_floating_point() else mine)


def test_a_mean_that_is_too_large_to_be_bundled_replaces_no_model(
    toy: SegNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    write_small, path = import_module("bundle").write_small, tmp_path / "toy.safetensors"
    size = write_small(toy, ClassTable.numbered(3), path, largest=100_000, half=True)
    assert size == path.stat().st_size
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=f"would have .* bytes, and was not written; .* at most {size - 1}"):
        write_small(toy, ClassTable.numbered(3), path, largest=size - 1, half=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
