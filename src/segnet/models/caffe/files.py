"""Caffe's files, read without Caffe: a net's description (.prototxt, text) and its weights (.caffemodel, binary).

Both hold one protobuf message, NetParameter. Only the fields that a SegNet or a VGG needs are known here, all others
are passed over. Source of names and numbers: caffe-segnet, src/caffe/proto/caffe.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError
from segnet.models.caffe.encoding import Message, Wire, parse_text

__all__ = ["Layer", "Net", "open_blobs", "read_description", "read_weights"]

_LARGEST_DESCRIPTION = 1 << 20  # bytes; the published ones have 23,000
_LARGEST_NUMBER = float(np.finfo(np.float32).max)
_MOST_AXES = 32  # kMaxBlobAxes in Caffe's blob.hpp


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a net.

    Attributes:
        path: the file it was read from.
        name: by which weights are matched.
        type: Caffe's word, such as ``Convolution``; of old files only Convolution and InnerProduct are translated.
        bottoms, tops: names of what it takes and gives.
        settings: of its type, such as ``kernel_size``; what the file leaves out is not there.
        conditional: whether it exists only in training or only in testing.
        blobs: its weights, each a message that ``open_blobs`` opens.
    """

    path: Path
    name: str
    type: str
    bottoms: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()
    settings: Mapping[str, list[Any]]
    conditional: bool = False
    blobs: tuple[memoryview, ...] = ()

    @property
    def where(self) -> str:
        """File and layer, to begin an error with."""
        return f"{self.path}: layer {self.name!r}"

    def whole(self, key: str, default: int) -> int:
        """A setting that counts something.

        Raises:
            ModelError: it is no whole number from 0 up.
        """
        value = self.settings.get(key, [default])[-1]
        if type(value) is not int or value < 0:
            raise ModelError(
                f"{self.where} has {key} {value!r}, where a whole number from 0 up belongs; correct the file"
            )
        return value

    def number(self, key: str, default: float) -> float:
        """A setting that measures something.

        Raises:
            ModelError: it is no finite number.
        """
        return self.numbers(key, default)[-1]

    def numbers(self, key: str, default: float) -> list[float]:
        """A setting that is a list of numbers; one number if the file leaves it out.

        Raises:
            ModelError: one is no finite number.
        """
        values = self.settings.get(key, [default])
        for value in values:
            if type(value) not in (int, float) or not abs(value) <= _LARGEST_NUMBER:
                raise ModelError(f"{self.where} has {key} {value!r}, where a number belongs; correct the file")
        return [float(value) for value in values]

    def word(self, key: str, default: str) -> str:
        """A setting that is one of several words."""
        return str(self.settings.get(key, [default])[-1])


@dataclass(frozen=True, kw_only=True)
class Net:
    """The layers of one file, in its order."""

    path: Path
    layers: tuple[Layer, ...]


# Numbers, names and kinds of fields: see ``encoding.Fields``.
_INT, _FLOAT, _TEXT, _BYTES = "int", "float", "text", "bytes"
_POOLS, _MODES, _REGIONS = ("MAX", "AVE", "STOCHASTIC"), ("LEARN", "INFERENCE"), ("ACROSS_CHANNELS", "WITHIN_CHANNEL")
_CONVOLUTION = {
    1: ("num_output", _INT), 3: ("pad", _INT), 9: ("pad_h", _INT), 10: ("pad_w", _INT), 4: ("kernel_size", _INT),
    11: ("kernel_h", _INT), 12: ("kernel_w", _INT), 5: ("group", _INT), 6: ("stride", _INT), 13: ("stride_h", _INT),
    14: ("stride_w", _INT), 18: ("dilation", _INT),
}  # fmt: skip
_POOLING = {
    1: ("pool", _POOLS), 4: ("pad", _INT), 9: ("pad_h", _INT), 10: ("pad_w", _INT), 2: ("kernel_size", _INT),
    5: ("kernel_h", _INT), 6: ("kernel_w", _INT), 3: ("stride", _INT), 7: ("stride_h", _INT), 8: ("stride_w", _INT),
}  # fmt: skip
_UPSAMPLE = {
    1: ("scale", _INT), 2: ("scale_h", _INT), 3: ("scale_w", _INT), 6: ("upsample_h", _INT), 7: ("upsample_w", _INT),
}  # fmt: skip
_LRN = {
    1: ("local_size", _INT), 2: ("alpha", _FLOAT), 3: ("beta", _FLOAT), 4: ("norm_region", _REGIONS), 5: ("k", _FLOAT),
}  # fmt: skip
_TRANSFORM = {1: ("scale", _FLOAT), 4: ("mean_file", _TEXT), 5: ("mean_value", _FLOAT)}
_LAYER = {
    1: ("name", _TEXT), 2: ("type", _TEXT), 3: ("bottom", _TEXT), 4: ("top", _TEXT), 7: ("blobs", _BYTES),
    8: ("include", _BYTES), 9: ("exclude", _BYTES), 45: ("bn_param", {3: ("bn_mode", _MODES)}),
    100: ("transform_param", _TRANSFORM), 106: ("convolution_param", _CONVOLUTION),
    108: ("dropout_param", {1: ("dropout_ratio", _FLOAT)}), 118: ("lrn_param", _LRN), 121: ("pooling_param", _POOLING),
    123: ("relu_param", {1: ("negative_slope", _FLOAT)}), 137: ("upsample_param", _UPSAMPLE),
}  # fmt: skip
_OLD_LAYER = {2: ("bottom", _TEXT), 3: ("top", _TEXT), 4: ("name", _TEXT), 5: ("type", _INT), 6: ("blobs", _BYTES)}
_NET = {100: ("layer", _LAYER), 2: ("layers", _OLD_LAYER)}
_BLOB = {
    1: ("num", _INT), 2: ("channels", _INT), 3: ("height", _INT), 4: ("width", _INT), 5: ("data", _BYTES),
    7: ("shape", {1: ("dim", "ints")}),
}  # fmt: skip

# V1LayerParameter.LayerType: such nets know no unpooling, so of their layers only those of VGG with weights matter.
_OLD_TYPES = {4: "Convolution", "CONVOLUTION": "Convolution", 14: "InnerProduct", "INNER_PRODUCT": "InnerProduct"}

_SETTINGS_OF = {
    "BN": "bn_param", "Convolution": "convolution_param", "Dropout": "dropout_param", "LRN": "lrn_param",
    "Pooling": "pooling_param", "ReLU": "relu_param", "Upsample": "upsample_param",
}  # fmt: skip


def read_weights(path: str | Path) -> Net:
    """The layers in a .caffemodel: their description, and their weights unopened.

    Raises:
        ModelError: there is no such file, or it is damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; give the .caffemodel that Caffe wrote")
    if not path.stat().st_size:
        raise ModelError(f"{path}: is empty; give the .caffemodel that Caffe wrote")
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    return _net(Wire(path).message(content, _NET), path)


def read_description(path: str | Path) -> Net:
    """The layers in a .prototxt.

    Raises:
        ModelError: there is no such file, or it is no such text.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; give the .prototxt that describes the net")
    if path.stat().st_size > _LARGEST_DESCRIPTION:
        raise ModelError(
            f"{path}: has {path.stat().st_size} bytes, more than a description needs ({_LARGEST_DESCRIPTION}); "
            "give the .prototxt, and the weights as the first argument"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as text ({error}); give the .prototxt of the net") from error
    return _net(parse_text(text, path), path)


def open_blobs(layer: Layer) -> list[NDArray[np.float32]]:
    """A layer's weights, in the shapes that the file says; read-only, and mapped to the file.

    Raises:
        ModelError: a shape does not fit its numbers, or a number is not finite.
    """
    arrays, wire = [], Wire(layer.path)
    for number, blob in enumerate(layer.blobs):
        where = f"{layer.where}, weights {number}"
        message = wire.message(blob, _BLOB)
        shape = _shape(message)
        data = message.get("data", [])
        held = sum(map(len, data))
        if len(shape) > _MOST_AXES or any(side < 1 for side in shape) or 4 * math.prod(shape) != held:
            raise ModelError(
                f"{where}: the shape {shape[:_MOST_AXES]} does not fit the {held / 4:g} numbers that are there; "
                "the file is damaged or not complete"
            )
        array = np.frombuffer(data[0] if len(data) == 1 else b"".join(data), dtype="<f4").reshape(shape)
        if not np.isfinite(array).all():
            raise ModelError(f"{where}: holds numbers that are not finite; take weights saved before training failed")
        arrays.append(array)
    return arrays


def _net(message: Message, path: Path) -> Net:
    layers = [_layer(layer, path) for key in ("layers", "layer") for layer in message.get(key, [])]
    if not layers:
        raise ModelError(f"{path}: holds no layers; give the .prototxt or .caffemodel of a net")
    return Net(path=path, layers=tuple(layers))


def _layer(message: Any, path: Path) -> Layer:
    if not isinstance(message, dict):
        raise ModelError(f"{path}: has {message!r} where a layer belongs; give a file as Caffe writes it")
    written = message.get("type", [""])[-1]
    kind = str(_OLD_TYPES.get(written, written))
    key = "transform_param" if kind.endswith("Data") else _SETTINGS_OF.get(kind, "")
    settings: Message = {}
    for part in message.get(key, []):
        if not isinstance(part, dict):
            raise ModelError(f"{path}: has {key} {part!r} where settings in brackets belong; correct the file")
        settings |= part
    return Layer(
        path=path,
        name=str(message.get("name", [""])[-1]),
        type=kind,
        bottoms=tuple(map(str, message.get("bottom", []))),
        tops=tuple(map(str, message.get("top", []))),
        settings=settings,
        conditional="include" in message or "exclude" in message,
        blobs=tuple(blob for blob in message.get("blobs", []) if isinstance(blob, memoryview)),
    )


def _shape(blob: Message) -> tuple[int, ...]:
    """The four numbers of older files, or the list of newer ones."""
    if "shape" in blob:
        return tuple(side for part in blob["shape"][-1].get("dim", []) for side in part)
    return tuple(blob.get(side, [0])[-1] for side in ("num", "channels", "height", "width"))
