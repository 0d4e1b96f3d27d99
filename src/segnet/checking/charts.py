"""Bar charts of a check as SVG, in the colors and fonts of the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

__all__ = ["histogram"]

_WIDTH, _HEIGHT = 360, 190
_LEFT, _TOP, _BOTTOM = 40, 12, 34
_BINS = 30


def histogram(title: str, values: Sequence[float], *, axis: str, marked: Sequence[float] = ()) -> str:
    """How often values occur, in bins of equal width.

    Args:
        title: above the chart.
        values: at least one.
        axis: name of the values, below.
        marked: values that are marked by a dashed line.

    Returns:
        HTML of a figure.
    """
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64), bins=_BINS)
    low, high = float(edges[0]), float(edges[-1])
    least, largest = min(values), max(values)
    most = max(1, int(counts.max()))
    step = (_WIDTH - _LEFT - 8) / _BINS
    floor, room = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    bars = "".join(
        f'<rect x="{_LEFT + index * step + 0.5:.1f}" y="{floor - room * count / most:.1f}" width="{step - 1:.1f}" '
        f'height="{room * count / most:.1f}" fill="var(--a)"></rect>'
        for index, count in enumerate(counts.tolist())
        if count
    )
    lines = "".join(
        f'<path class="mark" d="M{_LEFT + (value - low) / (high - low) * step * _BINS:.1f} {_TOP}V{floor}"/>'
        for value in marked
        if low <= value <= high
    )
    axes = (
        f'<path class="axis" d="M{_LEFT} {floor}H{_WIDTH - 8}"/>'
        f"{_text(_LEFT - 5, _TOP + 8, str(most), 'end')}{_text(_LEFT - 5, floor, '0', 'end')}"
        f"{_range(least, largest, floor + 14)}{_text((_LEFT + _WIDTH) / 2, _HEIGHT - 4, axis, 'middle')}"
    )
    label = f"{title}: {len(values)} values from {least:.3g} to {largest:.3g}, median {np.median(values):.3g}"
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{escape(label)}">{bars}{lines}{axes}</svg></figure>'
    )


def _range(least: float, largest: float, y: float) -> str:
    """The ends of the axis; of equal values, which NumPy gives bins of half a unit to each side, the one value."""
    if least == largest:
        return _text((_LEFT + _WIDTH - 8) / 2, y, f"{least:.4g}", "middle")
    return _text(_LEFT, y, f"{least:.4g}", "start") + _text(_WIDTH - 8, y, f"{largest:.4g}", "end")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
