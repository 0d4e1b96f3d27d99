from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.errors import MissingPackageError, ModelError, ShapeError
from segnet.exporting.export import export
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.runtimes.executorch import ExecuTorchRuntime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import verify


@pytest.fixture(scope="session")
def path(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("executorch") / "toy.pte"
    labels = ClassTable.from_names(["sky", "Straße", "<tree>"])
    config = ExportConfig(size=(17, 22))
    return export(toy, labels, out, format="executorch", config=config, provenance={"terms": "mine"}).path


def test_a_file_gives_pytorchs_logits_for_one_image_and_for_more(path: Path, toy: SegNet) -> None:
    image = torch.rand(3, 3, 17, 22)
    with torch.no_grad():
        expected = toy(image).numpy()
    np.testing.assert_allclose(ExecuTorchRuntime(path).output(image.numpy()), expected, atol=1e-4)


def test_a_file_predicts_what_it_did_at_its_export(path: Path) -> None:
    assert verify(open_runtime(path)).pixels == 3 * 17 * 22


def test_a_file_says_what_it_is(path: Path) -> None:
    info = open_runtime(path).info
    assert (info.name, info.size, info.batch) == ("toy", (17, 22), 1)
    assert info.labels.names == ("sky", "Straße", "<tree>")
    assert info.provenance == {"terms": "mine"}


def test_another_size_is_refused(path: Path) -> None:
    with pytest.raises(ShapeError, match="exported for images of 17x22, not 8x8"):
        ExecuTorchRuntime(path).run(np.zeros((1, 3, 8, 8), dtype=np.float32))


def test_nothing_is_printed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ExecuTorchRuntime(path).run(np.zeros((1, 3, 17, 22), dtype=np.float32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", [lambda data: data[:-2000], lambda data: b"", lambda data: b"cut" * 99])
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pte"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"broken.pte: ExecuTorch cannot use it") as error:
        ExecuTorchRuntime(broken)
    assert "\n" not in str(error.value)


def test_a_file_stays_usable_when_it_is_gone_from_the_disk(path: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copy(path, tmp_path / "copied.pte"))
    runtime = ExecuTorchRuntime(copied)
    copied.unlink()
    assert runtime.run(np.zeros((1, 3, 17, 22), dtype=np.float32)).mask.shape == (1, 17, 22)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # ExecuTorch's own
@pytest.mark.parametrize("method", ["forward", "segnet"])
def test_a_file_of_another_program_is_refused(method: str, tmp_path: Path) -> None:
    from executorch import exir

    program = torch.export.export(torch.nn.ReLU(), (torch.rand(4),))
    (tmp_path / "foreign.pte").write_bytes(exir.to_edge({method: program}).to_executorch().buffer)
    with pytest.raises(ModelError, match=r"foreign.pte: "):
        ExecuTorchRuntime(tmp_path / "foreign.pte")


def test_a_missing_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch.runtime", None)
    with pytest.raises(MissingPackageError, match=r"executorch is not installed; .*'segnet\[executorch\]'"):
        ExecuTorchRuntime(tmp_path / "any.pte")
