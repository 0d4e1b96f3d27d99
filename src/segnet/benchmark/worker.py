"""The process that measures one candidate: it loads the model, warms up, and times it in every round."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError, SegNetError
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import Measure
from segnet.models.bundled import bundled_models, local_file
from segnet.runtimes.base import ImageBatch, Output, Runtime, argmax, softmax
from segnet.runtimes.load import open_runtime
from segnet.runtimes.model_info import ModelInfo
from segnet.system.hardware import seconds
from segnet.system.packages import importing

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Baseline", "Candidate", "serve", "timed"]

_WARM_UP = 2

Baseline = Literal["reference", "reference_compiled", "reference_onnx", "unet_vgg16", "segformer_b0"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model to measure.

    Attributes:
        model: a model file, a bundled model, or a name of ``segnet.models.zoo.MODELS`` with random weights; for a
            reference implementation the network that it copies.
        baseline: see ``Baseline``; None for a model of ours.
        precision: ``float32`` or ``bf16``; a file that was exported in another keeps it.
        compiled: whether ``torch.compile`` is used.
        size: (H, W) of the image.
        name: of the model in tables and plots; None: its file name.
    """

    model: str
    baseline: Baseline | None = None
    precision: str = "float32"
    compiled: bool = False
    size: tuple[int, int] = (360, 480)
    name: str | None = None

    @property
    def label(self) -> str:
        """Name in tables and plots."""
        name = self.name or Path(self.model).name
        if self.baseline is not None:
            return f"{self.baseline} {name}" if self.baseline.startswith("reference") else self.baseline
        return f"{name} compiled" if self.compiled else name

    @property
    def kind(self) -> tuple[str, str]:
        """Model and precision, which together have one mIoU."""
        return self.model, self.precision


def serve(pipe: Any, candidate: Candidate, threads: int, limit: float) -> None:
    """Measure a candidate on request, through a pipe.

    The replies are the precision, once the model is loaded and warm; then, for every request (images, seconds), the
    seconds of each image. After the request "concurrent", and the number of images at the same time as the reply, the
    requests are (images, threads), and the replies the seconds of so many images in each of so many threads. At the end
    comes a dict with network, classes, channels and memory.

    Args:
        pipe: receives requests, and None after the last.
        candidate: the model to load and warm up.
        threads: number of threads; 0: the default of its library.
        limit: seconds for all rounds together. A model that takes a tenth of them per image warms up with one image.
    """
    from segnet.system.allocator import keep_freed_memory

    keep_freed_memory()
    try:
        before = _resident_mb("VmRSS")
        runtime = _open(candidate, threads)
        image: ImageBatch = np.random.default_rng(0).random(
            (1, runtime.info.channels, *candidate.size), dtype=np.float32
        )
        run = partial(runtime.run, image)
        timed(run, _WARM_UP, limit / 10)
        pipe.send(runtime.info.precision)
        while (turn := pipe.recv()) != "concurrent":
            pipe.send(timed(run, *turn))
        known = _known(runtime, candidate, before)
        with runtime.concurrent() as at_once:
            if at_once > 1:
                _time_concurrent(run, _WARM_UP, at_once)
            pipe.send(at_once)
            while turn := pipe.recv():
                pipe.send(_time_concurrent(run, *turn))
    except SegNetError as error:
        pipe.send(ModelError(str(error)))  # not every error of ours travels through a pipe
        return
    pipe.send(known)


def timed(run: Callable[[], object], times: int, limit: float) -> list[float]:
    """Seconds of each call; at least one call, and only as many as fit into ``limit`` seconds."""
    taken = [seconds(run)]
    while len(taken) < times and sum(taken) + min(taken) <= limit:
        taken.append(seconds(run))
    return taken


def _time_concurrent(run: Callable[[], object], times: int, threads: int) -> float:
    """Seconds of so many calls in each of so many threads."""
    with ThreadPoolExecutor(threads) as pool:
        return seconds(lambda: [call.result() for call in [pool.submit(run) for _ in range(times * threads)]])


def _known(runtime: Runtime, candidate: Candidate, before: float | None) -> dict[str, Any]:
    peak = _resident_mb("VmHWM")
    return {
        "network": runtime.info.name,
        "classes": runtime.info.labels.classes,
        "channels": runtime.info.channels,
        "memory_mb": peak - before if peak and before else None,
        "file_mb": _file_mb(candidate),
    }


def _resident_mb(field: str) -> float | None:
    """Resident memory of this process, now (VmRSS) or at its peak (VmHWM); None except on Linux."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:")), None)


def _file_mb(candidate: Candidate) -> float | None:
    path = None if candidate.baseline else local_file(candidate.model)
    if path is None:
        return None
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _open(candidate: Candidate, threads: int) -> Runtime:
    """Load a candidate."""
    name, suffix = candidate.model, Path(candidate.model).suffix
    if candidate.baseline is None and suffix and suffix != ".safetensors":
        return open_runtime(name, precision=candidate.precision, threads=threads)
    with importing("torch", "torch"):
        import torch

    from segnet.models.zoo import MODELS
    from segnet.runtimes.pytorch import load_checkpoint

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    if candidate.baseline is not None:
        return _baseline(candidate, threads)
    if suffix or name in bundled_models():
        return load_checkpoint(name, precision=candidate.precision, compiled=candidate.compiled)
    if name not in MODELS:
        raise ModelError(f"{name}: there is neither such a model file nor a model of that name")
    return _random(candidate)


def _random(candidate: Candidate) -> Runtime:
    from segnet.models.zoo import create_model
    from segnet.runtimes.pytorch import TorchRuntime

    model = create_model(candidate.model).eval()
    return TorchRuntime(model, precision=candidate.precision, compiled=candidate.compiled)


class NetworkRuntime(Runtime):
    """A baseline network as a runtime: float32, NCHW, batch norm not folded.

    Args:
        info: its metadata.
        run: computes logits (N, classes, H, W) from a float32 batch (N, C, H, W), both in NumPy.
    """

    def __init__(self, info: ModelInfo, run: Any) -> None:
        self.info = info
        self._logits = run

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """See ``Runtime.run``."""
        self.require(probabilities=probabilities, measure=measure)
        logits = self._logits(batch)
        if not probabilities and measure is None:
            return Output(argmax(logits))
        return Output.from_probabilities(softmax(logits), measure)


def _baseline(candidate: Candidate, threads: int) -> Runtime:
    from segnet.benchmark.baselines import ReferenceSegNet, library_model, reference_config

    labels = ClassTable.numbered(11)
    if candidate.baseline in {"unet_vgg16", "segformer_b0"}:
        info = ModelInfo(name=str(candidate.baseline), labels=labels)
        return NetworkRuntime(info, _eager(library_model(str(candidate.baseline))))
    network = ReferenceSegNet(reference_config(candidate.model)).eval()
    info = ModelInfo(name=candidate.model, labels=labels)
    if candidate.baseline == "reference_onnx":
        return NetworkRuntime(info, _in_onnx_runtime(network, candidate.size, threads))
    return NetworkRuntime(info, _eager(network, compiled=candidate.baseline == "reference_compiled"))


def _eager(network: nn.Module, *, compiled: bool = False) -> Any:
    import torch

    network = network.eval()
    if compiled:
        network.compile()

    @torch.inference_mode()
    def run(image: ImageBatch) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = network(torch.from_numpy(image)).numpy()
        return logits

    return run


def _in_onnx_runtime(network: nn.Module, size: tuple[int, int], threads: int) -> Any:
    """The network exported by ``torch.onnx``, in ONNX Runtime."""
    import torch

    from segnet.runtimes.onnx import open_session
    from segnet.runtimes.output_suppression import suppress_output

    with suppress_output():
        program = torch.onnx.export(network, (torch.rand(1, 3, *size),), dynamo=True, external_data=False)
    assert program is not None
    running = open_session(program.model_proto.SerializeToString(), threads=threads)
    name = running.get_inputs()[0].name
    return lambda image: running.run(None, {name: image})[0]
