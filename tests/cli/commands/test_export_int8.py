"""An INT8 file is written if labeled images say that it is good enough, and not otherwise."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch

from segnet.cli.main import main
from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.exporting.int8 import calibration as calibration_module
from segnet.exporting.int8 import export as export_module
from segnet.exporting.int8 import rewriting
from segnet.exporting.int8.calibration import CalibratedOnnx
from segnet.exporting.int8.export import export_int8
from segnet.exporting.int8.gate import Calibration
from segnet.exporting.int8.rewriting import MapStatistics
from segnet.exporting.int8.saturation import pair_sums
from segnet.exporting.settings import ExportConfig
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import KEY, PAIR_LIMIT

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def model_file(one_stage_file: Path) -> Path:
    return one_stage_file


@pytest.fixture(scope="module")
def exported(
    model_file: Path, camvid_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, str]]:
    """By format, the file that the command wrote, not to be changed, and what it printed."""
    folder = tmp_path_factory.mktemp("int8")

    @cache
    def make(kind: str) -> tuple[Path, str]:
        out = folder / f"small{SUFFIXES[kind]}"
        words = ("--format", kind, "--int8", "--calibrate", str(camvid_root), "--max-drop", "1", "--out", str(out))
        with redirect_stdout(io.StringIO()) as printed:
            assert leave("export", str(model_file), *words) == 0
        return out, printed.getvalue()

    return make


@pytest.mark.parametrize("kind", SUFFIXES)
def test_an_int8_file_has_its_precision_and_scores_in_its_metadata(
    kind: str, exported: Callable[[str], tuple[Path, str]], model_file: Path
) -> None:
    out, printed = exported(kind)
    report = json.loads(out.with_name(f"{out.name}.report.json").read_text())
    assert report["precision"] == "int8"
    runtime = open_runtime(out, device="cpu")
    assert runtime.info.precision == "int8"
    assert runtime.info.pair_limit == PAIR_LIMIT
    assert runtime.info.scores["miou"] == report["accuracy"]["int8"]["miou"]
    assert report["accuracy"]["drop"] == pytest.approx(
        report["accuracy"]["float32"]["miou"] - report["accuracy"]["int8"]["miou"]
    )
    assert f"{report['accuracy']['int8']['miou']:.4f} in INT8" in printed
    image = np.random.default_rng(0).random((1, 3, 37, 45), dtype=np.float32)
    exact = open_runtime(model_file, device="cpu").run(image, probabilities=True).probabilities
    rough = runtime.run(image, probabilities=True).probabilities
    assert rough.shape == exact.shape
    assert not np.array_equal(rough, exact)
    assert np.abs(rough - exact).mean() < 0.1


def test_images_are_seen_at_the_size_at_which_they_are_predicted(
    model_file: Path, camvid_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, given = checkpoint.load(model_file), []
    small = checkpoint.save(kept.model, kept.labels, tmp_path / "small.safetensors", provenance={"longest": 32})

    class Calibrated(CalibratedOnnx):
        def __init__(self, model: onnx.ModelProto, images: list[np.ndarray]) -> None:
            given.extend(image.shape for image in images)
            super().__init__(model, images)

    monkeypatch.setattr(export_module, "CalibratedOnnx", Calibrated)
    words = ("--int8", "--calibrate", str(camvid_root), "--max-drop", "1", "--out", str(tmp_path / "small.onnx"))
    assert leave("export", str(small), *words) == 0
    assert given == [(1, 3, 24, 32)] * 6
    scores, counted = tmp_path / "scores.json", open_runtime(tmp_path / "small.onnx").info.scores
    assert leave("evaluate", str(camvid_root), "--model", str(tmp_path / "small.onnx"), "--json", str(scores)) == 0
    assert json.loads(scores.read_text())["confusion"] == counted["confusion"]


def test_a_file_that_loses_too_much_is_not_written(
    model_file: Path,
    camvid: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def clipped(model: onnx.ModelProto, statistics: MapStatistics, keep: tuple[str, ...]) -> onnx.ModelProto:
        ranges = dict.fromkeys(statistics.ranges, (0.0, 1e-6))
        return rewriting.quantize_graph(model, replace(statistics, ranges=ranges), keep)

    monkeypatch.setattr(calibration_module, "quantize_graph", clipped)
    out = tmp_path / "out" / "small.onnx"
    words = ("--int8", "--calibrate", str(camvid.root), "--max-drop", "0", "--out", str(out))
    code = leave("export", str(model_file), *words)
    error = capsys.readouterr().err
    assert code == 2
    assert "INT8 loses more than 0.0 of mIoU: float32 has" in error
    assert not out.exists()


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_file_that_some_processors_compute_otherwise_is_not_written(
    kind: str,
    model_file: Path,
    camvid_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(rewriting, "fitting_scales", lambda filters: np.abs(filters).max(axis=(1, 2, 3)) / 127)
    out = tmp_path / "out" / f"small{SUFFIXES[kind]}"
    words = ("--format", kind, "--int8", "--calibrate", str(camvid_root), "--max-drop", "1", "--out", str(out))
    assert leave("export", str(model_file), *words) == 2
    assert "could overflow on processors without VNNI; 128 is the most" in capsys.readouterr().err
    assert not out.exists()


def without_mark(kind: str, path: Path, to: Path) -> Path:
    """The file as an older version wrote it: of the limit it says nothing."""
    if kind == "onnx":
        proto = onnx.load(path)
        assert not any(each.can_overflow for each in pair_sums(proto))
        about = next(each for each in proto.metadata_props if each.key == KEY)
        about.value = without_limit(about.value)
        onnx.save(proto, to.with_suffix(".onnx"))
        return to.with_suffix(".onnx")
    model = openvino.Core().read_model(path)
    model.set_rt_info(without_limit(str(model.get_rt_info([KEY]).value)), [KEY])
    openvino.save_model(model, to.with_suffix(".xml"), compress_to_fp16=False)
    return to.with_suffix(".xml")


def without_limit(text: str) -> str:
    table = json.loads(text)
    del table["pair_limit"]
    return json.dumps(table)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_an_int8_file_of_an_older_version_is_warned_of_once(
    kind: str, exported: Callable[[str], tuple[Path, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new, _ = exported(kind)
    old = without_mark(kind, new, tmp_path / "old")
    caplog.clear()
    image = np.random.default_rng(1).random((1, 3, 24, 32), dtype=np.float32)
    expected = open_runtime(new, device="cpu").run(image, probabilities=True).probabilities
    assert not caplog.records
    for _ in range(2):
        found = open_runtime(old, device="cpu").run(image, probabilities=True).probabilities
        np.testing.assert_allclose(found, expected, atol=1e-5)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{old}: is INT8 of an older version of segnet and may predict other classes on CPUs without VNNI; "
        "export it anew with 'segnet export --int8'"
    )


@pytest.mark.parametrize("words", [("--int8",), ("--calibrate", "somewhere")])
def test_int8_and_its_images_go_together(words: tuple[str, ...], model_file: Path, capsys: pytest.CaptureFixture[str]):
    assert leave("export", str(model_file), *words) == 2
    assert "--int8 and --calibrate DATA go together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "torch"}, "torch cannot be INT8 here; choose one of onnx, openvino, executorch"),
        ({"config": ExportConfig(samples=2, output="mask")}, "a file that draws samples cannot be INT8 here"),
        ({"format": "openvino", "config": ExportConfig(half=True)}, "either INT8 or of float16"),
        ({"format": "openvino"}, r"ends in \.xml"),
    ],
)
def test_what_cannot_be_int8_is_refused(
    options: dict[str, object], message: str, model_file: Path, camvid: Source
) -> None:
    model = checkpoint.load(model_file).model
    calibration = Calibration(images=[torch.rand(1, 3, 24, 32).numpy()], data=camvid.dataset("val"))
    with pytest.raises(ConfigError, match=message):
        export_int8(model, CAMVID, Path("a.onnx"), calibration=calibration, **options)
