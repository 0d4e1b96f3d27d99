"""ImageNet weights: what fits is taken and said, what does not is refused and never run."""

from __future__ import annotations

import logging
import re
from http.client import IncompleteRead
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from segnet.errors import ModelError
from segnet.models.backbones import Backbone
from segnet.models.decoders import NoSkip
from segnet.models.encoder_kinds import build_encoder
from segnet.models.encoders import Encoder, EncoderConfig
from segnet.models.pretrained import LoadReport, adapt_input_filters, fill_encoder, read_weights
from segnet.models.zoo import ENCODERS, create_model

STAGES = ((4, 4), (6, 6), (8, 8, 8))  # layout "D" of VGG, short and narrow
FULL_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def torchvision_row(stages: tuple[tuple[int, ...], ...], *, norm: bool) -> nn.Sequential:
    """torchvision's ``features``: convolutions, norms, ReLUs and poolings in one row."""
    row: list[nn.Module] = []
    channels = 3
    for stage in stages:
        for width in stage:
            row += [nn.Conv2d(channels, width, 3, padding=1)]
            row += [nn.BatchNorm2d(width)] if norm else []
            row += [nn.ReLU()]
            channels = width
        row += [nn.MaxPool2d(2)]
    return nn.Sequential(*row)


def torchvision_state(stages: tuple[tuple[int, ...], ...] = STAGES, *, norm: bool) -> dict[str, Tensor]:
    state = torchvision_row(stages, norm=norm).state_dict()
    named = {f"features.{name}": _stirred(name, value) for name, value in state.items()}
    return named | {"classifier.0.weight": torch.rand(5, 7), "classifier.0.bias": torch.rand(5)}


def _stirred(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value + 7
    return torch.rand_like(value) + 0.5 if name.endswith("running_var") else torch.randn_like(value)


def narrow_encoder(channels: int = 3, stages: tuple[tuple[int, ...], ...] = STAGES) -> Encoder | Backbone:
    return build_encoder(EncoderConfig(widths=stages), channels, dropout=0.0, codes=True).eval()


def deepest(encoder: Encoder | Backbone, x: Tensor) -> Tensor:
    return encoder(x, [NoSkip()] * len(encoder.channels))[0]


def load_encoder_weights(encoder: Encoder | Backbone, source: str) -> LoadReport:
    return fill_encoder(encoder, read_weights(source))


def saved(state: object, path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)  # type: ignore[arg-type]
    else:
        torch.save(state, path)
    return str(path)


def snapshot(encoder: Encoder | Backbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def same(encoder: Encoder | Backbone, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@torch.no_grad()
def test_vgg16_bn_computes_what_torchvisions_row_of_layers_does(tmp_path: Path, suffix: str):
    state = torchvision_state(norm=True)
    theirs = torchvision_row(STAGES, norm=True).eval()
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    ours = narrow_encoder()
    load_encoder_weights(ours, saved(state, tmp_path / f"vgg{suffix}"))
    image = torch.rand(2, 3, 16, 24)
    torch.testing.assert_close(deepest(ours, image), theirs(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_vgg16_fills_the_convolutions_and_leaves_the_norms(tmp_path: Path):
    state = torchvision_state(norm=False)
    ours = narrow_encoder()
    load_encoder_weights(ours, saved(state, tmp_path / "vgg.pth"))
    x = expected = torch.rand(1, 3, 16, 16)
    places = iter((0, 2, 5, 7, 10, 12, 14))  # of the convolutions in torchvision's vgg16
    for stage in STAGES:
        for _ in stage:
            number = next(places)
            expected = F.conv2d(
                expected, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1
            )
            expected = (expected / (1 + 1e-5) ** 0.5 + 0.001).relu()  # a fresh batch norm
        expected = F.max_pool2d(expected, 2)
    torch.testing.assert_close(deepest(ours, x), expected, rtol=1e-4, atol=1e-4)


def test_what_was_loaded_skipped_and_missing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = saved(torchvision_state(norm=False), tmp_path / "vgg.safetensors")
    with caplog.at_level(logging.INFO, logger="segnet"):
        report = load_encoder_weights(narrow_encoder(), source)
    assert len(report.loaded) == 14
    assert report.loaded[:2] == ("stages.0.0.conv.weight", "stages.0.0.conv.bias")
    assert set(report.skipped) == {"classifier.0.weight", "classifier.0.bias"}
    assert len(report.missing) == 7 * 5  # every norm's five tensors
    assert all(".bn." in name for name in report.missing)
    assert caplog.messages == [
        f"loaded 14 tensors from {source} into the encoder; new: 7 batch norms; the file's classifier is not needed"
    ]


def test_counters_of_the_norms_are_neither_taken_nor_hidden(tmp_path: Path):
    encoder = narrow_encoder()
    report = load_encoder_weights(encoder, saved(torchvision_state(norm=True), tmp_path / "vgg.pth"))
    assert all(name.endswith("num_batches_tracked") for name in report.missing)
    assert len(report.missing) == 7
    assert "features.1.num_batches_tracked" in report.skipped


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, suffix: str):
    state = torchvision_state(norm=True)
    state["features.0.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"the tensor features\.0\.weight holds values that are infinite"):
        read_weights(saved(state, tmp_path / f"vgg{suffix}"))


def test_a_file_of_the_first_stages_fills_those(tmp_path: Path):
    encoder = narrow_encoder()
    report = load_encoder_weights(encoder, saved(torchvision_state(STAGES[:2], norm=True), tmp_path / "vgg.pth"))
    assert len(report.loaded) == 4 * 6
    assert any(name.startswith("stages.2.") for name in report.missing)


def test_the_real_vgg16_fits_the_real_segnet():
    with torch.device("meta"):
        model, row = create_model("segnet"), torchvision_row(FULL_STAGES, norm=True)
    units = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    theirs = [module for module in row if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    assert [m.weight.shape for m in units] == [m.weight.shape for m in theirs]


@torch.no_grad()
def test_a_gray_encoder_sees_a_gray_image_as_the_colored_one_does(tmp_path: Path):
    source = saved(torchvision_state(norm=True), tmp_path / "vgg.pth")
    three, other = narrow_encoder(3), narrow_encoder(1)
    load_encoder_weights(three, source)
    load_encoder_weights(other, source)
    gray = torch.rand(1, 1, 8, 8)
    expected = deepest(three, gray.expand(1, 3, 8, 8))
    torch.testing.assert_close(deepest(other, gray), expected, rtol=1e-3, atol=1e-3)


def test_input_filters_are_summed_repeated_and_rescaled():
    weight = torch.rand(5, 3, 3, 3)
    assert adapt_input_filters(weight, 3) is weight
    torch.testing.assert_close(adapt_input_filters(weight, 1)[:, 0], weight[:, 0] + weight[:, 1] + weight[:, 2])
    four = adapt_input_filters(weight, 4)
    torch.testing.assert_close(four, torch.stack([weight[:, i] for i in (0, 1, 2, 0)], 1) * 0.75)
    torch.testing.assert_close(adapt_input_filters(weight, 6).sum(1), weight.sum(1))
    assert adapt_input_filters(weight, 13).shape == (5, 13, 3, 3)


def test_shapes_of_another_vgg_are_refused_and_nothing_is_changed(tmp_path: Path):
    source = saved(torchvision_state(((4, 4), (6, 5)), norm=True), tmp_path / "vgg.pth")
    encoder = narrow_encoder()
    before = snapshot(encoder)
    with pytest.raises(ModelError, match=r"features\.10\.weight of shape \(5, 6, 3, 3\) .* \(6, 6, 3, 3\)"):
        load_encoder_weights(encoder, source)
    assert same(encoder, before)


def test_whole_numbers_are_no_weights(tmp_path: Path):
    state = torchvision_state(norm=True)
    state["features.0.weight"] = state["features.0.weight"].to(torch.int8)
    with pytest.raises(ModelError, match=r"features\.0\.weight of shape .* in torch\.int8 stands where"):
        load_encoder_weights(narrow_encoder(), saved(state, tmp_path / "vgg.pth"))


def test_a_gap_in_the_file_is_refused_instead_of_shifting_the_rest(tmp_path: Path):
    state = torchvision_state(norm=True)
    del state["features.3.bias"]
    encoder = narrow_encoder()
    before = snapshot(encoder)
    with pytest.raises(ModelError, match="stands where"):
        load_encoder_weights(encoder, saved(state, tmp_path / "vgg.pth"))
    assert same(encoder, before)


@pytest.mark.parametrize(
    "missing", ["features.1.weight", "features.4.running_mean", "features.21.weight", "features.21.bias"]
)
def test_a_gap_between_tensors_of_one_shape_is_refused(tmp_path: Path, missing: str):
    state = torchvision_state(norm=True)
    del state[missing]
    encoder = narrow_encoder()
    before = snapshot(encoder)
    with pytest.raises(ModelError):
        load_encoder_weights(encoder, saved(state, tmp_path / "vgg.pth"))
    assert same(encoder, before)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    source = saved({"conv1.weight": torch.rand(2, 3, 7, 7)}, tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match=r"no tensor fits; the file holds conv1\.weight"):
        load_encoder_weights(narrow_encoder(), source)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"features.0.weight": trap}], ids=["bare", "inside"])
def test_code_in_a_file_is_never_run(tmp_path: Path, wrap):
    proof = tmp_path / "proof"
    encoder = narrow_encoder()
    before = snapshot(encoder)
    source = saved(wrap(Trap(proof)), tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match="holds objects other than tensors"):
        load_encoder_weights(encoder, source)
    assert not proof.exists()
    assert same(encoder, before)


@pytest.mark.parametrize(
    "held", [[torch.rand(2)], {"features.0.weight": 3}, {"state_dict": {"a": torch.rand(1)}}, {0: torch.rand(1)}]
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, held: object):
    with pytest.raises(ModelError, match="holds no state_dict"):
        load_encoder_weights(narrow_encoder(), saved(held, tmp_path / "vgg.pth"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, this is a text\n",
        b"\x00" * 100,
        b"\x80\x02}",
        b"\x80\x02.",
        b'{"a": 1}',
        b"PK\x03\x04",
        b"0.",
        b"cos\nsystem\n.",
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"vgg{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"vgg{suffix}"):
        load_encoder_weights(narrow_encoder(), str(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_cut_off_file_is_refused(tmp_path: Path, suffix: str, share: float):
    path = tmp_path / f"vgg{suffix}"
    saved(torchvision_state(norm=True), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=f"vgg{suffix}"):
        load_encoder_weights(narrow_encoder(), str(path))


def test_a_missing_file_is_refused_with_the_names_that_can_be_downloaded(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no such file; give a file, or one of vgg11, vgg13, vgg16"):
        load_encoder_weights(narrow_encoder(), str(tmp_path / "vgg.pth"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("name", "file", "digits"),
    [("vgg16", "vgg16-397923af.pth", "397923af"), ("vgg16_bn", "vgg16_bn-6c64b313.pth", "6c64b313")],
)
def test_a_name_downloads_once_with_the_hash_checked(
    hub: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, digits: str
):
    asked = []

    def download(url: str, path: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        asked.append((url, Path(path), hash_prefix))
        torch.save(torchvision_state(norm=name.endswith("bn")), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        assert load_encoder_weights(narrow_encoder(), name).loaded
    assert asked == [(f"https://download.pytorch.org/models/{file}", hub / file, digits)]


@pytest.mark.parametrize("failure", [OSError("no network"), RuntimeError("invalid hash value"), IncompleteRead(b"")])
def test_a_failed_download_says_what_to_do(hub: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception):
    def download(*_args: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(ModelError, match=f"{re.escape(str(failure))}.*fetch the file yourself and give its path"):
        load_encoder_weights(narrow_encoder(), "vgg16")


def test_a_download_folder_that_cannot_be_made_says_what_to_do(hub: Path):
    hub.parent.parent.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="could not be downloaded"):
        load_encoder_weights(narrow_encoder(), "vgg16")


def squeezenet_state() -> dict[str, Tensor]:
    """Made-up weights under torchvision's names of SqueezeNet 1.1."""
    shapes = {"0": (64, 3, 3)}
    for number, (inputs, squeeze, expand) in {
        3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128),
        9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256),
    }.items():  # fmt: skip
        shapes[f"{number}.squeeze"] = (squeeze, inputs, 1)
        shapes[f"{number}.expand1x1"] = (expand, squeeze, 1)
        shapes[f"{number}.expand3x3"] = (expand, squeeze, 3)
    state = {}
    for name, (outputs, inputs, side) in shapes.items():
        state[f"features.{name}.weight"] = torch.randn(outputs, inputs, side, side) * (2 / (inputs * side**2)) ** 0.5
        state[f"features.{name}.bias"] = torch.randn(outputs) * 0.1
    return state


def plain_squeezenet(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Its layers in torch's own operators, every halving a 2x2 pooling."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"features.{name}.weight"]
        return F.conv2d(x, weight, state[f"features.{name}.bias"], padding=weight.shape[2] // 2).relu()

    def halved(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, ceil_mode=True)

    x = halved(halved(conv("0", x)))
    for stage in ((3, 4), (6, 7), (9, 10, 11, 12)):
        for number in stage:
            few = conv(f"{number}.squeeze", x)
            x = torch.cat([conv(f"{number}.expand1x1", few), conv(f"{number}.expand3x3", few)], dim=1)
        x = halved(x)
    return x


@torch.no_grad()
def test_squeezenet_computes_what_its_layers_do(tmp_path: Path):
    state = squeezenet_state()
    assert sum(value.numel() for value in state.values()) == 722_496
    model = create_model("segnet", encoder="squeezenet1_1", encoder_weights=saved(state, tmp_path / "squeezenet.pth"))
    x = torch.randn(2, 3, 37, 45)
    torch.testing.assert_close(deepest(model.encoder, x), plain_squeezenet(state, x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_weights_trained_on_bgr_see_what_they_were_trained_on(tmp_path: Path):
    state = squeezenet_state()
    path = tmp_path / "squeezenet.safetensors"
    save_file(state, path, metadata={"input": "BGR, 0-255 minus 103.939 116.779 123.68"})
    model = create_model("segnet", encoder="squeezenet1_1", encoder_weights=str(path)).eval()
    image = torch.randint(256, (1, 3, 33, 40)).float()
    bgr = image.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    seen = (image / 255 - model.mean) / model.std
    torch.testing.assert_close(deepest(model.encoder, seen), plain_squeezenet(state, bgr), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("said", ["RGB, 0-1", "BGR, 0-255 minus 103.939 116.779", "BGR, 0-255 minus a b c"])
def test_an_input_that_is_not_known_is_refused(tmp_path: Path, said: str):
    path = tmp_path / "squeezenet.safetensors"
    save_file(squeezenet_state(), path, metadata={"input": said})
    with pytest.raises(ModelError, match=re.escape(f"{path}: wants its input as {said!r}")):
        read_weights(str(path))


def test_bgr_filters_must_be_three(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"fc.weight": torch.rand(3, 4)}, path, metadata={"input": "BGR, 0-255 minus 103.939 116.779 123.68"})
    with pytest.raises(ModelError, match="not known here"):
        read_weights(str(path))


@pytest.mark.parametrize("name", [*ENCODERS])
def test_imagenet_means_the_weights_of_the_encoders_own_name(name: str, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def refuse(address: str, *_: object, **__: object) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    if name in ("squeezenet1_1_bn", "efficientnet_lite0"):
        with pytest.raises(ModelError, match="no ImageNet weights are known for this encoder"):
            create_model("segnet", encoder=name, encoder_weights="imagenet")
        return
    with torch.device("meta"), pytest.raises(ModelError, match="could not be downloaded"):
        create_model("segnet", encoder=name, encoder_weights="imagenet")
    assert f"/{name}-" in asked[0]


@torch.no_grad()
def test_filters_without_norm_fit_an_encoder_with_norm(tmp_path: Path):
    state = squeezenet_state()
    model = create_model(
        "segnet", encoder="squeezenet1_1_bn", encoder_weights=saved(state, tmp_path / "squeezenet.pth")
    )
    assert torch.equal(model.encoder.state_dict()["stages.0.first.conv.weight"], state["features.0.weight"])
    last = model.encoder.state_dict()["stages.4.3.expand3x3.conv.bias"]
    assert torch.equal(last, state["features.12.expand3x3.bias"])
