"""Export formats: each converts a program of ``torch.export`` and writes it with its metadata.

ONNX and OpenVINO models from other sources, such as quantized ones, are written by ``write_onnx`` or
``write_openvino``.
"""

from __future__ import annotations

import io
import json
import platform
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.export import ExportedProgram

from segnet.errors import ConfigError
from segnet.exporting.coreml import write_coreml
from segnet.exporting.float16 import halve_filters
from segnet.exporting.programs import KeptProgram
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.output_suppression import suppress_output
from segnet.system.hardware import versions
from segnet.system.packages import importing

__all__ = ["FORMATS", "OPSET", "Format", "to_onnx", "to_openvino", "write_onnx", "write_openvino"]

OPSET = 20
"""ONNX opset: the default of PyTorch 2.13 and the highest of TensorRT 10.0; ONNX Runtime reads it since 1.17."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format to export to.

    Attributes:
        suffix: of the file name.
        make: converts a program to the content of a file, without metadata.
        write: writes that content with metadata; may be called again, with other metadata.
        packages: import names of the libraries that write and run it.
        extra: the extra of this package that installs them.
        fixed: whether the file has a fixed size and batch.
        system: the only system that runs such files, as named by ``platform.system``; empty: all.
    """

    suffix: str
    write: Callable[[Any, ModelInfo, Path], None]
    make: Callable[[ExportedProgram, ModelInfo], Any] = lambda program, info: program
    packages: tuple[str, ...] = ()
    extra: str = ""
    fixed: bool = False
    system: str = ""

    @property
    def runs_here(self) -> bool:
        """Whether this system can run such files."""
        return self.system in {"", platform.system()}

    def require(self) -> None:
        """Check that the libraries are installed, before work begins.

        Raises:
            MissingPackageError: a library is not installed.
        """
        for package in self.packages:
            with importing(package.partition(".")[0], self.extra), suppress_output():
                import_module(package)

    def versions(self) -> dict[str, str]:
        """Versions of PyTorch, of this package, and of the libraries that write and run such files."""
        return versions("segnet", "torch", *self.packages)


def to_onnx(program: ExportedProgram, info: ModelInfo) -> Any:
    """Convert to a ``ModelProto`` with the names of inputs and outputs in ``info``; free axes: batch, height, width."""
    convert = partial(
        torch.onnx.export,
        dynamo=True,
        opset_version=OPSET,
        input_names=list(info.input_names),
        output_names=list(info.output_names),
        dynamic_shapes=tuple(_axes(program)),
        verbose=False,
    )
    with suppress_output(), torch.no_grad():
        try:
            made = convert(KeptProgram(program))
        except torch.onnx.OnnxExporterError:  # an operator that has to be decomposed after all
            made = convert(program)
    assert made is not None
    return _with_random_nodes_apart(_as_pytorch_resizes(made.model_proto))


def _axes(program: ExportedProgram) -> Iterator[dict[int, str]]:
    """Names of the free axes of each input; axes that always have the same size have the same name."""
    sizes: dict[str, str] = {}
    inputs = set(program.graph_signature.user_inputs)
    for node in (node for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs):
        shape = node.meta["val"].shape
        free = {axis: str(side) for axis, side in enumerate(shape) if not isinstance(side, int)}
        for axis, size in free.items():
            name = {0: "batch", 2: "height", 3: "width"}.get(axis, f"axis_{axis}")
            sizes.setdefault(size, f"{name}_{node.name}" if name in sizes.values() else name)
        yield {axis: sizes[size] for axis, size in free.items()}


def _as_pytorch_resizes(proto: Any) -> Any:
    """Correct the exporter's coordinates, which differ from PyTorch's for outputs with a side of one pixel."""
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.s == b"pytorch_half_pixel":
                attribute.s = b"half_pixel"
    return proto


def _with_random_nodes_apart(proto: Any) -> Any:
    """Give each random node its own tiny lower bound, since OpenVINO merges equal random nodes."""
    from onnx import helper

    drawn = [node for node in proto.graph.node if node.op_type == "RandomUniformLike"]
    for number, node in enumerate(drawn, start=1):
        kept = [attribute for attribute in node.attribute if attribute.name != "low"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("low", number * 1e-30)])
    return proto


def write_onnx(proto: Any, info: ModelInfo, path: Path) -> None:
    """Write a ``ModelProto`` as one file, with ``info`` in its property ``segnet`` and the classes in ``names``."""
    import onnx

    for part in (proto.graph, *proto.graph.node, *proto.graph.initializer, *proto.graph.value_info):
        del part.metadata_props[:]  # names of our modules, useful only to PyTorch's developers
    for part in (*proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]
    onnx.helper.set_model_props(proto, {KEY: info.to_json(), **_class_names(info)})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _class_names(info: ModelInfo) -> dict[str, str]:
    """As they are read: programs without a JSON library cut the list at its quotes."""
    return {"names": json.dumps(list(info.class_names), ensure_ascii=False)} if info.class_names else {}


def to_openvino(proto: Any) -> Any:
    """A model of OpenVINO's, by way of ONNX: the way that takes every size."""
    import openvino

    return openvino.Core().read_model(proto.SerializeToString())


def write_openvino(model: Any, info: ModelInfo, path: Path, *, half: bool = False) -> None:
    """Write ``path`` (.xml) and the weights beside it (.bin), with ``info`` and the classes in its ``rt_info``.

    Raises:
        OSError: the files cannot be written.
    """
    import openvino

    for key, text in {KEY: info.to_json(), **_class_names(info)}.items():
        model.set_rt_info(text, [key])
    try:
        openvino.save_model(model, path, compress_to_fp16=half)
    except RuntimeError as error:
        reason = str(error).strip().rpartition("\n")[2]
        raise OSError(f"OpenVINO failed, as on a full disk: {reason}") from error


def _make_onnx(program: ExportedProgram, info: ModelInfo) -> Any:
    proto = to_onnx(program, info)
    return halve_filters(proto) if info.precision == "float16" else proto


def _make_openvino(program: ExportedProgram, info: ModelInfo) -> Any:
    return to_openvino(to_onnx(program, info))


def _openvino(model: Any, info: ModelInfo, path: Path) -> None:
    write_openvino(model, info, path, half=info.precision == "float16")


def _torch(program: ExportedProgram, info: ModelInfo, path: Path) -> None:
    program.example_inputs = None  # they would be stored in the file as a pickle
    buffer = io.BytesIO()  # PyTorch's own writing aborts the process on a full disk
    with suppress_output():
        torch.export.save(program, buffer, extra_files={KEY: info.to_json()})
    path.write_bytes(buffer.getbuffer())


def _make_aoti(program: ExportedProgram, info: ModelInfo) -> bytes:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    try:
        with suppress_output(), TemporaryDirectory(prefix="segnet-") as folder:
            return Path(aoti_compile_and_package(program, package_path=f"{folder}/model.pt2")).read_bytes()
    except (InvalidCxxCompiler, InductorError) as error:
        raise ConfigError(
            f"AOTInductor could not compile the model ({str(error).strip().partition(chr(10))[0]}); "
            "it needs a C++ compiler, such as g++"
        ) from error


def _aoti(package: bytes, info: ModelInfo, path: Path) -> None:
    path.write_bytes(package)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/{KEY}", info.to_json())


def _executorch(program: ExportedProgram, info: ModelInfo, path: Path) -> None:
    with suppress_output():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        # A .pte has no field for text, so a method returns its bytes.
        text = torch.frombuffer(bytearray(info.to_json().encode()), dtype=torch.uint8)
        lowered = to_edge_transform_and_lower(
            program, partitioner=[XnnpackPartitioner()], constant_methods={KEY: text}
        ).to_executorch()
    path.write_bytes(lowered.buffer)


def _make_litert(program: ExportedProgram, info: ModelInfo) -> bytes:
    with suppress_output(), TemporaryDirectory(prefix="segnet-") as folder:
        import litert_torch

        assert program.example_inputs is not None
        file = Path(folder) / "model.tflite"
        litert_torch.convert(program.module(), program.example_inputs[0]).export(str(file))
        return file.read_bytes()


def _litert(network: bytes, info: ModelInfo, path: Path) -> None:
    path.write_bytes(network)
    # TensorFlow Lite appends the files that belong to a model as a zip archive.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{KEY}.json", info.to_json())
        if info.class_names:
            archive.writestr("labels.txt", "\n".join(info.class_names) + "\n")


FORMATS = {
    "onnx": Format(
        suffix=".onnx",
        make=_make_onnx,
        write=write_onnx,
        packages=("onnx", "onnxscript", "onnxruntime"),
        extra="export",
    ),
    "openvino": Format(
        suffix=".xml",
        make=_make_openvino,
        write=_openvino,
        packages=("onnx", "onnxscript", "openvino"),
        extra="export",
    ),
    "executorch": Format(
        suffix=".pte", write=_executorch, packages=("executorch.exir",), extra="executorch", fixed=True
    ),
    "litert": Format(
        suffix=".tflite",
        make=_make_litert,
        write=_litert,
        packages=("litert_torch", "ai_edge_litert"),
        extra="litert",
        fixed=True,
    ),
    "coreml": Format(
        suffix=".mlpackage",
        write=write_coreml,
        packages=("coremltools",),
        extra="coreml",
        fixed=True,
        system="Darwin",
    ),
    "aoti": Format(suffix=".pt2", make=_make_aoti, write=_aoti),
    "torch": Format(suffix=".pt2", write=_torch),
}
"""By the name that ``--format`` takes."""
