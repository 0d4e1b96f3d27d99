"""Street scenes that are drawn, not recorded."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from segnet.data.layouts.folders import camvid_folders
from segnet.data.layouts.source import Source
from segnet.data.synthetic.scenes import write_scenes
from segnet.errors import OutputError
from segnet.system.files import cache_dir

__all__ = ["synthetic"]


def synthetic() -> Source:
    """Drawn street scenes in CamVid's classes; written once, then read from the cache folder.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    root = cache_dir() / "synthetic-1"
    if not root.is_dir():
        _draw(root)
    return camvid_folders(root)


def _draw(root: Path) -> None:
    """Under another name first: neither a run that is stopped nor two at once leave half a data set."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root.parent) as folder:
            write_scenes(Path(folder) / root.name).rename(root)
    except OSError as error:
        if not root.is_dir():
            raise OutputError(
                f"{root}: the drawn scenes cannot be written ({error.strerror or error}); "
                "set SEGNET_CACHE to a folder with space that you may write to"
            ) from error
