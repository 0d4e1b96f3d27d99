"""Which images are labeled, and where their results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segnet.errors import DataError, OutputError
from segnet.media.images.finding import find_images
from segnet.system.files import replacing

__all__ = ["Job", "find_jobs", "require_writable"]


@dataclass(frozen=True)
class Job:
    """One image to label and the place, without suffix, that its results get under each output folder."""

    image: Path
    place: Path


def find_jobs(sources: Sequence[str], *, out: Path | None = None) -> list[Job]:
    """Every image once, but for earlier results in OUT; names that would collide keep their suffix."""
    found = dict.fromkeys(pair for source in sources for pair in _images(Path(source), out))
    uses = Counter(place.with_suffix("") for _, place in found)
    jobs = [Job(path, place.with_suffix("") if uses[place.with_suffix("")] == 1 else place) for path, place in found]
    places = Counter(job.place for job in jobs)
    if twice := [place for place, count in places.items() if count > 1]:
        same = [str(job.image) for job in jobs if job.place == twice[0]]
        raise DataError(f"{' and '.join(same[:2])} would be written to the same name; label them in separate runs")
    return jobs


def _images(source: Path, out: Path | None) -> list[tuple[Path, Path]]:
    """The images of one source; of a folder or glob that covers OUT, without the results of an earlier run."""
    found = find_images(source)
    if out is None or source.is_file() or (source.is_dir() and source.resolve().is_relative_to(out.resolve())):
        return found
    return [(path, place) for path, place in found if not path.resolve().is_relative_to(out.resolve())]


def require_writable(out: Path, *, flag: str = "--out") -> None:
    """Fail before the model runs, not after; leaves nothing behind, no folder either.

    Raises:
        OutputError: nothing can be written into that folder; the flag is told that names another.
    """
    missing = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    probe = out / f".segnet-probe-{os.getpid()}"
    try:
        with replacing(probe) as temporary:
            temporary.touch()
        probe.unlink()
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise OutputError(f"{out}: results cannot be written there ({reason}); give another {flag}") from error
    finally:
        for folder in missing:  # innermost first
            with suppress(OSError):  # it could not be made, or another program writes into it by now
                folder.rmdir()
