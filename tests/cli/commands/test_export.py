from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.cli.main import main

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def model_file(one_stage_file: Path) -> Path:
    return one_stage_file


@pytest.fixture(scope="module")
def exported(model_file: Path) -> Callable[[str], Path]:
    """By format, a file that the command wrote where it writes without ``--out``."""

    @cache
    def make(kind: str) -> Path:
        assert leave("export", str(model_file), "--format", kind) == 0
        return model_file.with_suffix(SUFFIXES[kind])

    return make


@pytest.mark.parametrize("kind", SUFFIXES)
def test_predict_labels_with_an_exported_model(
    kind: str, exported: Callable[[str], Path], model_file: Path, camvid_root: Path, tmp_path: Path
) -> None:
    masks = []
    for number, model in enumerate((model_file, exported(kind))):
        out = tmp_path / str(number)
        words = ("--model", str(model), "--out", str(out), "--save", "mask,confidence", "--device", "cpu")
        assert leave("predict", str(camvid_root / "val"), *words) == 0
        assert len(list((out / "confidence").iterdir())) == 3
        masks.append(np.stack([np.asarray(Image.open(path)) for path in sorted((out / "mask").iterdir())]))
    assert masks[0].shape == (3, 48, 64)
    assert np.mean(masks[0] == masks[1]) > 0.999


@pytest.mark.parametrize("kind", SUFFIXES)
def test_evaluate_scores_an_exported_model(
    kind: str, exported: Callable[[str], Path], model_file: Path, camvid_root: Path, tmp_path: Path
) -> None:
    scores = []
    for model in (model_file, exported(kind)):
        words = ("--model", str(model), "--json", str(tmp_path / "scores.json"), "--device", "cpu")
        assert leave("evaluate", str(camvid_root), *words) == 0
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    assert scores[0]["pixels"] == scores[1]["pixels"] > 0
    assert scores[1]["global_accuracy"] == pytest.approx(scores[0]["global_accuracy"], abs=1e-3)
    assert scores[1]["miou"] == pytest.approx(scores[0]["miou"], abs=1e-3)


def test_the_table_names_every_image_and_the_exporters_are_silent(
    two_class_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "two.onnx"
    assert leave("export", str(two_class_file), "--out", str(out), "--output", "mask", "--size", "20", "31") == 0
    output, asides = capfd.readouterr()
    assert asides.splitlines() == [
        f"exporting two to {out}, then comparing it with PyTorch",
        "  tracing the network",
        "  converting it to onnx",
        "  running the file and comparing it with PyTorch",
        "  adding its predictions on reference images, and verifying them",
    ]
    lines = output.splitlines()
    assert [line.split()[0] for line in lines] == ["image", "noise", "street", "synthetic", f"{out}:"]
    assert all("1x3x20x31" in line and "100.000%" in line for line in lines[1:4])
    assert "of the pixels as in PyTorch" in lines[4]
    assert json.loads((tmp_path / "new" / "two.onnx.report.json").read_text())["output"] == "mask"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "tflite"), "'tflite' is unknown; choose from onnx"),
        (("--format", "executorch"), "executorch takes images of one size; give it, as in --size 360 480"),
        (("--half", "--format", "torch"), "torch cannot keep filters in float16 here; leave --half out"),
        (("--samples", "4"), "samples are averaged as probabilities; add --output probabilities or --output mask"),
        (("--samples", "1", "--output", "mask"), "samples 1 is not possible; give 2 or more"),
        (("--samples", "4", "--output", "mask"), "toy has no dropout, so its samples would all be the same"),
        (("--size", "0", "9"), "size (0, 9) is not possible"),
        (("--out", "model.xml"), "model.xml is no name for this format; give one that ends in .onnx"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    words: tuple[str, ...], message: str, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("export", str(model_file), *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("segnet: ")
    assert message in error


def test_an_exported_file_is_no_model_to_export(
    exported: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("export", str(exported("onnx"))) == 2
    assert "toy.onnx: is an exported file; give the .safetensors file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--int8", "--calibrate", "synthetic")])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    words: tuple[str, ...], model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").touch()
    for out, reason in (("folder.onnx", "is a folder or a device"), ("file/a.onnx", "results cannot be written there")):
        assert leave("export", str(model_file), *words, "--out", str(tmp_path / out)) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert "tracing" not in error
