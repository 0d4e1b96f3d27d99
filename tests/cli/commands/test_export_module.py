"""segnet export and segnet compare on MODULE:FUNCTION."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from segnet.cli.main import main
from segnet.cli.modules import ModuleFlags
from segnet.errors import ConfigError, ModelError
from segnet.runtimes.load import open_file

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        return self.unpool(*self.pool(self.first(x)))

def build():
    return Net()

def wrong():
    return 3

def needy(classes):
    return Net()

def failing():
    raise RuntimeError("no file of weights\\nat line 3")
"""
SHAPE = ("1x3x8x12",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with mynet.py and its weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    (tmp_path / "mynet.py").write_text(SOURCE)
    torch.save({"module.first.weight": torch.ones(4, 3, 3, 3), "module.first.bias": torch.zeros(4)}, "mynet.pth")
    return tmp_path


def called(*words: str) -> object:
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


def test_a_module_is_exported_with_its_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("export", "mynet:build", "--weights", "mynet.pth", "--example", SHAPE[0], "--format", "torch") == 0
    said = capsys.readouterr()
    assert "input x: batch x 3 x height x width" in said.err
    assert "100.0000% of the pixels as in PyTorch" in said.out
    model = ModuleFlags(weights=Path("mynet.pth"), example=SHAPE).load("mynet:build")[0]
    image = torch.rand(1, 3, 8, 12)
    (output,) = open_file(folder / "mynet.pt2").forward(image.numpy())
    assert torch.equal(torch.from_numpy(output), model(image))
    assert (model.first.weight == 1.0).all()


def test_compare_shows_both_forms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare", "mynet:build", "--example", SHAPE[0], "--rounds", "1", "--json", "figures.json")
    assert called(*words) == 0
    said = capsys.readouterr()
    assert "replaced pool -> unpool (2x2, 2 bits)" in said.err
    assert "0.031" in next(line for line in said.out.splitlines() if line.startswith("kept for the decoder"))
    figures = json.loads((folder / "figures.json").read_text())
    before, after = figures["before"], figures["after"]
    assert (before["decoder_bytes"], after["decoder_bytes"]) == (4 * 24 * 8, 4 * 6)
    assert (before["deterministic"], after["deterministic"]) == (False, True)
    assert after["step_bytes"] < before["step_bytes"]


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("mynet:build", {}, "mynet:build needs the shape of its input; add --example"),
        ("mynet:build", {"example": ("1x3xbig",)}, "--example 1x3xbig is no shape"),
        ("mynet:build", {"example": ("1x0x4x4",)}, "--example 1x0x4x4 is no shape"),
        ("nonet:build", {"example": SHAPE}, r"there is no Python module nonet; run in the folder of nonet\.py"),
        ("mynet.py:build", {"example": SHAPE}, r"mynet\.py is a path, .*; run in its folder with mynet:build"),
        ("nets/mynet:build", {"example": SHAPE}, "nets/mynet is a path, .*; run in its folder with mynet:build"),
        ("mynet:make", {"example": SHAPE}, "mynet has no function make"),
        ("mynet:needy", {"example": SHAPE}, "mynet:needy cannot be called without arguments"),
        ("mynet:failing", {"example": SHAPE}, "mynet:failing fails: RuntimeError: no file of weights; mend it"),
        (
            "mynet:build",
            {"example": ("1x4x8x12",)},
            "the module of mynet:build fails with an input of 1x4x8x12: Runtime",
        ),
        ("mynet:wrong", {"example": SHAPE}, "mynet:wrong returns a int; it must return a torch.nn.Module"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(name: str, words: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModuleFlags(**words).load(name)


def test_a_module_that_imports_what_is_not_there_is_refused(folder: Path) -> None:
    (folder / "needy.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ConfigError, match="needy imports nothing_of_this_name, which is not installed"):
        ModuleFlags(example=SHAPE).load("needy:build")


def test_a_module_that_fails_when_imported_is_refused(folder: Path) -> None:
    (folder / "broken.py").write_text("def build(:\n")
    with pytest.raises(ConfigError, match="broken cannot be imported: SyntaxError: invalid syntax"):
        ModuleFlags(example=SHAPE).load("broken:build")


def test_a_module_that_ends_the_program_is_refused(folder: Path) -> None:
    (folder / "script.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ConfigError, match="script ends the program when imported; guard that by if __name__ =="):
        ModuleFlags(example=SHAPE).load("script:build")
    (folder / "leaving.py").write_text("import sys\ndef build():\n    sys.exit('no weights')\n")
    with pytest.raises(ConfigError, match="leaving:build fails: SystemExit: no weights; mend it"):
        ModuleFlags(example=SHAPE).load("leaving:build")


def test_figures_do_not_replace_the_module(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "mynet.py").read_bytes()
    assert called("compare", "mynet:build", "--example", SHAPE[0], "--json", "mynet.py") == 2
    assert "mynet.py is there already and would be replaced; give --json a name that ends in .json" in (
        capsys.readouterr().err
    )
    assert (folder / "mynet.py").read_bytes() == before


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "net._orig_mod.module."])
def test_weights_of_a_network_within_wrappers_are_taken(wrapper: str, folder: Path) -> None:
    weights = torch.load("mynet.pth", weights_only=True)
    torch.save({"state_dict": {wrapper + name: tensor for name, tensor in weights.items()}}, "wrapped.ckpt")
    model = ModuleFlags(weights=Path("wrapped.ckpt"), example=SHAPE).load("mynet:build")[0]
    assert (model.first.weight == 1.0).all()


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    def load(weights: object) -> None:
        torch.save(weights, folder / "other.pth")
        ModuleFlags(weights=Path("other.pth"), example=SHAPE).load("mynet:build")

    right = {"first.weight": torch.ones(4, 3, 3, 3), "first.bias": torch.zeros(4)}
    load({"epoch": 3, "state_dict": right})
    with pytest.raises(ModelError, match=r"missing first\.bias; unknown last; of another shape first\.weight"):
        load({"first.weight": torch.ones(5, 3, 3, 3), "last": torch.ones(1)})
    with pytest.raises(ModelError, match=r"missing none; unknown loss\.weight; of another shape none"):
        load({**{f"net.{name}": tensor for name, tensor in right.items()}, "loss.weight": torch.ones(1)})
    with pytest.raises(ModelError, match=r"other\.pth: holds no weights by name"):
        load([1, 2])
    with pytest.raises(ModelError, match=r"other\.pth: holds no plain weights, or has objects beside them; save"):
        load(ModuleFlags())  # an object, whose loading would run code
    (folder / "text.pth").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.pth: holds no plain weights, or has objects"):
        ModuleFlags(weights=Path("text.pth"), example=SHAPE).load("mynet:build")
    with pytest.raises(ModelError, match=r"gone\.pth: there is no such file"):
        ModuleFlags(weights=Path("gone.pth"), example=SHAPE).load("mynet:build")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_program_of_torchscript_is_no_file_of_weights(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 4, 3)), folder / "script.pt")
    recwarn.clear()
    with pytest.raises(ModelError, match=r"script\.pt: holds no plain weights"):
        ModuleFlags(weights=Path("script.pt"), example=SHAPE).load("mynet:build")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "segnet_light", "--example", "1x3x8x8"), "--weights and --example belong to MODULE:FUNCTION"),
        (("export", "nets/mynet.py:build", "--example", SHAPE[0]), "nets/mynet.py is a path"),
        (("export", "mynet:build", "--example", SHAPE[0], "--half"), "a module of yours is exported as it is"),
        (("export", "mynet:build", "--example", SHAPE[0], "--int8"), "call segnet.export_module with int8="),
        (
            ("export", "mynet:build", "--example", SHAPE[0], "--calibrate", "synthetic"),
            "call segnet.export_module with int8=",
        ),
        (
            ("export", "mynet:build", "--example", SHAPE[0], "--runtime-files", "ort.tgz"),
            "--runtime-files is for --format browser, not onnx",
        ),
        (("compare", "mynet.py", "--example", SHAPE[0]), "'mynet.py' is no MODULE:FUNCTION"),
        (("compare", "mynet:build", "--example", SHAPE[0], "--rounds", "0"), "--rounds 0 is not possible"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(*words) == 2
    assert message in capsys.readouterr().err
