from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from segnet.bands import Channels
from segnet.data.check import scan as scanning
from segnet.data.check.facts import read_facts
from segnet.data.check.scan import cached_facts, scan
from segnet.data.layouts import open_source
from segnet.data.samples import Sample
from segnet.media.images.masks import Encoding


@pytest.fixture
def data(camvid_root: Path, tmp_path: Path) -> tuple[list[Sample], Path]:
    root = tmp_path / "data"
    shutil.copytree(camvid_root, root)
    return list(open_source(root).splits["train"]), root


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the samples that were read."""
    names: list[str] = []

    def noted(sample: Sample, encoding: Encoding, channels: Channels) -> object:
        names.append(sample.name)
        return read_facts(sample, encoding, channels)

    monkeypatch.setattr(scanning, "read_facts", noted)
    return names


def test_only_what_changed_is_read_again(data: tuple[list[Sample], Path], reads: list[str]) -> None:
    samples, root = data
    first = scan(samples, root=root)
    assert sorted(reads) == sorted(sample.name for sample in samples)
    reads.clear()
    assert scan(samples, root=root) == first
    assert reads == []
    shutil.copy(samples[0].mask, samples[1].mask)
    assert scan(samples, root=root)[1].values == first[0].values
    assert reads == [samples[1].name]


def test_files_with_a_new_time_are_known_by_their_content(data: tuple[list[Sample], Path], reads: list[str]) -> None:
    samples, root = data
    first = scan(samples, root=root)
    reads.clear()
    os.utime(samples[0].image, ns=(1, 1))
    assert scan(samples, root=root) == first
    assert reads == []
    assert cached_facts(samples, root=root) == dict(enumerate(first))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 1, "pairs": [[[], {}]]}', '{"version": 0, "pairs": []}']
)
def test_a_broken_cache_is_ignored(
    data: tuple[list[Sample], Path], own_cache: Path, reads: list[str], content: str
) -> None:
    samples, root = data
    first = scan(samples, root=root)
    (file,) = (own_cache / "check").iterdir()
    file.write_text(content)
    reads.clear()
    assert scan(samples, root=root) == first
    assert len(reads) == len(samples)


def test_faults_are_read_again(data: tuple[list[Sample], Path], reads: list[str]) -> None:
    """A file that could not be read may be readable now, with the same time."""
    samples, root = data
    samples[0].mask.write_bytes(b"")
    assert scan(samples, root=root)[0].mask_fault is not None
    reads.clear()
    scan(samples, root=root)
    assert reads == [samples[0].name]


def test_any_number_of_threads_gives_the_same_facts(data: tuple[list[Sample], Path], own_cache: Path) -> None:
    samples, root = data
    calls: list[tuple[int, int]] = []
    one = scan(samples, root=root, workers=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, len(samples)) for done in range(1, len(samples) + 1)]
    shutil.rmtree(own_cache)
    assert scan(samples, root=root, workers=5) == one


def test_a_cache_that_cannot_be_written_is_a_warning(
    data: tuple[list[Sample], Path], own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples, root = data
    (own_cache / "check").write_text("in the way")
    assert len(scan(samples, root=root)) == len(samples)
    assert "the check is not cached" in caplog.text


def test_values_are_the_counts_of_numpy(data: tuple[list[Sample], Path]) -> None:
    from segnet.media.images.masks import read_mask

    samples, _ = data
    values, counts = np.unique(read_mask(samples[0].mask), return_counts=True)
    assert read_facts(samples[0]).values == dict(zip(values.tolist(), counts.tolist(), strict=True))
