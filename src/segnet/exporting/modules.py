"""Export of any module: its max-unpooling is rewritten, and the file is run in its own runtime and compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import MappingKey, keystr, tree_flatten_with_path, tree_leaves

from segnet.errors import ConfigError
from segnet.exporting.comparison import NOISE, Comparison, Tolerance, compare_arrays, compare_noise, require_close
from segnet.exporting.formats import FORMATS, Format
from segnet.exporting.int8.export import INT8_FORMATS, WRITERS, Stage, calibrate
from segnet.exporting.int8.gate import Int8Gate, quantize_within
from segnet.exporting.module_programs import TracedModule, input_shapes, noise_like, trace_module
from segnet.exporting.report import ModuleReport, round_seconds
from segnet.exporting.staging import count_bytes, require_replaceable, stage_file
from segnet.nn.programs import as_inputs, call_with_copies
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.load import open_file
from segnet.runtimes.model_info import PAIR_LIMIT, ModuleInfo
from segnet.system.field_types import require_kind

__all__ = ["export_module", "format_of"]


def export_module(
    model: nn.Module,
    example: Any,
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002  the word that the command has
    dynamic: bool = True,
    int8: Int8Gate | None = None,
    tolerance: Tolerance = Tolerance(),  # noqa: B008
    on_stage: Callable[[str], object] | None = None,
) -> ModuleReport:
    """Write any module for another runtime, run the file there, and compare it with PyTorch.

    Pairs of ``nn.MaxPool2d`` and ``nn.MaxUnpool2d``, in any form, become operators that every runtime has. Nothing else
    is added: the input is normalized as the module takes it. If the comparison fails, nothing is written.

    >>> segnet.export_module(net, torch.rand(1, 3, 360, 480), "net.onnx").agreement
    1.0

    Args:
        model: any module of tensors to tensors, unchanged; evaluation mode is exported.
        example: its input: a tensor, or a tuple of tensors.
        path: output path; its suffix names the format. FILE.report.json is written beside it.
        format: ``onnx``, ``openvino``, ``executorch``, ``litert``, ``coreml``, ``aoti`` or ``torch``; None: by suffix.
        dynamic: whether batch, height and width stay free, where the format and the module allow it.
        int8: quantizes a module of one input to INT8, for ONNX, OpenVINO and ExecuTorch.
        tolerance: largest difference from PyTorch; INT8 is accepted by its score instead.
        on_stage: called with the name of each stage of the work as it begins.

    Raises:
        ConfigError: the format cannot do what is asked, or inputs and outputs are no tensors.
        ModelError: the model is no module, PyTorch cannot copy or ``torch.export`` cannot trace it, or the file does
            not match PyTorch.
        MissingPackageError: a library is not installed.
        OutputError: the files cannot be written.
    """
    require_kind("tolerance", tolerance, Tolerance, example="median=1e-3")
    if int8 is not None:
        require_kind("int8", int8, Int8Gate, example="images=images, score=score")
    say, path = on_stage or (lambda stage: None), Path(path)
    name, kind = format_of(path, format)
    inputs = _inputs(example)
    if int8 is not None:
        _require_int8(name, inputs)
    require_replaceable(path)
    kind.require()
    started = time.perf_counter()
    say("tracing the module")
    traced = trace_module(model, inputs, dynamic=dynamic and not kind.fixed)
    info = _describe(traced)
    with stage_file(path) as staged:
        say(f"converting it to {name}" if int8 is None else "quantizing it, and scoring float32 and INT8")
        info, accuracy = _write(traced, info, name, int8, staged)
        written = time.perf_counter()
        comparisons: tuple[Comparison, ...] = ()
        judged = tolerance if int8 is None else None
        if kind.runs_here:
            say("running the file and comparing it with PyTorch")
            comparisons = tuple(_compare(open_file(staged), traced, judged))
        if comparisons and judged is not None:
            require_close(comparisons, judged)
        report = ModuleReport(
            path=path,
            info=info,
            size_bytes=count_bytes(staged),
            seconds=round_seconds(export=written - started, check=time.perf_counter() - written),
            versions=kind.versions(),
            tolerance=judged,
            comparisons=comparisons,
            accuracy=accuracy,
            sizes=_sizes(traced.program),
            left=traced.left,
        )
        report.write(staged)
    return report


def _write(
    traced: TracedModule, info: ModuleInfo, name: str, int8: Int8Gate | None, path: Path
) -> tuple[ModuleInfo, dict[str, Any]]:
    """Write the file; its final metadata, and the scores of float32 and INT8, are returned."""
    if int8 is None:
        FORMATS[name].write(FORMATS[name].make(traced.program, info), info, path)
        return info, {}
    info = replace(info, precision="int8", pair_limit=None if name == "executorch" else PAIR_LIMIT)
    _require_images(int8.images, traced.program)
    network = calibrate(traced.program, info, name, int8.images)
    with TemporaryDirectory(prefix="segnet-") as folder:
        quantized = quantize_within(network, int8, stage=Stage(WRITERS[name], info, Path(folder) / path.name))
        WRITERS[name](quantized.model, info, path)
        return info, quantized.to_dict()


def _require_int8(format: str, inputs: tuple[Tensor, ...]) -> None:  # noqa: A002
    if format not in INT8_FORMATS or len(inputs) != 1:
        raise ConfigError(f"INT8 needs a module of one input, and one of {', '.join(INT8_FORMATS)}; leave int8 out")
    if inputs[0].dtype != torch.float32:
        raise ConfigError(f"INT8 needs an input of float32, and the example is {inputs[0].dtype}; give it in float32")


def _require_images(images: Sequence[NDArray[Any]], program: ExportedProgram) -> None:
    """Refuse images for INT8 that the program does not take."""
    ((name, wanted),) = input_shapes(program).items()
    for image in map(np.asarray, images):
        fixed = [side if isinstance(side, int) else have for side, have in zip(wanted, image.shape, strict=False)]
        if image.dtype != np.float32 or image.ndim != len(wanted) or list(image.shape) != fixed:
            sides = " x ".join(map(str, _sizes(program)[name]))
            raise ConfigError(f"an image for INT8 is {image.dtype} {image.shape}; give each as float32 {sides}")


def format_of(path: Path, name: str | None) -> tuple[str, Format]:
    """The format of a file to write, by its name or by the suffix.

    Raises:
        ConfigError: there is no such format, or the suffix is another one's.
    """
    by_suffix = {kind.suffix: key for key, kind in FORMATS.items()}  # of .pt2, the last: a program of torch.export
    name = name or by_suffix.get(path.suffix, "")
    if name not in FORMATS:
        raise ConfigError(f"{path}: its suffix names no format; give one of {', '.join(by_suffix)}")
    if path.suffix != FORMATS[name].suffix:
        raise ConfigError(f"{path} is no name for this format; give one that ends in {FORMATS[name].suffix}")
    return name, FORMATS[name]


def _inputs(example: Any) -> tuple[Tensor, ...]:
    inputs = as_inputs(example)
    for each in inputs:
        if not isinstance(each, Tensor) or each.dtype in (torch.float16, torch.bfloat16) or not each.numel():
            kind = f"{each.dtype} {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
            raise ConfigError(f"an input is {kind}; give a tensor, such as float32, or a tuple of tensors, none empty")
    return tuple(each.detach().cpu() for each in inputs)


def _sizes(program: ExportedProgram) -> dict[str, tuple[int | str, ...]]:
    words = {0: "batch", 2: "height", 3: "width"}
    return {
        name: tuple(
            side if isinstance(side, int) else words.get(axis, f"axis_{axis}") for axis, side in enumerate(shape)
        )
        for name, shape in input_shapes(program).items()
    }


def _describe(traced: TracedModule) -> ModuleInfo:
    """Metadata of the file; outputs are called as the module's dictionary calls them, or by number."""
    with torch.no_grad():
        leaves, _ = tree_flatten_with_path(call_with_copies(traced.model, traced.inputs))
    kind, inputs = type(traced.model).__name__, tuple(input_shapes(traced.program))
    if not leaves or not all(isinstance(leaf, Tensor) for _, leaf in leaves):
        raise ConfigError(f"{kind} does not return tensors alone; wrap it in a module that does")
    if wrong := [leaf for _, leaf in leaves if leaf.dtype == torch.bfloat16 or not leaf.numel()]:
        raise ConfigError(
            f"{kind} returns {wrong[0].dtype} {tuple(wrong[0].shape)}; wrap it in a module that returns a tensor such "
            "as float32, not an empty one"
        )
    outputs = tuple(f"output_{name}" if name in inputs else name for name in (_output_name(key) for key, _ in leaves))
    if len(set(outputs)) < len(outputs):
        raise ConfigError(f"{kind} returns two tensors of one name: {', '.join(outputs)}; give other keys")
    return ModuleInfo(name=kind, inputs=inputs, outputs=outputs)


def _output_name(key: Any) -> str:
    parts = [str(part.key) if isinstance(part, MappingKey) else keystr((part,)).strip("[].") for part in key]
    return "_".join(parts if parts and isinstance(key[0], MappingKey) else ["output", *parts])


def _compare(runtime: FileRuntime, traced: TracedModule, tolerance: Tolerance | None) -> Iterator[Comparison]:
    """Each output on the example, on noise of its size, and on noise of another size if sizes are free."""
    yield from _compare_outputs(runtime, traced.model, "example", traced.inputs)
    for others in [traced.inputs] if traced.other is None else [traced.inputs, traced.other]:
        shapes = [each.shape for each in others]
        yield from compare_noise(partial(_compare_on_noise, runtime, traced, shapes), tolerance)


def _compare_on_noise(
    runtime: FileRuntime, traced: TracedModule, shapes: Sequence[Sequence[int]], draw: int
) -> list[Comparison]:
    inputs = (noise_like(each, shape, draw) for each, shape in zip(traced.inputs, shapes, strict=True))
    return _compare_outputs(runtime, traced.model, NOISE, tuple(inputs))


def _compare_outputs(runtime: FileRuntime, model: nn.Module, name: str, inputs: tuple[Tensor, ...]) -> list[Comparison]:
    with torch.no_grad():
        expected = [leaf.numpy() for leaf in tree_leaves(call_with_copies(model, inputs))]
    outputs = runtime.forward(*(each.numpy() for each in inputs))
    return [
        compare_arrays(output, wanted, name, tuple(inputs[0].shape))
        for output, wanted in zip(outputs, expected, strict=True)
    ]
