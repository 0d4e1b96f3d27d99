from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from segnet.errors import OutputError
from segnet.system.files import cache_dir, replacing, write_json


def test_replacing_makes_folders_and_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "scores.json"
    with replacing(path) as temporary:
        temporary.write_text("{}")
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "{}"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_replacing_keeps_the_old_file_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_names_file_and_remedy_on_a_full_disk(tmp_path: Path) -> None:
    def write_until_full() -> None:
        with replacing(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"half")
            Path("/dev/full").write_bytes(b"rest")  # the kernel's own ENOSPC

    with pytest.raises(OutputError, match=r"a\.bin cannot be written \(No space left on device\); free some space"):
        write_until_full()
    assert list(tmp_path.iterdir()) == []


def test_replacing_passes_an_output_error_of_the_block_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^inner$"), replacing(tmp_path / "a"):
        raise OutputError("inner")


def test_replacing_refuses_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"a\.txt cannot be written \(.+\); choose"),
        replacing(tmp_path / "file" / "a.txt"),
    ):
        pytest.fail("the block must not run")


def test_replacing_refuses_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose a shorter name"), replacing(tmp_path / ("x" * 300)) as temporary:
        temporary.write_text("")
    assert list(tmp_path.iterdir()) == []


def test_replacing_refuses_folders_and_devices(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(OutputError, match="is a folder or a device"), replacing(path):
            pytest.fail("the block must not run")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files have no names here")
def test_replacing_refuses_standard_output_also_where_it_is_a_file(tmp_path: Path) -> None:
    """``> figures.json`` makes ``/dev/stdout`` a link to a regular file."""
    stdout, file = tmp_path / "stdout", tmp_path / "figures.json"
    with file.open("w") as opened:
        stdout.symlink_to(f"/proc/self/fd/{opened.fileno()}")
        assert stdout.is_file()
        with pytest.raises(OutputError, match="is a folder or a device"), replacing(stdout):
            pytest.fail("the block must not run")
    assert stdout.is_symlink()


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("SEGNET_CACHE", raising=False)
    assert cache_dir() == Path("/x/segnet")
    monkeypatch.setenv("SEGNET_CACHE", "/y")
    assert cache_dir() == Path("/y")
    monkeypatch.delenv("SEGNET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "segnet"


def test_cache_dir_of_a_user_without_home_is_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as Path.home() where HOME and user name lack

    for name in ("SEGNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_dir() == tmp_path / "segnet"


def test_json_is_written_whole_with_the_folders_it_needs(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"miou": 0.5, "names": ["Sky"]})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n  "miou": 0.5,\n  "names": [\n    "Sky"\n  ]\n}\n'
    with pytest.raises(OutputError, match="cannot be written as a file"):
        write_json(tmp_path, {})
