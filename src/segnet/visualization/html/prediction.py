"""How a notebook shows a prediction: a small overlay beside a table of its classes."""

from __future__ import annotations

import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.labels import ClassTable
from segnet.visualization.html.embedding import address, nearest, smooth
from segnet.visualization.html.markup import percent
from segnet.visualization.legends import add_legend
from segnet.visualization.overlay import as_rgb, class_shares, colorize, overlay

__all__ = ["prediction_html", "prediction_png"]

_WIDEST, _HIGHEST = 640, 480  # pixels of the overlay
_MOST_ROWS = 12
# Notebooks bring no style of ours, and some color every second row.
_CELL = "padding:1px 8px;text-align:left;background:none;border:0"
# The edge shows a white class in a light notebook, and a black one in a dark notebook.
_SWATCH = "display:inline-block;width:14px;height:14px;box-shadow:0 0 0 1px #808080"


def prediction_png(mask: NDArray[np.uint8], labels: ClassTable, image: NDArray[np.uint8] | None) -> bytes:
    """The overlay with its legend as PNG, at most 640x480 pixels without the legend.

    Args:
        mask: uint8 (H, W).
        labels: names and colors.
        image: uint8 (H, W, 3) or (H, W, 1); None: the colors are shown without it.
    """
    file = io.BytesIO()
    preview = add_legend(_preview(mask, labels, image), labels, class_shares(mask, labels))
    Image.fromarray(preview).save(file, "png")
    return file.getvalue()


def prediction_html(mask: NDArray[np.uint8], labels: ClassTable, image: NDArray[np.uint8] | None) -> str:
    """The overlay beside a table with color, name and share of the largest classes; arguments as ``prediction_png``."""
    preview = Image.fromarray(_preview(mask, labels, image))
    size = f"{mask.shape[1]}x{mask.shape[0]} pixels, {labels.classes} classes"
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">'
        f'<img src="{address(preview, "jpeg", quality=88)}" width="{preview.width}" height="{preview.height}" '
        f'alt="prediction, {size}" style="max-width:100%;height:auto">'
        '<table style="border-collapse:collapse;font-size:13px;color:inherit">'
        f'<caption style="{_CELL};caption-side:top">{size}</caption>{_rows(mask, labels)}</table></div>'
    )


def _preview(mask: NDArray[np.uint8], labels: ClassTable, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The overlay, drawn at its small size."""
    height, width = mask.shape
    scale = min(1, _WIDEST / width, _HIGHEST / height)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    mask = nearest(mask, size)
    if image is None:
        return colorize(mask, labels)
    image = as_rgb(image)
    return overlay(smooth(image, size), mask, labels)


def _rows(mask: NDArray[np.uint8], labels: ClassTable) -> str:
    """The classes that occur, the largest first."""
    shares = class_shares(mask, labels)
    seen = [int(index) for index in np.argsort(-shares, kind="stable") if shares[index] > 0]
    rows = [_row(labels.colors[index], labels.names[index], float(shares[index])) for index in seen[:_MOST_ROWS]]
    if more := seen[_MOST_ROWS:]:
        rows.append(_row(None, f"{len(more)} more classes", float(shares[more].sum())))
    return "".join(rows)


def _row(color: tuple[int, int, int] | None, name: str, share: float) -> str:
    swatch = "" if color is None else f"background:rgb{color};{_SWATCH}"
    return (
        f'<tr style="background:none"><td style="{_CELL}"><span style="{swatch}"></span></td>'
        f'<td style="{_CELL}">{escape(name)}</td>'
        f'<td style="{_CELL};text-align:right">{percent(share)}</td></tr>'
    )
