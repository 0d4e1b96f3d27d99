from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from full_disk import little_room
from segnet.cli.main import main
from segnet.data.synthetic.scenes import write_scenes
from segnet.labels import CAMVID
from segnet.media.images.reading import read_image
from segnet.models import checkpoint
from segnet.system.files import holding_folder
from segnet.training.resume import newest_checkpoint

FILES = {"best.safetensors", "last.ckpt", "previous.ckpt", "metrics.csv", "config.yaml", "report.html"}
QUICK = ("--batch", "2", "--precision", "float32", "--workers", "0", "--device", "cpu")


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["train", *map(str, words)])
    return int(left.value.code or 0)


def epochs(out: Path) -> list[int]:
    with (out / "metrics.csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def test_two_epochs_from_a_model_file_and_once_more_from_their_config(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    words = (camvid_root, "--model", model_file, "--epochs", 2, "--crop", 24, 32, "--color", 0.2, *QUICK)
    assert leave(*words, "--out", out) == 0
    assert {path.name for path in out.iterdir()} == FILES
    assert epochs(out) == [1, 2]
    kept = checkpoint.load(out / "best.safetensors")
    assert f"mIoU {kept.scores['miou']:.4f}" in capsys.readouterr().out
    assert kept.model.config == checkpoint.load(model_file).model.config
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert settings == kept.provenance["settings"]
    assert (settings["data"], settings["crop"], settings["epochs"]) == (str(camvid_root), [24, 32], 2)
    assert set(kept.provenance["versions"]) >= {"python", "torch", "segnet"}
    assert kept.provenance["longest"] == max(read_image(next((camvid_root / "train").iterdir())).shape[:2])

    assert leave("--config", out / "config.yaml", "--out", tmp_path / "b", "--device", "cpu") == 0
    assert (tmp_path / "b" / "config.yaml").read_text() == (out / "config.yaml").read_text()
    first, second = (load_file(folder / "best.safetensors") for folder in (out, tmp_path / "b"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())

    assert leave(*words, "--out", out) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err


def test_the_seed_decides_the_initial_weights(camvid_root: Path, tmp_path: Path) -> None:
    """Three steps too small to move anything: what is kept is what the network began with."""
    begun = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(len(begun) + 1)  # what was drawn before must not matter
        words = ("--epochs", 1, "--lr", "1e-12", "--resize", 24, 32, "--seed", seed, "--out", tmp_path / name)
        words = (*words, "--recipe", "scratch")
        assert leave(camvid_root, *words, *QUICK, "--optimizer", "adamw") == 0
        begun.append(load_file(tmp_path / name / "best.safetensors")["classifier.weight"])
    assert torch.equal(begun[0], begun[1])
    assert not torch.allclose(begun[0], begun[2])


def words(root: Path, out: Path, model: Path) -> list[str]:
    return [
        "train", str(root), "--model", str(model), "--out", str(out), "--epochs", "4", "--batch", "2", "--device",
        "cpu", "--precision", "float32", "--workers", "1", "--save-every", "1e-6", "--color", "0.2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole_command(camvid_root: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("command") / "run"
    with pytest.raises(SystemExit) as left:
        main([*words(camvid_root, out, model_file), "--workers", "0"])
    assert not left.value.code
    return out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_is_resumed_to_the_same_end(
    number: signal.Signals, whole_command: Path, camvid_root: Path, model_file: Path, tmp_path: Path
) -> None:
    arguments = words(camvid_root, tmp_path, model_file)
    running = subprocess.Popen(
        [sys.executable, "-m", "segnet", *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(6000):
        if (tmp_path / "previous.ckpt").exists() or running.poll() is not None:
            break
        time.sleep(0.02)
    os.killpg(running.pid, number)  # the processes that read images hear it as well
    told = running.communicate(timeout=120)[1]
    if number == signal.SIGKILL:
        assert running.returncode == -number
    else:
        assert running.returncode == 128 + number
        assert "which is saved; continue with --resume" in told
        assert "Traceback" not in told
    resume_to_the_same_end(arguments, tmp_path, whole_command)


def resume_to_the_same_end(arguments: list[str], out: Path, whole_command: Path) -> None:
    done = newest_checkpoint(out)[1]["global_step"]  # a kill may fall between two renamings
    assert 1 <= done < 12, "the run ended before it could be killed"
    assert leave(*arguments[1:], "--resume", "--workers", 0) == 0
    assert epochs(out) == [1, 2, 3, 4]
    best, again = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (whole_command, out))
    torch.testing.assert_close(best["current_model_state"], again["current_model_state"], rtol=0, atol=0)


@pytest.mark.usefixtures("heard_ctrl_c")
def test_a_command_that_ctrl_c_ended_is_resumed_to_the_same_end(
    whole_command: Path,
    camvid_root: Path,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    arguments = words(camvid_root, tmp_path, model_file)

    def interrupt() -> None:
        while not (tmp_path / "previous.ckpt").exists():
            threading.Event().wait(0.001)
        for reader in active_children():  # which a terminal tells as well
            os.kill(reader.pid, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    assert leave(*arguments[1:]) == 130
    thread.join()
    assert "which is saved; continue with --resume" in caplog.text
    assert "Traceback" not in capsys.readouterr().err + caplog.text
    resume_to_the_same_end(arguments, tmp_path, whole_command)


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_second_run_in_a_folder_in_use_is_refused(
    more: tuple[str, ...], camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*words(camvid_root, tmp_path / "run", model_file)[1:], "--epochs", 1, "--workers", 0)
    if more:
        assert leave(*arguments) == 0
    with holding_folder(tmp_path / "run"):
        assert leave(*arguments, *more) == 2
        assert not (tmp_path / "run" / "last.ckpt").exists() or more
    error = capsys.readouterr().err
    assert "run: another run writes into this folder at the moment; wait until it ends" in error
    assert leave(*arguments, *more) == 0


def test_a_full_disk_ends_the_run_and_harms_nothing(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*words(camvid_root, tmp_path, model_file)[1:], "--workers", 0)
    assert leave(*arguments, "--epochs", 1) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.stat().st_size > 4096}
    assert {"best.safetensors", "last.ckpt", "previous.ckpt"} <= set(before)
    capsys.readouterr()
    with little_room():
        assert leave(*arguments, "--epochs", 2, "--resume") == 2
    told = capsys.readouterr().err
    assert "cannot be written (File too large)" in told
    assert "Traceback" not in told
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not list(tmp_path.glob(".segnet-*"))


def test_resume_needs_a_run(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(camvid_root, "--model", model_file, "--out", tmp_path / "x", "--resume", *QUICK) == 2
    assert "there is no last.ckpt to resume from" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model", "segnet_light", "--weights", "TOY"), "whose layers are not those of segnet_light"),
        (("--model", "segnet_bsic"), "did you mean 'segnet_basic'?"),
        (("--model", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--model", "TOY", "--encoder-weights", "vgg16"), "brings its own weights; leave --encoder-weights out"),
        (("--weights", "TOY", "--encoder-weights", "vgg16"), "fills the encoder, too, so --encoder-weights vgg16"),
        (("--model", "TOY", "--dropout", "0.5"), "leave --dropout out"),
        (("--model", "TOY", "--in-channels", "1"), "leave --in-channels out"),
        (("--overfit", "2", "--find-lr"), "--overfit and --find-lr each replace the training run"),
        (("--epochs", "0"), "epochs=0"),
        (("--flip", "2"), "flip=2.0"),
        (("--device", "gpu"), "device 'gpu'"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_nothing_is_written(
    words: tuple[str, ...],
    told: str,
    camvid_root: Path,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {"TOY": str(model_file)}
    out = tmp_path / "out"
    assert leave(camvid_root, *[files.get(word, word) for word in words], "--out", out, "--batch", 2) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_data_without_a_validation_split_is_told(model_file: Path, tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data", train=2, val=1, size=(16, 16))
    for path in [*(root / "val").iterdir(), *(root / "valannot").iterdir()]:
        path.unlink()
    (root / "val").rmdir()
    (root / "valannot").rmdir()
    assert leave(root, "--model", model_file, "--out", tmp_path / "out", *QUICK) == 2
    assert not (tmp_path / "out").exists()


def test_a_new_network_begins_with_the_weights_of_a_model_with_the_same_layers(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (camvid_root, "--weights", "segnet_basic", "--epochs", 1, "--lr", "1e-12", "--weight-decay", 0, *QUICK)
    out = tmp_path / "a"
    assert leave(*words, "--model", "bayesian_segnet_basic", "--crop", 24, 32, "--out", out) == 0
    kept, given = checkpoint.load(out / "best.safetensors").model, checkpoint.load("segnet_basic").model
    assert (kept.config.name, kept.config.dropout) == ("bayesian_segnet_basic", 0.5)
    weights = dict(given.named_parameters())
    for name, value in kept.named_parameters():
        torch.testing.assert_close(value, weights[name], atol=1e-5, rtol=1e-4)
    assert leave(*words, "--model", "segnet", "--out", tmp_path / "b") == 2
    assert "segnet_basic: holds segnet_basic, whose layers are not those of segnet" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_model_file_of_other_classes_gets_a_new_classifier(
    camvid_root: Path, two_class_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    words = ("--model", two_class_file, "--epochs", 1, "--lr", "1e-12", "--weight-decay", 0, "--out", out)
    assert leave(camvid_root, *words, *QUICK) == 0
    assert "; new: classifier (11 classes)" in caplog.text
    kept, given = checkpoint.load(out / "best.safetensors"), checkpoint.load(two_class_file)
    assert (kept.labels, kept.model.config.classes) == (CAMVID, 11)
    first = "encoder.stages.0.0.conv.weight"
    torch.testing.assert_close(kept.model.state_dict()[first], given.model.state_dict()[first])


def test_without_flags_the_bundled_model_is_fine_tuned_and_each_choice_is_a_line(
    camvid_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    assert leave(camvid_root, "--epochs", 1, "--workers", 0, "--device", "cpu", "--out", out) == 0
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert settings["recipe"] == "standard"
    assert settings["model"] == settings["weights"] == "segnet_light"
    assert (settings["optimizer"], settings["batch"], settings["crop"]) == ("adamw", 1, [48, 64])
    assert "loaded 337 of 337 tensors from segnet_light" in caplog.messages
    for line in ("weights segnet_light: ", "crop 48 64: ", "optimizer adamw, lr 0.002, warmup 0.05: "):
        assert any(message.startswith(line) for message in caplog.messages), line
    assert leave(camvid_root, "--time", "1s", "--out", out) == 2
    assert "measuring" not in caplog.text  # a folder in use is refused before


def test_a_frozen_encoder_of_a_model_file_stays(camvid_root: Path, model_file: Path, tmp_path: Path) -> None:
    words = ("--model", model_file, "--freeze-encoder", "--epochs", 1, "--ema", 0, "--out", tmp_path / "run")
    assert leave(camvid_root, *words, *QUICK) == 0
    before, after = load_file(model_file), load_file(tmp_path / "run" / "best.safetensors")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "classifier"}


_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # its import fails
from segnet.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--help"], 0, "usage: segnet train DATA"),
        (["nowhere"], 2, "segnet: nowhere: there is no such data set"),
        (["ROOT", "--only", "Carr"], 2, "segnet: --only: there is no class 'Carr'"),
        (["ROOT", "--time", "10"], 2, "segnet: time='10' is not possible"),
        (["ROOT", "--out", "OUT"], 2, "OUT already holds a run; add --resume"),
    ],
)
def test_help_and_mistakes_need_no_torch(
    words: list[str], code: int, text: str, camvid_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.ckpt").touch()
    places = {"ROOT": str(camvid_root), "OUT": str(tmp_path)}
    command = [sys.executable, "-c", _WITHOUT_TORCH, "train", *(places.get(word, word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text.replace("OUT", str(tmp_path)) in done.stdout + done.stderr
