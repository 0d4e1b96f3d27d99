"""Programs of ``torch.export`` from any module, with free sizes where the module allows them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config
from torch.utils._pytree import tree_map_only

from segnet.errors import ModelError, describe_error

__all__ = ["as_inputs", "call_with_copies", "trace_program", "without_inplace"]

Model = TypeVar("Model", bound=nn.Module)


def as_inputs(example: Any) -> tuple[Any, ...]:
    """The positional arguments of a model: a tuple as it is, anything else as the only one."""
    return example if isinstance(example, tuple) else (example,)


def call_with_copies(model: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """What a model returns for copies of its inputs, since it may write into them: ``image -= mean``."""
    return model(*tree_map_only(Tensor, torch.clone, inputs))


def trace_program(model: nn.Module, inputs: tuple[Any, ...], *, dynamic: bool = True) -> ExportedProgram:
    """Trace a model in the mode that it is in.

    Args:
        model: unchanged.
        inputs: its positional arguments.
        dynamic: whether the batch, height and width of maps (N, C, H, W) stay free where the model allows it.

    Raises:
        ModelError: ``torch.export`` cannot trace it.
    """
    free = [(tuple(map(_doubled, inputs)), tuple(map(_free, inputs)))] if dynamic else []
    for given, spec in (*free, (inputs, None)):
        try:
            # Otherwise the program is guarded by properties of the example, such as a batch of one.
            with _silence(), torch.no_grad(), _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
                return torch.export.export(model, given, dynamic_shapes=spec)
        except Exception as error:  # whatever the model and PyTorch's compiler raise; sizes may be to blame
            failure = error
    raise ModelError(f"torch.export cannot trace {type(model).__name__}: {describe_error(failure)}") from failure


def without_inplace(model: Model) -> Model:
    """A model, changed: its activations and dropouts no longer write into their inputs.

    In a program memory is planned by the runtime; an operator that writes into its input only has to be rewritten.
    """
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return model


@contextmanager
def _silence() -> Iterator[None]:
    """Discard warnings, and the compiler's reports of inequalities that it cannot simplify."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _doubled(value: Any) -> Any:
    """A batch of two instead of one, which many tools take for a constant."""
    return value.repeat(2, 1, 1, 1) if _is_map(value) and len(value) == 1 else value


def _free(value: Any) -> Any:
    return dict.fromkeys((0, 2, 3), Dim.AUTO) if _is_map(value) else None


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4
