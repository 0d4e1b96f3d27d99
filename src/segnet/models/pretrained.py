"""ImageNet weights for the encoder: torchvision's names onto ours.

Sources: torchvision.models.vgg and .squeezenet. ``features.N.weight`` counts convolution, batch norm, ReLU and pooling
in one row; only the order of the convolutions and norms matters here. EfficientNet-Lite0 has the names of the PyPI
package efficientnet-lite-pytorch, which are matched one by one.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from segnet.errors import ModelError, first_line, list_names
from segnet.models.digests import require_finite
from segnet.models.efficientnet import LITE_MEAN, LITE_STD, EfficientNetLite0, enlarge_filters, original_name
from segnet.models.segnet import IMAGENET_MEAN, IMAGENET_STD

__all__ = [
    "DOWNLOADS",
    "EncoderWeights",
    "LoadReport",
    "adapt_input_filters",
    "fill_encoder",
    "first_filters",
    "read_weights",
]

log = logging.getLogger("segnet")

# torchvision names its files by the first eight digits of their SHA-256.
DOWNLOADS = {
    name: f"{name}-{digits}.pth"
    for name, digits in {
        "vgg11": "8a719046", "vgg13": "19584684", "vgg16": "397923af", "vgg19": "dcbb9e9d",
        "vgg11_bn": "6002323d", "vgg13_bn": "abd245e5", "vgg16_bn": "6c64b313", "vgg19_bn": "c79401a0",
        "squeezenet1_1": "b8a52dc0",
    }.items()
}  # fmt: skip
_ADDRESS = "https://download.pytorch.org/models/"

# Value of "input" in the metadata of a file that was trained in Caffe.
_CAFFE_INPUT = re.compile(r"BGR, 0-255 minus (\d+(?:\.\d+)?) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)")

# Errors of the two readers on damaged files (from experiments).
_DAMAGE = (
    SafetensorError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, struct.error,
)  # fmt: skip


class EncoderWeights(NamedTuple):
    """A file's tensors, first filters in RGB order, and the normalization they were trained with.

    Attributes:
        source: file or name, as given by the user.
        state: name -> tensor.
        mean, std: of the image in [0, 1].
    """

    source: str
    state: Mapping[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class LoadReport(NamedTuple):
    """Names of tensors: copied into the encoder, left over in the file, and left as they were in the encoder."""

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]


def read_weights(source: str) -> EncoderWeights:
    """Read a file of weights, or download one of torchvision's.

    A .safetensors file may say in its metadata ``input: BGR, 0-255 minus B G R``, as Caffe's nets want it; its first
    filters are then turned to RGB.

    Args:
        source: a .safetensors or .pth file, or one of torchvision's names, such as ``"vgg16"``.

    Raises:
        ModelError: there is no such file or name, it cannot be read, or a value is not finite.
    """
    path = _download(source) if source in DOWNLOADS else Path(source)
    state, about = _read_state(path)
    require_finite(state, path)
    if "input" not in about:
        if _is_efficientnet(state):
            return EncoderWeights(source, state, LITE_MEAN, LITE_STD)
        return EncoderWeights(source, state, IMAGENET_MEAN, IMAGENET_STD)
    match = _CAFFE_INPUT.fullmatch(about["input"])
    first = next(iter(_ordered_names(state)), "")
    if match is None or not first or state[first].ndim != 4 or state[first].shape[1] != 3:
        raise ModelError(f"{path}: wants its input as {about['input']!r}, which is not known here; convert it to RGB")
    mean = tuple(float(value) / 255 for value in reversed(match.groups()))
    return EncoderWeights(source, {**state, first: state[first].flip(1)}, mean, (1 / 255,) * 3)


def fill_encoder(encoder: nn.Module, weights: EncoderWeights) -> LoadReport:
    """Copy weights into an encoder, and log in one line what was loaded, and what is new.

    Args:
        encoder: any encoder whose convolutions have the file's shapes; other input channels are adapted.
        weights: from ``read_weights``.

    Raises:
        ModelError: the shapes do not fit; the encoder is then unchanged.
    """
    source, state = weights.source, weights.state
    target = encoder.state_dict()
    new = _fit_tensors(weights, pairs := _pair_names(encoder, weights), target, first_filters(encoder))
    if not new:
        raise ModelError(
            f"{source}: no tensor fits; the file holds {list_names(state)}, expected are names of torchvision's VGG or "
            "SqueezeNet such as features.0.weight, or of EfficientNet-Lite0 such as _conv_stem.weight"
        )
    encoder.load_state_dict(target | new)
    report = LoadReport(
        loaded=tuple(new),
        skipped=tuple(name for name in state if name not in pairs),
        missing=tuple(name for name in target if name not in new),
    )
    log.info("%s", _describe(report, source, encoder))
    return report


def _describe(report: LoadReport, source: str, encoder: nn.Module) -> str:
    """One line; the norms of an encoder are counted, since a file without batch norm has none and nothing is wrong."""
    norms = {name for name, module in encoder.named_modules() if isinstance(module, nn.BatchNorm2d)}
    new_norms = {layer for name in report.missing if (layer := name.rpartition(".")[0]) in norms}
    new_norms -= {name.rpartition(".")[0] for name in report.loaded}
    others = [name for name in report.missing if name.rpartition(".")[0] not in norms]
    new = ([f"{len(new_norms)} batch norms"] if new_norms else []) + ([list_names(others)] if others else [])
    line = f"loaded {len(report.loaded)} tensors from {source} into the encoder"
    line += f"; new: {', '.join(new)}" if new else ""
    unused = list(dict.fromkeys(name.partition(".")[0] for name in report.skipped if _NAME.fullmatch(name) is None))
    return line + (f"; the file's {list_names(unused)} is not needed" if unused else "")


def _fit_tensors(
    weights: EncoderWeights, pairs: Mapping[str, str], target: Mapping[str, Tensor], first: str
) -> dict[str, Tensor]:
    """The file's tensors under the encoder's names, the first filters adapted to its input channels."""
    new: dict[str, Tensor] = {}
    for theirs, ours in pairs.items():
        value = weights.state[theirs]
        if value.ndim == 4 and _is_efficientnet(weights.state):
            value = enlarge_filters(value.float(), target[ours].shape[-1])
        if value.ndim == 4 and ours == first:
            value = adapt_input_filters(value, target[ours].shape[1])
        wanted = target[ours]
        same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_kind or value.shape != wanted.shape or value.is_floating_point() != wanted.is_floating_point():
            raise ModelError(
                f"{weights.source}: {theirs} of shape {tuple(value.shape)} in {value.dtype} stands where the encoder's "
                f"{ours} of shape {tuple(wanted.shape)} is wanted; give the whole weights of the same net"
            )
        new[ours] = value
    return new


def adapt_input_filters(weight: Tensor, channels: int) -> Tensor:
    """First-layer filters for another number of input channels, as the field does it.

    One channel: the sum over the old ones. Others: the old ones in turn, times old / new, so that responses keep their
    size; to equal channels they stay the same if the new number is a multiple of the old one.

    Args:
        weight: (out, in, k, k).
        channels: the new ``in``.
    """
    old = weight.shape[1]
    if channels == old:
        return weight
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    picked = weight[:, [index % old for index in range(channels)]]
    return picked * (old / channels)


def _read_state(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    """Tensors, and the metadata of a .safetensors file."""
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; give a file, or one of {', '.join(DOWNLOADS)} to download")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        # weights_only: tensors and plain containers, never code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path}: holds objects other than tensors and was not opened; save a plain state_dict"
        ) from error
    except _DAMAGE as error:
        raise ModelError(f"{path}: cannot be read as weights ({first_line(error)}); it may be damaged") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ModelError(f"{path}: holds no state_dict; save model.state_dict() of torchvision's VGG or SqueezeNet")
    return state, {}


def _download(name: str) -> Path:
    """The file in PyTorch's own download folder, fetched if it is not there yet."""
    file = DOWNLOADS[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digits = file.removesuffix(".pth").rpartition("-")[2]
            torch.hub.download_url_to_file(_ADDRESS + file, str(path), hash_prefix=digits)
        except (OSError, RuntimeError, HTTPException) as error:
            raise ModelError(
                f"{name}: the ImageNet weights could not be downloaded from {_ADDRESS}{file} "
                f"({first_line(error)}); fetch the file yourself and give its path"
            ) from error
    return path


# In the order in which a fire module has them here, and a layer its tensors.
_PARTS = ("", "squeeze", "expand1x1", "expand3x3")
_KINDS = ("weight", "bias", "running_mean", "running_var")
_NAME = re.compile(rf"features\.(\d+)\.(?:({'|'.join(_PARTS[1:])})\.)?({'|'.join(_KINDS)})")


def _is_efficientnet(state: Mapping[str, Tensor]) -> bool:
    return "_conv_stem.weight" in state


def first_filters(encoder: nn.Module) -> str:
    """Name of the filters that see the image."""
    return next(f"{name}.weight" for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d))


def _pair_names(encoder: nn.Module, weights: EncoderWeights) -> dict[str, str]:
    """The file's names and the encoder's: EfficientNet's one by one, torchvision's by their order."""
    state = weights.state
    if not _is_efficientnet(state):
        return dict(zip(_ordered_names(state), _encoder_names(encoder, state), strict=False))
    body = getattr(encoder, "body", None)
    if not isinstance(body, EfficientNetLite0):
        raise ModelError(
            f"{weights.source}: holds EfficientNet-Lite0, which this encoder is not; add --encoder efficientnet_lite0, "
            "or take a model that has it"
        )
    pairs = {original_name(name): f"body.{name}" for name in body.state_dict()}
    if missing := [name for name in pairs if name not in state]:
        raise ModelError(
            f"{weights.source}: has no {missing[0]}, which EfficientNet-Lite0 has; give the whole weights of the same "
            "net"
        )
    return pairs


def _ordered_names(state: Mapping[str, Tensor]) -> list[str]:
    """``features.N[.part].kind`` in the order of N, part and kind."""
    keys = []
    for name in state:
        if match := _NAME.fullmatch(name):
            number, part, kind = match.groups()
            keys.append((int(number), _PARTS.index(part or ""), _KINDS.index(kind), name))
    return [name for *_, name in sorted(keys)]


def _encoder_names(encoder: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Our names in the same order; the norms only if the file has them."""
    with_norm = any(name.endswith("running_mean") for name in state)
    names = []
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            names += [f"{name}.{kind}" for kind, _ in module.named_parameters()]
        elif isinstance(module, nn.BatchNorm2d) and with_norm:
            names += [f"{name}.{kind}" for kind in _KINDS]
    return names
