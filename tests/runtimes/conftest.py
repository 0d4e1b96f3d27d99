"""A small network, and the files that it is exported to, all of one tracing: that they are right is for the tests here,
and that ``segnet.export`` compares them for those of ``tests/exporting``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch.export import ExportedProgram

from segnet.exporting.formats import FORMATS, to_onnx, to_openvino, write_onnx, write_openvino
from segnet.exporting.programs import make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.segnet import SegNet
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import ModelInfo
from segnet.runtimes.verification import record_reference

NAMES = ["sky", "Straße", "<tree>"]


@pytest.fixture(scope="session")
def exported(toy: SegNet, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """By format and suffix, the file; not to be changed."""
    folder, labels = tmp_path_factory.mktemp("exported"), ClassTable.from_names(NAMES)
    info = ModelInfo(name="toy", labels=labels, provenance={"terms": "mine"}, scores={"miou": 0.5})

    @cache
    def program() -> ExportedProgram:
        return make_program(toy, ExportConfig())

    @cache
    def proto() -> onnx.ModelProto:
        return to_onnx(program(), info)

    @cache
    def make(kind: str, suffix: str) -> Path:
        path = folder / f"{kind}{suffix}"
        write(kind, info, path)
        if kind != "aoti":  # with its predictions on the reference images, as segnet.export writes it
            runtime = open_runtime(path, device="cpu")
            assert isinstance(runtime, FileRuntime)
            write(kind, replace(info, reference=record_reference(runtime)), path)
        return path

    def write(kind: str, info: ModelInfo, path: Path) -> None:
        if kind == "onnx":
            write_onnx(proto(), info, path)
        elif kind == "openvino":
            write_openvino(to_openvino(proto()), info, path)
        else:
            kind_of = FORMATS[kind]
            kind_of.write(kind_of.make(program(), info), info, path)

    return make


@pytest.fixture(params=[(1, 1, 1), (1, 1, 9), (2, 37, 42), (1, 8, 8)], ids=str)
def image(request: pytest.FixtureRequest) -> np.ndarray:
    number, height, width = request.param
    return np.random.default_rng(0).random((number, 3, height, width), dtype=np.float32)
