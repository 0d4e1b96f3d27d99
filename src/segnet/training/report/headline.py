"""The first section of the report: scores of the best epoch, and by how much it is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from segnet.training.report.record import SCORES, Record
from segnet.visualization.html.markup import number, percent

__all__ = ["headline"]


def headline(record: Record) -> str:
    """Scores of the best epoch, their gain since the first, and the margin over the second best."""
    order = sorted(SCORES, key=lambda name: name != record.monitor)
    tiles = [_tile(record, name, main=name == record.monitor) for name in order]
    loss = record.column("train_loss")
    value = f'<dd class="value">{number(loss[record.best])}</dd>'
    tiles.append(f"<div><dt>training loss</dt>{value}{_first_loss(loss, record)}</div>")
    return f'<dl class="tiles">{"".join(tiles)}</dl><p>{_compare_epochs(record)}</p>{_extremes(record)}'


def _tile(record: Record, name: str, *, main: bool) -> str:
    values = record.column(name)
    value, first = values[record.best], values[0]
    gained = ""
    if record.best > 0 and math.isfinite(value - first):
        gained = f"<dd>{_points(value - first)} since epoch {record.epochs[0]}</dd>"
    kind = ' class="main"' if main else ""
    return f'<div{kind}><dt>{SCORES[name]}</dt><dd class="value">{percent(value, 2)}</dd>{gained}</div>'


def _first_loss(loss: Sequence[float], record: Record) -> str:
    if record.best == 0 or not math.isfinite(loss[0]):
        return ""
    return f"<dd>{number(loss[0])} in epoch {record.epochs[0]}</dd>"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points".replace("-", "−")


def _compare_epochs(record: Record) -> str:
    values, epochs, best = record.column(record.monitor), record.epochs, record.best
    name, epoch = SCORES[record.monitor], epochs[best]
    if not math.isfinite(values[best]):
        return f"No epoch has a {name}."
    if len(epochs) == 1:
        return f"The weights of epoch {epoch} are saved. It is the only epoch that was validated."
    others = [index for index in range(len(values)) if index != best and math.isfinite(values[index])]
    sentence = f"The weights of epoch {epoch} are saved: it has the highest {name} of {len(epochs)} validations"
    if others:
        second = max(others, key=lambda index: values[index])
        margin = f"{100 * (values[best] - values[second]):.2f} points"
        sentence += f", {margin} above epoch {epochs[second]} ({percent(values[second], 2)})"
    after = epochs[-1] - epoch
    return sentence + (f". No later epoch, up to {epochs[-1]}, was better." if after else ". It is the latest epoch.")


def _extremes(record: Record) -> str:
    """The classes with the highest and the lowest IoU."""
    row = record.rows[record.best]
    known = [
        (value, name) for name in record.labels.names if math.isfinite(value := float(row.get(f"iou_{name}", math.nan)))
    ]
    if len(known) < 2:
        return ""
    (low, worst), (high, best) = min(known), max(known)
    return (
        f"<p>The class {escape(best)} has the highest IoU ({percent(high)}), {escape(worst)} the lowest "
        f"({percent(low)}).</p>"
    )
