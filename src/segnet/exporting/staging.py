"""Where an export is written: a temporary folder beside its path, whose files are moved when all of them are right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segnet.errors import OutputError
from segnet.system.files import move_into_place, temporary_folder

__all__ = ["count_bytes", "require_replaceable", "stage_file"]


def require_replaceable(path: Path) -> None:
    """Refuse an .xml file whose weights, the .bin file beside it, would replace a file of another kind.

    Raises:
        OutputError: there is such a .bin file, but no .xml file that it could belong to.
    """
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and weights.exists() and not path.exists():
        raise OutputError(f"{weights} exists, but no {path} that it belongs to; it stays: choose another name")


@contextmanager
def stage_file(path: Path) -> Iterator[Path]:
    """A path in a temporary folder beside ``path``; when the block ends without an error, its files move to ``path``.

    Raises:
        OutputError: the files cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path) as folder:
            yield folder / path.name
            for staged in sorted(folder.iterdir()):
                move = _move_package if staged.is_dir() else move_into_place
                move(staged, path.with_name(staged.name))
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another path") from error


def count_bytes(staged: Path) -> int:
    """Size of a staged file and of all files that belong to it."""
    return sum(file.stat().st_size for file in staged.parent.rglob("*") if file.is_file())


def _move_package(staged: Path, to: Path) -> None:
    """Move a Core ML package; an older package of that name is moved into the temporary folder and deleted with it."""
    if to.exists():
        if not (to / "Manifest.json").is_file():
            raise OutputError(f"{to} exists and is not a Core ML package; choose another name")
        to.replace(staged.with_name(f".old-{staged.name}"))
    staged.replace(to)
