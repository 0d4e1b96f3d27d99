"""Layouts of Caffe's nets: the published ones are rows of our models, what cannot be expressed is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe_oracle import basic_text, vgg_text
from segnet.errors import ModelError
from segnet.models.caffe.conversion import published
from segnet.models.caffe.files import read_description
from segnet.models.caffe.layout import read_layout
from segnet.models.zoo import MODELS

VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
BASIC = basic_text((5, 6), 4, (21, 18))
BAYES = basic_text((5, 6), 4, (21, 18), drop=(1, 2))
VGG = vgg_text(((4, 5), (6, 7)), 5, (12, 10))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (basic_text((64,) * 4, 11, (360, 480)), "segnet_basic"),
        (basic_text((64,) * 4, 11, (360, 480), drop=(3, 4)), "bayesian_segnet_basic"),
        (vgg_text(VGG16, 11, (360, 480)), "segnet"),
        (vgg_text(VGG16, 11, (360, 480), drop=(3, 4, 5)), "bayesian_segnet"),
        (vgg_text(VGG16, 11, (360, 480), drop=(3, 4, 5), extra="camvid"), "bayesian_segnet_camvid"),
        (vgg_text(VGG16, 12, (360, 480)), "segnet_webdemo"),
        (vgg_text(VGG16, 38, (360, 480), drop=(3, 4, 5)), "segnet_sun"),
        (vgg_text(VGG16, 21, (224, 224), pascal=True), "segnet_pascal"),
    ],
    ids=lambda value: value if len(value) < 99 else "",
)
def test_published_layouts_are_rows_of_our_models(tmp_path: Path, text: str, row: str):
    (tmp_path / "net.prototxt").write_text(text)
    config = published(read_layout(read_description(tmp_path / "net.prototxt")).config)
    wanted = MODELS[row]
    for part in ("name", "encoder", "decoder", "local_response_norm", "dropout", "classes", "in_channels"):
        assert getattr(config, part) == getattr(wanted, part), part
    assert (config.mean, config.std) == ((0.0,) * 3, (1 / 255,) * 3)


def test_other_classes_keep_the_name_of_the_layout_and_other_layouts_get_their_own(tmp_path: Path):
    (tmp_path / "net.prototxt").write_text(vgg_text(VGG16, 7, (64, 64)))
    config = published(read_layout(read_description(tmp_path / "net.prototxt")).config)
    assert (config.name, config.classes) == ("segnet", 7)


def changed(*pairs: tuple[str, str], text: str = BASIC) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


RELU = 'layer {\n  bottom: "conv1_2_D"\n  top: "conv1_2_D"\n  name: "relu_conv1_2_D"\n  type: "ReLU"\n  \n}'
LATE = 'layer { name: "late" type: "BN" bottom: "conv_classifier" top: "conv_classifier" }\nlayer {\n  bottom: "conv_cl'
NEXT = 'layer {\n  bottom: "conv1_1"\n  top: "conv1_2"'
LAST = 'layer {\n  bottom: "conv_decode1"\n  top: "conv_classifier"'
AFTER = 'layer { type: "%s" name: "last" bottom: "conv_classifier" }'
ODD_DROP = 'layer { name: "odd" type: "Dropout" bottom: "conv1_1" top: "conv1_1" }\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(('"ReLU"', '"PReLU"')), "layer 'relu_conv1' has type 'PReLU'; a SegNet is made of LRN, Convolution"),
        (changed(("kernel_size: 7", "kernel_size: 4")), "layer 'conv1' does not keep the size"),
        (changed(("pad: 3", "pad: 2")), "layer 'conv1' does not keep the size"),
        (changed(("pad: 3", "pad: 3 stride: 2")), "layer 'conv1' does not keep the size"),
        (changed(("pad: 3", "pad: 3 group: 3")), "layer 'conv1' has groups or dilation"),
        (changed(("pad: 3", "pad: 3 dilation: 2")), "layer 'conv1' has groups or dilation"),
        (changed(("pad: 3", "pad: 3 kernel_h: 3")), "layer 'conv1' has another kernel_size in height than in width"),
        (
            changed(("pad: 3 kernel_size: 7", "pad: 2 kernel_size: 5")),
            "'conv2' has filters of side 7, those before it 5",
        ),
        (changed(("num_output: 5", "num_output: -5")), "layer 'conv1' has num_output -5, where a whole number"),
        (changed(("num_output: 5", "num_output: 5.5")), "layer 'conv1' has num_output 5.5, where a whole number"),
        (changed(("num_output: 5", "num_output: many")), "layer 'conv1' has num_output 'many', where a whole number"),
        (changed(("num_output: 5", "")), "describes a net that cannot be built"),
        (changed(("num_output: 4", "num_output: 256")), "describes a net that cannot be built"),
        (changed(("pool: MAX", "pool: AVE")), "layer 'pool1' pools otherwise than the maximum of 2x2"),
        (changed(("pool: MAX kernel_size: 2", "kernel_size: 3")), "layer 'pool1' pools otherwise"),
        (changed(("pool: MAX", "pad: 1")), "layer 'pool1' has padding, or no second top"),
        (changed(('  top: "pool1_mask"', "")), "layer 'pool1' has padding, or no second top"),
        (
            changed(('bottom: "pool2_mask"', 'bottom: "pool1_mask"')),
            "'upsample2' takes the mask pool1_mask; .* pool2_mask",
        ),
        (changed(('  bottom: "pool2_mask"', "")), "layer 'upsample2' takes the mask of none"),
        (changed(("scale: 2", "scale: 3")), "layer 'upsample2' enlarges otherwise than to double size"),
        (changed(("scale: 2", "scale_h: 1")), "layer 'upsample2' enlarges otherwise"),
        (changed(("alpha: 0.0001", "alpha: 0.001")), "layer 'norm' has alpha 0.001; SegNet-Basic's is 0.0001"),
        (changed(("local_size: 5", "local_size: 3")), "layer 'norm' has local_size 3"),
        (changed(("local_size: 5", "k: 2.0")), "layer 'norm' has k 2"),
        (changed(("local_size: 5", "norm_region: WITHIN_CHANNEL")), "layer 'norm' normalizes within a channel"),
        (changed(("beta: 0.75", 'beta: "x"')), "layer 'norm' has beta 'x', where a number belongs"),
        (changed(('"ReLU"', '"Dropout"')), "layer 'conv1' is not followed by a ReLU"),
        (changed((RELU, ""), text=VGG), "layer 'conv1_2_D' is not followed by a ReLU"),
        (changed(('"ReLU"', '"ReLU" relu_param { negative_slope: 0.1 }')), "layer 'relu_conv1' lets negative values"),
        (changed(("dropout_ratio: 0.5", "dropout_ratio: 0.4"), text=BAYES), r"Dropout has the ratios \[0.4, 0.5\]"),
        (changed(("dropout_ratio: 0.5", "dropout_ratio: big"), text=BAYES), "has dropout_ratio 'big', where a number"),
        (
            changed((NEXT, ODD_DROP + NEXT), text=VGG),
            "layer 'conv1_2' of type Convolution stands where Pooling belongs",
        ),
        (
            changed(('  bottom: "pool1"', '  bottom: "data"')),
            "layer 'conv2' takes data, but the layer before it gives pool1",
        ),
        (
            changed(('  name: "conv2"', '  name: "conv2" include { phase: TRAIN }')),
            "layer 'conv2' is there in one phase only",
        ),
        (changed(('layer {\n  bottom: "conv_cl', LATE)), "layer 'late' stands behind the last convolution"),
        (BASIC + AFTER % "Dropout", "ends where a layer of type Convolution belongs"),
        (BASIC + AFTER % "Pooling", "layer 'last' of type Pooling stands behind the last convolution"),
        (BASIC[: BASIC.index(LAST)], "'conv_decode1_bn' stands behind"),
        (BASIC[: BASIC.index('layer {\n  bottom: "pool2"')], "ends where a layer of type Convolution belongs"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_layer_and_the_reason(tmp_path: Path, text: str, message: str):
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        read_layout(read_description(tmp_path / "net.prototxt"))
    assert "net.prototxt" in str(caught.value)
