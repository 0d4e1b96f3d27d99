from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from html_page import Page, assert_asks_nobody, assert_can_be_read, images_of
from segnet.checking.losses import measure_losses, open_predictor
from segnet.cli.main import main
from segnet.data.check.report import check_data
from segnet.data.layouts import Source, open_source
from segnet.data.masks import MaskReader
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.models.zoo import create_model
from segnet.training.planning import make_plan
from segnet.training.run_config import RunInputs
from segnet.training.settings import TrainConfig


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main([*words])
    return int(left.value.code or 0)


def checked(out: Path, root: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON."""
    code = leave("check", str(root), *words, "--json", str(out))
    return code, json.loads(out.read_text())


@pytest.fixture
def faulty(camvid_root: Path, tmp_path: Path) -> Path:
    """A value that is no class, a size that differs, a mask without an image, in names that HTML must escape."""
    root = tmp_path / "a <b> & c"
    shutil.copytree(camvid_root, root)
    names = sorted(path.name for path in (root / "train").iterdir())
    (root / "train" / names[0]).unlink()
    with Image.open(root / "trainannot" / names[1]) as image:
        mask = np.array(image)
    Image.fromarray(mask[:-3]).save(root / "trainannot" / names[1])
    mask[:2, :5] = 99
    Image.fromarray(mask).save(root / "trainannot" / names[2])
    return root


def test_a_clean_data_set_passes_with_code_0(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, kept = checked(tmp_path / "check.json", camvid_root)
    printed = capsys.readouterr().out
    assert code == 0
    assert not kept["failed"]
    assert kept["splits"] == {"train": 6, "val": 3}
    assert "0 errors" in printed
    assert "training can start" in printed
    assert all(word in printed for word in ("SignSymbol", "sqrt_median", "effective", "published"))
    assert f"suggested: segnet train {camvid_root}\n" in printed
    assert sum(row["pixels"] for row in kept["classes"]) + kept["ignored_pixels"] == 9 * 48 * 64


def test_no_balance_is_named_where_no_mask_can_be_read(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(camvid_root, root)
    for mask in root.glob("*annot/*.png"):
        mask.write_text("no image")
    code, kept = checked(tmp_path / "check.json", root)
    assert code == 2
    assert kept["suggested"] == {"command": f"segnet train {root}"}
    assert "balanced" not in capsys.readouterr().out


@pytest.mark.parametrize("sizes", [[(48, 64)], [(1500, 1000), (900, 700), (1000, 1500)]])
def test_suggested_settings_are_those_that_training_chooses(
    sizes: list[tuple[int, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        mask = np.zeros(sizes[number % len(sizes)], np.uint8)
        mask[:40] = 1
        for folder, pixels in (("images", np.stack([mask * 9] * 3, axis=2)), ("masks", mask)):
            for split in ("train", "val"):
                (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / folder / split / f"{number}.png")
    (tmp_path / "classes.txt").write_text("a field\nroad\n")
    mapping = ("--map", "a field=land", "--only", "land,road")
    suggested = checked(tmp_path / "c.json", tmp_path, *mapping, "--device", "cpu")[1]["suggested"]
    assert suggested["command"] == f"segnet train {tmp_path} --map 'a field=land' --only land,road"
    assert suggested["command"] in capsys.readouterr().out
    source = open_source(tmp_path)
    chosen = make_plan(RunInputs(data=str(tmp_path)), TrainConfig(), source, given=(), device="cpu").to_dict()
    for name in ("resize", "crop", "batch"):
        assert suggested[name] == (list(chosen[name]) if isinstance(chosen[name], tuple) else chosen[name])


def test_faults_give_code_2_and_all_their_files(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, kept = checked(tmp_path / "check.json", faulty)
    assert code == 2
    errors = {found["kind"]: found["count"] for found in kept["findings"] if found["severity"] == "error"}
    assert errors == {"mask_without_image": 1, "size_mismatch": 1, "value_out_of_range": 1}
    printed = capsys.readouterr().out
    assert "value 99 on 10 pixels" in printed
    assert "3 errors" in printed
    assert "suggested when the errors are fixed: segnet train " in printed
    for found in kept["findings"]:
        assert all(file["path"] in printed for file in found["files"][:3])


def test_the_page_shows_every_finding_and_every_class_and_asks_nobody(faulty: Path, tmp_path: Path) -> None:
    code, kept = checked(tmp_path / "check.json", faulty, "--html", str(tmp_path / "check.html"))
    assert code == 2
    page = Page((tmp_path / "check.html").read_text(encoding="utf-8"))
    assert_asks_nobody(page)
    assert_can_be_read(page)
    assert "When the errors are fixed, train with this command" in page.text
    for found in kept["findings"]:
        assert found["title"] in page.text
        assert all(file["path"] in page.text for file in found["files"])
    assert all(name in page.text for name in CAMVID.names)
    magenta = [alt for alt, pixels in images_of(page) if (pixels == (255, 0, 255)).all(axis=2).any()]
    assert len(magenta) == 1
    assert "10 pixels of no class" in magenta[0]
    skies = [pixels.astype(int) for alt, pixels in images_of(page) if alt.startswith("Sky in")]
    assert skies  # CamVid's color of the sky is a gray, and so is the image below it: a yellow edge shows where it is
    assert all((pixels[..., 1] - pixels[..., 2]).max() > 80 for pixels in skies)
    assert len(page.all("svg")) == 3


def test_fewer_images_are_shown_if_wanted(faulty: Path, tmp_path: Path) -> None:
    for most in (0, 1):
        words = ("check", str(faulty), "--html", str(tmp_path / f"{most}.html"), "--worst", str(most))
        assert leave(*words) == 2
    shown = [len(Page((tmp_path / f"{most}.html").read_text(encoding="utf-8")).all("img")) for most in (0, 1)]
    assert shown[0] < shown[1]


def test_images_are_listed_by_the_loss_of_a_model(
    camvid_root: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, kept = checked(tmp_path / "c.json", camvid_root, "--model", str(model_file), "--device", "cpu")
    assert code == 0
    listed = [found for found in kept["findings"] if found["kind"] in {"suspect_labels", "highest_loss"}]
    losses = [float(file["text"].split()[1].rstrip(";")) for found in listed for file in found["files"]]
    assert len(losses) == 9
    assert losses == sorted(losses, reverse=True)
    assert "by the loss of the model" in capsys.readouterr().out


def test_the_loss_is_the_cross_entropy_of_the_labels(camvid_root: Path, camvid: Source, model_file: Path) -> None:
    data = check_data(camvid_root).data
    predictor = open_predictor(str(model_file), CAMVID, "cpu")
    worst = measure_losses(data, predictor, MaskReader(labels=CAMVID, ignore_index=camvid.ignore_index))[0]
    val = camvid.dataset("val" if worst.sample >= 6 else "train")
    image, truth = val.read(worst.sample % 6)
    planes = predictor.predict_planes(image)
    counted = truth != 255
    expected = [planes[truth[y, x], y, x] for y, x in zip(*np.nonzero(counted), strict=True)]
    assert worst.loss == pytest.approx(-np.log(expected).mean(), rel=1e-4)


def test_a_model_that_reads_none_of_the_images_is_refused(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = create_model("segnet_basic", classes=11, in_channels=5)
    path = checkpoint.save(model, CAMVID, tmp_path / "bands.safetensors")
    assert leave("check", str(camvid_root), "--model", str(path), "--device", "cpu") == 2
    assert "has 3 bands, and 5 are expected" in capsys.readouterr().err


def test_json_and_page_are_two_files(camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert leave("check", str(camvid_root), "--json", str(out), "--html", str(tmp_path / "." / "out")) == 2
    assert f"{out} would be written twice" in capsys.readouterr().err
    assert not out.exists()


def test_a_model_of_other_classes_is_refused(
    camvid_root: Path, two_class_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("check", str(camvid_root), "--model", str(two_class_file), "--device", "cpu") == 2
    assert "knows 2 classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--worst", "-1", "--html", "a.html"), "is not possible"),
        (("--workers", "0"), "is not possible"),
        (("--worst", "3"), "--worst is the number of images on the page; add --html"),
        (("--device", "banana"), "device 'banana' is unknown; choose auto, cpu, cuda or mps"),
    ],
)
def test_impossible_numbers_are_refused(
    camvid_root: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert leave("check", str(camvid_root), *words) == 2
    assert told in capsys.readouterr().err


def test_what_is_no_data_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("check", str(tmp_path)) == 2
    assert "no data set was recognized" in capsys.readouterr().err


def test_a_check_needs_no_torch() -> None:
    """Its start would take longer than a second check."""
    import subprocess

    code = (
        "import sys, segnet.cli.commands.check, segnet.cli.check_table, segnet.data.check.report\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_training_refuses_what_the_check_found(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(path.name for path in (faulty / "trainannot").iterdir())
    (faulty / "trainannot" / names[0]).unlink()
    assert leave("check", str(faulty)) == 2
    capsys.readouterr()
    assert leave("train", str(faulty), "--out", str(faulty.parent / "run")) == 2
    assert "2 of 8 pairs cannot be used" in capsys.readouterr().err
    assert not (faulty.parent / "run").exists()


def test_names_of_files_neither_break_lines_nor_drive_the_terminal(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "r\r\x1b[2J"
    shutil.copytree(camvid_root, root)
    (root / "valannot" / "a\nb\x1b[31m\x9b1m\x07.png").write_bytes(b"")
    (root / "train" / min(path.name for path in (root / "train").iterdir())).write_bytes(b"")
    assert leave("check", str(root)) == 2
    printed = capsys.readouterr().out
    assert f"{' ' * 16}{tmp_path}/r \\x1b[2J/valannot/a b\\x1b[31m\\x9b1m\\x07.png\n" in printed
    assert not set(printed) & {"\r", "\x1b", "\x9b", "\x07"}
    assert leave("train", str(root), "--out", str(tmp_path / "run")) == 2
    refused = capsys.readouterr().err
    assert "a b\\x1b[31m" in refused
    assert not set(refused) & {"\r", "\x1b", "\x9b", "\x07"}
    assert refused.count("\n") == 1


def test_training_prints_a_check_that_works_as_typed(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        shutil.copytree(camvid_root / split, tmp_path / "scenes" / "images" / split)
        shutil.copytree(camvid_root / f"{split}annot", tmp_path / "scenes" / "masks" / split)
    file = tmp_path / "my conf" / "my.yaml"
    file.parent.mkdir()
    names = "\n".join(f"- {name}" for name in CAMVID.names)
    folders = "path: ../scenes\ntrain: images/train\nval: images/val\nmasks_dir: masks"
    file.write_text(f"{folders}\nignore_index: 11\nnames:\n{names}\n")
    min((tmp_path / "scenes" / "images" / "train").iterdir()).write_bytes(b"")
    words = (str(file), "--layout", "data.yaml", "--map", "Tree=Sky; Car=ignore", "--only", "Road,Sky")
    assert leave("train", *words, "--out", str(tmp_path / "run")) == 2
    command = re.search("; (segnet check .*) names every fault", capsys.readouterr().err)
    assert command is not None
    assert shlex.split(command[1])[1:] == ["check", *words]
    assert leave(*shlex.split(command[1])[1:]) == 2
    assert "is empty (0 bytes)" in capsys.readouterr().out
