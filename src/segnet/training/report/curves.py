"""Line charts as SVG that takes colors and fonts from the page.

Matplotlib is not used: its SVG has fixed colors, so that light and dark mode would need two images each, and its text
does not follow the font size of the browser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "line_chart", "shared_line", "small_chart", "ticks"]

Form = Callable[[float], str]

_WIDTH, _HEIGHT = 360, 230
_LEFT, _TOP, _BOTTOM = 46, 26, 38  # margins, for the numbers around the lines
_SMALL_WIDTH, _SMALL_HEIGHT = 168, 92
_LETTER_WIDTH, _LETTER_HEIGHT = 7.6, 14  # typical, of bold letters
_MAX_DOTS = 40  # longer lines have no dots


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Shown at the end of the line; may be empty.
        values: One per epoch. NaN leaves a gap.
        style: Line color of the page: ``a``, ``b`` or ``c``.
    """

    name: str
    values: Sequence[float]
    style: str = "a"


@dataclass(frozen=True)
class _Scale:
    """Linear scale from values, ``low`` to ``high``, to pixels, ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(title: str, epochs: Sequence[int], lines: Sequence[Line], *, best: int, form: Form) -> str:
    """Lines over the epochs, with axes and a mark at the best epoch.

    Args:
        title: Title above the chart.
        epochs: Rising, at least one.
        lines: Each has one value per epoch.
        best: Epoch to mark.
        form: Formats a value.

    Returns:
        HTML of a figure, 360 units wide.
    """
    known = [value for line in lines for value in line.values if math.isfinite(value)]
    marks = ticks(min(known), max(known)) if known else []
    right = _WIDTH - 12 - _LETTER_WIDTH * max(len(_end_label(line, form)) for line in lines)
    x = _Scale(epochs[0], epochs[-1], _LEFT, right)
    y = _Scale(marks[0], marks[-1], _HEIGHT - _BOTTOM, _TOP) if marks else _Scale(0, 1, _HEIGHT - _BOTTOM, _TOP)
    text = "; ".join(_describe_line(line, epochs, form) for line in lines)
    body = [
        *(_horizontal(right, y(mark), form(mark)) for mark in marks),
        *(_epoch_tick(x(mark), f"{mark:g}") for mark in _epoch_ticks(epochs)),
        _text((_LEFT + right) / 2, _HEIGHT - 4, "epoch", "middle"),
        _best_mark(x(best), best, middle=(_LEFT + right) / 2),
        *(_draw_line(line, epochs, x, y, best, form) for line in lines),
        *_end_labels(lines, right + 9, y, form),
    ]
    if not known:
        body.append(_text((_LEFT + right) / 2, _HEIGHT / 2, "no values", "middle"))
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f"{_svg(_WIDTH, _HEIGHT, f'{title}: {text}', ''.join(body))}</figure>"
    )


def small_chart(caption: str, text: str, epochs: Sequence[int], values: Sequence[float], *, best: int) -> str:
    """One of many small charts with the same axes, 0 to 100 %, over the gray line of ``shared_line``.

    Args:
        caption: HTML above the chart.
        text: Description for screen readers.
        epochs: Rising, at least one.
        values: One per epoch, 0 to 1. NaN leaves a gap.
        best: Epoch to mark.
    """
    x, y = _small_scales(epochs)
    index = epochs.index(best)
    body = [
        *(f'<path class="grid" d="M30 {y(mark):g}H{_SMALL_WIDTH - 6}"/>' for mark in (0, 0.5, 1)),
        _text(26, y(1) + 4, "100", "end"),
        _text(26, y(0) + 4, "0", "end"),
        _text(x(epochs[0]), _SMALL_HEIGHT - 2, f"{epochs[0]}", "start" if len(epochs) > 1 else "middle"),
        _text(x(epochs[-1]), _SMALL_HEIGHT - 2, f"{epochs[-1]}", "end") if len(epochs) > 1 else "",
        '<use href="#shared" class="shared"/>',
        f'<path class="line a" d="{_path(epochs, values, x, y)}"/>',
        _dot(x(best), y(values[index]), "a best") if math.isfinite(values[index]) else "",
    ]
    svg = _svg(_SMALL_WIDTH, _SMALL_HEIGHT, text, "".join(body))
    return f'<figure class="small"><figcaption>{caption}</figcaption>{svg}</figure>'


def shared_line(epochs: Sequence[int], values: Sequence[float]) -> str:
    """Gray line behind the line of every small chart, defined once."""
    x, y = _small_scales(epochs)
    path = f'<path id="shared" d="{_path(epochs, values, x, y)}"/>'
    return f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{path}</defs></svg>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, that cover ``low`` to ``high``; about five intervals."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):  # a single value: add a margin
        margin = abs(low) / 10 or 1
        low, high = max(low - margin, min(low, 0)), high + margin
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [number * step for number in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _small_scales(epochs: Sequence[int]) -> tuple[_Scale, _Scale]:
    return _Scale(epochs[0], epochs[-1], 32, _SMALL_WIDTH - 8), _Scale(0, 1, _SMALL_HEIGHT - 18, 8)


def _epoch_ticks(epochs: Sequence[int]) -> list[float]:
    if len(epochs) == 1:
        return [epochs[0]]
    return [mark for mark in ticks(epochs[0], epochs[-1]) if mark == int(mark) and epochs[0] <= mark <= epochs[-1]]


def _svg(width: int, height: int, text: str, body: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(text)}">{body}</svg>'


def _text(x: float, y: float, words: str, anchor: str, style: str = "tick") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _horizontal(right: float, y: float, words: str) -> str:
    return f'<path class="grid" d="M{_LEFT} {y:.1f}H{right:.1f}"/>' + _text(_LEFT - 6, y + 4, words, "end")


def _epoch_tick(x: float, words: str) -> str:
    bottom = _HEIGHT - _BOTTOM
    return f'<path class="axis" d="M{x:.1f} {bottom}v4"/>' + _text(x, bottom + 17, words, "middle")


def _best_mark(x: float, best: int, *, middle: float) -> str:
    anchor = "end" if x > middle else "start"
    line = f'<path class="mark" d="M{x:.1f} {_TOP - 6}V{_HEIGHT - _BOTTOM}"/>'
    return line + _text(x, _TOP - 12, f"best: epoch {best}", anchor, "name")


def _draw_line(line: Line, epochs: Sequence[int], x: _Scale, y: _Scale, best: int, form: Form) -> str:
    """The line, a large dot at the best epoch, and small dots at the others if they are few."""
    parts = [f'<path class="line {line.style}" d="{_path(epochs, line.values, x, y)}"/>']
    for epoch, value in zip(epochs, line.values, strict=True):
        if math.isfinite(value) and (epoch == best or len(epochs) <= _MAX_DOTS):
            style = f"{line.style} best" if epoch == best else line.style
            parts.append(_dot(x(epoch), y(value), style, f"epoch {epoch}: {f'{line.name} {form(value)}'.strip()}"))
    return "".join(parts)


def _dot(x: float, y: float, style: str, words: str = "") -> str:
    title = f"<title>{escape(words)}</title>" if words else ""
    return f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="{4 if "best" in style else 2.2}">{title}</circle>'


def _path(epochs: Sequence[int], values: Sequence[float], x: _Scale, y: _Scale) -> str:
    """SVG path with gaps at NaN. ``h0`` makes a single point without neighbors visible."""
    parts, pen = [], "M"
    for epoch, value in zip(epochs, values, strict=True):
        if math.isfinite(value):
            parts.append(f"{pen}{x(epoch):.1f} {y(value):.1f}" + ("h0" if pen == "M" else ""))
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _end_labels(lines: Sequence[Line], x: float, y: _Scale, form: Form) -> list[str]:
    """Name and last value at the end of each line, moved apart where they would overlap."""
    wanted = sorted(
        ((y(_last(line)), line) for line in lines if math.isfinite(_last(line))), key=lambda label: label[0]
    )
    labels, above = [], -math.inf
    for height, line in wanted:
        above = max(height, above + _LETTER_HEIGHT)
        labels.append(_text(x, above + 4, _end_label(line, form), "start", f"name {line.style}"))
    return labels


def _end_label(line: Line, form: Form) -> str:
    return f"{line.name} {form(_last(line))}".strip()


def _last(line: Line) -> float:
    """Last finite value; NaN if there is none."""
    return next((value for value in reversed(line.values) if math.isfinite(value)), math.nan)


def _describe_line(line: Line, epochs: Sequence[int], form: Form) -> str:
    known = [(epoch, value) for epoch, value in zip(epochs, line.values, strict=True) if math.isfinite(value)]
    if not known:
        return f"{line.name} has no values".strip()
    (first, start), (last, end) = known[0], known[-1]
    if first == last:
        return f"{line.name} {form(start)} in epoch {first}".strip()
    return f"{line.name} {form(start)} in epoch {first}, {form(end)} in epoch {last}".strip()
