"""Reports of exports: of a network of this package, and of any module; written as JSON beside the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segnet.exporting.comparison import Comparison, Tolerance, total_agreement
from segnet.runtimes.model_info import ModelInfo

__all__ = ["ExportReport", "ModuleReport", "round_seconds"]


@dataclass(frozen=True, kw_only=True, repr=False)
class ExportReport:
    """Result of an export, with the comparison with PyTorch; written beside the file as FILE.report.json.

    Attributes:
        path: the file.
        size_bytes: size of the file and of all files that belong to it.
        seconds: durations of ``export`` (for INT8 with calibration and scoring) and ``check`` (comparison).
        versions: of the libraries.
        info: metadata of the file.
        comparisons: one for each batch of images.
        tolerance: limits of the comparison; None for INT8, which is accepted by its scores.
        accuracy: scores of float32 and INT8 on labeled images; empty for other files.
    """

    path: Path
    size_bytes: int
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    info: ModelInfo
    comparisons: tuple[Comparison, ...]
    tolerance: Tolerance | None = None
    accuracy: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        compared = f"agreement {self.agreement:.5f}" if self.checked else "not compared"
        return f"{type(self).__name__}({str(self.path)!r}, {self.size_bytes:,} bytes, {compared})"

    @property
    def checked(self) -> bool:
        """Whether the file was run and compared; a Core ML package can be run on macOS only."""
        return bool(self.comparisons)

    @property
    def agreement(self) -> float:
        """Share of all pixels with the same class as in PyTorch; NaN if the file was not run."""
        return total_agreement(self.comparisons) if self.checked else math.nan

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        info = json.loads(self.info.to_json())
        return {
            "file": self.path.name,
            "bytes": self.size_bytes,
            **{key: info[key] for key in self.info.reported},
            "seconds": dict(self.seconds),
            "versions": dict(self.versions),
            "tolerance": asdict(self.tolerance) if self.tolerance else None,
            "checked": self.checked,
            "agreement": self.agreement if self.checked else None,
            **({"accuracy": dict(self.accuracy)} if self.accuracy else {}),
            "reference": self._reference(),
            "images": [comparison.to_dict() for comparison in self.comparisons],
        }

    def write(self, staged: Path) -> None:
        """Write the report as JSON beside a staged file."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        staged.with_name(f"{self.path.name}.report.json").write_text(text, encoding="utf-8")

    def _reference(self) -> dict[str, Any]:
        """Predictions on the reference images, or the reason why there are none."""
        if self.info.reference:
            return dict(self.info.reference)
        if self.info.samples is not None:
            return {"reason": "the file draws samples, so its classes differ from run to run"}
        return {"reason": "this system cannot run the file"}


@dataclass(frozen=True, kw_only=True, repr=False)
class ModuleReport(ExportReport):
    """Result of an export of a module, with the comparison with PyTorch.

    Attributes:
        path, size_bytes, seconds, versions, info, comparisons, tolerance, accuracy: as in the report of
            ``segnet.export``.
        sizes: by input, its shape; a free axis has a name.
        left: poolings and unpoolings that could not be rewritten, each with its reason.
    """

    sizes: Mapping[str, Sequence[int | str]]
    left: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        sizes = {name: list(shape) for name, shape in self.sizes.items()}
        table = {**super().to_dict(), "sizes": sizes, "left": list(self.left)}
        del table["reference"]
        return table


def round_seconds(**seconds: float) -> dict[str, float]:
    """Durations for a report, to 10 ms."""
    return {name: round(value, 2) for name, value in seconds.items()}
