"""OpenVINO models (.xml with .bin beside it) and ONNX files in OpenVINO, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, ModelError
from segnet.runtimes.base import FileRuntime
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.overflow import may_overflow, warn_of_overflow
from segnet.system.files import last_change
from segnet.system.packages import importing
from segnet.system.threads import available_cores

__all__ = ["OpenVinoRuntime"]

_PRECISIONS = {"float32": "f32", "bf16": "bf16"}
_FIRST = Lock()  # held during a model's first inference
_CONCURRENT = 2  # images at the same time: enough to fill the cores between layers, with twice the memory


class OpenVinoRuntime(FileRuntime):
    """An OpenVINO model, compiled for a device.

    Args:
        path: an .xml file written by ``segnet export``, its .bin beside it; or an .onnx file.
        device: ``auto`` and ``cpu`` are the CPU; otherwise a device name of OpenVINO, such as GPU or NPU.
        precision: ``float32``, ``bf16``, or ``auto``: OpenVINO's choice.
        threads: number of compute threads; 0: OpenVINO's default.

    Raises:
        MissingPackageError: OpenVINO is not installed.
        ModelError: the files are damaged or have no metadata.
        ConfigError: the device or precision is not available.
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
        options: dict[str, Any] = {}
        if wanted == "CPU":
            options["ENABLE_CPU_PINNING"] = False  # a thread tied to a core waits while another program has it
        if precision in _PRECISIONS:
            options["INFERENCE_PRECISION_HINT"] = _PRECISIONS[precision]
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(path)
            compiled = core.compile_model(model, wanted, {**options, "PERFORMANCE_HINT": "LATENCY"})
            place = ["framework", KEY] if path.suffix == ".onnx" else [KEY]
            text = str(model.get_rt_info(place).value) if model.has_rt_info(place) else None
        except (RuntimeError, UnicodeDecodeError) as error:  # a name or the metadata may be no text
            reason = str(error).strip().rpartition("\n")[2]
            raise ModelError(
                f"{path}: OpenVINO cannot use it ({reason})"
                + ("; its complete .bin must lie beside it" if path.suffix == ".xml" else "")
            ) from error
        backend = f"OpenVINO {_version()} ({wanted}, {precision})"
        super().__init__(path, ModelInfo.from_json(text, path), backend=backend)
        if may_overflow(self.info):
            warn_of_overflow(path)
        self._options, self._on_cores = options, wanted == "CPU" and threads != 1 and available_cores() > 1
        self._changes = _changes(path)
        self._requests = _requests(compiled, 1)
        self._concurrent: SimpleQueue[Any] | None = None
        self._used = False

    @contextmanager
    def concurrent(self) -> Iterator[int]:
        """See ``Runtime.concurrent``; two images, each on half the cores. The first time reads the file again."""
        if self._concurrent is None and self._on_cores and _changes(self.path) == self._changes:
            options = {**self._options, "NUM_STREAMS": _CONCURRENT}
            compiled = _core().compile_model(_core().read_model(self.path), "CPU", options)
            self._concurrent = _requests(compiled, _CONCURRENT)
        if self._concurrent is None:
            yield 1
            return
        alone, self._requests = self._requests, self._concurrent
        try:
            yield _CONCURRENT
        finally:
            self._requests = alone

    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs of the file."""
        if self._used:
            return self._infer(inputs)
        # OpenVINO's bindings prepare themselves for NumPy at the first inference. Two threads that do so at the same
        # time wait for each other forever.
        with _FIRST:
            outputs = self._infer(inputs)
        self._used = True
        return outputs

    def _infer(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        requests = self._requests
        request = requests.get()  # it runs once at a time, and overwrites its buffers at the next call
        try:
            request.infer([np.ascontiguousarray(each) for each in inputs])
            return [tensor.data.copy() for tensor in request.output_tensors]
        finally:
            requests.put(request)


def _changes(path: Path) -> list[tuple[int, int] | None]:
    """What tells that the files of a model are still the same."""
    return [last_change(file) for file in (path, path.with_suffix(".bin"))]


def _requests(compiled: Any, count: int) -> SimpleQueue[Any]:
    """Requests that are free."""
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(count):
        requests.put(compiled.create_infer_request())
    return requests


def _version() -> str:
    import openvino

    return str(openvino.get_version()).partition("-")[0]


@cache
def _core() -> Any:
    """The OpenVINO core, kept until the program ends.

    The core installs a signal stack in the thread that creates it. If it were destroyed with the last model, perhaps
    in another thread, the stack would be freed and the next signal would kill the program.
    """
    with importing("openvino", "openvino"):
        import openvino
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a memory-mapped file that is truncated meanwhile kills the process
    return core
