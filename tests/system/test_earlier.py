from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from segnet.errors import OutputError
from segnet.system.earlier import JOURNAL, EarlierResults
from segnet.system.files import replacing


def write(path: Path, text: str = "ours") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def note(root: Path, path: Path, text: str = "ours") -> None:
    """Write a result as a run does."""
    root.mkdir(exist_ok=True)
    with EarlierResults(root).noting(path), replacing(path) as temporary:
        temporary.write_text(text)


def test_what_a_run_wrote_may_be_replaced_by_the_next_also_after_the_folder_was_moved(tmp_path: Path) -> None:
    out = tmp_path / "out"
    note(out, path := out / "mask/x/a.png")
    EarlierResults(out).require_replaceable([path, out / "mask/missing.png"])
    shutil.move(out, tmp_path / "moved")
    moved = tmp_path / "moved/mask/x/a.png"
    EarlierResults(tmp_path / "moved").require_replaceable([moved])
    EarlierResults(tmp_path).require_replaceable([moved])  # one that was noted in a folder below


def test_files_of_others_are_named_unless_force_is_given(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"mask/{number}.png") for number in range(7)]
    with pytest.raises(OutputError, match=r"0\.png, .*4\.png and 2 more were not written by an earlier run .* --force"):
        EarlierResults(tmp_path).require_replaceable(paths)
    EarlierResults(tmp_path, force=True).require_replaceable(paths)


def test_a_result_that_was_edited_since_counts_as_somebody_elses(tmp_path: Path) -> None:
    note(tmp_path, path := tmp_path / "mask/a.png")
    os.utime(path, ns=(1, 1))
    with pytest.raises(OutputError, match=r"a\.png was not written by an earlier run of segnet predict, or changed"):
        EarlierResults(tmp_path).require_replaceable([path])


def test_a_result_that_is_an_input_is_refused(tmp_path: Path) -> None:
    note(tmp_path, path := tmp_path / "overlay/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "overlay")
    for force in (False, True):
        with pytest.raises(OutputError, match=r"overlay/a\.png would be replaced by a result, and is read in this run"):
            EarlierResults(tmp_path, force=force).require_replaceable([path], inputs=[tmp_path / "link/a.png"])


def test_links_to_files_of_others_are_files_of_others(tmp_path: Path) -> None:
    write(tmp_path / "truth/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mask").symlink_to(tmp_path / "truth")
    with pytest.raises(OutputError, match=r"out/mask/a\.png"):
        EarlierResults(tmp_path / "out").require_replaceable([tmp_path / "out/mask/a.png"])


def test_empty_files_folders_and_devices_hold_nothing_that_could_be_lost(tmp_path: Path) -> None:
    write(tmp_path / "empty.csv", "")
    EarlierResults(tmp_path).require_replaceable([tmp_path / "empty.csv", tmp_path, Path("/dev/null")])


def test_only_a_block_that_writes_the_file_notes_it(tmp_path: Path) -> None:
    path = write(tmp_path / "records.csv", "theirs")
    with EarlierResults(tmp_path / "out").noting(path):
        pass
    assert not (tmp_path / JOURNAL).exists()
    note(tmp_path / "out", path)
    EarlierResults(tmp_path / "another").require_replaceable([path])


def test_a_file_has_its_note_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process were killed in between."""
    real = Path.replace

    def replace_and_end(self: Path, target: Path) -> Path:
        real(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace_and_end)
    with pytest.raises(KeyboardInterrupt):
        note(tmp_path, tmp_path / "a.png")
    EarlierResults(tmp_path).require_replaceable([tmp_path / "a.png"])


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(OutputError, match=r"\.segnet-written cannot be written"):
        note(tmp_path, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_a_file_that_grew_is_known_at_each_of_its_sizes_though_the_run_was_killed(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text("")
    EarlierResults(tmp_path).add_growing(records, 5)
    EarlierResults(tmp_path).add_growing(records, 9)
    for text in ("12345", "123456789"):
        records.write_text(text)
        EarlierResults(tmp_path).require_replaceable([records])
    records.write_text("1234567")
    with pytest.raises(OutputError, match=r"records\.jsonl was not written by an earlier run"):
        EarlierResults(tmp_path).require_replaceable([records])
