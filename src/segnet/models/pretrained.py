"""ImageNet weights for the encoder: torchvision's VGG names onto ours.

Source: torchvision.models.vgg (layout "D" of Simonyan and Zisserman, 2015): ``features.N.weight`` counts
convolution, batch norm, ReLU and pooling in one row; only the order of the convolutions and norms matters here.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segnet.errors import ModelError
from segnet.models.encoders import Encoder

__all__ = ["LoadReport", "adapt_input_filters", "load_encoder_weights"]

log = logging.getLogger("segnet")

# torchvision names its files by the first eight digits of their SHA-256.
_DOWNLOADS = {"vgg16": "vgg16-397923af.pth", "vgg16_bn": "vgg16_bn-6c64b313.pth"}
_ADDRESS = "https://download.pytorch.org/models/"

# What the two readers raise on damaged files (found by feeding them some).
_DAMAGE = (
    SafetensorError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, struct.error,
)  # fmt: skip


class LoadReport(NamedTuple):
    """Names of tensors: copied into the encoder, left over in the file, and left as they were in the encoder."""

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]


def load_encoder_weights(encoder: Encoder, source: str) -> LoadReport:
    """Copy VGG weights into an encoder and say what was loaded, skipped and missing.

    Args:
        encoder: any encoder whose convolutions have the file's shapes; other input channels are adapted.
        source: a .safetensors or .pth file with ``features.N.*`` names, or ``"vgg16"`` or ``"vgg16_bn"``.

    Raises:
        ModelError: no such file, not readable, or the shapes do not fit; the encoder is then unchanged.
    """
    state = _read_state(_download(source) if source in _DOWNLOADS else Path(source))
    target = encoder.state_dict()
    pairs = dict(zip(_ordered_names(state, "features."), _encoder_names(encoder, state), strict=False))
    new: dict[str, Tensor] = {}
    for theirs, ours in pairs.items():
        value = state[theirs]
        if value.ndim == 4 and not new:
            value = adapt_input_filters(value, target[ours].shape[1])
        if value.shape != target[ours].shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise ModelError(
                f"{source}: {theirs} of shape {tuple(value.shape)} stands where the encoder's {ours} of shape "
                f"{tuple(target[ours].shape)} is wanted; give the whole weights of the same VGG"
            )
        new[ours] = value
    if not new:
        raise ModelError(
            f"{source}: no tensor fits; the file holds {_few(state)}, expected are torchvision's vgg16 or vgg16_bn "
            "names such as features.0.weight"
        )
    encoder.load_state_dict(target | new)
    report = LoadReport(
        loaded=tuple(new),
        skipped=tuple(name for name in state if name not in pairs),
        missing=tuple(name for name in target if name not in new),
    )
    log.info(
        "encoder weights %s: %d tensors loaded; skipped in the file: %s; not in the file: %s",
        source, len(report.loaded), _few(report.skipped), _few(report.missing),
    )  # fmt: skip
    return report


def adapt_input_filters(weight: Tensor, channels: int) -> Tensor:
    """First-layer filters for another number of input channels, as the field does it.

    One channel: the sum over the old ones. More: the old ones in turn, rescaled so that the response to equal
    channels stays the same.

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


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; give a file, or one of {', '.join(_DOWNLOADS)} to download")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only: tensors and plain containers, never code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path}: holds other things than tensors and was not opened; save a plain state_dict"
        ) from error
    except _DAMAGE as error:
        raise ModelError(f"{path}: cannot be read as weights ({_first_line(error)}); it may be damaged") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ModelError(f"{path}: holds no state_dict; save model.state_dict() of torchvision's vgg16 or vgg16_bn")
    return state


def _download(name: str) -> Path:
    """The file in PyTorch's own download folder, fetched if it is not there yet."""
    file = _DOWNLOADS[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digits = file.removesuffix(".pth").rpartition("-")[2]
            torch.hub.download_url_to_file(_ADDRESS + file, str(path), hash_prefix=digits)
        except (OSError, RuntimeError, HTTPException) as error:
            raise ModelError(
                f"{name}: the ImageNet weights could not be downloaded from {_ADDRESS}{file} "
                f"({_first_line(error)}); fetch the file yourself and give its path"
            ) from error
    return path


def _ordered_names(state: Mapping[str, Tensor], prefix: str) -> list[str]:
    """``features.N.kind`` in the order of N, as far as kind is one of a convolution's or norm's tensors."""
    kinds = ("weight", "bias", "running_mean", "running_var")
    found = []
    for name in state:
        number, _, kind = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix) and number.isdigit() and kind in kinds:
            found.append((int(number), kinds.index(kind), name))
    return [name for _, _, name in sorted(found)]


def _encoder_names(encoder: Encoder, state: Mapping[str, Tensor]) -> list[str]:
    """Our names in the same order; the norms only if the file has them."""
    with_norm = any(name.endswith("running_mean") for name in state)
    names = []
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            names += [f"{name}.weight", f"{name}.bias"]
        elif isinstance(module, nn.BatchNorm2d) and with_norm:
            names += [f"{name}.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")]
    return names


def _few(names: object) -> str:
    listed = list(names) if isinstance(names, Mapping | tuple | list) else []
    shown = ", ".join(listed[:4]) or "nothing"
    return f"{shown} and {len(listed) - 4} more" if len(listed) > 4 else shown


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
