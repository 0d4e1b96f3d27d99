"""Models in PyTorch: networks, and programs exported by ``torch.export`` or AOTInductor."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from segnet.bands import Bands, Channels, count_channels, stored_bands
from segnet.errors import ConfigError, ModelError, first_line
from segnet.labels import ClassTable, require_table
from segnet.metrics.uncertainty import MEASURES, Measure
from segnet.models import checkpoint
from segnet.models.mc_dropout import Sampler, dropouts
from segnet.models.segnet import SegNet, is_segnet
from segnet.nn.codes import require_compiling
from segnet.runtimes.base import FileRuntime, ImageBatch, Output, Runtime, argmax
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.output_suppression import suppress_output
from segnet.runtimes.running_moments import RunningMoments
from segnet.system.devices import pick_device, pick_precision
from segnet.system.files import ZIP_ERRORS
from segnet.system.threads import check_threads

__all__ = ["ModuleRuntime", "ProgramRuntime", "TorchRuntime", "load_checkpoint"]


class TorchRuntime(Runtime):
    """A network in PyTorch, prepared for inference: batch norm folded into the convolutions, channels last.

    Args:
        model: the network; it is copied, not changed.
        labels: its class table; None: numbered classes.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``mps``.
        precision: ``float32``; ``bf16``, faster on processors with bfloat16 arithmetic and slightly less exact; or
            ``auto``, whichever is faster on this hardware.
        compiled: whether to use ``torch.compile`` (PyTorch 2.12); the first image of each size then takes long.
        samples: number of Monte Carlo dropout samples per image, whose mean gives mask and probabilities; 0: dropout
            is off.
        seed: random seed of Monte Carlo dropout; images of one size share their dropout masks.
        provenance: data, settings and versions that the network was trained with.

    Raises:
        ConfigError: the device or precision does not exist, the number of samples is 1 or negative, the network has
            no dropout to draw samples with, or PyTorch is too old to compile it.
        ModelError: the model is no SegNet, or the class table does not fit.
    """

    def __init__(
        self,
        model: SegNet,
        labels: ClassTable | None = None,
        *,
        device: str | torch.device = "auto",
        precision: str = "float32",
        compiled: bool = False,
        samples: int = 0,
        seed: int = 0,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        if samples < 0 or samples == 1 or seed < 0:
            raise ConfigError(
                f"samples={samples} with seed={seed} is not possible; give 2 samples or more, or 0 for no dropout, "
                "and a seed of 0 or more"
            )
        if not is_segnet(model):
            raise ModelError(f"a {type(model).__name__} is no SegNet; segnet.evaluate and segnet.export_module take it")
        labels = labels or ClassTable.numbered(model.config.classes)
        require_table(labels, model.config.classes)
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        self.model = model.folded().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            require_compiling("compiled")
            self.model.compile(dynamic=False)
        config = model.config
        name = "bf16" if self.dtype == torch.bfloat16 else "float32"
        self.info = ModelInfo(
            name=config.name,
            labels=labels,
            channels=config.in_channels,
            bands=config.bands,
            precision=name,
            samples=samples or None,
            provenance=dict(provenance or {}),
        )
        self._sampler = Sampler(self.model, seed=seed) if samples else None

    def _facts(self) -> tuple[str, ...]:
        samples = (f"{self.info.samples} samples",) if self.info.samples else ()
        return (str(self.device), self.info.precision, *samples)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All measures if samples are drawn, else only the entropy."""
        return MEASURES if self._sampler else ("entropy",)

    @property
    def has_dropout(self) -> bool:
        """Whether the network has dropout, as Bayesian SegNet has."""
        return self._sampler is not None or bool(dropouts(self.model))

    @torch.inference_mode()
    def logits(self, image: Tensor) -> Tensor:
        """Logits float32 (N, classes, H, W) of an image batch (N, C, H, W), on the runtime's device; no dropout."""
        image = self._ready(image)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits: Tensor = self.model(image)
        return logits.float()

    @torch.inference_mode()
    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """See ``Runtime.run``; mask, probabilities and uncertainty come from the same samples."""
        self.require(probabilities=probabilities, measure=measure)
        if self._sampler is not None:
            return self._run_samples(self._sampler, batch, measure)
        return _output(self.logits(_tensor(batch)), probabilities=probabilities, measure=measure)

    def _run_samples(self, sampler: Sampler, batch: ImageBatch, measure: Measure | None) -> Output:
        moments = list(self._moments(sampler, batch, measure))
        probabilities = np.stack([_numpy(image.mean) for image in moments])
        uncertainty = None if measure is None else np.stack([_numpy(image.uncertainty) for image in moments])
        return Output(argmax(probabilities), probabilities, uncertainty)

    def _moments(self, sampler: Sampler, batch: ImageBatch, measure: Measure | None) -> Iterator[RunningMoments]:
        """Moments of the samples of each image."""
        for number in range(len(batch)):
            image, moments = self._ready(_tensor(batch[number : number + 1])), RunningMoments(measure)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                for logits in sampler.logits(image, self.info.samples or 0):
                    moments.add(logits.float().softmax(dim=1))
            yield moments

    def _ready(self, image: Tensor) -> Tensor:
        return image.to(self.device, memory_format=torch.channels_last, non_blocking=True)


class ModuleRuntime(Runtime):
    """Any network in PyTorch as it is, for scoring during training; ``TorchRuntime`` is faster.

    Args:
        model: float32 (N, C, H, W) in [0, 1] to logits (N, classes, H, W), on the device and in evaluation mode.
        labels: its class table.
        channels: how images are read for it.
        device: where the model is.
    """

    def __init__(self, model: nn.Module, labels: ClassTable, *, channels: Channels, device: torch.device) -> None:
        count, bands = count_channels(channels), stored_bands(channels) or Bands()
        self.info = ModelInfo(name=type(model).__name__, labels=labels, channels=count, bands=bands)
        self._model = model
        self._device = device

    @torch.inference_mode()
    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """See ``Runtime.run``."""
        self.require(probabilities=probabilities, measure=measure)
        logits = self._model(_tensor(batch).to(self._device, memory_format=torch.channels_last))
        wanted = (len(batch), self.info.labels.classes, *batch.shape[2:])
        if not isinstance(logits, Tensor) or logits.shape != wanted:
            given = tuple(logits.shape) if isinstance(logits, Tensor) else f"a value of type {type(logits).__name__}"
            raise ModelError(f"{self.info.name} gave {given}; expected logits (N, classes, H, W), here {wanted}")
        return _output(logits.float(), probabilities=probabilities, measure=measure)


class ProgramRuntime(FileRuntime):
    """A program exported by ``torch.export`` or AOTInductor, on the CPU.

    Open only trusted files: compiled programs are machine code, and PyTorch unpickles parts of the others.

    Args:
        path: a .pt2 file written by ``segnet export``.
        threads: number of compute threads of PyTorch in this process; 0 keeps the current number.

    Raises:
        ModelError: the file is damaged or has no metadata.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        names, text = _read_archive(path)
        super().__init__(path, ModelInfo.from_json(text, path), backend=f"PyTorch {torch.__version__}")
        compiled = any("/data/aotinductor/" in name for name in names)
        try:
            with suppress_output():
                self._program = _load_compiled(path) if compiled else torch.export.load(path).module()
        except Exception as error:  # the loaders raise anything, from KeyError to AssertionError
            raise ModelError(
                f"{path}: PyTorch {torch.__version__} cannot use it ({first_line(error)}); export it again, on "
                "this computer"
            ) from error

    @torch.inference_mode()
    def forward(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs of the file."""
        outputs = self._program(*map(_tensor, inputs))
        return [_numpy(tensor) for tensor in tree_leaves(outputs)]


def _read_archive(path: Path) -> tuple[list[str], str | None]:
    """The file names in a .pt2 archive and its metadata; every byte is checked, and no code is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            names = archive.namelist()
            metadata = [name for name in names if name.endswith(f"/extra/{KEY}")]
            text = archive.read(metadata[0]).decode() if metadata and broken is None else None
    except ZIP_ERRORS as error:
        raise ModelError(
            f"{path}: is not a PyTorch program ({error}); it may be truncated or of another format"
        ) from error
    if broken is not None:
        raise ModelError(f"{path}: is damaged ({broken}); export the model again")
    return names, text


def _load_compiled(path: Path) -> Callable[..., Any]:
    from torch._inductor import aoti_load_package

    program: Callable[..., Any] = aoti_load_package(str(path))
    return program


def load_checkpoint(
    source: str | Path,
    *,
    device: str = "auto",
    precision: str = "float32",
    threads: int = 0,
    compiled: bool = False,
    samples: int = 0,
    seed: int = 0,
) -> TorchRuntime:
    """Open a ``.safetensors`` model file, or a bundled model by its name.

    Args:
        source: path or name.
        device, precision, compiled, samples, seed: see ``TorchRuntime``.
        threads: number of compute threads of PyTorch in this process; 0 keeps the current number.

    Raises:
        ModelError: the model does not exist, or the file cannot be used.
        ConfigError: the device or precision does not exist, or the network has no dropout to draw samples with.
    """
    check_threads(threads)
    if threads:
        torch.set_num_threads(threads)
    loaded = checkpoint.load(source)
    return TorchRuntime(
        loaded.model,
        loaded.labels,
        device=device,
        precision=precision,
        compiled=compiled,
        samples=samples,
        seed=seed,
        provenance=loaded.provenance,
    )


def _output(logits: Tensor, *, probabilities: bool, measure: Measure | None) -> Output:
    """The output of a network without samples."""
    if not probabilities and measure is None:
        return Output(_numpy(logits.argmax(dim=1).to(torch.uint8)))
    return Output.from_probabilities(_numpy(logits.softmax(dim=1)), measure)


def _tensor(array: NDArray[Any]) -> Tensor:
    """Shares the memory, where PyTorch can: not of an array that is flipped or cannot be written."""
    return torch.from_numpy(array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy())


def _numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
