from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segnet.cli.commands.temperature import run
from segnet.cli.parser import parse
from segnet.data.layouts import Source
from segnet.errors import SegNetError
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.training.temperature import fit_temperature


def call(*words: str) -> None:
    positional, flags = parse("temperature", run, list(words))
    run(*positional, **flags)


@pytest.fixture
def old(bayesian_file: Path, tmp_path: Path) -> Path:
    """A model file with a history."""
    told = {"data": "elsewhere", "temperature": {"value": 2.0}}
    model = checkpoint.load(bayesian_file).model
    return checkpoint.save(model, CAMVID, tmp_path / "old.v2.safetensors", provenance=told, scores={"miou": 0.5})


def test_a_new_file_beside_the_old_one_has_the_divided_last_layer(
    old: Path, camvid_root: Path, camvid: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    before = old.read_bytes()
    call(str(old), str(camvid_root), "--device", "cpu", "--samples", "3", "--seed", "1")
    new = old.with_name("old.v2-temperature.safetensors")
    assert old.read_bytes() == before
    found = fit_temperature(checkpoint.load(old).model, camvid.dataset("val"), samples=3, seed=1, device="cpu")
    one, other = (checkpoint.load(path).model.state_dict() for path in (old, new))
    for name, value in one.items():
        wanted = value / found.value if name.startswith("classifier") else value
        torch.testing.assert_close(other[name], wanted, msg=name)
    assert capsys.readouterr().out.splitlines() == [
        f"temperature {found.value:.3f}: NLL {found.nll_before:.4f} -> {found.nll_after:.4f} on {found.pixels} pixels",
        "this is the end of the tried range, 0.25 to 8; the probabilities fit these images badly",
        str(new),
    ]
    kept = checkpoint.load(new)
    assert (kept.labels, kept.scores, kept.provenance["data"]) == (CAMVID, {"miou": 0.5}, "elsewhere")
    about = kept.provenance["temperature"]
    assert about["value"] == pytest.approx(2.0 * found.value, rel=1e-6)  # with what it was divided by before
    assert (about["split"], about["images"], about["samples"]) == ("val", 3, 3)


def test_a_bundled_model_is_written_to_the_current_folder(
    camvid_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call("segnet_basic", str(camvid_root), "--resize", "24", "32")
    assert [path.name for path in tmp_path.iterdir()] == ["segnet_basic-temperature.safetensors"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.safetensors", "DATA"), "nowhere.safetensors: there is neither such a model file"),
        (("OLD", "nowhere"), "nowhere: there is no such data set"),
        (("OLD", "DATA", "--split", "test"), "has no split 'test'; it has train, val"),
        (("OLD", "DATA", "--samples", "1"), "samples=1 with seed=0 is not possible"),
        (("OLD", "DATA", "--samples", "2", "--seed", "-1"), "samples=2 with seed=-1 is not possible"),
        (("PLAIN", "DATA", "--samples", "4"), "toy was made without dropout"),
        (("TWO", "DATA"), "knows 2 classes but"),
        (("OLD", "DATA", "--out", "folder"), "folder is no name for a model file"),
        (("OLD", "DATA", "--out", "OLD/new.safetensors"), "results cannot be written there"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_writes_nothing(
    words: tuple[str, ...],
    told: str,
    old: Path,
    model_file: Path,
    two_class_file: Path,
    camvid_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(old.parent)
    places = {"DATA": camvid_root, "OLD": old, "PLAIN": model_file, "TWO": two_class_file}
    with pytest.raises(SegNetError) as caught:
        call(*(str(places.get(word, word)).replace("OLD", str(old)) for word in words))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(old.parent.iterdir()) == [old]
