from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from segnet.errors import DataError
from segnet.media.sources import (
    WRITABLE_VIDEO_SUFFIXES,
    ImageFile,
    VideoSource,
    find_images,
    find_images_below,
    find_sources,
    find_videos,
    is_video_file,
)
from segnet.media.video.writing import _CODECS


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a/2.jpg", "a/1.tiff", "a/notes.txt", "a/.hidden.png", ".git/x.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def names(source: str | Path, **options: Path) -> list[str]:
    return [image.name.as_posix() for image in find_images(source, **options)]


def test_a_folder_is_searched_to_the_bottom_without_hidden_files(tree: Path) -> None:
    assert names(tree) == ["a/1.tiff", "a/2.jpg", "b.PNG"]
    assert all(image.path == tree / image.name for image in find_images(tree))


def test_linked_folders_are_entered_once(tree: Path) -> None:
    (tree / "a" / "round").symlink_to(tree)
    (tree.parent / "far").mkdir()
    (tree.parent / "far" / "z.png").touch()
    (tree / "link").symlink_to(tree.parent / "far")
    assert names(tree) == ["a/1.tiff", "a/2.jpg", "b.PNG", "link/z.png"]


def test_two_links_to_one_folder_give_its_images_once(tree: Path) -> None:
    far = tree.parent / "far"
    far.mkdir()
    (far / "z.png").touch()
    for name in ("link", "other"):
        (tree / name).symlink_to(far)
    (tree / "0").symlink_to(tree / "a")
    assert names(tree) == ["a/1.tiff", "a/2.jpg", "b.PNG", "link/z.png"]


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
    assert find_images_below(tree / "empty") == []
    assert find_images_below(tree) == find_images(tree)


def test_a_file_is_taken_whatever_its_name(tree: Path) -> None:
    assert find_images(tree / "a" / "notes.txt") == [(tree / "a" / "notes.txt", Path("notes.txt"))]


def test_a_glob_keeps_the_folders_from_its_first_wildcard_on(tree: Path) -> None:
    assert names(f"{tree}/*/*") == ["a/1.tiff", "a/2.jpg"]
    assert names(f"{tree}/**/*.[jt]*") == ["a/1.tiff", "a/2.jpg"]
    assert names(f"{tree}/a/[12].*") == ["1.tiff", "2.jpg"]


def test_a_glob_below_a_file_is_that_file(tree: Path) -> None:
    file = next(path for path in sorted(tree.iterdir()) if path.is_file())
    assert [image.name for image in find_images(f"{file}/**")] == [Path(file.name)]


def test_a_glob_that_leads_up_keeps_the_results_in_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("work/a", "work/b", "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "other/0.png").touch()
    monkeypatch.chdir(tmp_path / "work")
    assert {image.name for image in find_images("[a]/../../other/*.png")} == {Path("other/0.png")}
    assert {image.name for image in find_images("*/../b/../../other/0.png")} == {Path("other/0.png")}


def test_a_glob_may_be_relative(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert find_images("*.PNG") == [(Path("b.PNG"), Path("b.PNG"))]


def test_a_name_with_brackets_that_exists_is_no_glob(tree: Path) -> None:
    (tree / "[1].png").touch()
    assert names(tree / "[1].png") == ["[1].png"]


def test_a_source_that_is_missing_is_named(tree: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist; expected an image, a folder or a glob"):
        find_images(tree / "nowhere")


@pytest.mark.parametrize("pattern", ["empty", "*.gif"])
def test_a_source_without_images_lists_what_was_looked_for(tree: Path, pattern: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image was found in .*; looked for files ending in \.avif .*; check"):
        find_images(str(tree / pattern))


def test_a_folder_of_videos_alone_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "drive.MKV").touch()
    with pytest.raises(DataError, match=r"holds no image, but videos such as drive\.MKV; give .*/\*\.MKV"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("word", "kind", "name"),
    [
        ("clip.mp4", "file", "clip"),
        ("CLIP.MOV", "file", "CLIP"),
        ("frames/%06d.jpg", "images", "frames"),
        ("0", "camera", "camera0"),
        ("-", "pipe", "stdin"),
        ("rtsp://me:secret@cam.local:554/one?x=1", "stream", "cam.local_one"),
        ("https://host/a/b.m3u8", "stream", "host_a_b.m3u8"),
    ],
)
def test_words_stand_for_videos(
    word: str, kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for videos in (find_videos(word), find_sources(word)):
        assert [(source.kind, source.name) for source in videos if isinstance(source, VideoSource)] == [(kind, name)]


def test_other_words_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    for word in ("a.png", "a.gif", "7", ".", "*.png", "100%"):
        assert find_videos(word) == []
    assert find_videos("a.gif", animations=True)[0].kind == "file"


def test_a_glob_of_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4", "c.png"):
        (tmp_path / name).touch()
    assert [source.name for source in find_videos(str(tmp_path / "*.mp4"))] == ["a", "b"]
    with pytest.raises(DataError, match="no video was found"):
        find_videos(str(tmp_path / "x*.mp4"))


def test_words_stand_for_images_or_videos(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    for name in ("7/1.png", "clip.mp4", "a.gif", "%03d.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    for word in ("b.PNG", "a", "7", "*.gif", "a.gif", "%03d.png"):
        assert all(isinstance(source, ImageFile) for source in find_sources(word))
    for word in ("clip.mp4", "*.mp4", "8", "frames/%03d.png", "-"):
        assert all(isinstance(source, VideoSource) for source in find_sources(word))
    assert isinstance(find_sources("a.gif", animations=True)[0], VideoSource)
    with pytest.raises(DataError, match=r"nowhere\.png does not exist; expected an image, a folder or a glob"):
        find_sources("nowhere.png")


def test_an_image_file_is_never_looked_for_among_videos(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segnet.media.sources.find_videos", None)
    assert [source.name for source in find_sources(str(tree / "b.PNG"))] == [Path("b.PNG")]


def test_a_named_pipe_is_a_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "frames")
    assert [source.name for source in find_sources(str(tmp_path / "frames"))] == ["frames"]


def test_an_excluded_folder_is_left_out_unless_it_is_the_source(tree: Path) -> None:
    out = tree / "a"
    assert names(tree, exclude=out) == names(f"{tree}/**/*", exclude=out) == ["b.PNG"]
    assert names(out, exclude=out) == ["1.tiff", "2.jpg"]
    assert names(out / "2.jpg", exclude=out) == ["2.jpg"]


def test_an_output_with_the_suffix_of_a_video_is_one_unless_it_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    assert not is_video_file(tmp_path / "a.mp4")
    assert is_video_file(tmp_path / "b.MP4")
    assert is_video_file(tmp_path / "b.avi")  # which cannot be written; a folder of this name is not meant
    assert set(_CODECS) == WRITABLE_VIDEO_SUFFIXES


def test_a_malformed_address_is_refused() -> None:
    with pytest.raises(DataError, match=r"http://\[::1/a is no address of a stream"):
        find_videos("http://me:secret@[::1/a")
