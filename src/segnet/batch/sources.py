"""What the words on the command line stand for where many processes read it: images, and shards that hold images.

A word is what plain ``segnet predict`` takes of images; or a list file (.txt, one image or shard per line), a Parquet
file, a WebDataset (.tar), a folder or glob of these, or an address such as ``s3://bucket/folder`` that fsspec reads.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from segnet.errors import ConfigError, DataError, SegNetError
from segnet.media.sources import IMAGE_SUFFIXES, ImageFile, find_sources
from segnet.results.images import find_jobs
from segnet.system.files import explained, path_fault
from segnet.system.packages import importing

__all__ = [
    "Found", "Item", "Part", "copy_file", "find_items", "is_address", "open_binary", "plain_name", "split_parts",
]  # fmt: skip

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SHARDS = (".parquet", ".tar", ".tar.gz", ".tgz")
_LIST = ".txt"
_COPY_BYTES = 1 << 20


class Item(NamedTuple):
    """An image file, or a file that holds many images.

    Attributes:
        address: path or address.
        name: of its results, without suffix; of a shard, the folder of their names. Of a file that was only found, its
            path below what was searched.
        version: size and time of change; another version is another image.
    """

    address: str
    name: str
    version: str


@dataclass(frozen=True)
class Found:
    """All images and shards of a run, and sentences on folders that cannot be read."""

    images: list[Item]
    shards: list[Item]
    failures: list[str]


class Part(NamedTuple):
    """What one task of a worker is: some images, or one shard.

    Attributes:
        number: of the part in this run.
        items: the images, or the shard alone.
        shard: whether it is a shard.
    """

    number: int
    items: list[Item]
    shard: bool


def find_items(words: Sequence[str], *, out: Path) -> Found:
    """All images and shards that the words stand for, each once.

    Args:
        words: as on the command line.
        out: folder of the results, whose images are left out.

    Raises:
        DataError: a word stands for nothing, or results would have the same name.
        ConfigError: a word stands for a video.
        MissingPackageError: fsspec or the package for an address is not installed.
    """
    failures: list[str] = []
    entries = [entry for word in words for entry in _find(word, out, failures)]
    holding_many = {entry.address for entry in entries if _is_shard(entry.name)}
    items = _named(entries)
    shards = [item for item in items if item.address in holding_many]
    images = [item for item in items if item.address not in holding_many]
    if shards:
        _require_separate(items, shards)
    return Found(images, shards, failures)


def split_parts(images: Sequence[Item], shards: Sequence[Item], *, size: int) -> list[Part]:
    """Parts of at most ``size`` images, and one for each shard."""
    groups = [list(images[start : start + size]) for start in range(0, len(images), size)]
    parts = [Part(number, group, shard=False) for number, group in enumerate(groups)]
    return parts + [Part(number, [item], shard=True) for number, item in enumerate(shards, start=len(parts))]


def is_address(word: str) -> bool:
    """Whether a word is an address for fsspec, not a path."""
    return _ADDRESS.match(word) is not None


def open_binary(address: str) -> BinaryIO:
    """Open a file or address for reading.

    Raises:
        DataError: it cannot be read.
        MissingPackageError: its package is not installed.
    """
    if not is_address(address):
        try:
            return Path(address).open("rb")
        except OSError as error:
            raise DataError(f"{address} cannot be read ({error.strerror}); check the path") from error
    fsspec = _fsspec()
    try:
        return cast(BinaryIO, fsspec.open(address, "rb").open())
    except Exception as error:  # each file system raises errors of its own
        raise _unreachable(address, error) from error


def copy_file(address: str, path: Path) -> None:
    """Copy a file or address to a file on this machine.

    Raises:
        DataError: it cannot be read to its end.
        OutputError: the disk is full, and the like.
    """
    with open_binary(address) as source, explained(path), path.open("wb") as copy:
        while block := _read_block(source, address):
            copy.write(block)


def plain_name(name: str) -> str:
    """A name inside of an archive or table as a path below a folder: without ``..``, root and drive."""
    parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..") and not part.endswith(":")]
    return "/".join(parts)


def _find(word: str, out: Path, failures: list[str]) -> Iterator[Item]:
    if fault := path_fault(word):
        raise DataError(f"{word[:60]!a} {fault}; give the path of an image, a folder or a list")
    if is_address(word):
        yield from _find_remote(word)
    elif Path(word).suffix.lower() == _LIST and Path(word).is_file():
        yield from _find_listed(Path(word))
    else:
        yield from _find_local(word, out, failures)


def _find_local(word: str, out: Path, failures: list[str]) -> Iterator[Item]:
    results = Path(os.path.realpath(out))
    shards = [
        entry for entry in _find_local_shards(word) if not Path(os.path.realpath(entry.address)).is_relative_to(results)
    ]
    yield from shards
    if shards and not Path(word).is_dir():
        return
    try:
        images = find_sources(word, exclude=out, failures=failures)
    except DataError:
        if shards:
            return
        raise
    for image in images:
        if not isinstance(image, ImageFile):
            raise ConfigError(f"{word} is a video, which one process predicts; leave out --engine ray")
        yield _local_item(image.path, image.name.as_posix())


def _find_local_shards(word: str) -> Iterator[Item]:
    path = Path(word)
    if path.is_file():
        paths, root = [path] if _is_shard(word) else [], path.parent
    elif path.is_dir():
        paths, root = [file for file in path.rglob("*") if _is_shard(file.name) and not _is_hidden(file, path)], path
    elif glob.has_magic(word):
        paths = [Path(file) for file in glob.iglob(word, recursive=True) if _is_shard(file)]  # noqa: PTH207
        root = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
    else:
        return
    for file in sorted(paths):
        if not file.is_dir():
            yield _local_item(file, plain_name(str(file.relative_to(root))))


def _local_item(path: Path, name: str) -> Item:
    """With an absolute path: the processes of a cluster work in other folders."""
    address = os.path.abspath(path)  # noqa: PTH100
    return Item(address, name, _local_version(address))


def _find_listed(path: Path) -> Iterator[Item]:
    """The files of a list; their names are those below the folder that all of them share.

    Raises:
        DataError: it is no list, or a line is no path or address of a file.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list ({error}); save it as UTF-8, one image per line") from error
    addresses = [
        line if is_address(line) else os.path.abspath(path.parent / line)  # noqa: PTH100  it would follow links
        for line in lines
        if line and not line.startswith("#")
    ]
    if not addresses:
        raise DataError(f"{path} lists nothing; write one image, shard or address per line")
    names = [PurePosixPath(_ADDRESS.sub("", address)) for address in addresses]
    for address, name in zip(addresses, names, strict=True):
        if fault := path_fault(address) or ("" if name.name else "names no file"):
            raise DataError(f"{path} lists {address[:200]!a}, which {fault}; correct the line")
    shared = os.path.commonpath([name.parent for name in names]) if len({n.is_absolute() for n in names}) == 1 else ""
    for address, name in zip(addresses, names, strict=True):
        version = "" if is_address(address) else _local_version(address)
        yield Item(address, plain_name(os.path.relpath(name, shared) if shared else str(name)), version)


def _find_remote(word: str) -> Iterator[Item]:
    try:
        found = list(_search_remote(word))
    except SegNetError:
        raise
    except Exception as error:  # each file system raises errors of its own
        raise _unreachable(word, error) from error
    if not found:
        raise DataError(f"no image and no shard was found in {word}; check the address")
    yield from found


def _search_remote(word: str) -> Iterator[Item]:
    system, root = _fsspec().core.url_to_fs(word)
    if glob.has_magic(root) and not system.exists(root):
        found, base = system.glob(root, detail=True), root[: re.search(r"[*?\[]", root).start()].rpartition("/")[0]  # type: ignore[union-attr]
    elif system.isdir(root):
        found, base = system.find(root, detail=True), root
    else:
        found, base = {root: system.info(root)}, root.rpartition("/")[0]
    lone = len(found) == 1
    for path, info in sorted(found.items()):
        name = plain_name(path.removeprefix(base))
        hidden = any(part.startswith(".") for part in name.split("/"))
        wanted = _is_shard(name) or PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES or lone
        if info.get("type") != "directory" and wanted and not hidden:
            yield Item(system.unstrip_protocol(path), name, _remote_version(info))


def _named(entries: Iterable[Item]) -> list[Item]:
    """Names without suffix, and each file once, as plain ``segnet predict`` names results."""
    unique = {Path(entry.address): entry for entry in entries}
    files = [
        ImageFile(path, Path(re.sub(r"\.tar(\.gz)$", r"\1", entry.name, flags=re.IGNORECASE)))  # one suffix, not two
        for path, entry in unique.items()
    ]
    return [unique[job.image]._replace(name=job.name.as_posix()) for job in find_jobs(files)]


def _require_separate(items: Iterable[Item], shards: Iterable[Item]) -> None:
    """Raise an error if results of an item would lie in the folder of those of a shard, which has the shard's name."""
    folders = {shard.name: shard for shard in shards}
    for item in items:
        for folder in PurePosixPath(item.name).parents:
            if shard := folders.get(str(folder)):
                raise DataError(
                    f"the results of {item.address} and of the images in {shard.address} would be written to one "
                    "folder; predict them in separate runs"
                )


def _read_block(source: BinaryIO, address: str) -> bytes:
    try:
        return source.read(_COPY_BYTES)
    except Exception as error:  # each file system raises errors of its own
        raise _unreachable(address, error) from error


def _is_hidden(file: Path, root: Path) -> bool:
    """Whether a name below the folder starts with a dot, as of copies that macOS keeps beside files."""
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _is_shard(name: str) -> bool:
    return name.lower().endswith(_SHARDS)


def _local_version(address: str) -> str:
    try:
        state = Path(address).stat()
    except OSError:  # reading it will say why
        return ""
    return f"{state.st_size}-{state.st_mtime_ns}"


def _remote_version(info: dict[str, Any]) -> str:
    """Size, and the first of the fields in which file systems keep a digest or the time of the last change."""
    changed = next((info[key] for key in ("ETag", "etag", "mtime", "LastModified", "updated") if key in info), "")
    return f"{info.get('size')}-{changed}"


def _unreachable(address: str, error: Exception) -> SegNetError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return DataError(
        f"{address} cannot be read ({reason}); check the address, your credentials, and that the package for such "
        "addresses is installed"
    )


def _fsspec() -> Any:
    with importing("fsspec", "ray"):
        import fsspec
        import fsspec.core
    return fsspec
