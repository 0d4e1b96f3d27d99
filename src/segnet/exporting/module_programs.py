"""Conversion of any module to a program of ``torch.export``, with free sizes only where the program serves them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from segnet.errors import ModelError, first_line
from segnet.nn.programs import trace_program, without_inplace
from segnet.nn.tracing import find_groups
from segnet.nn.unpooling import rewrite_unpooling

__all__ = ["TracedModule", "input_shapes", "noise_like", "trace_module"]

_LONGEST_TRIED = 4096  # pixels: a limit beyond it is not tried
_OTHER_SIZES = (33, 32, 64, 128)  # pixels more than the example; the first odd


@dataclass(frozen=True)
class TracedModule:
    """A module, and the program that it became.

    Attributes:
        model: a copy of the module, in evaluation mode on the CPU.
        program: of it, with rewritten unpooling.
        inputs: the example.
        other: inputs of another size, if sizes are free.
        left: what could not be rewritten.
    """

    model: nn.Module
    program: ExportedProgram
    inputs: tuple[Tensor, ...]
    other: tuple[Tensor, ...] | None
    left: tuple[str, ...]


def trace_module(model: nn.Module, inputs: tuple[Tensor, ...], *, dynamic: bool) -> TracedModule:
    """Trace a copy of a module in evaluation mode, and rewrite its max-unpooling.

    Args:
        model: unchanged.
        inputs: the example, on the CPU.
        dynamic: whether batch, height and width stay free where the module allows it.

    Raises:
        ModelError: the model is no module, PyTorch cannot copy or ``torch.export`` cannot trace it.
    """
    model = without_inplace(_copy(model).cpu())
    for module in model.modules():
        module.training = False
    program = trace_program(model, inputs, dynamic=dynamic)
    other = None
    if _is_free(program):
        if not _serves_fewer(model, program, inputs):
            other = _other_inputs(model, program, inputs)
        if other is None:  # the program serves fewer sizes than the module, or none but the example's is known
            program = trace_program(model, inputs, dynamic=False)
    left = rewrite_unpooling(program)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains local paths
    return TracedModule(model, program, inputs, other, tuple(map(str, left)))


def _copy(model: object) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ModelError(f"a {type(model).__name__} is no module; give a torch.nn.Module")
    try:
        return deepcopy(model)
    except RuntimeError as error:  # of filters that a hook computed with a gradient, as weight_norm does
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({first_line(error)}); call it once within torch.no_grad() first"
        ) from error


def input_shapes(program: ExportedProgram) -> dict[str, tuple[Any, ...]]:
    """Shape of each input, by its name; free axes are symbols."""
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return {str(name): tuple(nodes[name].meta["val"].shape) for name in names}


def _is_free(program: ExportedProgram) -> bool:
    return any(not isinstance(side, int) for shape in input_shapes(program).values() for side in shape)


def _serves_fewer(model: nn.Module, program: ExportedProgram, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the module takes sizes that the program was not traced for, such as those of another branch.

    Few formats can hold such limits: the file would take these sizes, and give something else.
    """
    for shapes in _shapes_beyond(program, inputs):
        try:
            with torch.no_grad():
                model(*map(noise_like, inputs, shapes))
        except Exception:  # noqa: S112  the module does not take them either
            continue
        return True
    return False


def _shapes_beyond(program: ExportedProgram, inputs: tuple[Tensor, ...]) -> Iterator[list[list[int]]]:
    """Shapes of inputs with a side just beyond its limits, or with one of two sides that are tied to each other."""
    places: dict[Any, list[tuple[int, int]]] = {}
    for number, shape in enumerate(input_shapes(program).values()):
        for axis, side in enumerate(shape):
            if not isinstance(side, int):
                places.setdefault(side.node.expr, []).append((number, axis))
    for symbol, tied in places.items():
        limits = program.range_constraints.get(symbol)
        for side in [] if limits is None else [limits.lower - 1, limits.upper + 1]:
            if side.is_Integer and 1 < side <= _LONGEST_TRIED:
                yield _with_sides(inputs, dict.fromkeys(tied, int(side)))
        if len(tied) > 1:
            number, axis = tied[-1]
            side = max(2, inputs[number].shape[axis])  # of one, a side would be repeated
            yield _with_sides(inputs, dict.fromkeys(tied, side) | {tied[-1]: side + 1})


def _with_sides(inputs: tuple[Tensor, ...], sides: Mapping[tuple[int, int], int]) -> list[list[int]]:
    """The shapes of inputs, with other sides at some (number of the input, axis)."""
    return [
        [sides.get((number, axis), side) for axis, side in enumerate(each.shape)] for number, each in enumerate(inputs)
    ]


def _other_inputs(model: nn.Module, program: ExportedProgram, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Noise of another size that the module takes; None if there is none, or if the program does not take it."""
    shapes, left = list(input_shapes(program).values()), _count_left(model, inputs)
    for more in _OTHER_SIZES:
        other = tuple(noise_like(each, _enlarge(each, shape, more)) for each, shape in zip(inputs, shapes, strict=True))
        try:
            left_of_other = _count_left(model, other)
        except Exception:  # noqa: S112  whatever a module says of a size that it does not take
            continue
        if left_of_other > left:  # at this size PyTorch puts values at other places than they were at
            continue
        try:
            with torch.no_grad():
                program.module()(*other)
        except Exception:  # a guard, which is an AssertionError, or an operator of a fixed size
            return None
        return other
    return None


def _count_left(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Number of groups of poolings and unpoolings that would stay as they are for these inputs."""
    return sum(bool(group.reasons) for group in find_groups(model, inputs))


def _enlarge(example: Tensor, shape: tuple[Any, ...], more: int) -> list[int]:
    """A shape with one image more, and with ``more`` pixels at every other free axis."""
    sides = zip(example.shape, shape, strict=True)
    return [
        side if isinstance(symbol, int) else side + (more if axis else 1) for axis, (side, symbol) in enumerate(sides)
    ]


def noise_like(like: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Random numbers with the mean and deviation of an example; of whole numbers, numbers of the example."""
    generator = torch.Generator().manual_seed(draw)
    if not like.is_floating_point():
        index = torch.randint(like.numel(), tuple(shape), generator=generator)
        return like.reshape(-1)[index]
    deviation = like.std(correction=0).clamp_min(1e-3)
    return torch.randn(tuple(shape), generator=generator, dtype=like.dtype) * deviation + like.mean()
