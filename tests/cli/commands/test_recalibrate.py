from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segnet.cli.commands.recalibrate import run
from segnet.cli.output_files import model_file_beside
from segnet.cli.parser import parse
from segnet.data.layouts import Source
from segnet.errors import SegNetError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.training.recalibration import recalibrate


def call(*words: str) -> None:
    positional, flags = parse("recalibrate", run, list(words))
    run(*positional, **flags)


@pytest.fixture
def old(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> Path:
    """A model file of other classes than the data set's, never calibrated."""
    told = {"data": "elsewhere", "epoch": 3}
    return checkpoint.save(narrow, five_labels, tmp_path / "old.v2.safetensors", provenance=told, scores={"miou": 0.5})


def test_a_new_file_is_written_beside_the_old_one_and_its_path_printed(
    old: Path, camvid_root: Path, camvid: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    before = old.read_bytes()
    call(str(old), str(camvid_root))
    new = old.with_name("old.v2-recalibrated.safetensors")
    assert capsys.readouterr().out == f"{new}\n"
    assert old.read_bytes() == before

    kept, wanted = checkpoint.load(new), checkpoint.load(old).model
    recalibrate(wanted, camvid.dataset("train"), batch=4)
    for name, value in wanted.state_dict().items():
        assert torch.equal(value, kept.model.state_dict()[name]), name


def test_labels_and_provenance_are_kept_and_scores_are_not(
    old: Path, camvid_root: Path, tmp_path: Path, five_labels: ClassTable
) -> None:
    out = tmp_path / "new" / "mine.safetensors"
    words = ("--split", "val", "--batch", "2", "--resize", "24", "32", "--device", "cpu")
    call(str(old), str(camvid_root), "--out", str(out), *words)
    kept = checkpoint.load(out)
    assert kept.labels == five_labels
    assert kept.scores == {}
    assert kept.provenance == {
        "data": "elsewhere",
        "epoch": 3,
        "recalibrated": {
            "data": str(camvid_root), "split": "val", "images": 3, "batch": 2, "resize": [24, 32],
            "resize_mode": "letterbox",
        },
    }  # fmt: skip


def test_a_bundled_model_is_written_to_the_current_folder(
    camvid_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call("segnet_basic", str(camvid_root), "--resize", "24", "32")
    assert [path.name for path in tmp_path.iterdir()] == ["segnet_basic-recalibrated.safetensors"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("a/b.safetensors", "a/b-new.safetensors"),
        ("segnet_light", "segnet_light-new.safetensors"),
        ("hf://owner/name", "name-new.safetensors"),
        ("hf://owner/name@v1", "name@v1-new.safetensors"),
        (".", "-new.safetensors"),
    ],
)
def test_a_new_file_is_named_after_the_model(model: str, expected: str) -> None:
    assert model_file_beside(model, None, ending="new") == Path(expected)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.safetensors", "DATA"), "nowhere.safetensors: there is neither such a model file"),
        (("OLD", "nowhere"), "nowhere: there is no such data set"),
        (("OLD", "DATA", "--split", "test"), "has no split 'test'; it has train, val"),
        (("OLD", "DATA", "--batch", "0"), "batch=0 is not possible"),
        (("OLD", "DATA", "--resize", "0", "32"), "size (0, 32) is not possible"),
        (("OLD", "DATA", "--resize", "1", "1", "--batch", "1"), "encoder.stages.0.0.bn would see a single value"),
        (("OLD", "DATA", "--device", "gpu"), "device 'gpu' cannot be used"),
        (("OLD", "DATA", "--out", "folder"), "folder is no name for a model file"),
        (("OLD", "DATA", "--out", "OLD/new.safetensors"), "results cannot be written there"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_writes_nothing(
    words: tuple[str, ...], told: str, old: Path, camvid_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old.parent)
    chosen = [word.replace("DATA", str(camvid_root)).replace("OLD", str(old)) for word in words]
    with pytest.raises(SegNetError) as caught:
        call(*chosen)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(old.parent.iterdir()) == [old]


def test_a_network_without_batch_norm_is_refused(tmp_path: Path, camvid_root: Path) -> None:
    encoder = EncoderConfig(widths=((4,),), batch_norm=False)
    plain = SegNet(SegNetConfig(name="plain", encoder=encoder, decoder=DecoderConfig(widths=((),)), classes=2))
    path = checkpoint.save(plain, ClassTable.from_names(["a", "b"]), tmp_path / "plain.safetensors")
    with pytest.raises(SegNetError, match="plain has no batch norm"):
        call(str(path), str(camvid_root))
