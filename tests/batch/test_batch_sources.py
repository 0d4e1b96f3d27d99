from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from segnet.batch.sources import find_items, open_binary, plain_name, split_parts
from segnet.errors import ConfigError, DataError, MissingPackageError
from segnet.media.images.writing import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in/a/1.png", "in/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, np.zeros((8, 8, 3), dtype=np.uint8))
    (tmp_path / "in/hidden.tar.gz").touch()
    (tmp_path / "in/b").mkdir()
    with tarfile.open(tmp_path / "in/b/0.tar", "w"):
        pass
    return tmp_path


def names(items: list) -> list[str]:
    return [item.name for item in items]


def test_a_folder_holds_images_and_shards_named_as_plain_predict_names_results(folder: Path) -> None:
    found = find_items([str(folder / "in")], out=folder / "out")
    assert names(found.images) == ["2", "a/1"]
    assert names(found.shards) == ["b/0", "hidden"]
    assert [item.address for item in found.images] == [str(folder / "in/2.png"), str(folder / "in/a/1.png")]


def test_hidden_files_and_folders_with_the_name_of_a_shard_are_no_shards(tmp_path: Path) -> None:
    for folder in ("in/unpacked.tar", "in/.cache"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("a.tar", "B.TAR", "._a.tar", ".cache/c.parquet"):
        (tmp_path / "in" / file).touch()
    for word in ("in", "in/*.[tT][aA][rR]"):
        shards = find_items([str(tmp_path / word)], out=tmp_path / "out").shards
        assert [shard.name for shard in shards] == ["B", "a"]


@pytest.mark.parametrize("out", ["out", "in/../out", "link"])
def test_shards_in_the_folder_of_results_are_no_input(out: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("out/webdataset").mkdir(parents=True)
    Path("out/webdataset/0.tar").touch()
    Path("link").symlink_to("out")
    assert names(find_items(["."], out=Path(out)).shards) == ["in/b/0", "in/hidden"]


def test_a_list_names_its_files_below_the_folder_that_they_share(folder: Path) -> None:
    (folder / "list.txt").write_text(f"\ufeff# two\nin/2.png\n\n{folder}/in/a/1.png\nin/gone.png\n")
    found = find_items([str(folder / "list.txt")], out=folder / "out")
    assert names(found.images) == ["2", "a/1", "gone"]
    (folder / "list.txt").write_text("s3://bucket/x/1.jpg\ns3://bucket/y/z/1.jpg\ns3://bucket/x/0.parquet")
    found = find_items([str(folder / "list.txt")], out=folder / "out")
    assert (names(found.images), names(found.shards)) == (["x/1", "y/z/1"], ["x/0"])
    assert found.images[0].address == "s3://bucket/x/1.jpg"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"# nothing\n", "lists nothing"),
        (b"\xff\xfe", "cannot be read as"),
        (b"a\0.png\n", r"lists '.*a\\x00\.png', which holds a NUL character; correct the line"),
        (b"a.png\nfile://\n", "lists 'file://', which names no file; correct the line"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        find_items([str(tmp_path / "list.txt")], out=tmp_path)


def test_a_word_that_no_path_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x' is 300 characters long, more than a path can have; give the path"):
        find_items(["x" * 300], out=tmp_path)


def test_videos_and_results_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is a video, which one process predicts"):
        find_items([str(folder / "drive.mp4")], out=folder)
    (folder / "list.txt").write_text("in/2.png\n")
    write_image(folder / "2.png", np.zeros((8, 8, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="would be written to the same name"):
        find_items([str(folder / "list.txt"), str(folder / "2.png")], out=folder)


def test_images_and_shards_never_share_a_name(folder: Path) -> None:
    for name in ("2.tar", "2.tar.gz"):
        (folder / "in" / name).touch()
    found = find_items([str(folder / "in")], out=folder / "out")
    assert names(found.images) == ["2.png", "a/1"]
    assert names(found.shards) == ["2.tar", "2.gz", "b/0", "hidden"]
    (folder / "in/a.parquet").touch()
    with pytest.raises(DataError, match=r"a/1.png and of the images in .*a.parquet would be written to one folder"):
        find_items([str(folder / "in")], out=folder / "out")


def test_names_in_shards_stay_below_the_folder_of_results() -> None:
    assert plain_name("../../etc/./x.png") == "etc/x.png"
    assert plain_name("C:\\a\\..\\b.png") == "a/b.png"
    assert plain_name("/..") == ""


def test_each_image_is_in_one_part_and_each_shard_is_one(folder: Path) -> None:
    found = find_items([str(folder / "in")], out=folder / "out")
    parts = split_parts(found.images * 3, found.shards, size=4)
    assert [(part.number, len(part.items), part.shard) for part in parts] == [
        (0, 4, False), (1, 2, False), (2, 1, True), (3, 1, True),
    ]  # fmt: skip


def test_an_address_whose_name_holds_brackets_is_that_file_and_no_glob() -> None:
    system = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("brackets/a[1].jpg", "brackets/a1.jpg", "brackets/b[2]/1.jpg"):
        system.pipe(f"/{name}", b"")
    for word, name in (("a[1].jpg", "a[1]"), ("b[2]", "1"), ("a[0-9].jpg", "a1")):
        assert names(find_items([f"memory://brackets/{word}"], out=Path("out")).images) == [name]


def test_an_address_without_its_library_names_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingPackageError, match="fsspec is not installed"):
        open_binary("s3://bucket/a.png")
