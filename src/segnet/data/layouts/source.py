"""What a layout gives: the samples of each split, and how their masks are read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segnet.bands import Channels
from segnet.data.dataset import ResizeMode, SegmentationDataset
from segnet.data.mapping import map_classes, matching_classes, same_mapping
from segnet.data.masks import MaskReader, describe_one_class
from segnet.data.samples import Sample, with_distinct_names
from segnet.errors import ConfigError, DataError, list_names
from segnet.labels import ClassTable

__all__ = ["Source"]

log = logging.getLogger("segnet")


@dataclass(frozen=True, kw_only=True, repr=False)
class Source:
    """A data set found on disk.

    Attributes:
        root: where it lies.
        layout: which layout was recognized, in words.
        splits: samples by split name, each sorted by name or in the order of its list.
        labels: the class table.
        ignore_index: Values in the mask files that are ignored.
        channels: how images are read for a new network: 3 for RGB, 1 for gray, or their bands.
        reader: how masks are read; None: as class values of ``labels``.
    """

    root: Path
    layout: str
    splits: Mapping[str, tuple[Sample, ...]]
    labels: ClassTable
    ignore_index: tuple[int, ...]
    reader: MaskReader | None = None
    channels: Channels = 3

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {len(samples)}" for name, samples in self.splits.items())
        return f"Source({str(self.root)!r}, {self.layout}, {splits} images, {self.labels.classes} classes)"

    def dataset(
        self,
        split: str,
        *,
        size: tuple[int, int] | None = None,
        resize_mode: ResizeMode = "letterbox",
        channels: Channels | None = None,
        corruption: str | None = None,
    ) -> SegmentationDataset:
        """The samples of one split, with their masks.

        Args:
            split: one of ``splits``.
            size, resize_mode, corruption: see ``SegmentationDataset``.
            channels: how images are read; None: as ``channels`` of the data set says.

        Raises:
            DataError: the data set has no such split, or one class only.
        """
        if self.labels.classes < 2:
            raise DataError(f"{self.root}: {describe_one_class(self.labels)}")
        if split not in self.splits:
            raise DataError(f"{self.root}: has no split {split!r}; it has {', '.join(self.splits) or 'none'}")
        return SegmentationDataset(
            self.splits[split],
            self.labels,
            ignore_index=self.ignore_index,
            size=size,
            resize_mode=resize_mode,
            channels=self.channels if channels is None else channels,
            corruption=corruption,
            reader=self.reader,
        )

    def mapped(self, rules: str = "", only: Sequence[str] = ()) -> Source:
        """The data set with other classes; see ``map_classes``.

        Raises:
            ConfigError: a rule names no class.
        """
        return self._as(map_classes(self.labels, rules, only)) if rules or only else self

    def for_model(self, labels: ClassTable) -> Source:
        """The data set with the classes of a model that was trained on mapped classes; else itself."""
        return self._as(target) if (target := same_mapping(self.labels, labels)) else self

    def with_training_images(self, other: Source, rules: str = "") -> Source:
        """The data set with the training images of another one, whose classes go by their names.

        Args:
            other: its classes of other names are ignored.
            rules: the mapping by which this data set has its classes, if any; see ``matching_classes``.

        Raises:
            DataError: the other one has no split train, or trains on an image of another split here.
            ConfigError: no class of it has the name of a class here, or it has one class only.
        """
        if "train" not in other.splits:
            raise DataError(f"{other.root}: has no split 'train'; it has {', '.join(other.splits) or 'none'}")
        held = {sample.image.resolve() for name, kept in self.splits.items() if name != "train" for sample in kept}
        if seen := [sample for sample in other.splits["train"] if sample.image.resolve() in held]:
            raise DataError(
                f"{other.root}: {len(seen)} of its training images, such as {seen[0].image}, are not for training in "
                f"{self.root}; remove them from one of the two"
            )
        try:
            reader = other.mask_reader()
            target = matching_classes(reader.classes, self.mask_reader().classes, rules)
        except ConfigError as error:
            raise ConfigError(f"{other.root}: {error}") from error
        samples = tuple(replace(sample, reader=reader.mapped(target)) for sample in other.splits["train"])
        known = {name for names in target.members for name in names}
        ignored = [name for name in reader.classes.names if name not in known]
        log.info(
            "%d training images of %s are added%s", len(samples), other.root,
            f"; their classes {list_names(ignored)} are ignored" if ignored else "",
        )  # fmt: skip
        together = with_distinct_names((*self.splits.get("train", ()), *samples))
        return replace(self, splits={**self.splits, "train": together})

    def mask_reader(self) -> MaskReader:
        """How the masks are read.

        Raises:
            ConfigError: there is one class only.
        """
        return self.reader or MaskReader(labels=self.labels.without(self.ignore_index), ignore_index=self.ignore_index)

    def _as(self, target: ClassTable) -> Source:
        return replace(self, labels=target, reader=self.mask_reader().mapped(target))
