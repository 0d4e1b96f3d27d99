"""Settings of an export; this module needs no PyTorch, so that the help of ``segnet export`` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from segnet.errors import ConfigError
from segnet.runtimes.model_info import OutputKind
from segnet.system.field_types import check_types

__all__ = ["ExportConfig"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Input and output of an exported file.

    Attributes:
        output: Output of the exported file: logits or probabilities, float32 (N, classes, H, W), or mask, uint8 (N, H,
            W). Take mask for the smallest output.
        size: Fixed input size of the exported file in pixels. Default: any size. ExecuTorch, LiteRT and Core ML need a
            fixed size.
        resize_to: Size in pixels to which the exported file resizes its input; its logits are upsampled to the size of
            the image. Default: no resizing. Set it if images come in another size than the model learned.
        samples: Number of Monte Carlo dropout samples that the exported file draws of each image. Default: none. The
            output is their mean; a second output, uncertainty, float32 (N, H, W), is their variance, averaged over the
            classes. It needs a model with dropout, another --output than logits, and ONNX, OpenVINO or PyTorch.
        half: Store the filters in float16, which halves the file; they compute in float32. ONNX and OpenVINO only.

    Raises:
        ConfigError: a side is below 1, or samples are too few or have no mean.
    """

    output: OutputKind = "logits"
    size: tuple[int, int] | None = None
    resize_to: tuple[int, int] | None = None
    samples: int | None = None
    half: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        for name, size in (("size", self.size), ("resize_to", self.resize_to)):
            if size is not None and min(size) < 1:
                raise ConfigError(f"{name} {tuple(size)} is not possible; give HEIGHT WIDTH, 1 or more each")
        if self.samples is not None and self.samples < 2:
            raise ConfigError(f"samples {self.samples} is not possible; give 2 or more, or leave it out for no dropout")
        if self.samples is not None and self.output == "logits":
            raise ConfigError("samples are averaged as probabilities; add --output probabilities or --output mask")
