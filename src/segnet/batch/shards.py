"""Files that hold many images or results: Parquet and WebDataset, read as a stream and written whole."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from segnet.batch.sources import open_binary, plain_name
from segnet.errors import DataError, MissingPackageError
from segnet.inference.prediction import SegmentedFrame
from segnet.labels import ClassTable
from segnet.media.sources import IMAGE_SUFFIXES
from segnet.results.coco import annotate
from segnet.results.records import make_record
from segnet.system.files import replacing
from segnet.system.packages import importing

__all__ = ["WRITERS", "Stored", "make_row", "read_shard"]

_ROWS = 16  # rows of a Parquet file that are decoded together
_IMAGE_COLUMNS = ("image", "bytes")
_NAME_COLUMNS = ("name", "path", "file_name", "__key__")

Row = dict[str, Any]


class Stored(NamedTuple):
    """An image in a shard.

    Attributes:
        name: of its results: without suffix, and unique in the shard.
        suffix: of its file, such as .jpg; may be empty.
        content: of its file.
    """

    name: str
    suffix: str
    content: bytes


def read_shard(address: str) -> Iterator[Stored]:
    """The images of a Parquet file or WebDataset, in order; the memory does not grow.

    Raises:
        DataError: the file cannot be read or holds no images.
        MissingPackageError: pyarrow or fsspec is not installed.
    """
    read = partial(_read_parquet, address=address) if address.lower().endswith(".parquet") else _read_tar
    names: set[str] = set()
    with open_binary(address) as file:
        try:
            for number, (name, content) in enumerate(read(file)):
                path = PurePosixPath(plain_name(name) or f"{number:08}")
                stem = path.with_suffix("").as_posix()
                unique = next(each for each in (stem, str(path), f"{path}-{number:08}") if each not in names)
                names.add(unique)
                yield Stored(unique, path.suffix, content)
            if not names:
                raise DataError(f"{address} holds no images; expected members such as KEY.jpg, or rows with an image")
        except (DataError, MissingPackageError):
            raise
        except Exception as error:  # pyarrow and the file systems raise errors of their own
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise DataError(f"{address} cannot be read to its end ({reason}); write it again") from error


def make_row(frame: SegmentedFrame, labels: ClassTable) -> Row:
    """What is stored of an image: name, source, size, class shares, mean confidences, and COCO run lengths by class.

    Raises:
        DataError: the name of its file is not UTF-8.
        MissingPackageError: pycocotools is not installed.
    """
    record = make_record(frame, labels)
    kept = ("name", "source", "width", "height", "confidence", "uncertainty", "shares", "confidences")
    segments = [
        {
            "category_id": segment["category_id"], "area": segment["area"], "bbox": segment["bbox"],
            "size": segment["segmentation"]["size"], "counts": segment["segmentation"]["counts"],
        }
        for segment in annotate(frame.mask, labels)
    ]  # fmt: skip
    return {**{key: record[key] for key in kept}, "segments": segments}


def _write_parquet(path: Path, rows: Sequence[Row], labels: ClassTable) -> None:
    with importing("pyarrow", "ray"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    by_class = pa.struct([(name, pa.float64()) for name in labels.names])
    numbers = pa.list_(pa.int64())
    segment = pa.struct(
        [
            ("category_id", pa.int64()), ("area", pa.int64()), ("bbox", numbers), ("size", numbers),
            ("counts", pa.string()),
        ]
    )  # fmt: skip
    schema = pa.schema(
        [
            ("name", pa.string()), ("source", pa.string()), ("width", pa.int64()), ("height", pa.int64()),
            ("confidence", pa.float64()), ("uncertainty", pa.float64()), ("shares", by_class),
            ("confidences", by_class), ("segments", pa.list_(segment)),
        ]
    )  # fmt: skip
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)


def _write_webdataset(path: Path, rows: Sequence[Row], labels: ClassTable) -> None:
    """One member KEY.json per image. Readers take what follows the first dot for the suffix, so names have none."""
    with replacing(path) as temporary, tarfile.open(temporary, "w") as archive:
        for row in rows:
            folder, _, last = row["name"].rpartition("/")
            key = f"{folder}/" if folder else ""
            content = json.dumps(row, ensure_ascii=False).encode()
            member = tarfile.TarInfo(f"{key}{last.replace('%', '%25').replace('.', '%2E')}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


WRITERS: Mapping[str, tuple[str, Callable[[Path, Sequence[Row], ClassTable], None]]] = {
    "parquet": (".parquet", _write_parquet),
    "webdataset": (".tar", _write_webdataset),
}
"""Kinds of results that hold many images: suffix, and what writes the rows whole or not at all."""


def _read_parquet(file: BinaryIO, *, address: str) -> Iterator[tuple[str, bytes]]:
    with importing("pyarrow", "ray"):
        import pyarrow.parquet as pq
    table = pq.ParquetFile(file)
    columns = table.schema_arrow.names
    image = next((name for name in _IMAGE_COLUMNS if name in columns), None)
    expected = "expected the content of image files in a column image or bytes"
    if image is None:
        raise DataError(f"{address} has the columns {', '.join(columns)}; {expected}")
    name = next((name for name in _NAME_COLUMNS if name in columns), None)
    for batch in table.iter_batches(batch_size=_ROWS, columns=[image, *([name] if name else [])]):
        for row in batch.to_pylist():
            content = row[image]
            inner = content.get("path") if isinstance(content, dict) else None
            content = content.get("bytes", content) if isinstance(content, dict) else content
            if not isinstance(content, bytes | None):
                kind = type(content).__name__
                raise DataError(f"{address} has no bytes in its column {image}, but {kind}; {expected}")
            yield str((row[name] if name else inner) or ""), content or b""


def _read_tar(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The images whose name is KEY.SUFFIX; KEY.mask.png is none."""
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            suffix = PurePosixPath(member.name).name.partition(".")[2].lower()
            if member.isfile() and f".{suffix}" in IMAGE_SUFFIXES and (content := archive.extractfile(member)):
                yield member.name, content.read()
