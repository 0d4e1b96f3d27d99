"""A labeled image as a row of panels: the image, its masks in colors, where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.metrics.confusion import score_mask
from segnet.visualization.html.embedding import address, nearest, smooth
from segnet.visualization.html.markup import class_name, percent
from segnet.visualization.overlay import largest_shares

__all__ = [
    "RIGHT", "UNCOUNTED", "WRONG", "Panel", "commonest_error", "errors_panel", "legend", "mask_panel", "panel_row",
    "panel_size", "photo_panel",
]  # fmt: skip

WRONG = (255, 176, 0)
"""Color of a wrong pixel in the error panel: orange, which color-blind readers tell from gray, too."""

UNCOUNTED = (150, 150, 158)
"""Color of an ignored pixel in the error panel."""

RIGHT = 0.4
"""Brightness of the image where the prediction is right, in the error panel."""

_WIDEST, _HIGHEST = 320, 480  # pixels of a panel
_SMALL = 160  # pixels of width below which a browser would blur classes into each other
_GRAYS = 32


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One image of a row.

    Attributes:
        caption: stands below.
        alt: the same in words.
        source: the image itself as an address.
    """

    caption: str
    alt: str
    source: str


def panel_row(name: str, caption: str, panels: Sequence[Panel], size: tuple[int, int], *, columns: int = 0) -> str:
    """A row of panels under the name of the image.

    Args:
        name: of the image.
        caption: The text beside the name.
        panels: from left to right.
        size: (height, width) of each.
        columns: room for at least so many panels, so that rows of fewer have panels of the same width.
    """
    height, width = size
    small = ' class="small"' if width < _SMALL else ""
    figures = "".join(
        f'<figure><img{small} src="{panel.source}" alt="{escape(panel.alt)}" width="{width}" height="{height}">'
        f"<figcaption>{escape(panel.caption)}</figcaption></figure>"
        for panel in panels
    )
    head = f"<h4>{escape(name)} <span>{escape(caption)}</span></h4>"
    row = f'<div class="panels" style="--many:{max(columns, len(panels))}">{figures}</div>'
    return f'<article class="example">{head}{row}</article>'


def photo_panel(name: str, image: NDArray[np.uint8], size: tuple[int, int], *, caption: str = "image") -> Panel:
    """The image, uint8 (H, W, 3)."""
    source = address(Image.fromarray(smooth(image, size)), "jpeg", quality=82)
    return Panel(caption=caption, alt=name if caption == "image" else f"{name}, {caption}", source=source)


def mask_panel(name: str, kind: str, mask: NDArray[np.uint8], labels: ClassTable, size: tuple[int, int]) -> Panel:
    """A mask, uint8 (H, W), in the colors of its classes, ignored pixels black; ``kind``: "truth" or "prediction"."""
    source = _indexed(nearest(mask, size), labels.palette())
    return Panel(
        caption=kind, alt=f"{name}, {kind}: {', '.join(largest_shares(mask, labels)) or 'ignored'}", source=source
    )


def errors_panel(
    name: str,
    image: NDArray[np.uint8] | None,
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    size: tuple[int, int],
) -> Panel:
    """Dim grays where the prediction is right, and two colors; few enough for a small PNG with sharp edges.

    Args:
        name: of the image.
        image: uint8 (H, W, 3), or None for one gray.
        truth, predicted: uint8 (H, W), 255 where ignored.
        size: (height, width) of the panel.
    """
    counted = truth != IGNORE_INDEX
    share = percent(float(((predicted != truth) & counted).sum()) / max(int(counted.sum()), 1))
    here, there = nearest(truth, size), nearest(predicted, size)
    light = np.full((*size, 1), 128, dtype=np.uint8) if image is None else smooth(image, size)
    places = (light.mean(axis=2) * (_GRAYS / 256)).astype(np.uint8)
    places[there != here] = _GRAYS
    places[here == IGNORE_INDEX] = _GRAYS + 1
    grays = np.linspace(0, 255 * RIGHT, _GRAYS).astype(np.uint8)
    table = np.concatenate([np.repeat(grays[:, None], 3, axis=1), np.array([WRONG, UNCOUNTED], dtype=np.uint8)])
    return Panel(
        caption=f"errors {share}", alt=f"{name}: {share} of the pixels are wrong", source=_indexed(places, table)
    )


def commonest_error(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], labels: ClassTable) -> str:
    """Which class of the image is most often taken for which other, in words; empty if none is."""
    scores = score_mask(predicted, truth, labels)
    wrong = scores.counts - np.diag(np.diag(scores.counts))
    row, column = divmod(int(wrong.argmax()), labels.classes)
    if wrong[row, column] == 0:
        return ""
    share = int(wrong[row, column]) / int(scores.pixels.sum())
    return f"{percent(share)} are {labels.names[row]} taken for {labels.names[column]}"


def legend(
    masks: Iterable[NDArray[np.uint8]], labels: ClassTable, more: Sequence[str] = (), *, errors: bool = True
) -> str:
    """The classes that occur in the masks, and the colors among the errors.

    Args:
        masks: uint8 (H, W) each.
        labels: The class table.
        more: HTML of further entries.
        errors: Whether there are error panels.
    """
    seen = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    entries = [
        class_name(labels.names[index], labels.colors[index]) for index in seen.tolist() if index != IGNORE_INDEX
    ]
    if IGNORE_INDEX in seen:
        entries.append(class_name("ignored", (0, 0, 0)))
    if errors:
        entries += [class_name("ignored in the truth (error panel)", UNCOUNTED)] * (IGNORE_INDEX in seen)
        entries.append(class_name("wrong", WRONG))
    items = "".join(f"<li>{entry}</li>" for entry in [*entries, *more])
    return f'<ul class="legend" aria-label="Legend">{items}</ul>'


def panel_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) that fits a panel; a small image stays as it is."""
    height, width = shape
    scale = min(1, _WIDEST / width, _HIGHEST / height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _indexed(values: NDArray[np.uint8], table: NDArray[np.uint8]) -> str:
    image = Image.fromarray(values)
    image.putpalette(table.tobytes())
    return address(image, "png", optimize=True)
