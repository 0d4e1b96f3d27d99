"""An INT8 file is written if labeled images say that it is good enough, and not otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.cli.main import main
from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.exporting.int8.export import Calibration, export_int8
from segnet.exporting.programs import ExportConfig
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.runtimes.load import open_runtime


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


@pytest.mark.parametrize(("kind", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_an_int8_file_says_so_and_tells_what_it_scored(
    kind: str, suffix: str, model_file: Path, camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"small{suffix}"
    words = ("--format", kind, "--int8", "--calibrate", str(camvid_root), "--max-drop", "1", "--out", str(out))
    assert leave("export", str(model_file), *words) == 0
    told = json.loads((tmp_path / f"{out.name}.report.json").read_text())
    assert told["precision"] == "int8"
    runtime = open_runtime(out, device="cpu")
    assert runtime.info.precision == "int8"
    assert runtime.info.scores["miou"] == told["accuracy"]["int8"]["miou"]
    assert told["accuracy"]["drop"] == pytest.approx(
        told["accuracy"]["float32"]["miou"] - told["accuracy"]["int8"]["miou"]
    )
    assert f"{told['accuracy']['int8']['miou']:.4f} in INT8" in capsys.readouterr().out
    image = np.random.default_rng(0).random((1, 3, 37, 45), dtype=np.float32)
    exact = open_runtime(model_file, device="cpu").run(image, probabilities=True).probabilities
    rough = runtime.run(image, probabilities=True).probabilities
    assert rough.shape == exact.shape
    assert not np.array_equal(rough, exact)
    assert np.abs(rough - exact).mean() < 0.1


def test_a_file_that_loses_too_much_is_not_written(
    model_file: Path,
    camvid: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from segnet.exporting.int8.export import calibration

    broken = calibration.rewritten
    monkeypatch.setattr(
        calibration, "rewritten", lambda model, ranges, keep: broken(model, dict.fromkeys(ranges, (0.0, 1e-6)), keep)
    )
    out = tmp_path / "out" / "small.onnx"
    words = ("--int8", "--calibrate", str(camvid.root), "--max-drop", "0", "--out", str(out))
    code = leave("export", str(model_file), *words)
    told = capsys.readouterr().err
    assert code == 2
    assert "INT8 loses more than 0.0 of mIoU: float32 has" in told
    assert not out.exists()


@pytest.mark.parametrize("words", [("--int8",), ("--calibrate", "somewhere")])
def test_int8_and_its_images_go_together(words: tuple[str, ...], model_file: Path, capsys: pytest.CaptureFixture[str]):
    assert leave("export", str(model_file), *words) == 2
    assert "--int8 and --calibrate DATA go together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "torch"}, "torch cannot be INT8 here; choose one of onnx, openvino, executorch"),
        ({"config": ExportConfig(samples=2, output="mask")}, "a file that draws samples cannot be INT8 here"),
        ({"format": "openvino", "config": ExportConfig(half=True)}, "either INT8 or of float16"),
        ({"format": "openvino"}, r"ends in \.xml"),
    ],
)
def test_what_cannot_be_int8_is_refused(
    options: dict[str, object], told: str, model_file: Path, camvid: Source
) -> None:
    model = checkpoint.load(model_file).model
    calibration = Calibration(images=[torch.rand(1, 3, 24, 32).numpy()], data=camvid.dataset("val"))
    with pytest.raises(ConfigError, match=told):
        export_int8(model, CAMVID, Path("a.onnx"), calibration=calibration, **options)
