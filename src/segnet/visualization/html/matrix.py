"""The confusion matrix and what follows from it, as tables."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from segnet.metrics.confusion import Scores
from segnet.visualization.html.markup import class_name, percent, scrolled, swatch

__all__ = ["classes_table", "confusion_section"]

_MOST = 60  # rows of the matrix; of more classes those with the most wrong pixels are shown
_FULL = 0.82  # from here on white letters have more contrast than black ones, or in dark mode the other way round
_MIX_UPS = 10


def classes_table(scores: Scores, when: str) -> str:
    """Scores of each class, the best class first; ``when`` ends the caption, as in "at the best epoch"."""
    labels, counts = scores.labels, scores.counts
    with np.errstate(invalid="ignore"):
        precision = np.diag(counts) / counts.sum(axis=0)
    rows = []
    for index in np.argsort(-np.nan_to_num(scores.iou, nan=-1), kind="stable").tolist():
        iou = float(scores.iou[index])
        rows.append(
            f'<tr><th scope="row">{class_name(labels.names[index], labels.colors[index])}</th>'
            f'<td class="bar" style="--w:{100 * np.nan_to_num(iou):.1f}%">{percent(iou)}</td>'
            f'<td class="number">{percent(float(scores.accuracy[index]))}</td>'
            f'<td class="number">{percent(float(precision[index]))}</td>'
            f"<td>{_mostly(scores, index)}</td></tr>"
        )
    numbers = "".join(f'<th scope="col" class="number">{name}</th>' for name in ("accuracy", "precision"))
    head = f'<th scope="col">class</th><th scope="col">IoU</th>{numbers}<th scope="col">otherwise mostly taken for</th>'
    table = (
        f"<table><caption>Classes {escape(when)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    note = (
        "<p>Accuracy: share of the class’s pixels that are predicted as the class (recall). Precision: share of the "
        "pixels predicted as the class that are of it.</p>"
    )
    return scrolled(table, "Scores of the classes") + note


def confusion_section(scores: Scores, when: str) -> str:
    """The matrix, each row divided by the pixels of its class, and the most frequent errors in words.

    ``when`` ends the caption, as in "of the best epoch".
    """
    labels, chosen = scores.labels, _chosen(scores)
    shares = _row_shares(scores)
    head = "".join(
        f'<th scope="col" title="{escape(name)}"><span>{escape(name)}</span>{swatch(labels.colors[index])}</th>'
        for index, name in ((index, labels.names[index]) for index in chosen)
    )
    rows = "".join(
        f'<tr><th scope="row">{class_name(labels.names[row], labels.colors[row])}</th>'
        + "".join(_cell(float(shares[row, column]), right=row == column) for column in chosen)
        + "</tr>"
        for row in chosen
    )
    fewer = (
        f" Of {labels.classes} classes, the {_MOST} with the most wrong pixels." if len(chosen) < labels.classes else ""
    )
    table = (
        f'<table class="confusion"><caption>Confusion matrix {escape(when)}</caption>'
        f'<thead><tr><th scope="col">true ↓ predicted →</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )
    note = (
        "<p>Of 100 pixels of the class on the left, how many are predicted as the class above. A dot is less than one "
        f"half, a dash a class that does not occur.{fewer}</p>"
    )
    return (
        note
        + f'<div class="beside"><div>{scrolled(table, "Confusion matrix")}{_scales()}</div>{_mix_ups(scores)}</div>'
    )


def _mix_ups(scores: Scores) -> str:
    """The most frequent errors as a list, by their number of pixels; empty if nothing is wrong."""
    wrong = scores.counts - np.diag(np.diag(scores.counts))
    total, shares, labels = max(int(scores.pixels.sum()), 1), _row_shares(scores), scores.labels
    items = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_MIX_UPS].tolist():
        row, column = divmod(place, labels.classes)
        if wrong[row, column] == 0:
            break
        taken, other = (class_name(labels.names[index], labels.colors[index]) for index in (row, column))
        items.append(
            f"<li>{taken} taken for {other}: {percent(wrong[row, column] / total, 2)} of all pixels, "
            f"{percent(float(shares[row, column]))} of {escape(labels.names[row])}</li>"
        )
    return f'<div><h3>Most frequent errors</h3><ol class="mix-ups">{"".join(items)}</ol></div>' if items else ""


def _chosen(scores: Scores) -> list[int]:
    wrong = scores.pixels + scores.counts.sum(axis=0) - 2 * np.diag(scores.counts)
    return sorted(np.argsort(-wrong, kind="stable")[:_MOST].tolist())


def _row_shares(scores: Scores) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = scores.counts / scores.pixels[:, None]
    return shares


def _cell(share: float, *, right: bool) -> str:
    kind = "right" if right else "wrong"
    if np.isnan(share):
        return "<td>–</td>"
    if share == 0:
        return "<td></td>"
    words = f"{100 * share:.0f}" if share >= 0.005 else "·"
    return f'<td class="{kind}{" full" if share > _FULL else ""}" style="--p:{share:.2f}">{words}</td>'


def _scales() -> str:
    """What the two colors mean."""
    return "".join(
        f'<p class="scale">{words}: 0 <span class="{kind}"></span> 100</p>'
        for kind, words in (("right", "right"), ("wrong", "taken for another class"))
    )


def _mostly(scores: Scores, index: int) -> str:
    row, labels = scores.counts[index].copy(), scores.labels
    row[index] = 0
    other = int(row.argmax())
    if row[other] == 0:
        return "–"
    return f"{class_name(labels.names[other], labels.colors[other])} {percent(row[other] / scores.pixels[index])}"
