"""Caffe by other means: writes nets and weights byte by byte, and computes them in NumPy, layer by layer.

Shares nothing with the package. Sources: protobuf's encoding guide; caffe-segnet (caffe.proto, pooling_layer.cpp,
upsample_layer.cpp, bn_layer.cpp, lrn_layer.cpp); the layouts from SegNet-Tutorial's prototxt files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Blobs = dict[str, list[NDArray[np.float32]]]
Stages = Sequence[Sequence[int]]


# ---- the binary form


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def real(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def field(number: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: NDArray[np.float32], *, old: bool = False) -> bytes:
    """Old files give four numbers instead of a shape."""
    data = field(5, array.astype("<f4").tobytes())
    if old:
        sides = (1,) * (4 - array.ndim) + array.shape
        return b"".join(whole(number, side) for number, side in enumerate(sides, 1)) + data
    return field(7, field(1, b"".join(map(varint, array.shape)))) + data


PARAMS = {
    "bn_param": (45, {"bn_mode": 3}),
    "convolution_param": (
        106,
        {"num_output": 1, "pad": 3, "kernel_size": 4, "kernel_h": 11, "kernel_w": 12, "stride": 6, "group": 5},
    ),
    "dropout_param": (108, {"dropout_ratio": 1, "sample_weights_test": 2}),
    "lrn_param": (118, {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5}),
    "pooling_param": (121, {"pool": 1, "kernel_size": 2, "stride": 3}),
    "relu_param": (123, {"negative_slope": 1}),
    "upsample_param": (137, {"scale": 1, "pad_out_h": 4, "pad_out_w": 5, "upsample_h": 6, "upsample_w": 7}),
    "transform_param": (100, {"scale": 1, "mean_value": 5}),
}
WORDS = {"MAX": 0, "AVE": 1, "LEARN": 0, "INFERENCE": 1, "ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1}


def binary_layer(layer: dict[str, list[Any]], blobs: Sequence[bytes] = ()) -> bytes:
    """A LayerParameter, described as its text is."""
    out = field(1, layer["name"][0]) + field(2, layer["type"][0])
    out += b"".join(field(3, name) for name in layer.get("bottom", []))
    out += b"".join(field(4, name) for name in layer.get("top", []))
    out += b"".join(field(7, one) for one in blobs)
    out += field(6, real(3, 1.0)) + whole(10, 1)  # param and phase, which nobody reads
    for key, (number, names) in PARAMS.items():
        for part in layer.get(key, []):
            out += field(
                number, b"".join(_scalar(names[name], one) for name in part if name in names for one in part[name])
            )
    return out


def _scalar(number: int, value: Any) -> bytes:
    if isinstance(value, float):
        return real(number, value)
    return whole(number, WORDS[value] if isinstance(value, str) else int(value))


def caffemodel(text: str, weights: Blobs, *, old_shapes: bool = False) -> bytes:
    """A NetParameter as Caffe saves it: the whole description, and the weights in it."""
    out = field(1, "net")
    for layer in parse(text)["layer"]:
        blobs = [blob(array, old=old_shapes) for array in weights.get(layer["name"][0], [])]
        out += field(100, binary_layer(layer, blobs))
    return out


def old_caffemodel(layers: Sequence[tuple[str, int, Sequence[NDArray[np.float32]]]]) -> bytes:
    """A NetParameter of V1 layers: name, number of the type, weights."""
    out = field(1, "VGG_ILSVRC_16_layers")
    for name, kind, arrays in layers:
        blobs = b"".join(field(6, blob(array, old=True)) for array in arrays)
        out += field(2, field(2, "below") + field(3, name) + field(4, name) + whole(5, kind) + blobs + real(7, 1.0))
    return out


# ---- the text form


def parse(text: str) -> dict[str, list[Any]]:
    """Just enough for the texts below."""
    words = re.findall(r'"[^"]*"|[{}]|[^\s{}:"]+', re.sub(r"#.*", "", text))

    def message(at: int) -> tuple[dict[str, list[Any]], int]:
        found: dict[str, list[Any]] = {}
        while at < len(words) and words[at] != "}":
            name, value = words[at], words[at + 1]
            if value == "{":
                inner, at = message(at + 2)
                found.setdefault(name, []).append(inner)
                at += 1
            else:
                found.setdefault(name, []).append(_plain(value))
                at += 2
        return found, at

    return message(0)[0]


def _plain(word: str) -> Any:
    if word[0] == '"':
        return word[1:-1]
    if word in ("true", "false"):
        return word == "true"
    return float(word) if re.fullmatch(r"[-\d]*\.\d+", word) else int(word) if re.fullmatch(r"-?\d+", word) else word


class Text:
    """Writes a .prototxt as the authors do."""

    def __init__(self, *, mode: str | None) -> None:
        self.lines = ['name: "VGG_ILSVRC_16_layer"', 'input: "data"', "input_dim: 1 # samples", "input_dim: 3"]
        self.mode = mode
        self.top = "data"

    def layer(
        self, name: str, kind: str, params: str = "", *, top: str | None = None, mask: str = "", bottom: str = ""
    ) -> None:
        bottoms = "".join(f'  bottom: "{one}"\n' for one in (self.top, bottom) if one)
        tops = "".join(f'  top: "{one}"\n' for one in (top or self.top, mask) if one)
        self.lines.append(f'layer {{\n{bottoms}{tops}  name: "{name}"\n  type: "{kind}"\n  {params}\n}}')
        self.top = top or self.top

    def conv(self, name: str, width: int, side: int) -> None:
        fillers = 'weight_filler { type: "msra" } bias_filler { type: "constant" }'
        pad = f"pad: {side // 2} " if side > 1 else ""
        params = "param { lr_mult: 1 decay_mult: 1 } "
        self.layer(
            name,
            "Convolution",
            f"{params}convolution_param {{ {fillers} num_output: {width} {pad}kernel_size: {side} }}",
            top=name,
        )

    def unit(self, name: str, width: int, side: int, *, relu: bool = True) -> None:
        self.conv(name, width, side)
        if self.mode is not None:
            mode = f"bn_mode: {self.mode} " if self.mode else ""
            self.layer(f"{name}_bn", "BN", f'bn_param {{ {mode}scale_filler {{ type: "constant" value: 1 }} }}')
        if relu:
            self.layer(f"relu_{name}", "ReLU")

    def dropout(self, name: str) -> None:
        self.layer(name, "Dropout", "dropout_param { sample_weights_test: true dropout_ratio: 0.5 }")

    def pool(self, stage: int) -> None:
        params = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
        self.layer(f"pool{stage}", "Pooling", params, top=f"pool{stage}", mask=f"pool{stage}_mask")

    def upsample(self, stage: int, params: str) -> None:
        self.layer(
            f"upsample{stage}",
            "Upsample",
            f"upsample_param {{ {params} }}",
            top=f"pool{stage}_D",
            bottom=f"pool{stage}_mask",
        )

    def end(self) -> str:
        self.layer("prob", "Softmax", "softmax_param {engine: CAFFE}", top="prob")
        return "\n".join(self.lines) + "\n"


def sizes(size: tuple[int, int], stages: int) -> list[tuple[int, int]]:
    """Before each pooling, and after the last."""
    found = [size]
    for _ in range(stages):
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found


def basic_text(
    widths: Sequence[int],
    classes: int,
    size: tuple[int, int],
    *,
    side: int = 7,
    drop: Sequence[int] = (),
    classifier: str = "conv_classifier",
    mode: str | None = "INFERENCE",
) -> str:
    """SegNet-Basic; ``drop`` as in bayesian_segnet_basic."""
    text, grid = Text(mode=mode), sizes(size, len(widths))
    text.layer("norm", "LRN", "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }", top="norm")
    for stage, width in enumerate(widths, 1):
        text.unit(f"conv{stage}", width, side)
        text.pool(stage)
        if stage in drop:
            text.dropout(f"encdrop{stage}")
    for stage in range(len(widths), 0, -1):
        odd = zip(grid[stage - 1], grid[stage], ("pad_out_h", "pad_out_w"), strict=True)
        text.upsample(stage, "scale: 2 " + " ".join(f"{key}: true" for out, below, key in odd if out < 2 * below))
        text.unit(f"conv_decode{stage}", widths[max(stage - 2, 0)], side, relu=False)
        if stage in drop:
            text.dropout(f"decdrop{stage}")
    text.conv(classifier, classes, 1)
    return text.end()


def vgg_text(
    stages: Stages,
    classes: int,
    size: tuple[int, int],
    *,
    drop: Sequence[int] = (),
    pascal: bool = False,
    extra: str = "",
    mode: str | None = "INFERENCE",
) -> str:
    """SegNet; ``drop`` as in bayesian_segnet, ``pascal`` as in segnet_pascal, ``extra`` the classifier's name behind
    one more convolution as in bayesian_segnet_camvid."""
    text, grid = Text(mode=mode), sizes(size, len(stages))
    for stage, widths in enumerate(stages, 1):
        for place, width in enumerate(widths, 1):
            text.unit(f"conv{stage}_{place}", width, 3)
        if pascal:
            text.dropout(f"pool{stage}_drop")
        text.pool(stage)
        if stage in drop or (pascal and stage == len(stages)):
            text.dropout(f"encdrop{stage}")
    for stage in range(len(stages), 0, -1):
        height, width_out = grid[stage - 1]
        text.upsample(stage, f"scale: 2 upsample_w: {width_out} upsample_h: {height}")
        widths = stages[stage - 1]
        for place in range(len(widths), 0, -1):
            name = f"conv{stage}_{place}_D"
            if place > 1 or stage > 1 or extra:
                text.unit(name, stages[max(stage - 2, 0)][-1] if place == 1 else widths[place - 2], 3)
            else:
                text.conv(name, classes, 3)
        if stage in drop or (pascal and stage > 1):
            text.dropout(f"decdrop{stage}")
    if extra:
        text.conv(extra, classes, 3)
    return text.end()


# ---- the numbers


def random_weights(text: str, generator: np.random.Generator, *, channels: int = 3, scale: float = 0.01) -> Blobs:
    """For every Convolution and BN of a net; first scales near ``scale``, all others so that values stay near 1."""
    found: Blobs = {}
    inputs, first = channels, True
    for layer in parse(text)["layer"]:
        name, kind = layer["name"][0], layer["type"][0]
        if kind == "Convolution":
            about = layer["convolution_param"][0]
            outputs, side = about["num_output"][0], about["kernel_size"][0]
            weight = generator.normal(0, (2 / (inputs * side**2)) ** 0.5, (outputs, inputs, side, side))
            found[name] = [weight.astype(np.float32), generator.normal(0, 0.1, outputs).astype(np.float32)]
            inputs = outputs
        elif kind == "BN":
            size = (1, inputs, 1, 1)
            factor = scale if first else 1.0
            found[name] = [
                (factor * generator.uniform(0.5, 1.5, size)).astype(np.float32),
                generator.normal(0, 0.3, size).astype(np.float32),
            ]
            first = False
    return found


def forward(text: str, weights: Blobs, image: Array) -> Array:
    """The logits (N, classes, H, W) of an image (N, C, H, W), BGR, 0..255."""
    maps: dict[str, Array] = {"data": image.astype(np.float64)}
    logits = maps["data"]
    for layer in parse(text)["layer"]:
        kind, bottoms, tops = layer["type"][0], layer["bottom"], layer["top"]
        x, blobs = maps[bottoms[0]], weights.get(layer["name"][0], [])
        if kind == "Softmax":
            return x
        if kind == "Convolution":
            maps[tops[0]] = logits = convolve(x, blobs, layer["convolution_param"][0])
        elif kind == "BN":
            maps[tops[0]] = x * blobs[0].reshape(1, -1, 1, 1) + blobs[1].reshape(1, -1, 1, 1)
        elif kind == "ReLU":
            maps[tops[0]] = np.maximum(x, 0)
        elif kind == "LRN":
            maps[tops[0]] = normalize(x)
        elif kind == "Pooling":
            maps[tops[0]], maps[tops[1]] = pool(x)
        elif kind == "Upsample":
            maps[tops[0]] = upsample(x, maps[bottoms[1]], layer["upsample_param"][0])
        else:
            assert kind == "Dropout"  # nothing happens when weights are averaged
    return logits


def convolve(x: Array, blobs: Sequence[NDArray[np.float32]], about: dict[str, list[Any]]) -> Array:
    weight, pad = blobs[0].astype(np.float64), about.get("pad", [0])[0]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    return y + blobs[1].reshape(1, -1, 1, 1) if len(blobs) > 1 else y


def normalize(x: Array) -> Array:
    squares = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    total = sum(squares[:, start : start + x.shape[1]] for start in range(5))
    return np.asarray(x * (1 + 1e-4 / 5 * total) ** -0.75)


def pool(x: Array) -> tuple[Array, Array]:
    """Maxima of 2x2 (sizes rounded up), and the place h * W + w of each; the first in raster order wins."""
    count, channels, height, width = x.shape
    values = np.empty((count, channels, -(-height // 2), -(-width // 2)))
    places = np.empty_like(values)
    for n, c, i, j in np.ndindex(values.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        h, w = np.unravel_index(int(window.argmax()), window.shape)
        values[n, c, i, j] = window[h, w]
        places[n, c, i, j] = (2 * i + h) * width + 2 * j + w
    return values, places


def upsample(x: Array, places: Array, about: dict[str, list[Any]]) -> Array:
    height = about.get("upsample_h", [2 * x.shape[2] - about.get("pad_out_h", [False])[0]])[0]
    width = about.get("upsample_w", [2 * x.shape[3] - about.get("pad_out_w", [False])[0]])[0]
    y = np.zeros((*x.shape[:2], height * width))
    for n, c, i, j in np.ndindex(x.shape):
        y[n, c, int(places[n, c, i, j])] = x[n, c, i, j]
    return y.reshape(*x.shape[:2], height, width)
