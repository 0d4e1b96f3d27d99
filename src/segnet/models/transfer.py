"""Transfer: a network starts from what fits of a model file, by name and shape.

A layer and its batch norm are taken together or not at all. The classifier is taken row by row: a class of the new
network keeps the row of the file's class of the same name, whatever their numbers are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segnet.errors import ModelError, list_names
from segnet.labels import ClassTable
from segnet.models.checkpoint import Checkpoint
from segnet.models.pretrained import adapt_input_filters, first_filters
from segnet.models.segnet import SegNet

__all__ = ["TransferReport", "transfer"]

log = logging.getLogger("segnet")

_CLASSIFIER = "classifier."
_DECODER = "decoder."


class TransferReport(NamedTuple):
    """What a network took of a model file.

    Attributes:
        loaded: names of tensors that were taken whole.
        new: names of the others.
        classes: names of the file's classes whose rows of the classifier were taken.
    """

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    classes: tuple[str, ...]


def transfer(model: SegNet, kept: Checkpoint, source: str, labels: ClassTable | None = None) -> TransferReport:
    """Copy what fits of a model file into a network, and log one line about it.

    Args:
        model: The network; its tensors that do not fit stay as they are. A first layer for other input channels is
            adapted.
        kept: The model file's content.
        source: Name of the model file in the line.
        labels: Classes of the network. A class whose name the file has, too, in any case of its letters, keeps its row
            of the classifier. None: the file's classes if their number is the same, and others if not.

    Raises:
        ModelError: No layer of the encoder fits; the network is then unchanged.
    """
    target = model.state_dict()
    given = _with_input_of(model, kept.model)
    rows = _class_rows(kept.labels, labels, model.config.classes)
    same = rows == {number: number for number in range(model.config.classes)} and (
        kept.labels.classes == model.config.classes
    )
    head = _DECODER if isinstance(model.classifier, nn.Identity) else _CLASSIFIER
    new = {name: given[name] for name in _fitting(given, target) if same or not name.startswith(head)}
    if not any(name.startswith("encoder.") for name in new):
        raise ModelError(
            f"{source}: holds {kept.model.config.name}, whose layers are not those of {model.config.name}; give "
            "weights of the same layers, or --encoder-weights for the encoder alone"
        )
    mixed = {} if same or head == _DECODER else _mix_rows(given, target, rows)
    model.load_state_dict(target | new | mixed)
    model.pretrained = True
    has_rows = mixed or any(name.startswith(head) for name in new)
    common = tuple(kept.labels.names[old] for old in rows.values()) if has_rows else ()
    report = TransferReport(tuple(new), tuple(name for name in target if name not in new), common)
    log.info("%s", _describe(report, source, model.config.classes))
    return report


def _with_input_of(model: SegNet, kept: SegNet) -> Mapping[str, Tensor]:
    """The file's tensors, with normalization and first filters for the input channels of the network."""
    state, channels = kept.state_dict(), model.config.in_channels
    if channels == kept.config.in_channels:
        return state
    first = f"encoder.{first_filters(kept.encoder)}"
    conv = kept.get_submodule(first.removesuffix(".weight"))
    adapted = {first: adapt_input_filters(state[first], channels)} if conv.groups == 1 else {}
    return {**state, **adapted, "mean": model.mean, "std": model.std}


def _fitting(given: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that both have in the same shape; all of a layer and its norm, or none."""
    misfits = {_unit(name) for name, value in target.items() if name not in given or given[name].shape != value.shape}
    return [name for name in target if _unit(name) not in misfits]


def _unit(name: str) -> str:
    """What a tensor is taken together with: ``stages.0.1`` for its ``conv.weight`` and for its ``bn.bias``."""
    layer, _, kind = name.rpartition(".")
    return layer.rpartition(".")[0] or layer or kind


def _class_rows(kept: ClassTable, labels: ClassTable | None, classes: int) -> dict[int, int]:
    """The file's class for each class of the network that it has, too."""
    if labels is None:
        return {number: number for number in range(classes)} if classes == kept.classes else {}
    exact = {name: number for number, name in enumerate(kept.names)}
    folded = {name.casefold(): number for name, number in exact.items()}
    found = [exact.get(name, folded.get(name.casefold())) for name in labels.names]
    return {number: row for number, row in enumerate(found) if row is not None}


def _mix_rows(given: Mapping[str, Tensor], target: Mapping[str, Tensor], rows: Mapping[int, int]) -> dict[str, Tensor]:
    """The classifier's tensors, with the file's rows of the classes in common; nothing if its layer is another."""
    names = [name for name in target if name.startswith(_CLASSIFIER)]
    if not rows or any(name not in given or given[name].shape[1:] != target[name].shape[1:] for name in names):
        return {}
    new, old = torch.tensor(list(rows)), torch.tensor(list(rows.values()))
    return {name: target[name].clone().index_copy_(0, new, given[name][old]) for name in names}


def _describe(report: TransferReport, source: str, classes: int) -> str:
    total = len(report.loaded) + len(report.new)
    line = f"loaded {len(report.loaded)} of {total} tensors from {source}"
    if not report.new:
        return line
    parts = [_describe_classifier(report, classes)] if any(name.startswith(_CLASSIFIER) for name in report.new) else []
    units = list(dict.fromkeys(_unit(name) for name in report.new if not name.startswith(_CLASSIFIER)))
    return f"{line}; new: {', '.join([*parts, *([list_names(units)] if units else [])])}"


def _describe_classifier(report: TransferReport, classes: int) -> str:
    rows = f", with the rows of {list_names(report.classes)}" if report.classes else ""
    return f"classifier ({classes} classes{rows})"
