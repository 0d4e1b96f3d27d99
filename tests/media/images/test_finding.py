from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from segnet.errors import DataError
from segnet.media.images.finding import find_images, images_below


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a/2.jpg", "a/1.tiff", "a/notes.txt", "a/.hidden.png", ".git/x.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def places(source: str | Path) -> list[str]:
    return [place.as_posix() for _, place in find_images(source)]


def test_a_folder_is_searched_to_the_bottom_without_hidden_files(tree: Path) -> None:
    assert places(tree) == ["a/1.tiff", "a/2.jpg", "b.PNG"]
    assert all(path == tree / place for path, place in find_images(tree))


def test_linked_folders_are_entered_once(tree: Path) -> None:
    (tree / "a" / "round").symlink_to(tree)
    (tree.parent / "far").mkdir()
    (tree.parent / "far" / "z.png").touch()
    (tree / "link").symlink_to(tree.parent / "far")
    assert places(tree) == ["a/1.tiff", "a/2.jpg", "b.PNG", "link/z.png"]


def test_two_links_to_one_folder_give_its_images_once(tree: Path) -> None:
    far = tree.parent / "far"
    far.mkdir()
    (far / "z.png").touch()
    for name in ("link", "other"):
        (tree / name).symlink_to(far)
    (tree / "0").symlink_to(tree / "a")
    assert places(tree) == ["a/1.tiff", "a/2.jpg", "b.PNG", "link/z.png"]


def test_a_folder_that_may_not_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def forbidden(path: str | Path) -> object:  # Permissions do not stop the root user, as whom tests may run.
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(DataError, match=r"/a cannot be searched for images \(Permission denied\)"):
        find_images(tree)


def test_a_folder_without_images_below_is_empty(tree: Path) -> None:
    (tree / "empty").mkdir()
    assert images_below(tree / "empty") == []
    assert images_below(tree) == find_images(tree)


def test_a_file_is_taken_whatever_its_name(tree: Path) -> None:
    assert find_images(tree / "a" / "notes.txt") == [(tree / "a" / "notes.txt", Path("notes.txt"))]


def test_a_glob_keeps_the_folders_from_its_first_wildcard_on(tree: Path) -> None:
    assert places(f"{tree}/*/*") == ["a/1.tiff", "a/2.jpg"]
    assert places(f"{tree}/**/*.[jt]*") == ["a/1.tiff", "a/2.jpg"]
    assert places(f"{tree}/a/[12].*") == ["1.tiff", "2.jpg"]


def test_a_glob_may_be_relative(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert find_images("*.PNG") == [(Path("b.PNG"), Path("b.PNG"))]


def test_a_name_with_brackets_that_exists_is_no_glob(tree: Path) -> None:
    (tree / "[1].png").touch()
    assert places(tree / "[1].png") == ["[1].png"]


def test_a_source_that_is_missing_is_named(tree: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist; expected an image, a folder or a glob"):
        find_images(tree / "nowhere")


@pytest.mark.parametrize("pattern", ["empty", "*.gif"])
def test_a_source_without_images_lists_what_was_looked_for(tree: Path, pattern: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image was found in .*; looked for files ending in \.avif .*; check"):
        find_images(str(tree / pattern))
