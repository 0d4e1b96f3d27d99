"""Parquet files as other programs write them; pyarrow and fsspec come with Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segnet.batch.shards import read_shard
from segnet.errors import DataError


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"label": 1}], "has the columns label; expected the content of image files in a column image or bytes"),
        ([{"image": "a.png"}], "has no bytes in its column image, but str; expected the content"),
        ([{"image": {"path": "a.png"}}], "has no bytes in its column image, but dict; expected the content"),
    ],
)
@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_table_without_the_content_of_images_is_refused_by_name(
    tmp_path: Path, rows: list[dict[str, Any]], reason: str, scheme: str
) -> None:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    address = f"{scheme}://{tmp_path}/rows.parquet"
    with fsspec.open(address, "wb") as file:
        pq.write_table(pa.Table.from_pylist(rows), file)
    with pytest.raises(DataError) as error:
        list(read_shard(address))
    assert str(error.value).startswith(f"{address} {reason}")
