"""Core ML packages (.mlpackage). They run on macOS only; their metadata is checked on every system."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from segnet.errors import ConfigError, ModelError
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.output_suppression import suppress_output

__all__ = ["require_sound", "write_coreml"]

# The converter's own: names of our modules, useful only to PyTorch's developers.
_LEFTOVER = "executorch_debug_handle_mapping.json"


def write_coreml(program: ExportedProgram, info: ModelInfo, path: Path) -> None:
    """Write a folder ``path`` with the network in float32, ``info`` and the classes in its ``user_defined_metadata``.

    Raises:
        ConfigError: coremltools cannot convert the network.
        ModelError: the written package has another input, output or metadata.
    """
    with suppress_output():
        model = _convert(program, info.output_names)
        model.user_defined_metadata[KEY] = info.to_json()
        if info.class_names:
            model.user_defined_metadata["names"] = json.dumps(list(info.class_names), ensure_ascii=False)
        model.save(str(path))
    (path / _LEFTOVER).unlink(missing_ok=True)
    require_sound(path, info, _shapes(program))


def require_sound(path: Path, info: ModelInfo, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse a package that has another input, output or metadata than expected.

    Args:
        path: the package.
        info: its metadata.
        shapes: of its inputs and then of its outputs.

    Raises:
        ModelError: the package differs.
    """
    with suppress_output():
        import coremltools

        spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    names = (*info.input_names, *info.output_names)
    expected = dict(zip(names, shapes, strict=True))
    features = (*spec.description.input, *spec.description.output)
    actual = {each.name: tuple(each.type.multiArrayType.shape) for each in features}
    kinds = [_dtype(each) for each in features]
    if actual != expected or kinds != ["INT32" if name == "mask" else "FLOAT32" for name in names]:
        raise ModelError(f"{path}: has input and output {actual} of {kinds}, expected {expected}; please report it")
    if spec.description.metadata.userDefined.get(KEY) != info.to_json():
        raise ModelError(f"{path}: its metadata is not what was written; please report it")


def _convert(program: ExportedProgram, outputs: Sequence[str]) -> Any:
    import coremltools

    try:
        return coremltools.convert(
            _in_core_operators(program),
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            outputs=[coremltools.TensorType(name=name) for name in outputs],
            skip_model_load=True,
        )
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"coremltools cannot convert this network ({' '.join(str(error).split())}); transposed convolutions need "
            "sides that halve without a rest, such as --size 352 480; otherwise take another format"
        ) from error


def _in_core_operators(program: ExportedProgram) -> ExportedProgram:
    table = torch.export.default_decompositions()
    table[torch.ops.aten.where.ScalarOther] = _where
    decomposed: ExportedProgram = program.run_decompositions(table)
    module = decomposed.graph_module
    with module._set_replace_hook(decomposed.graph_signature.get_replace_hook()):
        for node in module.graph.nodes:  # slices of everything; the converter does not know their operator
            if node.target is torch.ops.aten.alias.default:
                node.replace_all_uses_with(node.args[0])
    module.graph.eliminate_dead_code()
    return decomposed


def _where(condition: Tensor, value: Tensor, other: float) -> Tensor:
    """Decompose unpooling's ``where``: with a zero, the converter would store a map of zeros, ten times the filters."""
    return value * condition.to(value.dtype) if other == 0 else torch.where(condition, value, torch.tensor(other))


def _shapes(program: ExportedProgram) -> list[tuple[int, ...]]:
    signature, nodes = program.graph_signature, {node.name: node for node in program.graph.nodes}
    return [tuple(nodes[name].meta["val"].shape) for name in (*signature.user_inputs, *signature.user_outputs)]


def _dtype(feature: Any) -> str:
    kinds = type(feature.type.multiArrayType)
    return str(kinds.ArrayDataType.Name(feature.type.multiArrayType.dataType))
