"""The check of a data set: one pass over its files, then all findings, none of which hides another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet.data.check.duplicates import duplicate_findings
from segnet.data.check.facts import PairFacts, read_facts
from segnet.data.check.files import file_findings, pair_findings, pairing_findings
from segnet.data.check.findings import CheckedData, Finding, sort_findings
from segnet.data.check.misplaced import misplaced_findings
from segnet.data.check.scan import cached_facts, scan
from segnet.data.check.statistics import ClassStatistics, class_statistics, suggest_settings
from segnet.data.check.values import count_by_image, unknown_value_findings, value_findings
from segnet.data.layouts import Source
from segnet.data.masks import MaskReader, describe_one_class
from segnet.data.pairing_faults import PairingFault, collect_faults
from segnet.data.samples import Sample
from segnet.data.sizing import spread
from segnet.data.source_config import SourceConfig
from segnet.errors import DataError
from segnet.labels import ClassTable
from segnet.media.images.headers import read_size
from segnet.media.images.masks import Encoding
from segnet.media.images.stored import read_pixels_size

__all__ = ["CheckReport", "check_data", "refuse_known_faults"]

_MOST_HEADERS = 10_000  # pairs; each takes some 0.1 ms
_NEEDED = ("train", "val")


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckReport:
    """What a check found.

    Attributes:
        source: the data set; its splits hold what pairs up.
        data: samples, each once, and their facts.
        findings: errors first, then warnings, then notes.
        statistics: of the classes; None if the class list cannot be used.
        command: the training of this data, as one writes it in a shell.
        settings: what it chooses by itself; see ``suggest_settings``.
    """

    source: Source
    data: CheckedData
    findings: tuple[Finding, ...]
    statistics: ClassStatistics | None
    command: str
    settings: dict[str, Any]

    @property
    def advice(self) -> str:
        """The settings in words; empty if there are none."""
        chosen = self.settings
        if not chosen:
            return ""
        sizes = [(name, chosen[name]) for name in ("resize", "crop") if chosen[name]]
        flags = "".join(f"--{name} {height} {width} " for name, (height, width) in sizes)
        text = f"chooses {flags}--batch {chosen['batch']} by itself on a {chosen['machine']}; "
        if chosen["class_weights"] == "none":
            return f"{text}the classes are balanced (ratio {chosen['class_ratio']:.1f})"
        return (
            f"{text}the most frequent class has {chosen['class_ratio']:.0f} times the pixels of the rarest: its loss "
            f"balances them, and --loss cross_entropy does so with --class-weights {chosen['class_weights']}"
        )

    @property
    def failed(self) -> bool:
        """Whether training would fail or be meaningless."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """A table that JSON can hold."""
        return {
            "data": str(self.source.root),
            "layout": self.source.layout,
            "pairs": len(self.data.samples),
            "splits": {split: len(indices) for split, indices in self.data.splits.items()},
            "ignore_index": list(self.source.ignore_index),
            "failed": self.failed,
            "findings": [finding.to_dict() for finding in self.findings],
            **({} if self.statistics is None else self.statistics.to_dict()),
            "suggested": {"command": self.command, **self.settings},
        }


def check_data(
    location: str | Path,
    *,
    reading: SourceConfig | None = None,
    gpu: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Check a data set: every file is read once, unless an earlier check has read it.

    Args:
        location: as ``open_source`` takes it.
        reading: layout and mapping of the data set; None: as it lies.
        gpu: whether a GPU will train, for the suggested settings.
        workers: number of threads that read; None: two for each core.
        progress: called with (pairs done, all pairs) after every pair that is read.

    Raises:
        DataError: no data set is recognized there.
        ConfigError: there is no such layout, or a class of the mapping is none.
    """
    reading = reading or SourceConfig()
    with collect_faults() as faults:
        source = reading.open(location)
    samples = list(dict.fromkeys(sample for members in source.splits.values() for sample in members))
    labels, reader = _classes(source)
    encoding = "numbers" if reader is None else reader.encoding
    facts = scan(
        samples, root=source.root, encoding=encoding, channels=source.channels, workers=workers, progress=progress
    )
    place = {sample: index for index, sample in enumerate(samples)}
    splits = {split: tuple(place[sample] for sample in members) for split, members in source.splits.items()}
    data = CheckedData(
        samples=samples, facts=facts, splits=splits, labels=labels, reader=reader, channels=source.channels
    )
    found, statistics = _judge(data, faults)
    return CheckReport(
        source=source,
        data=data,
        findings=sort_findings(found),
        statistics=statistics,
        command=reading.command("train", location),
        settings={} if statistics is None else suggest_settings(data, statistics, gpu=gpu),
    )


def _classes(source: Source) -> tuple[ClassTable, MaskReader | None]:
    """The class table, and how masks are read as its classes; None for one class."""
    labels = source.labels if source.reader else source.labels.without(source.ignore_index)
    return labels, source.mask_reader() if labels.classes > 1 else None


def refuse_known_faults(source: Source, *, check: str) -> None:
    """Refuse pairs that a check would refuse, as far as it is known without reading pixels.

    Of samples that an earlier check has read, its facts are used; only files that it could not read are read again. Of
    other samples the headers of the files are compared, of 10,000 at most, evenly spread.

    Args:
        source: the data set.
        check: the command that names every fault, for the message.

    Raises:
        DataError: counts the pairs at fault, and names the first with its fault.
    """
    samples = list(dict.fromkeys(sample for members in source.splits.values() for sample in members))
    labels, reader = _classes(source)
    facts = _known_facts(source, samples, "numbers" if reader is None else reader.encoding)
    data = CheckedData(
        samples=[samples[index] for index in facts], facts=list(facts.values()), splits={}, labels=labels,
        reader=reader, channels=source.channels,
    )  # fmt: skip
    found = [*pair_findings(data), *(() if reader is None else unknown_value_findings(data, reader))]
    if wrong := {mark.sample for finding in found for mark in finding.marks}:
        raise DataError(
            f"{source.root}: {len(wrong)} of {len(samples)} pairs cannot be used: {found[0].title}, such as "
            f"{found[0].marks[0]}; {check} names every fault"
        )


def _known_facts(source: Source, samples: Sequence[Sample], encoding: Encoding) -> dict[int, PairFacts]:
    """Facts that an earlier check has read, and those of other samples whose headers differ, by index."""
    known = cached_facts(samples, root=source.root, encoding=encoding, channels=source.channels)
    unknown = [index for index in range(len(samples)) if index not in known]
    looked_at = spread(unknown, _MOST_HEADERS)
    unclear = [
        *(index for index, facts in known.items() if facts.fault is not None),  # it may be readable by now
        *(index for index in looked_at if not _sizes_agree(samples[index])),  # an orientation may be behind the pixels
    ]
    return known | {index: read_facts(samples[index], encoding, source.channels) for index in unclear}


def _sizes_agree(sample: Sample) -> bool:
    """Whether both files have headers with the same size."""
    image = read_pixels_size(sample.image)
    return image is not None and image == read_size(sample.mask)


def _judge(data: CheckedData, faults: list[PairingFault]) -> tuple[list[Finding], ClassStatistics | None]:
    statistics = None
    found = [*pairing_findings(faults), *_split_findings(data), *file_findings(data)]
    if data.reader is None:
        found.append(Finding(kind="single_class", severity="error", title=describe_one_class(data.labels), count=1))
    else:
        pixels, ignored = count_by_image(data, data.reader)
        found += value_findings(data, data.reader, pixels, ignored)
        statistics = class_statistics(data, pixels, ignored)
    return [*found, *misplaced_findings(data), *duplicate_findings(data)], statistics


def _split_findings(data: CheckedData) -> Iterator[Finding]:
    for split in _NEEDED:
        if not data.splits.get(split):
            yield Finding(
                kind="missing_split", severity="error", title=f"there are no pairs for the split {split}",
                remedy="training needs train and val: make the folders or lists", count=1,
            )  # fmt: skip
    if data.splits.get("train") and set(data.splits["train"]) == set(data.splits.get("val", ())):
        yield Finding(
            kind="no_validation_split", severity="warning", title="train and val are the same images",
            remedy="scores say nothing about new images: set some aside for val", count=len(data.splits["val"]),
        )  # fmt: skip
