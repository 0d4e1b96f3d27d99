"""segnet convert-data: writes a data set of any layout as folders of images and masks."""

from __future__ import annotations

from pathlib import Path

from segnet.data.source_config import SourceConfig

__all__ = ["run"]


def run(
    data: str,
    out: Path,
    /,
    *,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    force: bool = False,
) -> None:
    """Write a data set of any layout as images/, masks/ and data.yaml; masks become PNG of class indices.

    Args:
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        out: The new folder.
        source: how the data set is read.
        force: Replace files that are in the new folder. Default: nothing is replaced.
    """
    from segnet.data.conversion import convert_data
    from segnet.system.progress import progress_bar

    opened = source.open(data)
    with progress_bar("converting", sum(map(len, opened.splits.values()))) as progress:
        path = convert_data(opened, Path(out), force=force, progress=progress)
    images = ", ".join(f"{split} {len(samples)}" for split, samples in opened.splits.items())
    print(f"{path}: {opened.labels.classes} classes; {images}; from {opened.layout}")
    print(f"next: segnet check {path.parent}")
