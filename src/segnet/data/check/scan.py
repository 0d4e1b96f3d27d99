"""One pass over all pairs of files, by several threads; what did not change since the last pass is not read again.

Threads, not processes: Pillow decodes and NumPy computes without Python's lock, and nothing is started or copied. Both
were as fast, two at a time, on CamVid.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from segnet.bands import Channels, stored_bands
from segnet.data.check.facts import PairFacts, file_digest, read_facts
from segnet.data.samples import Sample
from segnet.media.images.masks import Encoding
from segnet.system.files import cache_dir, write_cache
from segnet.system.threads import available_cores

__all__ = ["cached_facts", "scan"]

log = logging.getLogger("segnet")

_VERSION = 6  # of the facts: to be raised if they are computed in another way
_AHEAD = 4  # pairs waiting for each thread
_THREADS_PER_CORE = 2  # one waits for the disk while the other computes

Stamp = list[Any]
"""Path, size and time of the image and of the mask."""


def scan(
    samples: Sequence[Sample],
    *,
    root: Path,
    encoding: Encoding = "numbers",
    channels: Channels = 3,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[PairFacts]:
    """The facts of every sample, in order.

    They are cached for the root by path, size and time of both files, and by the digests of their contents. A cache
    that cannot be read is ignored; one that cannot be written is a warning.

    Args:
        samples: what to read.
        root: folder of the data set; nothing is written there.
        encoding: what the pixels of the masks are.
        channels: how images are read.
        workers: number of threads; None: two for each core.
        progress: called with (pairs done, all pairs) after every pair that is read.
    """
    cache = _Cache(root, encoding, channels)
    stamps = [_stamp(sample) for sample in samples]
    found: dict[int, PairFacts] = {}
    for index, (sample, stamp) in enumerate(zip(samples, stamps, strict=True)):
        if (known := cache.find(sample, stamp)) is not None:
            found[index] = known
    missing = [index for index in range(len(samples)) if index not in found]
    read = partial(read_facts, encoding=encoding, channels=channels)
    for index, facts in _read_all(samples, missing, read, workers or _THREADS_PER_CORE * available_cores()):
        found[index] = facts
        if progress is not None:
            progress(len(found), len(samples))
    facts_in_order = [found[index] for index in range(len(samples))]
    if missing or cache.moved:
        cache.write(stamps, facts_in_order)
    return facts_in_order


def cached_facts(
    samples: Sequence[Sample], *, root: Path, encoding: Encoding = "numbers", channels: Channels = 3
) -> dict[int, PairFacts]:
    """Facts of the samples that a check has read and that did not change since, by index; reads no sample.

    Where they name a fault, the file may be readable by now: permissions change without a new time.
    """
    cache = _Cache(root, encoding, channels)
    if not cache.by_stamp:
        return {}
    known = {index: cache.by_stamp.get(json.dumps(_stamp(sample))) for index, sample in enumerate(samples)}
    return {index: facts for index, facts in known.items() if facts is not None}


def _read_all(
    samples: Sequence[Sample], indices: Sequence[int], read: Callable[[Sample], PairFacts], workers: int
) -> Iterator[tuple[int, PairFacts]]:
    """As they are finished; few wait at a time, so that Ctrl-C need not wait for many."""
    waiting: dict[Future[PairFacts], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        for index in indices:
            waiting[pool.submit(read, samples[index])] = index
            if len(waiting) >= workers * _AHEAD:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        for future, index in waiting.items():
            yield index, future.result()


class _Cache:
    """The file of cached facts of a data set."""

    def __init__(self, root: Path, encoding: Encoding, channels: Channels) -> None:
        bands = "" if stored_bands(channels) is None else f"{channels} "
        key = f"{encoding} {bands}{os.path.realpath(root)}"
        place = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
        self.path = cache_dir() / "check" / f"{place}.json"
        self.by_stamp, self._by_content = _read(self.path)
        self.moved = False

    def find(self, sample: Sample, stamp: Stamp) -> PairFacts | None:
        """Facts of files with the same path, size and time, or with the same content, but of none with a fault."""
        if (known := self.by_stamp.get(json.dumps(stamp))) is not None or not self._by_content:
            return known if known is None or known.fault is None else None
        content = file_digest(sample.image), file_digest(sample.mask)
        known = self._by_content.get(content) if all(content) else None
        self.moved |= known is not None
        return known

    def write(self, stamps: Sequence[Stamp], facts: Sequence[PairFacts]) -> None:
        rows = [[stamp, one.to_dict()] for stamp, one in zip(stamps, facts, strict=True)]
        write_cache(self.path, {"version": _VERSION, "pairs": rows}, "the check is")


def _read(path: Path) -> tuple[dict[str, PairFacts], Mapping[tuple[str, str], PairFacts]]:
    """Facts by stamp and by content; nothing if there is no cache, or it is damaged or of another version."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["version"] != _VERSION:
            return {}, {}
        by_stamp = {json.dumps(stamp): PairFacts.from_dict(facts) for stamp, facts in table["pairs"]}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}, {}
    sound = (facts for facts in by_stamp.values() if facts.fault is None)
    return by_stamp, {(facts.image_digest, facts.mask_digest): facts for facts in sound}


def _stamp(sample: Sample) -> Stamp:
    stamp: Stamp = []
    for path in (sample.image, sample.mask):
        try:
            stat = path.stat()
            stamp += [os.path.realpath(path), stat.st_size, stat.st_mtime_ns]
        except (OSError, ValueError):
            stamp += [str(path), -1, -1]
    return stamp
