"""segnet convert: files in, one model file out, or a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import segnet
from caffe_oracle import basic_text, caffemodel, forward, old_caffemodel, random_weights, vgg_text
from segnet.cli.commands.convert import run
from segnet.cli.parser import parse
from segnet.errors import ConfigError, ModelError, OutputError
from segnet.labels import CAMVID, CAMVID12, PASCAL, SUN
from segnet.models import checkpoint
from segnet.models.pretrained import read_weights

SIZE = (11, 14)


def caffe_files(folder: Path, classes: int = 11, **form: str) -> tuple[Path, Path]:
    text = vgg_text(((3,), (4,)), classes, SIZE, **form)
    (folder / "net.prototxt").write_text(text)
    (folder / "net.caffemodel").write_bytes(caffemodel(text, random_weights(text, np.random.default_rng(0))))
    return folder / "net.caffemodel", folder / "net.prototxt"


def vgg_file(folder: Path) -> Path:
    filters = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    layers = [("conv1_1", 4, [filters, np.ones(4, np.float32)]), ("fc6", 14, [np.ones((2, 2), np.float32)])]
    (folder / "VGG.caffemodel").write_bytes(old_caffemodel(layers))
    return folder / "VGG.caffemodel"


@torch.no_grad()
def test_the_written_file_computes_what_caffe_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights, net = caffe_files(tmp_path)
    run(weights, net=net, out=tmp_path / "new" / "model.safetensors")
    kept = checkpoint.load(tmp_path / "new" / "model.safetensors")
    bgr = np.random.default_rng(1).integers(0, 256, (1, 3, *SIZE)).astype(np.float64)
    expected = forward(net.read_text(), random_weights(net.read_text(), np.random.default_rng(0)), bgr)
    logits = kept.model(torch.tensor(bgr[:, ::-1] / 255).float())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4 * np.abs(expected).max())
    assert kept.labels == CAMVID
    told = capsys.readouterr().out
    assert "model.safetensors: net-caffe, 11 classes," in told
    assert "batch norm: folded, the statistics are in scale and shift" in told
    assert "CC BY-NC 4.0" in told
    assert "recalibrate" not in told


def test_provenance_names_the_files_and_what_they_were(tmp_path: Path):
    weights, net = caffe_files(tmp_path)
    run(weights, net=net, out=tmp_path / "a.safetensors")
    provenance = checkpoint.load(tmp_path / "a.safetensors").provenance
    assert (provenance["converted_from"], provenance["weights"], provenance["net"]) == (
        "Caffe", "net.caffemodel", "net.prototxt",
    )  # fmt: skip
    assert provenance["batch_norm"].startswith("folded")
    assert "not known here; the weights that the authors of SegNet published are CC BY-NC 4.0" in provenance["terms"]
    assert str(tmp_path) not in str(provenance)


def test_the_model_card_of_a_converted_model_states_the_license(tmp_path: Path):
    weights, net = caffe_files(tmp_path)
    run(weights, net=net, out=tmp_path / "a.safetensors")
    network = segnet.load(tmp_path / "a.safetensors").model
    card = (network.save_pretrained(tmp_path / "hub") / "README.md").read_text(encoding="utf-8")
    assert "## License\n\nthat of the Caffe files" in card


def test_without_net_and_out_the_weights_describe_themselves_and_give_the_name(tmp_path: Path):
    weights, net = caffe_files(tmp_path)
    net.unlink()
    run(weights)
    kept = checkpoint.load(tmp_path / "net.safetensors")
    assert kept.provenance["net"] == "inside the weights"
    assert kept.model.config.name == "net-caffe"


def test_a_snapshot_is_converted_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = vgg_text(((3,), (4,)), 11, SIZE, mode="")
    (tmp_path / "snap.caffemodel").write_bytes(
        caffemodel(text, random_weights(text, np.random.default_rng(0), scale=1.0))
    )
    run(tmp_path / "snap.caffemodel")
    told = capsys.readouterr().out
    out = tmp_path / "snap.safetensors"
    assert (
        f"warning: the statistics are missing and the masks wrong until you run: segnet recalibrate {out} DATA" in told
    )
    assert "statistics are missing" in checkpoint.load(out).provenance["batch_norm"]


@pytest.mark.parametrize(
    ("classes", "chosen", "names"),
    [
        (11, None, CAMVID.names),
        (12, None, CAMVID12.names),
        (21, None, PASCAL.names),
        (38, None, SUN.names),
        (37, None, SUN.names[1:]),
        (2, None, ("class0", "class1")),
        (12, "camvid12", CAMVID12.names),
        (37, "sun", SUN.names[1:]),
        (38, "sun", SUN.names),
        (21, "pascal", PASCAL.names),
        (2, "LIST", ("road", "sky")),
        (2, "NAMES", ("road", "sky")),
        (2, "NUMBERED", ("road", "sky")),
    ],
)
def test_class_tables(
    tmp_path: Path, classes: int, chosen: str | None, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    files = {
        "LIST": ("list.yaml", "names: [road, sky]\ncolors: [[1, 2, 3], [4, 5, 6]]\n"),
        "NUMBERED": ("data.yml", "names: {0: road, 1: sky}\ntrain: images\n"),
        "NAMES": ("classes.txt", "road\n\n sky \n"),
    }
    if chosen in files:
        (tmp_path / files[chosen][0]).write_text(files[chosen][1])
        chosen = str(tmp_path / files[chosen][0])
    weights, _ = caffe_files(tmp_path, classes)
    run(weights, classes=chosen)
    labels = checkpoint.load(tmp_path / "net.safetensors").labels
    assert labels.names == names
    assert ("note: the names of the 2 classes are not known" in capsys.readouterr().out) == (names[0] == "class0")
    if chosen and chosen.endswith("list.yaml"):
        assert labels.colors == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("names: 3", "is no class table"),
        ("names: {0: a, x: b}", "is no class table"),
        ("colors: []", "is no class table"),
        ("[", "is no class table"),
        ("names: [a, a]", "is no class table .*'a' stands twice"),
        ("", "is no class table"),
    ],
)
def test_a_damaged_class_table_is_refused(tmp_path: Path, content: str, told: str):
    weights, _ = caffe_files(tmp_path, 2)
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(ConfigError, match=f"data.yaml: {told}"):
        run(weights, classes=str(tmp_path / "data.yaml"))
    assert not (tmp_path / "net.safetensors").exists()


def test_a_class_table_that_does_not_fit_is_refused(tmp_path: Path):
    weights, _ = caffe_files(tmp_path, 2)
    with pytest.raises(ModelError, match="the network has 2 classes but the class table 11"):
        run(weights, classes="camvid")
    with pytest.raises(ConfigError, match="nowhere: there is no such file or table; known are camvid, camvid12, sun"):
        run(weights, classes="nowhere")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"names\.txt: is no class table"):
        run(weights, classes=str(tmp_path / "names.txt"))
    assert not (tmp_path / "net.safetensors").exists()


def test_vgg_becomes_weights_of_an_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(vgg_file(tmp_path))
    with safe_open(tmp_path / "VGG.safetensors", framework="pt") as file:
        assert file.metadata() == {"input": "BGR, 0-255 minus 103.939 116.779 123.68", "source": "VGG.caffemodel"}
        assert list(file.keys()) == ["features.0.bias", "features.0.weight"]
        stored = file.get_tensor("features.0.weight")
    weights = read_weights(str(tmp_path / "VGG.safetensors"))
    torch.testing.assert_close(weights.state["features.0.weight"], stored.flip(1))
    assert weights.mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))
    told = capsys.readouterr().out
    assert "1 convolutions of an encoder; left out: fc6" in told
    assert "--encoder-weights" in told


def test_an_encoder_has_no_classes(tmp_path: Path):
    with pytest.raises(ConfigError, match="is an encoder, which has no classes; leave --classes out"):
        run(vgg_file(tmp_path), classes="camvid")


def test_files_of_two_nets_are_refused_and_nothing_is_written(tmp_path: Path):
    weights, net = caffe_files(tmp_path)
    net.write_text(basic_text((3, 4), 11, SIZE))
    before = set(tmp_path.iterdir())
    with pytest.raises(ModelError, match="do not belong together: layers without weights are conv1, conv1_bn"):
        run(weights, net=net)
    with pytest.raises(ModelError, match="do not belong together"):
        run(vgg_file(tmp_path), net=net)
    assert set(tmp_path.iterdir()) == before | {tmp_path / "VGG.caffemodel"}


@pytest.mark.parametrize("name", ["model", "model.pth", "net.caffemodel"])
def test_another_ending_is_refused(tmp_path: Path, name: str):
    weights, _ = caffe_files(tmp_path)
    content = weights.read_bytes()
    with pytest.raises(ConfigError, match=r"another ending than \.safetensors"):
        run(weights, out=tmp_path / name)
    assert weights.read_bytes() == content


def test_a_folder_is_no_weights():
    with pytest.raises(ModelError, match="there is no such file; give the "):
        run(Path())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    weights, _ = caffe_files(tmp_path)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        run(weights, out=tmp_path / "folder.safetensors")


def test_flags_reach_the_command(tmp_path: Path):
    words = ["a.caffemodel", "--net", "a.prototxt", "--out", "a.safetensors", "--classes", "sun"]
    positional, flags = parse("convert", run, words)
    assert positional == ["a.caffemodel"]
    assert flags == {"net": Path("a.prototxt"), "out": Path("a.safetensors"), "classes": "sun"}
    positional, flags = parse("convert", run, words[:1])
    assert flags == {"net": None, "out": None, "classes": None}
    run(str(caffe_files(tmp_path)[0]))  # as the command line hands it over
    assert (tmp_path / "net.safetensors").is_file()


def test_a_path_that_cannot_be_written_is_refused_before_the_weights_are_read(tmp_path: Path):
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(OutputError, match=r"taken\.safetensors is a folder .* give --out the name of a file"):
        run(tmp_path / "missing.caffemodel", out=tmp_path / "taken.safetensors")
