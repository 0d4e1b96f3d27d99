from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from segnet.cli.main import main
from segnet.models import checkpoint
from segnet.models.bundled import bundled_models
from segnet.models.zoo import list_encoders, list_models


def printed(*arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as left:
        main(["models", *arguments])
    assert left.value.code == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a pipe gets, whatever the width of the terminal, and the JSON file."""
    file = tmp_path_factory.mktemp("models") / "models.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "40")
        return printed("--json", str(file)), file


@pytest.fixture
def listing(listed: tuple[str, Path]) -> str:
    return listed[0]


@pytest.fixture
def rows(listing: str) -> dict[str, list[str]]:
    """First word of a line -> the words of the last such line."""
    return {line.split()[0]: line.split() for line in listing.splitlines() if line}


def test_every_model_is_listed_with_what_it_costs(listing: str) -> None:
    first = listing.split("\n\n")[0].splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in first}
    assert set(list_models()) <= set(rows)
    # The paper's nets at CamVid's eleven classes.
    assert rows["segnet"] == ["29,449,355", "106.7", "1.321", "0.0"]
    assert rows["segnet_basic"] == ["1,416,587", "59.2", "0.918", "0.0"]
    assert rows["fcn_basic"] == ["646,124", "13.5", "0.000", "2.5"]


def test_bundled_weights_are_listed_with_their_scores(rows: dict[str, list[str]]) -> None:
    for name in bundled_models():
        kept = checkpoint.load(name)
        assert rows[name][1] == f"{kept.scores['miou']:.4f}"
        assert kept.provenance["data"] in " ".join(rows[name])


def test_every_encoder_is_listed(rows: dict[str, list[str]]) -> None:
    assert {*list_encoders(), "timm/NAME,"} <= set(rows)
    assert rows["vgg16_bn"][1:3] == ["29,449,355", "106.7"]


def test_a_pipe_gets_whole_names_in_less_than_80_columns(listing: str) -> None:
    lines = listing.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert not any("…" in line or "..." in line for line in lines)
    starts = [re.split(r"\s", line)[0] for line in lines]
    assert set(list_models()) <= set(starts)


def test_without_a_file_the_same_is_printed(listing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two networks alone, since counting the costs of all takes long."""
    monkeypatch.setattr("segnet.models.zoo.list_models", lambda: ["bilinear"])
    monkeypatch.setattr("segnet.models.zoo.list_encoders", lambda: ["vgg16_bn"])
    lines, known = printed().splitlines(), [line.split() for line in listing.splitlines()]
    assert {"bilinear", "vgg16_bn"} <= {line.split()[0] for line in lines if line}
    assert all(line.split() in known for line in lines)


def test_json_holds_exact_numbers(listed: tuple[str, Path]) -> None:
    told = json.loads(listed[1].read_text())
    assert told["size"] == [360, 480]
    models = {model["name"]: model for model in told["models"]}
    assert list(models) == list_models()
    assert (models["segnet"]["parameters"], models["segnet"]["code_bytes"]) == (29_449_355, 1_321_216)
    assert not models["fcn_basic"]["bundled"]
    assert models["fcn_basic"]["scores"] is None
    for name, path in bundled_models().items():
        assert models[name]["bundled"]
        assert models[name]["scores"]["miou"] == checkpoint.load(path).scores["miou"]
    assert [encoder["name"] for encoder in told["encoders"]] == list_encoders()
    assert all(encoder["under"] == "segnet" for encoder in told["encoders"])


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photo := tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(SystemExit) as left:
        main(["models", "--json", str(photo)])
    assert (left.value.code, photo.read_bytes()) == (2, b"mine")
    assert "photo.jpg is there already and would be replaced; give --json a name that" in capsys.readouterr().err
