"""Core ML's packages; coremltools comes with ExecuTorch."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from segnet.cli.commands.export import run
from segnet.errors import ConfigError, MissingPackageError, ModelError, OutputError
from segnet.exporting.coreml import require_sound
from segnet.exporting.export import export
from segnet.exporting.report import ExportReport
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import KEY, ModelInfo

SIZE = (17, 22)
LABELS = ClassTable.from_names(["sky", "Straße", "<tree>"])
KNOWN = {
    "add", "cast", "const", "conv", "equal", "greater", "maximum", "mul", "pad", "real_div", "relu",
    "slice_by_index", "sub", "upsample_nearest_neighbor",
}  # fmt: skip

pytestmark = [
    pytest.mark.skipif(platform.system() == "Darwin", reason="what happens where the packages cannot be run"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # coremltools' own
]


@pytest.fixture(scope="session")
def report(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("coreml") / "toy.mlpackage"
    return export(toy, LABELS, out, format="coreml", config=ExportConfig(size=SIZE))


def spec_of(path: Path) -> Any:
    import coremltools

    return coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()


def test_a_package_says_what_it_is(report: ExportReport) -> None:
    metadata = spec_of(report.path).description.metadata.userDefined
    assert ModelInfo.from_json(metadata[KEY], report.path) == report.info
    assert json.loads(metadata["names"]) == ["sky", "Straße", "<tree>"]
    assert sorted(part.name for part in report.path.iterdir()) == ["Data", "Manifest.json"]


def test_a_package_holds_known_operators_alone(report: ExportReport) -> None:
    main = spec_of(report.path).mlProgram.functions["main"]
    found = [one.type for block in main.block_specializations.values() for one in block.operations]
    assert set(found) <= KNOWN
    assert found.count("conv") == 5


def test_a_report_says_that_nothing_was_compared(report: ExportReport) -> None:
    table = json.loads(report.path.with_name("toy.mlpackage.report.json").read_text(encoding="utf-8"))
    assert (table["checked"], table["agreement"], table["images"]) == (False, None, [])
    assert table["reference"] == {"reason": "this system cannot run the file"}
    assert table["bytes"] == sum(part.stat().st_size for part in report.path.rglob("*") if part.is_file())
    assert report.agreement != report.agreement


@pytest.mark.parametrize("wrong", [{"size": (16, 22)}, {"output": "probabilities"}, {"name": "other"}])
def test_a_package_that_is_not_what_was_meant_is_refused(report: ExportReport, wrong: dict[str, Any]) -> None:
    info = ModelInfo(**{**vars(report.info), **wrong})
    with pytest.raises(ModelError, match="please report it"):
        require_sound(report.path, info, [(1, 3, *SIZE), (1, 3, *SIZE)])


def test_a_mask_is_of_whole_numbers_and_takes_the_place_of_an_older_package(toy: SegNet, tmp_path: Path) -> None:
    out = tmp_path / "toy.mlpackage"
    for output in ("logits", "mask"):
        export(toy, LABELS, out, format="coreml", config=ExportConfig(size=SIZE, output=output))
    given = spec_of(out).description.output[0]
    assert (given.name, list(given.type.multiArrayType.shape)) == ("mask", [1, *SIZE])
    assert sorted(part.name for part in tmp_path.iterdir()) == ["toy.mlpackage", "toy.mlpackage.report.json"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # coremltools leaves a folder open
def test_a_network_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    model = create_model("fcn_basic", classes=3).eval()
    with pytest.raises(ConfigError, match=r"cannot convert this network \(pad must be non-negative .*--size 352 480"):
        export(model, LABELS, tmp_path / "fcn.mlpackage", format="coreml", config=ExportConfig(size=SIZE))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_kind_is_left_alone(toy: SegNet, tmp_path: Path) -> None:
    (tmp_path / "toy.mlpackage").mkdir()
    (tmp_path / "toy.mlpackage" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not a Core ML package"):
        export(toy, LABELS, tmp_path / "toy.mlpackage", format="coreml", config=ExportConfig(size=SIZE))
    assert [part.name for part in tmp_path.rglob("*")] == ["toy.mlpackage", "mine.txt"]


def test_the_command_warns_that_nothing_was_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "basic.mlpackage"
    run("segnet_basic", format="coreml", out=out, config=ExportConfig(size=(16, 16)))
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].endswith("not compared with PyTorch: this system cannot run such files")
    assert said.out.startswith(f"{out}: 5.")


def test_a_package_is_not_run_here(report: ExportReport) -> None:
    with pytest.raises(ConfigError, match="Core ML runs only on macOS"):
        open_runtime(report.path)


def test_a_package_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such package"):
        open_runtime(tmp_path / "any.mlpackage")


def test_a_missing_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setitem(sys.modules, "coremltools", None)
    (tmp_path / "any.mlpackage").mkdir()
    with pytest.raises(MissingPackageError, match=r"coremltools is not installed; .*'segnet\[coreml\]'"):
        open_runtime(tmp_path / "any.mlpackage")
