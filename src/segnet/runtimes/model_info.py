"""Metadata of an exported model file, as JSON under the key ``segnet``: all that inference needs.

Reading it needs no PyTorch. A checkpoint (``.safetensors``) holds more; see ``segnet.models.checkpoint``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from segnet.bands import Bands, Channels, count_channels
from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable

__all__ = ["KEY", "PAIR_LIMIT", "ModelInfo", "ModuleInfo", "OutputKind"]

KEY = "segnet"
PAIR_LIMIT = 128
"""What two INT8 weights of one sign may be in sum: 255 * 128 fits into 16 bits, 255 * 129 does not."""
_VERSION = 1
_DEFAULT_MAX_SIZE = 1024  # if the size of the training images is unknown

OutputKind = Literal["logits", "probabilities", "mask"]
"""Kind of a model's first output: logits, probabilities, or only the class index of each pixel."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Description of a model: all that inference needs to know.

    Attributes:
        name: of the network.
        labels: the class table.
        channels: of the input, float32 (N, channels, H, W) in [0, 1]: 3 for RGB, 1 for gray.
        bands: the bands of image files that these are; the default: RGB, gray, or all bands.
        output: kind of the first output: ``logits`` or ``probabilities``, float32 (N, classes, H, W), or ``mask``,
            uint8 (N, H, W).
        size: fixed input size (H, W); None: any size.
        batch: fixed batch size; None: any number of images.
        precision: of the computation: float32, bf16 or int8; float16 stores the filters in float16 and computes in
            float32.
        pair_limit: of an INT8 file whose convolutions overflow on no CPU: the largest sum of two weights of one output
            channel and sign, see ``exporting.int8.saturation``. None: unknown, or not INT8.
        samples: number of Monte Carlo dropout samples per image; the second output is then ``uncertainty``, float32
            (N, H, W). None: dropout is off.
        provenance: data, settings and versions that the model was trained with.
        scores: of the model on its validation data; empty if never measured.
        reference: predictions of the file on the packaged reference images, at its export; see
            ``runtimes.verification``. Empty if none are kept.
    """

    name: str
    labels: ClassTable
    channels: int = 3
    bands: Bands = Bands()  # noqa: RUF009
    output: OutputKind = "logits"
    size: tuple[int, int] | None = None
    batch: int | None = None
    precision: str = "float32"
    pair_limit: int | None = None
    samples: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in an exported file."""
        return ("image",)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in an exported file."""
        return (self.output, *(("uncertainty",) if self.samples else ()))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; an exported file keeps them in a form of its own, too."""
        return self.labels.names

    @property
    def image_channels(self) -> Channels:
        """How images are read for the model."""
        return self.bands if self.bands.indices else self.channels

    @property
    def reported(self) -> tuple[str, ...]:
        """The fields that the report of an export shows."""
        return ("name", "output", "size", "batch", "precision", "samples")

    @property
    def max_size(self) -> int:
        """Longest side of the training images, in pixels; 1024 if unknown."""
        size = self.provenance.get("longest")
        return size if isinstance(size, int) and size > 0 else _DEFAULT_MAX_SIZE

    @property
    def training_resize(self) -> tuple[tuple[int, int], str] | None:
        """(height, width) and mode, letterbox or stretch, to which training images were resized; None: their own."""
        size, mode = self.provenance.get("resize"), self.provenance.get("resize_mode")
        if not isinstance(size, list | tuple) or [type(side) for side in size] != [int, int] or min(size) < 1:
            return None
        return (size[0], size[1]), "stretch" if mode == "stretch" else "letterbox"

    def to_json(self) -> str:
        """The JSON text that is stored in the file."""
        table = {"version": _VERSION, **vars(self), "labels": self.labels.to_dict(), "bands": asdict(self.bands)}
        return json.dumps(table)

    @classmethod
    def from_json(cls, text: str | None, path: Path) -> ModelInfo:
        """Read what ``to_json`` wrote.

        Args:
            text: the JSON text; None or empty if the file has none.
            path: of the file, for error messages.

        Raises:
            ModelError: the text is missing, damaged or of another version.
        """
        if not text:
            raise ModelError(f"{path}: has no segnet metadata; give a file written by 'segnet export'")
        try:
            table = json.loads(text)
            if table.pop("version") != _VERSION:
                raise ModelError(f"{path}: was written by another version of segnet; export the model again")
            labels = ClassTable.from_dict(table.pop("labels"))
            size, bands = table.pop("size"), Bands.from_dict(table.pop("bands", {}))
            kind = ModuleInfo if "inputs" in table else cls
            shape = None if size is None else (size[0], size[1])
            info = kind(labels=labels, size=shape, bands=bands, **table)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{path}: its segnet metadata is damaged ({error}); export the model again") from error
        if not info.is_valid():
            raise ModelError(f"{path}: its segnet metadata has impossible values; export the model again")
        return info

    def is_valid(self) -> bool:
        """Whether each value has its type and lies in its range."""
        counts = [number for number in (self.batch, self.pair_limit, self.samples) if number is not None]
        numbers = [self.channels, *counts, *(self.size or ())]
        return (
            all(type(number) is int and number >= 1 for number in numbers)
            and all(isinstance(text, str) for text in (self.name, self.precision))
            and self.output in get_args(OutputKind)
            and count_channels(self.image_channels) == self.channels
            and all(isinstance(table, dict) for table in (self.provenance, self.scores, self.reference))
        )


@dataclass(frozen=True, kw_only=True)
class ModuleInfo(ModelInfo):
    """Description of an exported module of any kind: it takes and gives tensors by name, and its classes are unknown.

    Attributes:
        name, precision, pair_limit: as in ``ModelInfo``, whose other fields keep their defaults.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """

    labels: ClassTable = field(default_factory=lambda: ClassTable.numbered(1))
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in an exported file."""
        return tuple(self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in an exported file."""
        return tuple(self.outputs)

    @property
    def class_names(self) -> tuple[str, ...]:
        """No names: the classes are unknown."""
        return ()

    @property
    def reported(self) -> tuple[str, ...]:
        """The fields that the report of an export shows."""
        return ("name", "inputs", "outputs", "precision")
