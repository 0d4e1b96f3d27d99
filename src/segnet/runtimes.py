"""What turns an image batch into logits. One protocol; here PyTorch's runtime."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from segnet.devices import pick_device, pick_precision
from segnet.models.segnet import SegNet

__all__ = ["Runtime", "TorchRuntime"]


class Runtime(Protocol):
    """Image batch in, logits out; everything else of a prediction is the same for all runtimes."""

    def __call__(self, image: Tensor) -> Tensor:
        """From float32 (N, C, H, W), RGB in [0, 1], to logits float32 (N, classes, H, W) on the CPU or the device."""
        ...


class TorchRuntime:
    """A network in PyTorch, made ready to run: batch norm folded into the convolutions, channels last.

    Args:
        model: the network; it stays as it is.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``mps``.
        precision: ``float32``; ``bf16``, faster where the processor has bfloat16 arithmetic and a little less exact; or
            ``auto``, whichever is faster here.

    Raises:
        ConfigError: no such device or precision.
    """

    def __init__(self, model: SegNet, *, device: str = "auto", precision: str = "float32") -> None:
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        self.model = model.folded().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """Logits float32 (N, classes, H, W) of an image batch (N, C, H, W), on the runtime's device."""
        image = image.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits: Tensor = self.model(image)
        return logits.float()
