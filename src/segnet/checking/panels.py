"""Samples as rows of panels: the image, its mask with wrong values marked, and the mask's boundaries on the image."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.data.check.report import CheckReport
from segnet.data.masks import MaskReader
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX
from segnet.media.images.stored import read_shown
from segnet.visualization.html.embedding import address, nearest, smooth
from segnet.visualization.html.panels import Panel, panel_row, panel_size, photo_panel
from segnet.visualization.overlay import as_rgb, overlay

__all__ = ["BOUNDARY", "DIMMED", "class_panels", "sample_panels"]

BOUNDARY = (255, 230, 0)
"""Color of the mask's boundaries: yellow, which color-blind readers tell from a dimmed image, too."""

DIMMED = 0.65
"""Brightness of the image below the boundaries."""

_WRONG = (255, 0, 255)


def sample_panels(report: CheckReport, index: int, other: int | None, text: str) -> str:
    """A row for one sample, with the image of another one beside it; files that cannot be read have no panel."""
    sample, reader = report.data.samples[index], report.data.reader
    image, values = _read_image(report, index), _read_values(report, index)
    panels, size = [], (1, 1)
    if image is not None:
        size = panel_size(image.shape[:2])
        panels.append(photo_panel(sample.name, image, size))
    if values is not None and reader is not None:
        size = size if image is not None else panel_size(values.shape)
        panels.append(_mask_panel(report, sample.name, reader, values, size))
    beside = None if other is None else _read_image(report, other)
    if other is not None and beside is not None:
        name = report.data.samples[other].name
        source = address(Image.fromarray(smooth(beside, size)), "jpeg", quality=82)
        panels.append(Panel(caption=f"image of {name}", alt=name, source=source))
    elif image is not None and values is not None and values.shape == image.shape[:2]:
        panels.append(_outline_panel(sample.name, image, values, size))
    return (
        panel_row(sample.name, text, panels, size, columns=3)
        if panels
        else f"<p>{escape(sample.name)}: {escape(text)}</p>"
    )


def class_panels(report: CheckReport, reader: MaskReader, class_index: int, chosen: Sequence[int], heading: str) -> str:
    """A row of images in which one class has its color and a yellow edge, and all else is gray."""
    panels, size = [], (1, 1)
    for index in chosen:
        image, values = _read_image(report, index), _read_values(report, index)
        if image is None or values is None or values.shape != image.shape[:2]:
            continue
        size = panel_size(image.shape[:2])
        found = reader.classes_of(values) == class_index
        mask = nearest(np.where(found, class_index, IGNORE_INDEX).astype(np.uint8), size)
        gray = smooth(np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2), size)
        pixels, name = overlay(gray, mask, report.data.labels), report.data.samples[index].name
        pixels[_outer_edge(mask == class_index)] = BOUNDARY
        alt = f"{report.data.labels.names[class_index]} in {name}"
        panels.append(Panel(caption=name, alt=alt, source=address(Image.fromarray(pixels), "jpeg", quality=80)))
    return panel_row(heading, "", panels, size, columns=3) if panels else "<p>No image of it can be shown.</p>"


def _read_image(report: CheckReport, index: int) -> NDArray[np.uint8] | None:
    if report.data.facts[index].image_fault is not None:
        return None
    try:
        return as_rgb(read_shown(report.data.samples[index].image, report.data.channels))
    except DataError:
        return None


def _read_values(report: CheckReport, index: int) -> NDArray[np.integer[Any]] | None:
    if report.data.facts[index].mask_fault is not None:
        return None
    try:
        return report.data.values(index)
    except DataError:
        return None


def _mask_panel(
    report: CheckReport,
    name: str,
    reader: MaskReader,
    values: NDArray[np.integer[Any]],
    size: tuple[int, int],
) -> Panel:
    """The mask in the colors of its classes; ignored pixels black, values that are no class magenta."""
    classes = reader.classes_of(values)
    wrong = int((classes < 0).sum())
    palette = report.data.labels.palette()
    palette[IGNORE_INDEX - 1] = _WRONG if wrong else palette[IGNORE_INDEX - 1]
    image = Image.fromarray(nearest(np.where(classes < 0, IGNORE_INDEX - 1, classes).astype(np.uint8), size))
    image.putpalette(palette.tobytes())
    caption = f"mask, {wrong} pixels of no class (magenta)" if wrong else "mask"
    return Panel(caption=caption, alt=f"{name}: {caption}", source=address(image, "png", optimize=True))


def _outer_edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels outside that touch one inside by a side."""
    padded = np.pad(inside, 1)
    return (padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]) & ~inside


def _outline_panel(
    name: str, image: NDArray[np.uint8], values: NDArray[np.integer[Any]], size: tuple[int, int]
) -> Panel:
    """The image, dimmed, with the boundaries of the mask in yellow."""
    step = [
        np.linspace(0, side - 1, new).round().astype(np.int64) for side, new in zip(values.shape, size, strict=True)
    ]
    small = values[step[0]][:, step[1]]
    lines = np.zeros(size, dtype=bool)
    lines[:, 1:] |= small[:, 1:] != small[:, :-1]
    lines[1:] |= small[1:] != small[:-1]
    pixels = (smooth(image, size) * DIMMED).astype(np.uint8)
    pixels[lines] = BOUNDARY
    source = address(Image.fromarray(pixels), "jpeg", quality=82)
    return Panel(caption="boundaries of the mask", alt=f"{name}: boundaries of the mask on the image", source=source)
