"""OpenVINO's files (.xml with .bin beside it); no torch needed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, MissingPackageError, ModelError
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.protocol import FileRuntime, Image

__all__ = ["OpenVinoRuntime"]

_PRECISIONS = {"float32": "f32", "bf16": "bf16"}


class OpenVinoRuntime(FileRuntime):
    """A compiled model of OpenVINO.

    Args:
        path: an .xml file that ``segnet export`` wrote, its .bin beside it.
        device: ``auto`` and ``cpu`` are the processor; otherwise OpenVINO's names, such as GPU or NPU.
        precision: ``float32``, ``bf16``, or ``auto``, which leaves it to OpenVINO.
        threads: 0: as many as OpenVINO takes.

    Raises:
        MissingPackageError: OpenVINO is not installed.
        ModelError: the files are damaged or say nothing of themselves.
        ConfigError: no such device or precision here.
    """

    def __init__(self, path: Path, *, device: str = "auto", precision: str = "float32", threads: int = 0) -> None:
        core = _core()
        if precision not in {*_PRECISIONS, "auto"}:
            raise ConfigError(f"precision {precision!r} is unknown; choose auto, float32 or bf16")
        wanted = "CPU" if device in {"auto", "cpu"} else device.upper()
        if wanted not in core.available_devices:
            raise ConfigError(
                f"OpenVINO has no device {device!r} here; choose one of {', '.join(core.available_devices)}"
            )
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision in _PRECISIONS:
            options["INFERENCE_PRECISION_HINT"] = _PRECISIONS[precision]
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(path)
            compiled = core.compile_model(model, wanted, options)
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise ModelError(
                f"{path}: OpenVINO cannot use it ({reason}); its .bin must lie beside it, whole"
            ) from error
        text = str(model.get_rt_info([KEY]).value) if model.has_rt_info([KEY]) else None
        backend = f"OpenVINO {_version()} ({wanted}, {precision})"
        super().__init__(path, ModelInfo.from_json(text, path), backend=backend)
        self._request = compiled.create_infer_request()

    def run(self, image: Image) -> list[NDArray[Any]]:
        """All outputs of the file."""
        self._request.infer([np.ascontiguousarray(image)])
        # The request's buffers are written over by the next image.
        return [tensor.data.copy() for tensor in self._request.output_tensors]


def _version() -> str:
    import openvino

    return str(openvino.get_version()).partition("-")[0]


@cache
def _core() -> Any:
    """OpenVINO itself, kept until the program ends.

    While it lives it lends the thread that made it a stack for signals. Closed with the last file, maybe in another
    thread, it would take that away, and the next signal would kill the program.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingPackageError("openvino", "openvino") from error
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a mapped file that is cut off meanwhile kills the process
    return core
