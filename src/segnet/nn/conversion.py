"""Conversion of any model with max-unpooling: PyTorch's pairs become ours, with codes instead of indices, and back."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from segnet.errors import ConfigError, ModelError, describe_error
from segnet.nn.modes import in_evaluation
from segnet.nn.modules import MaxPool2d, MaxUnpool2d, pool_windows, unpool_windows
from segnet.nn.programs import as_inputs, call_with_copies, trace_program
from segnet.nn.tracing import Group, find_groups, leaves
from segnet.nn.unpooling import POOL, UNPOOL, Left, Pair, Windows, find_pairs, path_of

__all__ = ["Conversion", "convert_unpooling", "restore_unpooling"]


@dataclass(frozen=True)
class Conversion:
    """A model with codes instead of indices.

    Attributes:
        model: the converted model; a graph in evaluation mode if some pair is in functional form.
        replaced: each group of poolings and unpoolings that was replaced, such as "encoder.pool -> decoder.unpool".
        left: what stays as it is, each with its path and the reason.
    """

    model: nn.Module
    replaced: tuple[str, ...]
    left: tuple[Left, ...]

    def __str__(self) -> str:
        return "\n".join([*(f"replaced {pair}" for pair in self.replaced), *(f"left {each}" for each in self.left)])


def convert_unpooling(model: nn.Module | ExportedProgram, example: Any, *, inplace: bool = False) -> Conversion:
    """Replace max-pooling with indices and max-unpooling by pooling with codes, in any model.

    An example runs through the model, and shows which unpooling belongs to which pooling. Modules are replaced by those
    of ``segnet.nn``. If a pair is in functional form, such as ``F.max_unpool2d``, the model becomes a graph of
    ``torch.export``, and the pair is replaced there. Weights are untouched, and the outputs for the example are the
    same bit for bit.

    >>> conversion = segnet.convert_unpooling(model, torch.rand(1, 3, 360, 480))
    >>> print(conversion)
    replaced encoder.pool -> decoder.unpool (2x2, 2 bits)

    Args:
        model: any module, or a program of ``torch.export``.
        example: its input: a tensor, or a tuple of arguments.
        inplace: whether the modules of ``model`` itself are replaced, not those of a copy.

    Raises:
        ModelError: nothing can be replaced, ``torch.export`` cannot trace a model of functional form, or the outputs
            for the example would not be the same.
        ConfigError: ``inplace``, and a pair is in functional form.
    """
    inputs = as_inputs(example)
    source = cast("nn.Module", model.module()) if isinstance(model, ExportedProgram) else model
    groups = find_groups(source, inputs)
    good = [group for group in groups if not group.reasons]
    left = [each for group in groups if group.reasons for each in group.left]
    functions = [site.path for group in good for site in group.sites if site.module is None]
    if not good:
        raise ModelError(_complaint(source, left))
    if functions and inplace:
        raise ConfigError(f"{functions[0]} is a function and cannot be replaced in place; leave inplace out")
    expected = _outputs(source, inputs)
    converted: nn.Module
    modules: list[nn.Module] = []
    if functions:
        converted, replaced, left = _convert_graph(source, inputs)
        if not replaced:
            raise ModelError(_complaint(source, left))
    else:
        converted, replaced = source if inplace else deepcopy(source), [_describe(group) for group in good]
        modules = _replace_modules(converted, good)
    if fault := _fault(converted, inputs, expected):
        _restore_modules(modules)
        raise ModelError(f"{type(source).__name__} {fault} after the conversion, so it stays as it is")
    return Conversion(converted, tuple(replaced), tuple(left))


def restore_unpooling(model: nn.Module) -> nn.Module:
    """Put PyTorch's own pooling with indices and unpooling back, in place.

    Returns:
        ``model``.

    Raises:
        ModelError: it has nothing to restore.
    """
    modules = [module for module in model.modules() if isinstance(module, MaxPool2d | MaxUnpool2d)]
    _restore_modules(modules)
    restored = sum(_restore_graph(part) for part in model.modules() if isinstance(part, GraphModule))
    if not modules and not restored:
        raise ModelError(f"{type(model).__name__} has no pooling of segnet.nn to restore; give a converted model")
    return model


def _complaint(model: nn.Module, left: Sequence[Left]) -> str:
    name = type(model).__name__
    if any(isinstance(module, MaxPool2d | MaxUnpool2d) for module in model.modules()):
        return f"{name} has pooling of segnet.nn already, and nothing else that can be converted; use it as it is"
    if not left:
        return (
            f"{name} has no pair of max-pooling with indices and max-unpooling that the example passes; "
            "give a model with nn.MaxPool2d(return_indices=True) and nn.MaxUnpool2d"
        )
    return f"{name} has no pair that can be converted: {'; '.join(map(str, left))}"


def _describe(group: Group) -> str:
    pools, unpools = group.pools, group.unpools
    assert pools[0].windows is not None
    return _arrow([site.path for site in pools], [site.path for site in unpools], pools[0].windows)


def _arrow(pools: Sequence[str], unpools: Sequence[str], windows: Windows) -> str:
    kernel = "x".join(map(str, windows.kernel))
    return f"{', '.join(pools)} -> {', '.join(unpools)} ({kernel}, {windows.bits} bits)"


def _replace_modules(model: nn.Module, groups: Sequence[Group]) -> list[nn.Module]:
    """Replace the modules of groups in a model with the same paths, and return them.

    Each gets another class and stays the same object, with its hooks and mode, since a model may hold it by more than
    its path: in a list, or in a function.
    """
    replaced = []
    for group in groups:
        rounds_up = any(site.windows and site.windows.ceil_mode for site in group.pools)
        for site in group.sites:
            module = model.get_submodule(site.path)
            if site.pools:
                module.__class__ = MaxPool2d
            else:
                module.__class__, module.ceil_mode = MaxUnpool2d, rounds_up  # type: ignore[assignment]
            replaced.append(module)
    return replaced


def _restore_modules(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        pools = isinstance(module, MaxPool2d)
        module.__class__ = nn.MaxPool2d if pools else nn.MaxUnpool2d
        if not pools:
            del module.ceil_mode


def _convert_graph(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[GraphModule, list[str], list[Left]]:
    """The model as a graph with our pooling and unpooling, which pairs were replaced, and what is left."""
    with in_evaluation(model):
        graph_module = trace_program(model, inputs).module()
    assert isinstance(graph_module, GraphModule)
    graph = graph_module.graph
    pairs, left = find_pairs(graph)
    replaced = [_arrow([path_of(pair.pool)], [path_of(each) for each in pair.unpools], pair.windows) for pair in pairs]
    for pair in pairs:
        _replace_pair(graph, pair)
    graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module, replaced, left


def _replace_pair(graph: Graph, pair: Pair) -> None:
    pool = _call(graph, pair.pool, pool_windows, pair.pool.args[0], *pair.windows)
    for unpool in pair.unpools:
        code = _call(graph, unpool, operator.getitem, pool, 1)
        values, _, size = unpool.args
        unpool.replace_all_uses_with(_call(graph, unpool, unpool_windows, values, code, size, *pair.windows))
        graph.erase_node(unpool)
    pair.pool.replace_all_uses_with(pool)


def _restore_graph(module: GraphModule) -> int:
    """Replace our pooling and unpooling of a graph by PyTorch's; how many nodes were replaced."""
    ours = [node for node in module.graph.nodes if node.target in (pool_windows, unpool_windows)]
    for node in ours:
        if node.target is pool_windows:
            x, kernel, stride, padding, ceil_mode = node.args
            new = _call(module.graph, node, POOL, x, kernel, stride, padding, (1, 1), ceil_mode)
        else:
            new = _call(module.graph, node, UNPOOL, *node.args[:3])
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
    module.recompile()
    return len(ours)


def _call(graph: Graph, before: Node, target: Any, *arguments: Any) -> Node:
    with graph.inserting_before(before):
        node = graph.call_function(target, arguments)
    node.meta = {key: before.meta[key] for key in ("nn_module_stack", "val") if key in before.meta}
    return node


def _fault(model: nn.Module, inputs: tuple[Any, ...], expected: Sequence[Any]) -> str:
    """What a converted model does instead of giving the expected outputs; empty if it gives them."""
    try:
        return "" if _equal(expected, _outputs(model, inputs)) else "gives other outputs"
    except Exception as error:  # whatever a model raises that holds a module of another model, say in a lambda
        return f"fails ({describe_error(error)})"


def _outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Any]:
    tensors = [each for each in (*model.parameters(), *leaves(inputs)) if isinstance(each, Tensor)]
    gpus = {tensor.device.index for tensor in tensors if tensor.is_cuda}
    with in_evaluation(model), torch.random.fork_rng(gpus, device_type="cuda"):
        # torch.manual_seed would seed other GPUs as well, whose state is not kept.
        for generator in (torch.default_generator, *(torch.cuda.default_generators[gpu] for gpu in gpus)):
            generator.manual_seed(0)
        return leaves(call_with_copies(model, inputs))


def _equal(expected: Sequence[Any], given: Sequence[Any]) -> bool:
    return len(expected) == len(given) and all(map(_same_bits, expected, given))


def _same_bits(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return bool(np.array_equal(a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_complex():  # of which there is no signbit
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    return bool(((a == b) & (a.signbit() == b.signbit()) | (a != a) & (b != b)).all())
