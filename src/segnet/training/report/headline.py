"""What a reader wants to know first: how good the kept weights are, and what they were better than."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from segnet.training.report.record import SCORES, Record
from segnet.visualization.html.markup import number, percent

__all__ = ["headline"]


def headline(record: Record) -> str:
    """The figures of the best epoch, each with how it compares, and which epoch that is and why."""
    order = sorted(SCORES, key=lambda name: name != record.monitor)
    tiles = [_tile(record, name, main=name == record.monitor) for name in order]
    loss = record.column("train_loss")
    tiles.append(
        f'<div><dt>training loss</dt><dd class="value">{number(loss[record.best])}</dd>{_from(loss, record)}</div>'
    )
    return f'<dl class="tiles">{"".join(tiles)}</dl><p>{_what_beat_what(record)}</p>{_extremes(record)}'


def _tile(record: Record, name: str, *, main: bool) -> str:
    values = record.column(name)
    value, first = values[record.best], values[0]
    gained = ""
    if record.best > 0 and math.isfinite(value - first):
        gained = f"<dd>{_points(value - first)} since epoch {record.epochs[0]}</dd>"
    kind = ' class="main"' if main else ""
    return f'<div{kind}><dt>{SCORES[name]}</dt><dd class="value">{percent(value, 2)}</dd>{gained}</div>'


def _from(loss: Sequence[float], record: Record) -> str:
    if record.best == 0 or not math.isfinite(loss[0]):
        return ""
    return f"<dd>{number(loss[0])} in epoch {record.epochs[0]}</dd>"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points".replace("-", "−")


def _what_beat_what(record: Record) -> str:
    values, epochs, best = record.column(record.monitor), record.epochs, record.best
    name, epoch = SCORES[record.monitor], epochs[best]
    if not math.isfinite(values[best]):
        return f"No epoch has a {name}."
    if len(epochs) == 1:
        return f"The weights of epoch {epoch} are kept: it is the only one validated so far."
    others = [place for place in range(len(values)) if place != best and math.isfinite(values[place])]
    said = f"The weights of epoch {epoch} are kept: of {len(epochs)} validations it has the highest {name}"
    if others:
        second = max(others, key=lambda place: values[place])
        ahead = f"{100 * (values[best] - values[second]):.2f} points"
        said += f", {ahead} above epoch {epochs[second]} ({percent(values[second], 2)})"
    after = epochs[-1] - epoch
    return said + (f". No later epoch, up to {epochs[-1]}, was better." if after else "; it is the latest.")


def _extremes(record: Record) -> str:
    """The class that is labeled best, and the one that is labeled worst."""
    row = record.rows[record.best]
    known = [
        (value, name) for name in record.labels.names if math.isfinite(value := float(row.get(f"iou_{name}", math.nan)))
    ]
    if len(known) < 2:
        return ""
    (low, worst), (high, best) = min(known), max(known)
    return (
        f"<p>Of the classes {escape(best)} has the highest IoU ({percent(high)}) and {escape(worst)} the lowest "
        f"({percent(low)}).</p>"
    )
