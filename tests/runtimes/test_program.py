from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segnet.errors import ModelError
from segnet.models.segnet import SegNet
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.pytorch import ProgramRuntime


@pytest.fixture(scope="session")
def path(exported: Callable[[str, str], Path]) -> Path:
    return exported("torch", ".pt2")


@pytest.fixture(scope="module")
def opened(path: Path) -> FileRuntime:
    """Opened once, since PyTorch reads its programs slowly."""
    return open_runtime(path)


def test_a_file_gives_pytorchs_logits(opened: FileRuntime, toy: SegNet, image: np.ndarray) -> None:
    with torch.no_grad():
        expected = toy(torch.from_numpy(image)).numpy()
    assert isinstance(opened, ProgramRuntime)
    np.testing.assert_allclose(opened.output(image), expected, atol=1e-4)


def test_a_flipped_image_and_one_that_cannot_be_written_are_taken(opened: FileRuntime, image: np.ndarray) -> None:
    expected, flipped = opened.output(image), image[:, :, ::-1].copy()
    np.testing.assert_array_equal(opened.output(flipped[:, :, ::-1]), expected)
    flipped = image.copy()
    flipped.setflags(write=False)
    np.testing.assert_array_equal(opened.output(flipped), expected)


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")  # PyTorch's own
def test_plain_pytorch_runs_it(path: Path, toy: SegNet) -> None:
    image = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.load(path).module()(image), toy(image), rtol=1e-4, atol=1e-4)


def test_a_file_has_its_metadata_and_nothing_of_this_machine(path: Path, opened: FileRuntime) -> None:
    info = opened.info
    assert info.labels.names == ("sky", "Straße", "<tree>")
    assert (info.provenance, info.scores) == ({"terms": "mine"}, {"miou": 0.5})
    with zipfile.ZipFile(path) as archive:
        assert not any(str(Path(__file__).parents[2]).encode() in archive.read(name) for name in archive.namelist())


def test_it_computes_with_the_threads_that_are_asked_for(path: Path) -> None:
    before = torch.get_num_threads()
    try:
        open_runtime(path, threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - value for value in data[middle : middle + 64]) + data[middle + 64 :]


@pytest.mark.parametrize("damage", [lambda data: data[:-2000], lambda data: b"", lambda data: b"cut" * 99, flipped])
def test_a_damaged_file_is_an_error(damage: Callable[[bytes], bytes], path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"broken.pt2: is (not a PyTorch program|damaged)") as raised:
        ProgramRuntime(broken)
    assert "\n" not in str(raised.value)


def rewritten(path: Path, to: Path, without: str) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            if without not in name:
                new.writestr(name, old.read(name))
    return to


def test_a_file_of_another_program_is_refused_before_any_of_it_is_loaded(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"foreign.pt2: has no segnet metadata"):
        ProgramRuntime(rewritten(path, tmp_path / "foreign.pt2", without="/extra/"))


def test_a_file_without_its_network_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"hollow.pt2: PyTorch 2.* cannot use it .*; export it again"):
        ProgramRuntime(rewritten(path, tmp_path / "hollow.pt2", without="/models/"))
