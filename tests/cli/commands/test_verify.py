"""``--verify``, and what an INT8 file does without it: one line, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from segnet.cli.main import main
from segnet.exporting.export import export
from segnet.models import checkpoint
from segnet.runtimes.model_info import KEY


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def intact(one_stage_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    kept = checkpoint.load(one_stage_file)
    return export(kept.model, kept.labels, tmp_path_factory.mktemp("exported") / "toy.onnx").path


def rewrite(path: Path, out: Path, *, precision: str = "float32", tampered: bool = False, kept: bool = True) -> Path:
    """The file with other metadata, with weights that were changed after the export, or without its predictions."""
    model = onnx.load(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    about = {
        **json.loads(properties[KEY]),
        "precision": precision,
        "pair_limit": 128,
        **({} if kept else {"reference": {}}),
    }
    onnx.helper.set_model_props(model, {**properties, KEY: json.dumps(about)})
    if tampered:
        last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
        filters = next(tensor for tensor in model.graph.initializer if tensor.name == last.input[1])
        filters.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(filters), filters.name))
    onnx.save(model, out)
    return out


def words_of(command: str, file: Path, data: Path, out: Path) -> tuple[str, ...]:
    return {
        "predict": ("predict", str(next((data / "val").iterdir())), "--model", str(file), "--out", str(out)),
        "evaluate": ("evaluate", str(data), "--model", str(file)),
        "benchmark": ("benchmark", str(file), "--sizes", "32x48", "--rounds", "1", "--images", "1"),
    }[command]


@pytest.mark.parametrize("command", ["predict", "evaluate", "benchmark"])
def test_an_intact_file_passes_with_one_line(
    command: str, intact: Path, camvid_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert leave(*words_of(command, intact, camvid_root, tmp_path), "--verify") == 0
    told = [record.getMessage() for record in caplog.records if "same classes" in record.getMessage()]
    assert told == [
        f"segnet: {intact}: same classes as where it was exported in 100.00 % of the pixels of 3 reference images"
    ]


@pytest.mark.parametrize("command", ["predict", "evaluate", "benchmark"])
def test_a_file_that_predicts_otherwise_is_refused_before_the_work(
    command: str, intact: Path, camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = rewrite(intact, tmp_path / "tampered.onnx", tampered=True)
    out = tmp_path / "out"
    assert leave(*words_of(command, file, camvid_root, out), "--verify") == 2
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if line.startswith("segnet: ")]
    assert line.startswith(f"segnet: {file}: other classes than where it was exported: only ")
    assert "the file was probably changed since; export it anew on this machine" in line
    assert shown.out == ""
    assert not list(out.rglob("*.png"))


def test_a_file_without_predictions_cannot_be_verified(
    intact: Path, camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = rewrite(intact, tmp_path / "old.onnx", kept=False)
    words = words_of("predict", file, camvid_root, tmp_path / "out")
    assert leave(*words, "--verify") == 2
    assert "old.onnx: keeps no reference predictions, so it cannot be verified" in capsys.readouterr().err
    assert leave(*words) == 0


def test_benchmark_wants_an_exported_file_to_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("benchmark", "segnet_basic", "--verify") == 2
    assert "--verify checks files that 'segnet export' wrote, and none is named" in capsys.readouterr().err


def test_the_first_use_of_an_int8_file_warns_and_goes_on(
    intact: Path, camvid_root: Path, tmp_path: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = rewrite(intact, tmp_path / "int8.onnx", precision="int8", tampered=True)
    assert leave(*words_of("predict", file, camvid_root, tmp_path / "out")) == 0
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"segnet: {file}: other classes than where it was exported: only ")
    assert list((tmp_path / "out").rglob("*.png"))
    assert not list(own_cache.glob("verified/*"))


def test_the_first_use_of_an_int8_file_is_remembered(
    intact: Path, camvid_root: Path, tmp_path: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = rewrite(intact, tmp_path / "int8.onnx", precision="int8")
    assert leave(*words_of("predict", file, camvid_root, tmp_path / "out")) == 0
    assert len(list(own_cache.glob("verified/*.json"))) == 1
    assert not [record for record in caplog.records if "classes" in record.getMessage()]
