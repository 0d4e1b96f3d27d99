"""Models in PyTorch: networks, and programs that ``torch.export`` or AOTInductor made of them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import ConfigError, ModelError
from segnet.inference.prediction import argmax
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import MEASURES, Measure, choose_measure
from segnet.models import checkpoint
from segnet.models.mc_dropout import Sampler
from segnet.models.segnet import SegNet
from segnet.runtimes.model_info import KEY, ModelInfo
from segnet.runtimes.moments import Moments
from segnet.runtimes.protocol import Estimate, FileRuntime, Image, Runtime
from segnet.runtimes.silence import quiet
from segnet.system.devices import pick_device, pick_precision

__all__ = ["ProgramRuntime", "TorchRuntime", "load_checkpoint"]


class TorchRuntime(Runtime):
    """A network in PyTorch, made ready to run: batch norm folded into the convolutions, channels last.

    Args:
        model: the network; it stays as it is.
        labels: its class table; made up if it is not given.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``mps``.
        precision: ``float32``; ``bf16``, faster where the processor has bfloat16 arithmetic and a little less exact; or
            ``auto``, whichever is faster here.
        compiled: whether ``torch.compile`` makes it faster; the first image of each size then takes long.
        samples: how many to draw of each image with dropout; masks and probabilities are then those of their mean.
            0: dropout is off.
        seed: decides what is dropped, the same in every image of a size.
        provenance: how the network came to be.

    Raises:
        ConfigError: no such device or precision, a single or negative number of samples, or samples of a network
            without dropout.
    """

    def __init__(
        self,
        model: SegNet,
        labels: ClassTable | None = None,
        *,
        device: str = "auto",
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
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        self.model = model.folded().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            self.model.compile(dynamic=False)
        config = model.config
        labels = labels or ClassTable.numbered(config.classes)
        name = "bf16" if self.dtype == torch.bfloat16 else "float32"
        self.info = ModelInfo(
            name=config.name,
            labels=labels,
            channels=config.in_channels,
            precision=name,
            samples=samples or None,
            provenance=dict(provenance or {}),
        )
        self._sampler = Sampler(self.model, seed=seed) if samples else None

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All of them where samples are drawn, else the entropy."""
        return MEASURES if self._sampler else ("entropy",)

    @torch.inference_mode()
    def logits(self, image: Tensor) -> Tensor:
        """Logits float32 (N, classes, H, W) of an image batch (N, C, H, W), on the runtime's device; no dropout."""
        image = self._ready(image)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits: Tensor = self.model(image)
        return logits.float()

    @torch.inference_mode()
    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (N, H, W)."""
        if self._sampler is not None:
            return argmax(self.probabilities(image))
        return _numpy(self.logits(torch.from_numpy(image)).argmax(dim=1).to(torch.uint8))

    @torch.inference_mode()
    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Probability of each class, (N, classes, H, W); of samples their mean."""
        if self._sampler is not None:
            return np.stack([_numpy(drawn.mean) for drawn in self._moments(self._sampler, image, None)])
        return _numpy(self.logits(torch.from_numpy(image)).softmax(dim=1))

    @torch.inference_mode()
    def estimate(self, image: Image, measure: Measure | None = None) -> Estimate:
        """Mask, probabilities and uncertainty, all from the same samples.

        Raises:
            ConfigError: the measure is none of ``measures``.
        """
        if self._sampler is None:
            return super().estimate(image, measure)
        measure = choose_measure(measure, self.measures, model=self.info.name)
        drawn = list(self._moments(self._sampler, image, measure))
        probabilities = np.stack([_numpy(each.mean) for each in drawn])
        return Estimate(argmax(probabilities), probabilities, np.stack([_numpy(each.uncertainty) for each in drawn]))

    def _moments(self, sampler: Sampler, image: Image, measure: Measure | None) -> Iterator[Moments]:
        """Of each image's samples."""
        for number in range(len(image)):
            single, moments = self._ready(torch.from_numpy(image[number : number + 1])), Moments(measure)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                for logits in sampler.logits(single, self.info.samples or 0):
                    moments.add(logits.float().softmax(dim=1))
            yield moments

    def _ready(self, image: Tensor) -> Tensor:
        return image.to(self.device, memory_format=torch.channels_last, non_blocking=True)


class ProgramRuntime(FileRuntime):
    """A program that ``torch.export`` or AOTInductor made of a network, on the CPU.

    Open only files that you trust: the compiled ones are machine code, and PyTorch unpickles parts of the others.

    Args:
        path: a .pt2 file that ``segnet export`` wrote.
        device: ``auto`` or ``cpu``.

    Raises:
        ModelError: the file is damaged or says nothing of itself.
        ConfigError: another device.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        if device not in {"auto", "cpu"}:
            raise ConfigError(f"{path}: was exported for the cpu, not for {device!r}; choose --device cpu")
        names, text = _archive(path)
        super().__init__(path, ModelInfo.from_json(text, path), backend=f"PyTorch {torch.__version__}")
        compiled = any("/data/aotinductor/" in name for name in names)
        try:
            with quiet():
                self._program = _load_compiled(path) if compiled else torch.export.load(path).module()
        except Exception as error:  # the loaders raise whatever their parts do, from KeyError to AssertionError
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"{path}: PyTorch {torch.__version__} cannot use it ({reason}); export it anew, on this machine"
            ) from error

    @torch.inference_mode()
    def run(self, image: Image) -> list[NDArray[Any]]:
        """All outputs of the file."""
        given = self._program(torch.from_numpy(image))
        return [_numpy(tensor) for tensor in (given if isinstance(given, tuple | list) else [given])]


def _archive(path: Path) -> tuple[list[str], str | None]:
    """The names in a .pt2 file, and what it says of itself; every byte is checked, and nothing of it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            names = archive.namelist()
            told = [name for name in names if name.endswith(f"/extra/{KEY}")]
            text = archive.read(told[0]).decode() if told and broken is None else None
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, EOFError, NotImplementedError, zlib.error) as error:
        raise ModelError(
            f"{path}: is no program of PyTorch's ({error}); it may be cut off or of another kind"
        ) from error
    if broken is not None:
        raise ModelError(f"{path}: is damaged ({broken}); export the model anew")
    return names, text


def _load_compiled(path: Path) -> Callable[[Tensor], Tensor | list[Tensor]]:
    from torch._inductor import aoti_load_package

    program: Callable[[Tensor], Tensor | list[Tensor]] = aoti_load_package(str(path))
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
    """A ``.safetensors`` model file, or a bundled model by its name.

    Args:
        source: path or name.
        device, precision, compiled, samples, seed: see ``TorchRuntime``.
        threads: for all of PyTorch in this process; 0 leaves them.

    Raises:
        ModelError: no such model, or the file cannot be used.
        ConfigError: no such device or precision, or samples of a network without dropout.
    """
    if threads:
        torch.set_num_threads(threads)
    kept = checkpoint.load(source)
    return TorchRuntime(
        kept.model,
        kept.labels,
        device=device,
        precision=precision,
        compiled=compiled,
        samples=samples,
        seed=seed,
        provenance=kept.provenance,
    )


def _numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
