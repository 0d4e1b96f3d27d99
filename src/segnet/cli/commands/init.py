"""segnet init: describes a folder of images and masks."""

from __future__ import annotations

from pathlib import Path

__all__ = ["run"]


def run(root: Path, /, *, force: bool = False) -> None:
    """Write the data.yaml of a folder with images/ and masks/, and a validation split if it has none.

    The two may also lie in train/ and val/. Data sets of a known layout need no data.yaml.

    Validation images are whole sequences where names show them: neighbors in a film are nearly the same image.

    Args:
        root: The folder that holds images and masks.
        force: Replace data.yaml, train.txt and val.txt. Default: nothing is replaced.
    """
    from segnet.data.describing import describe_folder

    description = describe_folder(Path(root), force=force)
    labels, counts = description.labels, ", ".join(f"{split} {count}" for split, count in description.images.items())
    print(f"{description.path}: {labels.classes} classes, values {labels.describe_values()}; {counts}")
    if description.held_out:
        print(f"val is {description.held_out}")
    if not description.named:
        print("the names of the classes are not known; write them into data.yaml")
        if description.colored:
            print("black is ignored: if it is a class, add its name and its color [0, 0, 0] there")
        else:
            print("a value of pixels without a label is no class: add it to ignore_index there")
    print(f"next: segnet check {description.path.parent}")
