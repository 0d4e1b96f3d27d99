"""Conversion of Caffe weights: a SegNet becomes a model, a VGG the weights of an encoder.

Sources: caffe-segnet (net.cpp, bn_layer.cpp), SegNet-Tutorial (Scripts/compute_bn_statistics.py, BN-absorber.py);
VGG_ILSVRC_16_layers of Simonyan and Zisserman for the encoder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_bytes
from torch import Tensor

from segnet.errors import ConfigError, ModelError, list_names
from segnet.models.caffe.files import Layer, Net, open_blobs
from segnet.models.caffe.layout import Layout, Unit, read_layout
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import MODELS
from segnet.system.files import replacing

__all__ = ["BatchNorm", "Conversion", "convert", "convert_encoder", "is_segnet", "published", "save_encoder"]

# What the scales and shifts of a file are: "folded" y = scale * x + shift, "unfolded" a snapshot whose statistics are
# kept nowhere, "absorbed" nothing, the convolutions holding it all.
BatchNorm = Literal["folded", "unfolded", "absorbed"]
State = dict[str, Tensor]
Blobs = Mapping[str, Layer]

_EPS = 1e-5  # of torch.nn.BatchNorm2d
_FOLDED_BELOW = 0.1  # a scale that holds 1 / standard deviation of maps of 0..255 is near 0.01, a learned one near 1
_VGG_NAME = re.compile(r"conv(\d+)_(\d+)")
_VGG_INPUT = "BGR, 0-255 minus 103.939 116.779 123.68"  # as ``segnet.models.pretrained`` reads it


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A converted SegNet.

    Attributes:
        model: in evaluation mode.
        batch_norm: how the file stores it; see ``BatchNorm``.
        reason: how it was detected.
        notes: sentences for the user.
    """

    model: SegNet
    batch_norm: BatchNorm
    reason: str
    notes: tuple[str, ...]


def is_segnet(net: Net) -> bool:
    """Whether a description unpools; if not, it can only be an encoder."""
    return any(layer.type == "Upsample" for layer in net.layers)


def convert(weights: Net, net: Net, *, name: str) -> Conversion:
    """Convert a SegNet from its weights and its description, matched by layer names.

    Args:
        weights: from ``caffe.read_weights``.
        net: from ``caffe.read_description``, or ``weights`` again, since files that Caffe wrote contain the
            description.
        name: of the network, if its layout is none of ``segnet.models.zoo.MODELS``.

    Raises:
        ModelError: the layout cannot be expressed, the two do not belong together, or the weights are damaged.
    """
    layout = read_layout(net)
    blobs = _weighted(weights)
    described = {unit.norm.name for unit in layout.units if unit.norm}
    norms = [layer for layer in blobs.values() if layer.type == "BN" or layer.name in described]
    absorbed = _all_zero(norms)
    _check_names(layout, blobs, weights, net, zeros={layer.name for layer in norms} if absorbed else set())
    kind, reason, notes = _batch_norm(layout, norms, absorbed=absorbed)
    state, in_channels = _state(layout, blobs, with_norm=kind != "absorbed")
    try:
        config = published(_with_input(replace(layout.config, name=name, in_channels=in_channels), weights, net))
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, only to be replaced
            model = SegNet(config)
    except ConfigError as error:
        raise ModelError(f"{net.path}: describes a net that cannot be built ({error})") from error
    model.load_state_dict({**model.state_dict(), **state})
    return Conversion(model=model.eval(), batch_norm=kind, reason=reason, notes=notes)


def convert_encoder(weights: Net) -> tuple[State, tuple[str, ...]]:
    """Convert a VGG of any depth to torchvision's names; returns the tensors and the names left out (fc6...).

    The first filters take BGR.

    Raises:
        ModelError: the layers are not those of a VGG.
    """
    blobs = _weighted(weights)
    convs = {name: layer for name, layer in blobs.items() if _VGG_NAME.fullmatch(name)}
    left_out = tuple(name for name in blobs if name not in convs)
    strange = [name for name in left_out if blobs[name].type != "InnerProduct" and not name.startswith("fc")]
    if strange or not convs:
        raise ModelError(
            f"{weights.path}: has neither Upsample, as a SegNet has, nor only VGG's layers (conv1_1, conv1_2, ..., "
            f"fc8): {list_names(strange or left_out, most=12)}; give a SegNet's .prototxt with --net, or a VGG"
        )
    state: State = {}
    inputs, index, stage = 3, 0, "1"
    for name, layer in convs.items():
        here = name.removeprefix("conv").partition("_")[0]
        index += here != stage  # a pooling stands between
        weight, bias = _conv(layer, inputs, outputs=None, side=3)
        state |= {f"features.{index}.weight": torch.tensor(weight), f"features.{index}.bias": torch.tensor(bias)}
        inputs, index, stage = len(weight), index + 2, here  # a ReLU stands between
    return state, left_out


def save_encoder(state: State, path: Path, *, source: str) -> None:
    """Write what ``convert_encoder`` gave, for ``create_model(..., encoder_weights=path)``; whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(state, metadata={"input": _VGG_INPUT, "source": source}))


def _weighted(net: Net) -> dict[str, Layer]:
    """The layers with weights, by name."""
    layers = [layer for layer in net.layers if layer.blobs]
    twice = [name for name, count in Counter(layer.name for layer in layers).items() if count > 1]
    if twice or not layers:
        what = f"two layers of the name {twice[0]!r} hold weights" if twice else "no layer holds weights"
        raise ModelError(f"{net.path}: {what}; give the .caffemodel that Caffe wrote")
    return {layer.name: layer for layer in layers}


def _check_names(layout: Layout, blobs: Blobs, weights: Net, net: Net, *, zeros: set[str]) -> None:
    """Every layer has its weights and all weights their layer; Caffe itself would go on with random ones."""
    layers = [layer for unit in layout.units for layer in (unit.conv, unit.norm) if layer] + [layout.classifier]
    names = [layer.name for layer in layers]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ModelError(f"{net.path}: two layers have the name {twice[0]!r}; give each its own")
    without = [name for name in names if name not in blobs]
    over = [name for name in blobs if name not in names and name not in zeros]
    if without or over:
        raise ModelError(
            f"{net.path} and {weights.path} do not belong together: layers without weights are "
            f"{list_names(without, most=12)}; weights without a layer are {list_names(over, most=12)}; "
            "give the description and the weights of the same net"
        )


def _batch_norm(layout: Layout, norms: list[Layer], *, absorbed: bool) -> tuple[BatchNorm, str, tuple[str, ...]]:
    """How scales and shifts are stored, how that was detected, and the note for the user."""
    if absorbed:
        return "absorbed", "there are none, or all are zero", ()
    described = [unit.norm for unit in layout.units if unit.norm]
    inference = any(layer.word("bn_mode", "LEARN") == "INFERENCE" for layer in [*described, *norms])
    scale = float(np.median(np.abs(open_blobs(norms[0])[0])))
    reason = f"the median scale of {norms[0].name} is {scale:.3g}"
    if any(len(layer.tops) == 3 for layer in norms):
        return "folded", "written by compute_bn_statistics.py", ()
    if scale < _FOLDED_BELOW:
        return "folded", reason, ()
    if inference:
        doubt = (
            f"the description says that batch norm is folded (bn_mode INFERENCE), but {reason}, as in a snapshot of "
            "the solver; if the masks are wrong, give the training .prototxt"
        )
        return "folded", "bn_mode INFERENCE", (doubt,)
    return "unfolded", reason, ()


def _all_zero(norms: list[Layer]) -> bool:
    """BN-absorber.py leaves the layers in the weights, with zeros."""
    return not any(blob.any() for layer in norms for blob in open_blobs(layer))


def _state(layout: Layout, blobs: Blobs, *, with_norm: bool) -> tuple[State, int]:
    """Our names -> tensors, and the channels of the image."""
    first = next(iter(open_blobs(blobs[layout.units[0].conv.name])))
    in_channels = first.shape[1] if first.ndim == 4 else 0
    if in_channels not in (1, 3):
        raise ModelError(
            f"{layout.units[0].conv.where} takes {in_channels} channels; possible are 3 (BGR) and 1 (gray)"
        )
    state: State = {}
    inputs = in_channels
    for name, unit, side in _named_units(layout):
        outputs = unit.conv.whole("num_output", 0)
        weight, bias = _conv(blobs[unit.conv.name], inputs, outputs, side)
        if not state:
            weight = weight[:, ::-1].copy()  # from BGR to RGB
        scale, shift = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
        if unit.norm and with_norm:
            scale, shift = _norm(blobs[unit.norm.name], outputs)
        state |= _tensors(name, weight, bias, scale, shift)
        inputs = outputs
    weight, bias = _conv(
        blobs[layout.classifier.name], inputs, layout.config.classes, layout.config.decoder.classifier_kernel
    )
    return state | {"classifier.weight": torch.tensor(weight), "classifier.bias": torch.tensor(bias)}, in_channels


def _named_units(layout: Layout) -> Iterator[tuple[str, Unit, int]]:
    """The name of each unit in our network, the unit, and the side of its filters."""
    sides = (
        ("encoder", layout.encoder, layout.config.encoder.kernel),
        ("decoder", layout.decoder, layout.config.decoder.kernel),
    )
    for part, stages, side in sides:
        for number, stage in enumerate(stages):
            for index, unit in enumerate(stage.units):
                yield f"{part}.stages.{number}.{index}", unit, side


def _tensors(name: str, weight: NDArray[Any], bias: NDArray[Any], scale: NDArray[Any], shift: NDArray[Any]) -> State:
    """A unit's tensors; its batch norm computes ``scale * x + shift`` exactly, as the variance makes up for its eps."""
    arrays = {
        "conv.weight": weight,
        "conv.bias": bias,
        "bn.weight": scale,
        "bn.bias": shift,
        "bn.running_mean": np.zeros_like(shift),
        "bn.running_var": np.full_like(scale, 1.0 - _EPS),
    }
    return {f"{name}.{key}": torch.tensor(array) for key, array in arrays.items()}


def _conv(layer: Layer, inputs: int, outputs: int | None, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Filters (outputs, inputs, side, side) and bias (outputs,), zeros if there is none."""
    blobs = open_blobs(layer)
    weight = blobs[0]
    wanted = (len(weight) if outputs is None else outputs, inputs, side, side)
    if len(blobs) > 2 or weight.shape != wanted:
        raise ModelError(
            f"{layer.where} has {len(blobs)} blobs, the first of shape {weight.shape}; expected are filters {wanted} "
            "and a bias; give the description and the weights of the same net"
        )
    bias = blobs[1].reshape(-1) if len(blobs) == 2 else np.zeros(wanted[0], np.float32)
    if len(bias) != wanted[0]:
        raise ModelError(
            f"{layer.where} has a bias of {len(bias)} numbers for {wanted[0]} filters; the file is damaged"
        )
    return weight, bias


def _norm(layer: Layer, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and shift, each (channels,)."""
    blobs = [blob.reshape(-1) for blob in open_blobs(layer)]
    if [len(blob) for blob in blobs] != [channels, channels]:
        raise ModelError(
            f"{layer.where} has blobs of {[len(blob) for blob in blobs]} numbers; the BN of caffe-segnet has a scale "
            f"and a shift of {channels} numbers each"
        )
    return blobs[0], blobs[1]


def _with_input(config: SegNetConfig, *nets: Net) -> SegNetConfig:
    """Published nets take 0..255 as it is; what a data layer does to the image is done by ours as well."""
    for layer in (layer for net in nets for layer in net.layers if layer.type.endswith("Data")):
        if "mean_file" in layer.settings:
            raise ModelError(f"{layer.where} subtracts an image (mean_file), which a network for any size cannot do")
        scale = layer.number("scale", 1.0)
        means = layer.numbers("mean_value", 0.0)
        if scale <= 0 or len(means) not in (1, config.in_channels):
            raise ModelError(
                f"{layer.where} has scale {scale:g} and {len(means)} means; give a scale above 0, a mean per channel"
            )
        mean = tuple(value / 255 for value in reversed(means * (3 // len(means))))
        config = replace(config, mean=mean, std=(1 / (255 * scale),) * 3)
    return config


def published(config: SegNetConfig) -> SegNetConfig:
    """The row of ``MODELS`` with this layout, if there is one (one of as many classes first), else what was given.

    Classes, channels, mean and std stay as given; where there is no dropout, the row's places for it are kept.
    """
    for row in sorted(MODELS.values(), key=lambda row: row.classes != config.classes):
        kept = ("classes", "in_channels", "mean", "std")
        same = replace(row, **{key: getattr(config, key) for key in kept})
        if config in (replace(same, name=config.name), replace(_without_places(same), name=config.name)):
            return same
    return config


def _without_places(config: SegNetConfig) -> SegNetConfig:
    """Where there is no dropout, it has no places."""
    if config.dropout:
        return config
    encoder = replace(config.encoder, dropout_before_pooling=(), dropout_after_pooling=())
    return replace(config, encoder=encoder, decoder=replace(config.decoder, dropout_stages=()))
