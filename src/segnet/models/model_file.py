"""The one reader and writer of the format of model files; knows no network.

A model is one ``.safetensors`` file that describes itself: the weights, and in the header under ``segnet`` a JSON
object with ``version``, ``model`` (the network's settings), ``labels``, ``provenance``, ``scores`` and digests
(``digests.py``). Reading it runs no code.

Filters may be stored in eight bits, with a float32 scale for each of their first channels beside them
(``NAME_scale``). Such a file has version 2, which programs before it refuse; all others have version 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from segnet.errors import ConfigError, ModelError, list_names
from segnet.labels import ClassTable
from segnet.models.bundled import EXPORTED_SUFFIXES
from segnet.models.digests import add_digests, check_description, check_tensors, require_finite
from segnet.system.files import replacing

__all__ = ["Description", "ModelFile", "read_model_file", "write_model_file"]

_KEY = "segnet"
_OTHER_WEIGHTS = frozenset((".pth", ".pt", ".bin", ".pkl"))
_VERSIONS = (1, 2)  # 2: with filters in eight bits
_SCALE = "_scale"
_LEVELS = 127  # -128 is not used, so that zero stays zero and signs are treated alike


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a model file says of its weights.

    Attributes:
        labels: the class table.
        provenance: how the weights came to be: data, recipe, versions; ``terms`` is their license.
        scores: what they scored, as ``Scores.to_dict`` has it; empty if never measured.

    Raises:
        ModelError: provenance or scores are no mapping.
    """

    labels: ClassTable
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("provenance", self.provenance), ("scores", self.scores)):
            if not isinstance(value, Mapping):
                raise ModelError(f"{name}: a {type(value).__name__} was given; give a dict, of Scores their to_dict()")


class ModelFile(NamedTuple):
    """The content of a model file.

    Attributes:
        config: settings of the network.
        description: of the weights.
        state: tensors by name, in the precision of the file; filters in eight bits as float32.
        verified: whether the file holds digests, which were compared.
    """

    config: dict[str, Any]
    description: Description
    state: dict[str, Tensor]
    verified: bool


def write_model_file(
    path: Path,
    config: Mapping[str, Any],
    description: Description,
    state: Mapping[str, Tensor],
    *,
    half: bool = False,
    int8: bool = False,
) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: the file.
        config: settings of the network, for JSON.
        description: of the weights.
        state: tensors by name.
        half: keep the convolutions in float16.
        int8: keep the convolutions in eight bits, with a scale for each of their first channels (the output channels,
            but for transposed convolutions).

    Raises:
        ModelError: a tensor is not finite, both precisions are asked for, or the description is no JSON.
        OutputError: the file cannot be written.
    """
    if half and int8:
        raise ModelError(f"{path}: filters are kept in float16 (half) or in eight bits (int8), not both; give one")
    header = {
        "version": _VERSIONS[int8],
        "model": dict(config),
        "labels": description.labels.to_dict(),
        "provenance": dict(description.provenance),
        "scores": dict(description.scores),
    }
    tensors = {name: _stored(name, value, half=half) for name, value in state.items()}
    require_finite(tensors, path)
    if int8:
        tensors = _quantize(tensors)
    try:
        text = json.dumps(add_digests(header, tensors), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: provenance or scores cannot be kept as JSON ({error}); give text, finite numbers, lists and dicts"
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, metadata={_KEY: text}))


def read_model_file(path: Path) -> ModelFile:
    """Read a model file, and compare its digests.

    Raises:
        ModelError: it may not be read, is not one of ours, damaged, with values that are not finite, or its class
            table cannot be used.
    """
    try:
        path.open("rb").close()  # safe_open takes a file that may not be read for a missing one
        with safe_open(path, framework="pt") as file:
            header = _header(file.metadata() or {}, path)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except PermissionError as error:
        raise ModelError(f"{path}: may not be read; give yourself the permission to read it") from error
    except (SafetensorError, OSError) as error:
        if path.suffix in _OTHER_WEIGHTS:
            raise ModelError(
                f"{path}: is not a model file of this package; read the weights of torch.save with "
                "model.load_state_dict(torch.load(path, weights_only=True)), and write the network with segnet.save"
            ) from error
        if path.suffix == ".ckpt":
            raise ModelError(f"{path}: is for --resume only; give the best.safetensors beside it") from error
        if path.suffix in EXPORTED_SUFFIXES:
            raise ModelError(f"{path}: is an exported file; give the .safetensors file that it came from") from error
        raise ModelError(
            f"{path}: is not a readable model file ({error}); it may be cut off or of another kind"
        ) from error
    verified = check_description(header, path)
    if verified:
        check_tensors(state, header["tensors"], path)
    require_finite(state, path)
    if header["version"] == _VERSIONS[True]:
        state = _dequantize(state, path)
    try:
        labels = ClassTable.from_dict(header["labels"])
    except (ConfigError, RecursionError, OverflowError) as error:
        raise ModelError(f"{path}: the description in the file cannot be used ({error})") from error
    description = Description(labels=labels, provenance=header["provenance"], scores=header["scores"])
    return ModelFile(header["model"], description, state, verified)


def _stored(name: str, value: Tensor, *, half: bool) -> Tensor:
    # A copy, since a module of the user's may use one tensor twice, which the format does not take.
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    # Batch-norm variances of images in 0..255 exceed float16's range, so only filters are halved.
    return value.to(torch.float16) if half and _is_filter(name, value) else value


def _is_filter(name: str, value: Tensor) -> bool:
    return value.ndim == 4 and name not in ("mean", "std") and value.is_floating_point()


def _quantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Filters as round(filter / scale) in eight bits, where scale is the largest magnitude of the channel / 127.

    Where a module has a tensor of a scale's name itself, its filters stay as they are.
    """
    stored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not _is_filter(name, value) or name + _SCALE in tensors:
            stored[name] = value
            continue
        scale = value.float().abs().amax((1, 2, 3)) / _LEVELS
        scale[scale == 0] = 1.0
        stored[name] = (value.float() / scale[:, None, None, None]).round().to(torch.int8)
        stored[name + _SCALE] = scale
    return stored


def _dequantize(stored: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Filters in eight bits times their scales, in float32.

    Raises:
        ModelError: a scale is missing or does not fit.
    """
    quantized = {name for name, value in stored.items() if value.dtype == torch.int8 and value.ndim == 4}
    scales = {name + _SCALE for name in quantized}
    state = {name: value for name, value in stored.items() if name not in scales}
    for name in quantized:
        scale = stored.get(name + _SCALE)
        if scale is None or scale.shape != stored[name].shape[:1] or not scale.is_floating_point():
            raise ModelError(f"{path}: the filters {name} are in eight bits, without a scale for each channel")
        state[name] = stored[name] * scale.float()[:, None, None, None]
    return state


def _header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ModelError(
            f"{path}: holds weights but was not written by segnet; give a file that 'segnet train' or segnet.save wrote"
        )
    try:
        header = json.loads(metadata[_KEY])
        version = header["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: the description in the file is damaged ({error})") from error
    if type(version) is not int or version not in _VERSIONS:
        known = list_names([str(each) for each in _VERSIONS])
        raise ModelError(f"{path}: has format version {version}, this program reads {known}; update segnet")
    header |= {part: {} for part in ("provenance", "scores") if part not in header}
    for part in ("model", "labels", "provenance", "scores"):
        if not isinstance(header.get(part), dict):
            raise ModelError(f"{path}: the description in the file cannot be used ({part!r} is no JSON object)")
    return dict(header)
