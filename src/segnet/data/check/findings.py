"""A finding of a check: what is wrong, how often, in which files, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Channels
from segnet.data.check.facts import PairFacts
from segnet.data.masks import MaskReader, stored_values
from segnet.data.samples import Sample
from segnet.labels import ClassTable
from segnet.media.images.masks import Encoding, read_mask_file

__all__ = ["CheckedData", "Finding", "Mark", "Severity", "sort_findings"]

Severity = Literal["error", "warning", "note"]
"""``error``: training would fail or be meaningless; ``warning``: worth a look; ``note``: good to know."""


@dataclass(frozen=True)
class Mark:
    """A file at fault.

    Attributes:
        path: the file, or whatever else is at fault, such as a line of a list, or an annotation with its image.
        text: what is wrong with it; may be empty.
        sample: index of its sample; None for files without a partner.
        other: index of the sample that it is compared with, such as the original of a copy; None if there is none.
    """

    path: str
    text: str = ""
    sample: int | None = None
    other: int | None = None

    @property
    def reason(self) -> str:
        """What is wrong, without the path."""
        return self.text.replace(f"{self.path} ", "")

    def __str__(self) -> str:
        return f"{self.path}{': ' * bool(self.text)}{self.reason}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault.

    Attributes:
        kind: a short name for programs, such as ``size_mismatch``.
        severity: see ``Severity``.
        title: what is wrong, without files.
        detail: more figures; may be empty.
        remedy: what to do; may be empty.
        marks: all files at fault, those first that should be looked at first.
        count: number of files or images at fault; that of the marks unless it is given.
    """

    kind: str
    severity: Severity
    title: str
    detail: str = ""
    remedy: str = ""
    marks: tuple[Mark, ...] = ()
    count: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", self.count or len(self.marks))

    def to_dict(self) -> dict[str, Any]:
        """A table that JSON can hold."""
        files = [{"path": mark.path, "text": mark.text} for mark in self.marks]
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "detail": self.detail,
            "remedy": self.remedy,
            "count": self.count,
            "files": files,
        }


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; findings of one severity keep their order."""
    return tuple(sorted(findings, key=lambda finding: get_args(Severity).index(finding.severity)))


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedData:
    """Samples with their facts.

    Attributes:
        samples: each once, even if it is in several splits.
        facts: of the samples.
        splits: indices of the samples of each split.
        labels: the class table.
        reader: how masks are read; None if there is one class only.
        channels: how images are read.
    """

    samples: Sequence[Sample]
    facts: Sequence[PairFacts]
    splits: dict[str, tuple[int, ...]]
    labels: ClassTable
    reader: MaskReader | None = None
    channels: Channels = 3

    @property
    def encoding(self) -> Encoding:
        """What the pixels of the mask files are."""
        return "numbers" if self.reader is None else self.reader.encoding

    def values(self, index: int) -> NDArray[np.integer[Any]]:
        """The values in a mask, (H, W); see ``stored_values``.

        Raises:
            DataError: the file cannot be read.
        """
        return stored_values(read_mask_file(self.samples[index].mask, encoding=self.encoding))

    def image(self, index: int, text: str = "", other: int | None = None) -> Mark:
        """A mark on the image of a sample."""
        return Mark(str(self.samples[index].image), text, index, other)

    def mask(self, index: int, text: str = "", other: int | None = None) -> Mark:
        """A mark on the mask of a sample, or on the annotation that it was drawn from."""
        return Mark(self.samples[index].mask_source, text, index, other)
