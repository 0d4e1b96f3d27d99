from __future__ import annotations

from pathlib import Path

import pytest

from segnet.errors import OutputError
from segnet.system.writable import require_writable


@pytest.mark.parametrize("there", ["", "a", "a/b", "a/b/c"])
def test_asking_whether_a_folder_can_be_written_leaves_what_was_there(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    require_writable(tmp_path / "a/b/c")
    assert sorted(tmp_path.rglob("*")) == before
    assert tmp_path.is_dir()


def test_a_folder_that_cannot_be_made_leaves_none_of_the_others(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written there \(File name too long\); give another --out"):
        require_writable(tmp_path / "a/b" / ("c" * 300))
    assert not list(tmp_path.iterdir())
