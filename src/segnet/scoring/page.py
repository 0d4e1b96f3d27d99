"""The scores as a page for the browser, with the worst images: one file that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from segnet.bands import RGBImage
from segnet.errors import DataError
from segnet.labels import ClassTable
from segnet.media.images.stored import read_shown
from segnet.metrics.confusion import CONVENTION, Scores
from segnet.scoring.counting import ScoredImage
from segnet.scoring.pairs import Pair, Pairing
from segnet.visualization.html.markup import class_name, percent, warnings_list, write_page
from segnet.visualization.html.matrix import classes_table, confusion_section
from segnet.visualization.html.panels import (
    commonest_error,
    errors_panel,
    legend,
    mask_panel,
    panel_row,
    panel_size,
    photo_panel,
)
from segnet.visualization.overlay import as_rgb

__all__ = ["write_sheet"]

_WORST_CLASSES = 3


def write_sheet(
    path: Path,
    *,
    title: str,
    lead: str,
    scores: Scores,
    pairing: Pairing,
    worst: Sequence[ScoredImage],
    boundary: float | None = None,
) -> None:
    """Write the page whole or not at all.

    Args:
        path: such as ``scores.html``.
        title: what was scored.
        lead: against what.
        scores: of all images.
        pairing: what was scored.
        worst: the images to show, the worst first.
        boundary: the boundary F1, if it was measured.

    Raises:
        OutputError: the file cannot be written.
    """
    parts = {
        "Result": _result(scores, boundary),
        "Worst images": _images(worst, pairing),
        "Classes": classes_table(scores, "of all images"),
        "Confusion matrix": confusion_section(scores, "of all images"),
    }
    write_page(path, title=title, kind="scores", lead=lead, parts=parts, notes=_notes(scores, len(pairing.missing)))


def _notes(scores: Scores, missing: int) -> str:
    """What a reader must know before the figures; empty if there is nothing."""
    notes = [f"Images without a prediction, which are not scored: {missing}."] if missing else []
    if missed := scores.unlabeled_pixels:
        share = percent(missed / int(scores.pixels.sum()), 2)
        notes.append(f"No class was predicted for {share} of the pixels; they count as wrong.")
    return warnings_list(notes)


def _result(scores: Scores, boundary: float | None) -> str:
    """The means as tiles, then by which convention."""
    figures = {
        "mIoU": scores.miou,
        "global accuracy": scores.global_accuracy,
        "class average": scores.class_average,
        "frequency-weighted IoU": scores.frequency_weighted_iou,
    }
    if boundary is not None:
        figures["boundary F1 (paper)"] = boundary
    tiles = "".join(
        f'<div{main}><dt>{name}</dt><dd class="value">{percent(value, 2)}</dd></div>'
        for (name, value), main in zip(figures.items(), [' class="main"', *[""] * len(figures)], strict=False)
    )
    return f'<dl class="tiles">{tiles}</dl><p>Convention: {escape(CONVENTION)}.</p>{_absent(scores)}'


def _absent(scores: Scores) -> str:
    if scores.pixels.all():
        return ""
    table = zip(scores.labels.names, scores.labels.colors, scores.pixels, strict=True)
    names = ", ".join(class_name(name, color) for name, color, pixels in table if not pixels)
    return (
        f"<p>Not in the truth: {names}. Divided by all {scores.labels.classes} classes, absent ones as 0, as the "
        f"authors’ script does: class average {percent(scores.class_average_of_all, 2)}, "
        f"mIoU {percent(scores.miou_of_all, 2)}.</p>"
    )


def _images(worst: Sequence[ScoredImage], pairing: Pairing) -> str:
    if not worst:
        return "<p>None is shown.</p>"
    among = len(pairing.pairs)
    which = f"The worst {len(worst)} of {among}" if len(worst) < among else f"All {among}, the worst first"
    note = (
        "<p>Ranked by the mIoU of each image alone, over the classes in its truth or prediction; the scores above are "
        "not the mean of these.</p>"
    )
    if any(one.scores.unlabeled_pixels for one in worst):
        note += "<p>Where a prediction is black, no class was predicted; that counts as wrong.</p>"
    shown = legend((mask for one in worst for mask in (one.truth, one.predicted)), pairing.labels)
    return f"{note}{shown}<h3>{which}</h3>" + "".join(_row(one, pairing.labels) for one in worst)


def _row(scored: ScoredImage, labels: ClassTable) -> str:
    name, truth, predicted = scored.pair.name, scored.truth, scored.predicted
    image = _read_image(scored.pair)
    size = panel_size(truth.shape)
    panels = [] if image is None else [photo_panel(name, image, size)]
    panels += [
        mask_panel(name, "truth", truth, labels, size),
        mask_panel(name, "prediction", predicted, labels, size),
        errors_panel(name, image, truth, predicted, size),
    ]
    note = [f"mIoU {percent(scored.scores.miou)}", f"lowest IoU: {_worst_classes(scored.scores)}"]
    if error := commonest_error(truth, predicted, labels):
        note.append(error)
    if image is None and scored.pair.image is not None:
        note.append("its image cannot be read")
    return panel_row(name, "; ".join(note), panels, size)


def _read_image(pair: Pair) -> RGBImage | None:
    """None if the file is not at hand, or cannot be read, since only masks are scored."""
    try:
        return None if pair.image is None else as_rgb(read_shown(pair.image))
    except DataError:
        return None


def _worst_classes(scores: Scores) -> str:
    """The classes of the image's truth with the lowest IoU, in words."""
    present = np.flatnonzero(scores.pixels)
    lowest = present[np.argsort(scores.iou[present], kind="stable")][:_WORST_CLASSES]
    return ", ".join(f"{scores.labels.names[index]} {percent(float(scores.iou[index]))}" for index in lowest)
