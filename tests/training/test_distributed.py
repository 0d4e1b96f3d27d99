"""Several processes train as one does."""

from __future__ import annotations

import copy
import csv
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing
from torch import Tensor, nn

from segnet.cli.main import main
from segnet.data.synthetic.scenes import write_scenes
from segnet.labels import CAMVID
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.batch_norm import SyncedBatchNorm, freeze_statistics, synced_batch_norm
from segnet.training.distributed import mean_over_processes
from segnet.training.losses import make_loss
from segnet.training.resume import newest_checkpoint
from segnet.training.score_log import ScoreLog

TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((4,), (6,))), decoder=DecoderConfig(widths=((4,), (4,))), classes=11
)


def gradients(model: nn.Module, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
    loss = make_loss("cross_entropy", torch.linspace(0.5, 2, 11).double(), mean_over_processes=mean_over_processes)
    loss(model(image), mask).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def batch() -> tuple[Tensor, Tensor]:
    """Four images; one is almost void, so that the halves count differently many pixels."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.randint(0, 11, (4, 16, 24), generator=generator)
    mask[3, 1:] = 255
    return torch.rand(4, 3, 16, 24, dtype=torch.float64, generator=generator), mask


def one_of_two(rank: int, out: str, model: SegNet) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=2, timeout=timedelta(minutes=5)
    )
    try:
        keep_one_of_two(rank, out, model)
    finally:
        distributed.destroy_process_group()


def keep_one_of_two(rank: int, out: str, model: SegNet) -> None:
    image, mask = (part[rank::2] for part in batch())
    model = copy.deepcopy(model)  # what was handed over lies in memory that both processes share
    with synced_batch_norm(model):
        found = gradients(model, image, mask)
    for gradient in found.values():  # as DistributedDataParallel does
        distributed.all_reduce(gradient)
        gradient /= 2
    log, trainer, unused = ScoreLog(Path(out), CAMVID), SimpleNamespace(accumulate_grad_batches=1), SimpleNamespace()
    log.on_train_batch_end(trainer, unused, {"loss": torch.tensor(float(rank))}, None, 0)  # type: ignore[arg-type]
    kept = {"gradients": found, "state": model.state_dict(), "losses": log.state_dict()["losses"]}
    torch.save(kept, f"{out}/{rank}.pt")


def test_two_processes_have_the_gradients_the_statistics_and_the_losses_of_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SegNet(TOY).double()
    other = torch.multiprocessing.get_context("spawn").Process(target=one_of_two, args=(1, str(tmp_path), model))
    other.start()
    one_of_two(0, str(tmp_path), model)
    other.join()
    assert other.exitcode == 0
    expected = gradients(model, *batch())
    for rank in (0, 1):
        kept: Any = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(kept["gradients"], expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(dict(kept["state"]), dict(model.state_dict()), rtol=1e-9, atol=1e-12)
        assert kept["losses"].tolist() == [0.5]


def test_a_synced_norm_computes_as_a_plain_one_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-3, momentum=0.3))
    plain, x = copy.deepcopy(model), torch.rand(2, 3, 5, 5)
    with synced_batch_norm(model):
        assert isinstance(model[1], SyncedBatchNorm)
        torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_norms_are_plain_after_a_run_even_if_it_fails_so_that_they_can_be_folded() -> None:
    model = SegNet(TOY).train()
    with pytest.raises(KeyboardInterrupt), synced_batch_norm(model):
        raise KeyboardInterrupt
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.folded().modules())


def test_frozen_statistics_stay_and_their_scale_learns() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    freeze_statistics(model)
    before = model[1].running_mean.clone()
    model(torch.rand(2, 3, 5, 5)).sum().backward()
    assert torch.equal(model[1].running_mean, before)
    assert model[1].weight.grad is not None


# --- the command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images to train on and five, an odd number, to score."""
    return write_scenes(tmp_path_factory.mktemp("data"), train=8, val=5, size=(32, 48))


def words(data: Path, out: Path, *more: object) -> list[str]:
    return [
        "train", str(data), "--recipe", "scratch", "--model", "segnet_basic", "--out", str(out), "--batch", "4",
        "--device", "cpu", "--flip", "0", "--precision", "float32", "--workers", "0", "--optimizer", "sgd",
        "--lr", "0.02", *map(str, more),
    ]  # fmt: skip


def start(launcher: list[str], arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    with pytest.raises(SystemExit) as left:
        main(words(data, out, "--epochs", 1))
    assert not left.value.code
    return out


@pytest.mark.parametrize(
    ("launcher", "more"),
    [(["torch.distributed.run", "--nproc_per_node=2", "-m", "segnet"], []), (["segnet"], ["--devices", 2])],
    ids=["torchrun", "devices"],
)
def test_two_processes_score_as_one(
    launcher: list[str], more: list[object], alone: Path, data: Path, tmp_path: Path
) -> None:
    running = start(launcher, words(data, tmp_path, "--epochs", 1, *more))
    printed, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert printed.count("best weights on split val") == 1, "both processes speak"
    (one,), (two,) = rows(alone), rows(tmp_path)
    assert two["step"] == one["step"] == 2
    assert two == pytest.approx(one, abs=3e-3)
    confusion = torch.tensor(scores_of(tmp_path)["confusion"]).sum()
    assert confusion == torch.tensor(scores_of(alone)["confusion"]).sum()


def scores_of(out: Path) -> dict[str, Any]:
    from segnet.models import checkpoint

    return dict(checkpoint.load(out / "best.safetensors").scores)


def test_a_killed_process_ends_the_run_which_one_process_resumes(data: Path, tmp_path: Path) -> None:
    running = start(["segnet"], words(data, tmp_path, "--epochs", 200, "--devices", 2, "--save-every", "1e-9"))
    for _ in range(6000):
        if (tmp_path / "previous.ckpt").exists() or running.poll() is not None:
            break
        time.sleep(0.02)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 2, told
    assert "another process of this run ended" in told
    assert "Traceback" not in told
    epochs = newest_checkpoint(tmp_path)[1]["epoch"] + 2
    with pytest.raises(SystemExit) as left:
        main(words(data, tmp_path, "--epochs", epochs, "--resume"))
    assert not left.value.code
    assert rows(tmp_path)[-1]["step"] == 2 * epochs


def test_a_batch_that_cannot_be_divided_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words(data, tmp_path, "--batch", 3, "--devices", 2))
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "a batch of 3 cannot be divided among 2 processes; give a multiple of 2" in told
    assert not (tmp_path / "last.ckpt").exists()
