from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segnet.bands import Bands
from segnet.errors import ModelError
from segnet.labels import CAMVID, ClassTable
from segnet.runtimes.model_info import ModelInfo

FILE = Path("some/model.onnx")
FULL = ModelInfo(
    name="toy",
    labels=ClassTable.from_names(["Straße", 'a "quoted" <name>', "道"]),
    channels=1,
    output="mask",
    size=(37, 42),
    batch=2,
    precision="int8",
    pair_limit=128,
    samples=16,
    provenance={"terms": "CC BY 4.0", "settings": {"lr": 0.1}},
    scores={"miou": 0.5},
    reference={"shape": [3, 37, 42], "masks": "eJw="},
)


def table(**changes: Any) -> str:
    return json.dumps({**json.loads(FULL.to_json()), **changes})


GAPS = ModelInfo(name="gaps", labels=ClassTable.from_names(["a", "b"], [1, 254]))
BANDS = ModelInfo(
    name="bands", labels=CAMVID, channels=2, bands=Bands(indices=(7, 3), count=13, value_range=(-1.5, 2.0), shown=(3,))
)


@pytest.mark.parametrize("info", [FULL, ModelInfo(name="plain", labels=CAMVID), GAPS, BANDS])
def test_what_is_written_comes_back(info: ModelInfo) -> None:
    assert ModelInfo.from_json(info.to_json(), FILE) == info


def test_other_programs_find_plain_json() -> None:
    found = json.loads(FULL.to_json())
    assert found["labels"]["names"] == ["Straße", 'a "quoted" <name>', "道"]
    assert len(found["labels"]["colors"]) == 3
    assert (found["size"], found["batch"], found["output"], found["channels"]) == ([37, 42], 2, "mask", 1)
    assert found["provenance"]["terms"] == "CC BY 4.0"
    assert found["samples"] == 16


def test_files_without_samples_draw_none() -> None:
    found = json.loads(FULL.to_json())
    del found["samples"]
    assert ModelInfo.from_json(json.dumps(found), FILE).samples is None


def test_files_of_before_reference_predictions_keep_none() -> None:
    found = json.loads(FULL.to_json())
    del found["reference"]
    assert ModelInfo.from_json(json.dumps(found), FILE).reference == {}


def test_files_of_before_the_limit_of_pairs_have_none() -> None:
    found = json.loads(FULL.to_json())
    del found["pair_limit"]
    assert ModelInfo.from_json(json.dumps(found), FILE).pair_limit is None


@pytest.mark.parametrize("text", [None, ""])
def test_missing_metadata_is_an_error(text: str | None) -> None:
    with pytest.raises(ModelError, match=r"some/model.onnx: has no segnet metadata; .*'segnet export'"):
        ModelInfo.from_json(text, FILE)


def test_another_version_is_an_error() -> None:
    with pytest.raises(ModelError, match="was written by another version of segnet"):
        ModelInfo.from_json(table(version=2), FILE)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"version": 1}',
        table(labels={"names": ["a"]}),
        table(labels=7),
        table(size=[1]),
        table(size=3),
        table(surprise=1),
    ],
)
def test_damage_is_an_error(text: str) -> None:
    with pytest.raises(ModelError, match=r"some/model.onnx: its segnet metadata is damaged"):
        ModelInfo.from_json(text, FILE)


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": {"indices": [0, 1]}},
        {"output": "boxes"},
        {"channels": 0},
        {"channels": "3"},
        {"channels": True},
        {"size": ["a", "b"]},
        {"size": [0, 5]},
        {"batch": 0},
        {"batch": 1.5},
        {"pair_limit": 0},
        {"samples": 0},
        {"samples": "16"},
        {"name": 1},
        {"precision": None},
        {"scores": []},
        {"reference": "eJw="},
        {"provenance": "mine"},
    ],
)
def test_impossible_values_are_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"some/model.onnx: its segnet metadata has impossible values"):
        ModelInfo.from_json(table(**changes), FILE)


@pytest.mark.parametrize(
    ("provenance", "size"), [({"longest": 320}, 320), ({}, 1024), ({"longest": "?"}, 1024), ({"longest": 0}, 1024)]
)
def test_the_size_of_the_training_images_is_read_from_the_provenance(provenance: dict[str, Any], size: int) -> None:
    assert ModelInfo(name="toy", labels=CAMVID, provenance=provenance).max_size == size
