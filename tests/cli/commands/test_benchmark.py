"""segnet benchmark."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segnet.benchmark.measure import Candidate, Measured
from segnet.cli.commands import benchmark
from segnet.cli.main import main
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.system.hardware import peak_gmacs


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["benchmark", *words])
    return int(left.value.code or 0)


def test_every_combination_that_can_run_is_measured_once():
    found = benchmark._candidates(
        ("segnet_basic", "a.onnx", "b.xml"), ["24x32", "48x64"], ["float32", "bf16"], ["reference"], compiled=True
    )
    assert len(found) == len(set(found)) == 2 * (4 + 1 + 2 + 1)
    assert {c.precision for c in found if c.model == "a.onnx"} == {"float32"}
    assert {c.model for c in found if c.compiled} == {"segnet_basic"}
    assert {c.model for c in found if c.baseline} == {"segnet_basic"}


def test_compiling_exported_files_is_refused() -> None:
    with pytest.raises(ConfigError, match="--compiled is for models that PyTorch runs, and none is named; leave it"):
        benchmark._candidates(("a.onnx", "b.xml"), ["24x32"], ["float32"], (), compiled=True)


@pytest.mark.parametrize("size", ["24", "24x0", "00x24", "x24", "24X32", "-1x5"])
def test_an_impossible_size_is_refused(size: str):
    with pytest.raises(ConfigError, match="give HEIGHTxWIDTH"):
        benchmark._size(size)


def test_a_table_scores_and_json_come_out(
    camvid_root: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = partial(peak_gmacs, threads=1, budget_s=0.05)
    monkeypatch.setattr("segnet.benchmark.measure.peak_gmacs", lambda precision, **_: quick(precision))
    out = tmp_path / "out.json"
    words = ("--sizes", "24x32", "--rounds", "1", "--images", "1", "--threads", "1", "--data", str(camvid_root))
    assert leave(str(model_file), *words, "--limit", "inf", "--json", str(out)) == 0
    output = capsys.readouterr().out
    kept = json.loads(out.read_text())
    assert kept["limit"] is None  # JSON has no infinity
    (row,) = kept["rows"]
    assert row["miou"] > 0
    assert f"{row['miou']:.4f}" in output
    assert f"{row['p50_ms']:.1f}" in output
    assert kept["versions"]["torch"]
    assert (kept["split"], kept["rounds"], kept["threads"]) == ("val", 1, 1)


def test_an_unknown_baseline_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--baselines", "unet") == 2
    assert "'unet' is unknown; choose from reference" in capsys.readouterr().err


@pytest.mark.parametrize("baseline", ["reference", "reference_compiled", "reference_onnx"])
@pytest.mark.parametrize("model", [(), ("segnet_light",), ("exported/segnet_light.onnx", "segnet")])
def test_a_network_without_a_reference_implementation_is_refused_before_anything_runs(
    model: tuple[str, ...], baseline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segnet.benchmark.measure.measure", None)
    assert leave(*model, "--baselines", baseline) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "segnet_light: the reference implementation exists for segnet, " in line
    assert "name one of them first" in line


def row(model: str = "a.onnx", **changed: Any) -> Measured:
    known = {"p50_ms": 1.0, "p90_ms": 1.0, "images_per_s": 1000.0, "memory_mb": None, "file_mb": None, "gmacs": None}
    return Measured(candidate=Candidate(model=model), **{**known, "share_of_peak": None, "timed": 20, **changed})


def test_the_table_names_missing_figures(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(), row(share_of_peak=0.5), row(no_peak="int8 is emulated"), row(no_peak="int8 is emulated", timed=3)]
    benchmark._print(rows, {})
    benchmark._print_missing(rows, asked=20, limit=10.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:5]] == ["1000.00", "50%", "-", "-"]
    assert lines[-2:] == [
        "no peak: int8 is emulated",
        "a.onnx in float32: 3 of 20 images in 10 s; raise --limit for more",
    ]


def test_the_table_has_the_precision_of_an_exported_file(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(precision="int8", timed=3)]
    benchmark._print(rows, {})
    benchmark._print_missing(rows, asked=20, limit=10.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["a.onnx", "360x480", "int8"]
    assert lines[-1].startswith("a.onnx in int8: 3 of 20 images")


def test_brackets_in_the_name_of_a_model_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark._print([row("a[v1].onnx")], {})
    assert "a[v1].onnx" in capsys.readouterr().out


def test_scores_that_would_take_too_long_are_left_out(
    camvid_root: Path, model_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    candidates = [Candidate(model=str(model_file))]
    assert benchmark._scores(candidates, str(camvid_root), SourceConfig(), "val", threads=1, limit=1e-9) == {}
    assert "has no score: 3 images would take" in caplog.text
    assert benchmark._scores(candidates, str(camvid_root), SourceConfig(), "val", threads=1, limit=1e9).keys() == {
        candidates[0].kind
    }


@pytest.mark.parametrize("scored", [True, False])
def test_the_plot_is_drawn_or_the_remedy_named(scored: bool, tmp_path: Path) -> None:
    from segnet.benchmark.plot import plot_benchmark

    known = [("a", None, "float32", 10.0), ("a", None, "bf16", 5.0), ("b", None, "float32", 30.0)]
    rows = [
        Measured(
            candidate=Candidate(model=name, baseline=baseline, precision=precision),
            p50_ms=time, p90_ms=time, images_per_s=1.0, memory_mb=None, file_mb=None, gmacs=None, share_of_peak=None,
            precision=precision,
        )
        for name, baseline, precision, time in [*known, ("a", "reference", "float32", 90.0)]
    ]  # fmt: skip
    scores = {("a", "float32"): 0.5, ("b", "float32"): 0.6} if scored else {}
    plot_benchmark(rows, scores, tmp_path / "plot.svg")
    assert "</svg>" in (drawn := (tmp_path / "plot.svg").read_text())
    assert drawn.count("<!-- a bf16 -->") == (0 if scored else 1)  # a bar of its own
    assert drawn.count("<!-- b -->") == 1
    with pytest.raises(ConfigError, match="give a name that ends so"):
        plot_benchmark(rows, scores, tmp_path / "plot.txt")


def test_files_of_one_name_are_told_apart_and_the_axis_has_plain_numbers(tmp_path: Path) -> None:
    from segnet.benchmark.plot import plot_benchmark

    files = ["b/best.safetensors", "c/best.safetensors", "c/last.onnx"]
    candidates = benchmark._candidates(files, ["48x64"], ["float32"], (), compiled=True)
    labels = [candidate.label for candidate in candidates]
    assert labels == [*files[:1], f"{files[0]} compiled", files[1], f"{files[1]} compiled", "last.onnx"]
    rows = [
        row(candidate.model, p50_ms=time) for candidate, time in zip(candidates[::2], (229.2, 249.5, 240), strict=True)
    ]
    plot_benchmark(rows, {candidate.kind: 0.5 for candidate in candidates}, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "<!-- 235 -->" in drawn
    assert "times" not in drawn  # 2.35 times a power of ten


def test_a_baseline_whose_library_is_missing_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segnet.benchmark.measure.measure", None)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    assert leave("--baselines", "unet_vgg16") == 2
    assert "pip install 'segnet[baselines]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--json", "/proc/speed/a.json"), "give another --json"),
        (("--plot", "speed.jpg"), "--plot speed.jpg has another ending than .png, .svg or .pdf; give a name that ends"),
        (("--data", "synthetic", "--score-limit", "nan"), "score_limit=nan is not possible; give seconds above 0"),
        (("--data", "gone"), "gone: there is no such data set"),
    ],
)
def test_what_would_lose_the_measurements_is_refused_before(
    words: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segnet.benchmark.measure.measure", None)
    assert leave("segnet_light", *words) == 2
    assert reason in capsys.readouterr().err


def test_an_unknown_split_is_refused_before(
    camvid_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segnet.benchmark.measure.measure", None)
    assert leave("segnet_light", "--data", str(camvid_root), "--split", "tset") == 2
    assert "tset" in capsys.readouterr().err
