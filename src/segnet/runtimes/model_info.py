"""What an exported model file says of itself, in JSON under the key ``segnet``: enough to label images with it.

Read without torch. A checkpoint (``.safetensors``) says more; see ``checkpoint``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable

__all__ = ["KEY", "ModelInfo", "Output"]

KEY = "segnet"
_VERSION = 1
_LONGEST = 1024  # where the file does not tell

Output = Literal["logits", "probabilities", "mask"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What one has to know of a model to label images with it.

    Attributes:
        name: what the network is called.
        labels: the class table.
        channels: of the image: 3 for RGB, 1 for gray; always float32 (N, channels, H, W) in [0, 1].
        output: what the file gives: ``logits`` or ``probabilities``, float32 (N, classes, H, W), or ``mask``, uint8
            (N, H, W).
        size: (H, W) that the file takes; None if it takes any.
        batch: how many images at once; None if it takes any number.
        precision: what it computes in: float32, bf16 or int8; with float16 the filters are kept so, and float32 is
            computed in.
        samples: how many the file draws of each image with dropout on; its second output is then ``uncertainty``,
            float32 (N, H, W). None: dropout is off.
        provenance: how it came to be.
        scores: what the model scored; empty if never measured.
        reference: predictions of the file on the packaged reference images, at its export; see
            ``runtimes.verification``. Empty if none are kept.
    """

    name: str
    labels: ClassTable
    channels: int = 3
    output: Output = "logits"
    size: tuple[int, int] | None = None
    batch: int | None = None
    precision: str = "float32"
    samples: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Longer side of the images that it learned from, in pixels; 1024 if it does not say that."""
        found = self.provenance.get("longest")
        return found if isinstance(found, int) and found > 0 else _LONGEST

    def to_json(self) -> str:
        """The text that goes into the file."""
        table = {"version": _VERSION, **vars(self), "labels": self.labels.to_dict()}
        return json.dumps(table)

    @classmethod
    def from_json(cls, text: str | None, path: Path) -> ModelInfo:
        """What ``to_json`` wrote.

        Raises:
            ModelError: there is nothing, or it is damaged or of another version; ``path`` is named.
        """
        if not text:
            raise ModelError(f"{path}: does not say which classes it knows; give a file that 'segnet export' wrote")
        try:
            table = json.loads(text)
            if table.pop("version") != _VERSION:
                raise ModelError(f"{path}: was written by another version of segnet; export the model anew")
            labels = ClassTable.from_dict(table.pop("labels"))
            size = table.pop("size")
            info = cls(labels=labels, size=None if size is None else (size[0], size[1]), **table)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{path}: what the file says of itself is damaged ({error}); export it anew") from error
        if not info.is_possible():
            raise ModelError(f"{path}: what the file says of itself cannot be used; export the model anew")
        return info

    def is_possible(self) -> bool:
        """Whether each value is of its type and in its range."""
        counts = [number for number in (self.batch, self.samples) if number is not None]
        numbers = [self.channels, *counts, *(self.size or ())]
        return (
            all(type(number) is int and number >= 1 for number in numbers)
            and all(isinstance(text, str) for text in (self.name, self.precision))
            and self.output in get_args(Output)
            and all(isinstance(table, dict) for table in (self.provenance, self.scores, self.reference))
        )
