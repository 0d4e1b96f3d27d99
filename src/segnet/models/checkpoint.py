"""The one reader and writer of model files.

A model is one ``.safetensors`` file that describes itself: the weights, and in the header under ``segnet`` a JSON
object with ``version``, ``model`` (the network's settings), ``labels``, ``provenance``, ``scores`` and digests
(``digests.py``). Reading it runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models.bundled import bundled_models
from segnet.models.digests import add_digests, check_description, check_tensors, require_finite
from segnet.models.hub import fetch, is_hub_address
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.system.files import replacing

__all__ = ["Checkpoint", "find", "load", "save"]

_KEY = "segnet"
_VERSION = 1


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """A model file's content.

    Attributes:
        model: the network in evaluation mode, float32, on the CPU.
        labels: the class table it was trained with.
        provenance: how it came to be: data, recipe, versions, licence.
        scores: what it scored, as ``Scores.to_dict`` has it; empty if never measured.
        path: where it was read.
        verified: whether the file holds digests of its tensors and description, which were compared; files of versions
            before the digests have none, and damage to them can go unnoticed.
    """

    model: SegNet
    labels: ClassTable
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    path: Path
    verified: bool = False

    def __repr__(self) -> str:
        miou = self.scores.get("miou")
        score = f", mIoU {miou:.3f}" if isinstance(miou, float) else ""
        return f"Checkpoint({self.model.config.name}, {self.labels.classes} classes{score}, {str(self.path)!r})"


def save(
    model: SegNet,
    labels: ClassTable,
    path: str | Path,
    *,
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Path:
    """Write a model file, whole or not at all.

    Args:
        model: the network; it stays as it is.
        labels: its class table.
        path: where to, ending in ``.safetensors``; folders are made.
        provenance: how it came to be; kept in the file.
        scores: what it scored; kept in the file.
        half: keep the convolutions in float16 (half the size); norms and statistics stay float32.

    Raises:
        ModelError: the class table does not fit the network, or a tensor is not finite (with ``half``: in float16).
        OutputError: the file cannot be written.
    """
    path = Path(path)
    _check_classes(model.config, labels, path)
    header = {
        "version": _VERSION,
        "model": model.config.to_dict(),
        "labels": labels.to_dict(),
        "provenance": dict(provenance or {}),
        "scores": dict(scores or {}),
    }
    tensors = {name: _stored(name, value, half=half) for name, value in model.state_dict().items()}
    require_finite(tensors, path)
    description = json.dumps(add_digests(header, tensors))
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, metadata={_KEY: description}))
    return path


def load(source: str | Path, *, encoder: nn.Module | None = None) -> Checkpoint:
    """Read a model file, a bundled model by its name, or a model of the Hugging Face hub.

    Args:
        source: a path, a bundled model's name, or ``hf://OWNER/NAME`` with the extra ``hub``.
        encoder: for a model around a module of your own: that module again; it is filled with the file's weights.

    Raises:
        ModelError: no such file or name, not one of our files, damaged, with values that are not finite, or its parts
            do not belong together.
    """
    path = find(source)
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(file.metadata() or {}, path)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if path.suffix == ".ckpt":
            raise ModelError(f"{path}: is for --resume only; give the best.safetensors beside it") from error
        raise ModelError(
            f"{path}: is not a readable model file ({error}); it may be cut off or of another kind"
        ) from error
    verified = check_description(header, path)
    if verified:
        check_tensors(state, header["tensors"], path)
    require_finite(state, path)
    try:
        config, labels = SegNetConfig.from_dict(header["model"]), ClassTable.from_dict(header["labels"])
    except (ConfigError, RecursionError, OverflowError) as error:
        raise ModelError(f"{path}: the description in the file cannot be used ({error})") from error
    _check_classes(config, labels, path)
    model = _filled(config, state, encoder, path)
    return Checkpoint(
        model=model.eval(), labels=labels, provenance=header["provenance"], scores=header["scores"], path=path,
        verified=verified,
    )  # fmt: skip


def find(source: str | Path) -> Path:
    """The path of a model file, of a bundled model by its name, or of a model of the hub (``hf://OWNER/NAME``).

    Raises:
        ModelError: there is none of them.
        MissingPackageError: the hub is asked for, and huggingface_hub is not installed.
    """
    if is_hub_address(source):
        return fetch(source)
    path = Path(source)
    if path.is_file():
        return path
    bundled = bundled_models()
    if str(source) in bundled:
        return bundled[str(source)]
    if (best := path / "best.safetensors").is_file():
        raise ModelError(f"{source}: is the folder of a run; give its model file, {best}")
    known = f"bundled are {', '.join(bundled)}" if bundled else "no model is bundled"
    raise ModelError(f"{source}: there is neither such a model file nor a bundled model of that name; {known}")


def _stored(name: str, value: Tensor, *, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    # Batch-norm variances of images in 0..255 exceed float16's range, so only filters are halved.
    is_filter = value.ndim == 4 and name not in ("mean", "std")
    return value.to(torch.float16) if half and is_filter else value


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
    if version != _VERSION:
        raise ModelError(f"{path}: has format version {version}, this program reads {_VERSION}; update segnet")
    header |= {part: {} for part in ("provenance", "scores") if part not in header}
    for part in ("model", "labels", "provenance", "scores"):
        if not isinstance(header.get(part), dict):
            raise ModelError(f"{path}: the description in the file cannot be used ({part!r} is no JSON object)")
    return dict(header)


def _check_classes(config: SegNetConfig, labels: ClassTable, path: Path) -> None:
    if config.classes != labels.classes:
        raise ModelError(f"{path}: the network has {config.classes} classes but the class table {labels.classes}")


def _filled(config: SegNetConfig, state: Mapping[str, Tensor], encoder: nn.Module | None, path: Path) -> SegNet:
    """The network with the file's tensors; a missing, unknown or misshapen one is an error that names it."""
    if config.encoder.kind == "custom" and encoder is None:
        raise ModelError(
            f"{path}: was built around a module of its author's; load it in Python and hand that module over"
        )
    stages = config.encoder.widths + config.decoder.widths
    largest = max(chain.from_iterable(value.shape for value in state.values()), default=0)
    if sum(map(len, stages)) > len(state) or max((config.in_channels, *chain.from_iterable(stages))) > largest:
        raise ModelError(f"{path}: describes more or wider convolutions than the file has tensors; it is not complete")
    try:
        # Without memory at first: a few bytes of description could ask for any amount of it.
        with torch.device("meta"):
            model = SegNet(config, encoder)
        _check_tensors(model, state, path)
        if not config.encoder.widths:  # other encoders may hold tensors that no file has
            with torch.random.fork_rng(devices=[]):  # the first weights are drawn, only to be replaced
                model = SegNet(config, encoder)
    except (ConfigError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{path}: the network that it describes cannot be built ({error})") from error
    target = model.state_dict()
    # Copied, since the file may be mapped into memory and may change.
    ready = {name: value.to(target[name].dtype, copy=True) for name, value in state.items()}
    model.load_state_dict(ready, assign=bool(config.encoder.widths))
    model.pretrained = True
    return model


def _check_tensors(model: SegNet, state: Mapping[str, Tensor], path: Path) -> None:
    target = model.state_dict()
    for name in sorted(set(target) | set(state)):
        if name not in state:
            raise ModelError(f"{path}: the tensor {name} is missing; the file is not complete")
        if name not in target:
            raise ModelError(f"{path}: holds the tensor {name}, which a {model.config.name} does not have")
        if state[name].shape != target[name].shape:
            raise ModelError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, expected {tuple(target[name].shape)}"
            )
