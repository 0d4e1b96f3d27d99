"""Caffe's nets, converted, compute what Caffe computes: held against ``caffe_oracle``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffe_oracle import (
    Blobs,
    basic_text,
    caffemodel,
    convolve,
    forward,
    old_caffemodel,
    pool,
    random_weights,
    upsample,
    vgg_text,
)
from segnet.errors import ModelError, OutputError
from segnet.models.caffe.conversion import Conversion, convert, convert_encoder, is_segnet, save_encoder
from segnet.models.caffe.files import Net, read_description, read_weights
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.pretrained import fill_encoder
from segnet.models.pretrained import read_weights as read_encoder
from segnet.models.segnet import SegNet, SegNetConfig

VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
TWO = ((4, 5), (6, 7))
BASIC = basic_text((5, 6), 4, (21, 18))

NETS = {
    "basic": (BASIC, (21, 18)),
    "basic with even sizes": (basic_text((5, 6), 4, (16, 24), side=3), (16, 24)),
    "bayesian basic": (
        basic_text((4, 5, 3), 6, (23, 30), drop=(2, 3), classifier="dense_softmax_inner_prod"),
        (23, 30),
    ),
    "vgg": (vgg_text(TWO, 5, (19, 14)), (19, 14)),
    "bayesian vgg": (vgg_text((*TWO, (5,)), 5, (19, 14), drop=(2, 3)), (19, 14)),
    "pascal": (vgg_text(TWO, 21, (16, 12), pascal=True), (16, 12)),
    "camvid with one more layer": (vgg_text(TWO, 11, (13, 20), drop=(1, 2), extra="camvid"), (13, 20)),
    "single convolutions": (vgg_text(((3,), (4,), (5,)), 2, (9, 7)), (9, 7)),
}


def written(folder: Path, text: str, weights: Blobs, *, described: bool = True, **form: bool) -> tuple[Net, Net]:
    """The weights, and the description from the text or from within the weights."""
    (folder / "net.prototxt").write_text(text)
    (folder / "net.caffemodel").write_bytes(caffemodel(text, weights, **form))
    found = read_weights(folder / "net.caffemodel")
    return found, read_description(folder / "net.prototxt") if described else found


def converted(folder: Path, text: str, weights: Blobs, **form: bool) -> Conversion:
    return convert(*written(folder, text, weights, **form), name="net-caffe")


@torch.no_grad()
def assert_same(model: SegNet, text: str, weights: Blobs, size: tuple[int, int]) -> None:
    bgr = np.random.default_rng(1).integers(0, 256, (2, 3, *size)).astype(np.float64)
    expected = forward(text, weights, bgr)
    image = torch.tensor(bgr[:, ::-1] / 255, dtype=torch.float32)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(image).numpy(), expected, rtol=0, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("described", [True, False], ids=["with a prototxt", "describing itself"])
@pytest.mark.parametrize("name", NETS)
def test_a_converted_net_gives_caffes_logits(tmp_path: Path, name: str, described: bool):
    text, size = NETS[name]
    weights = random_weights(text, np.random.default_rng(0))
    found = converted(tmp_path, text, weights, described=described, old_shapes=name == "vgg")
    assert found.batch_norm == "folded"
    assert not found.model.training
    assert_same(found.model, text, weights, size)


def test_the_oracles_pooling_and_unpooling_are_torchs():
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    values, places = torch.nn.functional.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    ours = pool(x.numpy())
    np.testing.assert_array_equal(ours[0], values.numpy())
    np.testing.assert_array_equal(ours[1], places.numpy())
    back = torch.nn.functional.max_unpool2d(values, places, 2, 2, output_size=(7, 6))
    np.testing.assert_array_equal(upsample(*ours, {"upsample_h": [7], "upsample_w": [6]}), back.numpy())


def test_a_layout_of_its_own_has_the_name_that_is_given(tmp_path: Path):
    assert converted(tmp_path, BASIC, random_weights(BASIC, np.random.default_rng(0))).model.config.name == "net-caffe"


def test_segnet_basic_is_converted_at_full_width(tmp_path: Path):
    text = basic_text((64,) * 4, 11, (360, 480))
    model = converted(tmp_path, text, random_weights(text, np.random.default_rng(0))).model
    assert model.config.name == "segnet_basic"
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_416_587  # paper's net with biases


def test_folded_batch_norm_is_exact(tmp_path: Path):
    text = vgg_text(TWO, 5, (8, 8))
    weights = random_weights(text, np.random.default_rng(0))
    norm = converted(tmp_path, text, weights).model.encoder.stages[0][0].bn
    x = torch.randn(2, 4, 9, 9) * 100
    scale, shift = (torch.tensor(blob) for blob in weights["conv1_1_bn"])
    torch.testing.assert_close(norm(x), x * scale + shift, rtol=3e-7, atol=3e-7)


def with_three_tops(text: str) -> str:
    """As compute_bn_statistics.py leaves the net that it saves."""
    return text.replace('_bn"\n  type: "BN"', '_bn"\n  top: "mean" top: "var"\n  type: "BN"')


LEARN = vgg_text(TWO, 5, (12, 10), mode="")


@pytest.mark.parametrize(
    ("text", "scale", "kind", "reason"),
    [
        (LEARN, 0.01, "folded", "the median scale of conv1_1_bn is 0.0"),
        (with_three_tops(LEARN), 1.0, "folded", "compute_bn_statistics"),
        (vgg_text(TWO, 5, (12, 10)), 1.0, "folded", "bn_mode INFERENCE"),
        (LEARN, 1.0, "unfolded", "the median scale of conv1_1_bn is"),
        (vgg_text(TWO, 5, (12, 10), mode="LEARN"), 1.0, "unfolded", "the median scale of conv1_1_bn is"),
    ],
)
def test_kinds_of_batch_norm_are_distinguished(tmp_path: Path, text: str, scale: float, kind: str, reason: str):
    found = converted(tmp_path, text, random_weights(text, np.random.default_rng(0), scale=scale))
    assert (found.batch_norm, reason in found.reason) == (kind, True)


def test_weights_tell_that_they_are_folded_even_if_the_prototxt_does_not(tmp_path: Path):
    weights = random_weights(LEARN, np.random.default_rng(0), scale=1.0)
    (tmp_path / "net.prototxt").write_text(LEARN)
    (tmp_path / "test_weights.caffemodel").write_bytes(caffemodel(with_three_tops(LEARN), weights))
    nets = read_weights(tmp_path / "test_weights.caffemodel"), read_description(tmp_path / "net.prototxt")
    assert convert(*nets, name="x").batch_norm == "folded"


def test_inference_mode_beside_the_scales_of_a_snapshot_is_noted(tmp_path: Path):
    text = vgg_text(TWO, 5, (12, 10))
    found = converted(tmp_path, text, random_weights(text, np.random.default_rng(0), scale=1.0))
    assert "give the training .prototxt" in found.notes[0]
    assert not converted(tmp_path, text, random_weights(text, np.random.default_rng(0))).notes


def test_a_snapshots_scale_and_shift_are_kept(tmp_path: Path):
    weights = random_weights(LEARN, np.random.default_rng(0), scale=1.0)
    norm = converted(tmp_path, LEARN, weights).model.decoder.stages[0][1].bn
    np.testing.assert_array_equal(norm.weight.detach(), weights["conv2_1_D_bn"][0].ravel())
    np.testing.assert_array_equal(norm.bias.detach(), weights["conv2_1_D_bn"][1].ravel())
    assert not norm.running_mean.any()
    torch.testing.assert_close(norm.running_var, torch.ones(5), rtol=2e-5, atol=0)


@pytest.mark.parametrize("leftover", [False, True], ids=["removed", "zeros in the weights"])
def test_absorbed_batch_norm_is_the_identity(tmp_path: Path, leftover: bool):
    """BN-absorber.py removes the layers from the description, but leaves them in the weights with zeros."""
    text = vgg_text(TWO, 5, (13, 10), mode=None)
    weights = random_weights(text, np.random.default_rng(0))
    weights["conv1_1"][0] *= 0.01
    (tmp_path / "net.prototxt").write_text(text)
    full = vgg_text(TWO, 5, (13, 10))
    zeros = {
        name: [np.zeros_like(b) for b in blobs]
        for name, blobs in random_weights(full, np.random.default_rng(0)).items()
    }
    content = caffemodel(full, zeros | weights) if leftover else caffemodel(text, weights)
    (tmp_path / "net.caffemodel").write_bytes(content)
    blobs = read_weights(tmp_path / "net.caffemodel")
    for net in (read_description(tmp_path / "net.prototxt"), blobs):
        found = convert(blobs, net, name="x")
        assert found.batch_norm == "absorbed"
        assert_same(found.model, text, weights, (13, 10))


def test_missing_biases_are_zeros(tmp_path: Path):
    weights = random_weights(BASIC, np.random.default_rng(0))
    weights = {name: blobs if name.endswith("_bn") else blobs[:1] for name, blobs in weights.items()}
    assert_same(converted(tmp_path, BASIC, weights).model, BASIC, weights, (21, 18))


@torch.no_grad()
def test_gray_images_have_one_channel(tmp_path: Path):
    text = basic_text((5, 6), 4, (9, 8))
    weights = random_weights(text, np.random.default_rng(0), channels=1)
    model = converted(tmp_path, text, weights).model
    gray = np.random.default_rng(1).integers(0, 256, (1, 1, 9, 8)).astype(np.float64)
    expected = forward(text, weights, gray)
    logits = model(torch.tensor(gray / 255).float())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


DATA = 'layer { name: "data" type: "DenseImageData" top: "data" top: "label" %s }\n'


@pytest.mark.parametrize("place", ["prototxt", "weights"])
@torch.no_grad()
def test_what_the_data_layer_does_to_the_image_is_kept(tmp_path: Path, place: str):
    size = (8, 12)
    bare = vgg_text(TWO, 5, size)
    text = DATA % "transform_param { scale: 0.5 mean_value: 104.0 mean_value: 117.0 mean_value: 123.0 }" + bare
    weights = random_weights(bare, np.random.default_rng(0))
    (tmp_path / "net.prototxt").write_text(text if place == "prototxt" else bare)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(bare if place == "prototxt" else text, weights))
    nets = read_weights(tmp_path / "net.caffemodel"), read_description(tmp_path / "net.prototxt")
    model = convert(*nets, name="x").model
    bgr = np.random.default_rng(1).integers(0, 256, (1, 3, *size)).astype(np.float64)
    expected = forward(bare, weights, 0.5 * (bgr - np.array([104, 117, 123]).reshape(1, 3, 1, 1)))
    logits = model(torch.tensor(bgr[:, ::-1] / 255).float())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


def test_layers_of_training_and_split_maps_are_passed_over(tmp_path: Path):
    """Caffe adds Split layers where two layers read one map, and saves them."""
    head = DATA % "include { phase: TRAIN }" + DATA % "include { phase: TEST }"
    split = """layer { name: "s" type: "Split" bottom: "conv1_1" top: "a" top: "b" }
    layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }"""
    end = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" top: "loss"
      loss_param: { weight_by_label_freqs: true ignore_label: 11 class_weighting: 0.2595 } }
    layer { name: "accuracy" type: "Accuracy" bottom: "x" bottom: "label" top: "accuracy" }"""
    plain = vgg_text(TWO, 5, (12, 10))
    first = plain.index('layer {\n  bottom: "conv1_1"\n  top: "conv1_1"\n  name: "relu_conv1_1"')
    second = plain.index('layer {\n  bottom: "conv1_1"\n  top: "conv1_2"')
    text = head + plain[:first] + split + plain[second:].replace('bottom: "conv1_1"', 'bottom: "a"', 1) + end
    weights = random_weights(plain, np.random.default_rng(0))
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(plain, weights))
    nets = read_weights(tmp_path / "net.caffemodel"), read_description(tmp_path / "net.prototxt")
    assert_same(convert(*nets, name="x").model, plain, weights, (12, 10))


def test_weights_are_copied_and_outlive_the_file(tmp_path: Path):
    model = converted(tmp_path, BASIC, random_weights(BASIC, np.random.default_rng(0))).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (tmp_path / "net.caffemodel").write_bytes(bytes((tmp_path / "net.caffemodel").stat().st_size))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_converting_draws_no_random_numbers_of_the_caller(tmp_path: Path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    converted(tmp_path, BASIC, random_weights(BASIC, np.random.default_rng(0)))
    assert torch.equal(torch.rand(2), expected)


def altered(weights: Blobs, **changes: list[np.ndarray] | None) -> Blobs:
    """Other blobs for some layers; None takes the layer out."""
    return {name: blobs for name, blobs in (weights | changes).items() if blobs is not None}


def numbers(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conv_classifier": None, "dense_softmax_inner_prod": [numbers(4, 5, 1, 1)]},
            "layers without weights are conv_classifier; weights without a layer are dense_softmax_inner_prod",
        ),
        ({"conv2": None}, "layers without weights are conv2; weights without a layer are none"),
        ({"conv2_bn": None}, "layers without weights are conv2_bn; weights without a layer are none"),
        ({"more": [numbers(3)]}, "layers without weights are none; weights without a layer are more"),
        ({"conv2": [numbers(6, 5, 5, 5)]}, r"layer 'conv2' has 1 blobs, the first of shape \(6, 5, 5, 5\)"),
        ({"conv2": [numbers(6, 4, 7, 7)]}, r"expected are filters \(6, 5, 7, 7\) and a bias"),
        ({"conv2": [numbers(6, 5, 7, 7)] * 3}, "layer 'conv2' has 3 blobs"),
        ({"conv2": [numbers(6, 5, 7, 7), numbers(5)]}, "layer 'conv2' has a bias of 5 numbers for 6 filters"),
        ({"conv1": [numbers(5, 4, 7, 7)]}, "layer 'conv1' takes 4 channels; possible are 3"),
        ({"conv1": [numbers(5 * 3 * 49)]}, "layer 'conv1' takes 0 channels"),
        ({"conv2_bn": [numbers(1, 6, 1, 1)]}, r"layer 'conv2_bn' has blobs of \[6\] numbers; the BN of caffe-segnet"),
        ({"conv2_bn": [numbers(6)] * 4}, r"layer 'conv2_bn' has blobs of \[6, 6, 6, 6\] numbers"),
        ({"conv2_bn": [numbers(6), numbers(7)]}, r"layer 'conv2_bn' has blobs of \[6, 7\] numbers"),
        (
            {"conv2": [np.full((6, 5, 7, 7), np.nan, np.float32)]},
            "'conv2', weights 0: holds numbers that are not finite",
        ),
        (
            {"conv2_bn": [numbers(6), np.full(6, np.inf, np.float32)]},
            "'conv2_bn', weights 1: holds numbers that are not",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_their_names(tmp_path: Path, changes: dict, message: str):
    weights = random_weights(BASIC, np.random.default_rng(0))
    (tmp_path / "net.prototxt").write_text(BASIC)
    bare = "".join(f'layer {{ name: "{name}" type: "{kind}" }}' for name, kind in [("more", "Other"), *_other(changes)])
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(BASIC + bare, altered(weights, **changes)))
    blobs, net = read_weights(tmp_path / "net.caffemodel"), read_description(tmp_path / "net.prototxt")
    with pytest.raises(ModelError, match=message) as caught:
        convert(blobs, net, name="x")
    assert "net.caffemodel" in str(caught.value) or "takes" in message


def _other(changes: dict) -> list[tuple[str, str]]:
    return [("dense_softmax_inner_prod", "Convolution")] if "dense_softmax_inner_prod" in changes else []


def test_weights_of_no_layer_and_names_given_twice_are_refused(tmp_path: Path):
    weights = random_weights(BASIC, np.random.default_rng(0))
    blobs, net = written(tmp_path, BASIC, weights)
    with pytest.raises(ModelError, match=r"net\.prototxt: no layer holds weights"):
        convert(net, net, name="x")
    twice = blobs.layers + tuple(layer for layer in blobs.layers if layer.name == "conv2")
    with pytest.raises(ModelError, match=r"net\.caffemodel: two layers of the name 'conv2' hold weights"):
        convert(Net(path=blobs.path, layers=twice), net, name="x")
    (tmp_path / "net.prototxt").write_text(BASIC.replace('name: "conv2"', 'name: "conv1"'))
    with pytest.raises(ModelError, match=r"net\.prototxt: two layers have the name 'conv1'"):
        convert(blobs, read_description(tmp_path / "net.prototxt"), name="x")


def test_widths_that_unpooling_cannot_have_are_refused(tmp_path: Path):
    text = BASIC.replace("num_output: 5 pad: 3", "num_output: 6 pad: 3", 1)
    with pytest.raises(ModelError, match=r"net\.prototxt: describes a net that cannot be built .*as many channels"):
        converted(tmp_path, text, random_weights(text, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ('mean_file: "mean.binaryproto"', "layer 'data' subtracts an image"),
        ("scale: 0.0", "layer 'data' has scale 0 and 1 means"),
        ("scale: -1.0", "layer 'data' has scale -1"),
        ("mean_value: 1.0 mean_value: 2.0", "layer 'data' has scale 1 and 2 means"),
        ("mean_value: none", "layer 'data' has mean_value 'none', where a number belongs"),
        ("scale: 1e-45", "describes a net that cannot be built|has scale"),
    ],
)
def test_what_a_data_layer_cannot_do_to_the_image_is_refused(tmp_path: Path, transform: str, message: str):
    blobs, _ = written(tmp_path, BASIC, random_weights(BASIC, np.random.default_rng(0)))
    (tmp_path / "net.prototxt").write_text(DATA % f"transform_param {{ {transform} }}" + BASIC)
    with pytest.raises(ModelError, match=message):
        convert(blobs, read_description(tmp_path / "net.prototxt"), name="x")


# ---- VGG


def vgg_layers(stages: tuple[tuple[int, ...], ...]) -> list[tuple[str, int, list[np.ndarray]]]:
    """As VGG_ILSVRC_16_layers.caffemodel has them: 4 is convolution, 18 ReLU, 17 pooling, 14 inner product."""
    generator, inputs, layers = np.random.default_rng(0), 3, []
    for stage, widths in enumerate(stages, 1):
        for place, width in enumerate(widths, 1):
            arrays = [generator.normal(size=shape).astype(np.float32) for shape in ((width, inputs, 3, 3), (width,))]
            layers += [(f"conv{stage}_{place}", 4, arrays), (f"relu{stage}_{place}", 18, [])]
            inputs = width
        layers.append((f"pool{stage}", 17, []))
    return [
        *layers,
        ("fc6", 14, [numbers(7, 9), numbers(7)]),
        ("drop6", 6, []),
        ("fc8", 14, [numbers(5, 7), numbers(5)]),
    ]


def vgg_file(folder: Path, layers: list[tuple[str, int, list[np.ndarray]]]) -> Net:
    (folder / "vgg.caffemodel").write_bytes(old_caffemodel(layers))
    return read_weights(folder / "vgg.caffemodel")


def test_vgg16_gets_torchvisions_names_without_the_fully_connected_layers(tmp_path: Path):
    net = vgg_file(tmp_path, vgg_layers(((4, 4), (5, 5), (6,) * 3, (7,) * 3, (7,) * 3)))
    assert not is_segnet(net)
    state, left_out = convert_encoder(net)
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # torchvision.models.vgg16().features
    assert list(state) == [f"features.{place}.{kind}" for place in places for kind in ("weight", "bias")]
    assert left_out == ("fc6", "fc8")


@torch.no_grad()
def test_an_encoder_filled_from_caffe_computes_what_vgg_does(tmp_path: Path):
    layers = vgg_layers(((4, 4), (5,)))
    state, _ = convert_encoder(vgg_file(tmp_path, layers))
    save_encoder(state, tmp_path / "vgg.safetensors", source="vgg.caffemodel")
    weights = read_encoder(str(tmp_path / "vgg.safetensors"))
    config = SegNetConfig(
        name="x",
        encoder=EncoderConfig(widths=((4, 4), (5,)), batch_norm=False),
        decoder=DecoderConfig(widths=((4,), (4,))),
        mean=weights.mean,
        std=weights.std,
    )
    model = SegNet(config).eval()
    fill_encoder(model.encoder, weights)
    bgr = np.random.default_rng(1).integers(0, 256, (1, 3, 6, 8)).astype(np.float64)
    x = bgr - np.array([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)  # of the authors' readme, in BGR
    for _, kind, arrays in layers:
        if kind == 4:
            x = np.maximum(convolve(x, arrays, {"pad": [1]}), 0)
        elif kind == 17:
            x = pool(x)[0]
    image = (torch.tensor(bgr[:, ::-1] / 255).float() - model.mean) / model.std
    ours = model.encoder(image, model.decoder.skips)[0]
    np.testing.assert_allclose(ours, x, rtol=0, atol=2e-4 * np.abs(x).max())


def test_fully_connected_layers_are_never_opened(tmp_path: Path):
    broken = ("fc7", 14, [np.full((3, 3), np.nan, np.float32)])
    _, left_out = convert_encoder(vgg_file(tmp_path, [*vgg_layers(((4,),)), broken]))
    assert left_out == ("fc6", "fc8", "fc7")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([("conv1", 4, [numbers(4, 3, 11, 11)]), ("fc6", 14, [numbers(3)])], "nor only VGG's layers .*: conv1; give"),
        ([("fc6", 14, [numbers(3)])], "nor only VGG's layers .*: fc6; give"),
        ([("conv1_1", 4, [numbers(4, 3, 5, 5)])], r"expected are filters \(4, 3, 3, 3\)"),
        ([("conv1_1", 4, [numbers(4, 3, 3, 3)]), ("conv1_2", 4, [numbers(4, 5, 3, 3)])], r"filters \(4, 4, 3, 3\)"),
        ([("relu1_1", 18, [])], "no layer holds weights"),
    ],
)
def test_what_is_neither_segnet_nor_vgg_is_refused(
    tmp_path: Path, layers: list[tuple[str, int, list[np.ndarray]]], message: str
):
    with pytest.raises(ModelError, match=message):
        convert_encoder(vgg_file(tmp_path, layers))


def test_an_encoder_that_cannot_be_written_is_refused(tmp_path: Path):
    state, _ = convert_encoder(vgg_file(tmp_path, vgg_layers(((4,),))))
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save_encoder(state, tmp_path / "folder.safetensors", source="x")
