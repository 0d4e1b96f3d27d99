from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.errors import MissingPackageError, ModelError
from segnet.exporting.export import export
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.runtimes.litert import LiteRtRuntime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import verify

LABELS = ClassTable.from_names(["sky", "Straße", "<tree>"])


@pytest.fixture(scope="session")
def path(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("litert") / "toy.tflite"
    return export(toy, LABELS, out, format="litert", config=ExportConfig(size=(16, 24))).path


def test_a_file_gives_pytorchs_logits_for_one_image_and_for_more(path: Path, toy: SegNet) -> None:
    image = torch.rand(3, 3, 16, 24)
    with torch.no_grad():
        expected = toy(image).numpy()
    np.testing.assert_allclose(LiteRtRuntime(path, threads=1).output(image.numpy()), expected, atol=1e-4)


def test_a_file_predicts_what_it_did_at_its_export(path: Path) -> None:
    assert verify(open_runtime(path)).pixels == 3 * 16 * 24


def test_a_file_says_what_it_is(path: Path) -> None:
    info = open_runtime(path).info
    assert (info.name, info.size, info.batch, info.labels) == ("toy", (16, 24), 1, LABELS)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split("\n") == ["sky", "Straße", "<tree>", ""]


def test_sizes_that_the_converter_gets_wrong_are_refused(path: Path, toy: SegNet) -> None:
    out = path.with_name("odd.tflite")
    with pytest.raises(ModelError, match="does not give what PyTorch gives"):
        export(toy, LABELS, out, format="litert", config=ExportConfig(size=(17, 23)))
    assert not out.exists()


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b"", lambda data: b"cut" * 99])
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"broken.tflite: has no readable metadata") as error:
        LiteRtRuntime(broken)
    assert "\n" not in str(error.value)


def test_an_archive_without_a_network_is_refused(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "hollow.tflite", "w") as new:
        new.writestr("segnet.json", old.read("segnet.json"))
    with pytest.raises(ModelError, match=r"hollow.tflite: LiteRT cannot use it"):
        LiteRtRuntime(tmp_path / "hollow.tflite")


def test_a_missing_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingPackageError, match=r"ai_edge_litert is not installed; .*'segnet\[litert\]'"):
        LiteRtRuntime(tmp_path / "any.tflite")
