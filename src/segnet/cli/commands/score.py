"""segnet score: scores of label maps that any program wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.metrics.boundary.scores import BoundaryMeter
    from segnet.metrics.confusion import Scores
    from segnet.scoring.counting import Worst
    from segnet.scoring.pairs import Pairing

__all__ = ["run"]


def run(
    predicted: Path,
    truth: str,
    /,
    *,
    split: str = "val",
    labels: str | None = None,
    ignore_index: tuple[int, ...] = (),
    encoding: Literal["auto", "numbers", "colors"] = "auto",
    partial: bool = False,
    boundary: bool = False,
    matching: bool = False,
    json: Path | None = None,
    html: Path | None = None,
    worst: int = 12,
    workers: int = 1,
) -> None:
    """Score label maps that any program wrote: the figures of "segnet evaluate", without a model.

    Args:
        predicted: a folder of label maps, named as the images are.
        truth: a folder, a pair list (train.txt), a data.yaml, or "synthetic", as for "segnet evaluate"; or a folder of
            label maps alone, with --labels.
        split: train, val or test.
        labels: the class table: camvid, camvid12, sun, pascal, a data.yaml, or a file of one name per line; left out,
            the data set's own.
        ignore_index: Mask values that are ignored. Default: those of the data set, or 255.
        encoding: what the label maps hold: class numbers, or colors of the class table; auto takes color files for
            colors, gray and palette files for numbers.
        partial: score the images that have a prediction; otherwise each must have one.
        boundary: measure boundaries too: boundary F1 as in the paper, and mIoU within 2, 4, 8 and 16 pixels of them.
        matching: pair boundary points one to one, as the paper's figures do; needs SciPy, and takes much longer.
        json: write all figures, the confusion matrix too, to this file.
        html: write a page with the worst images to this file.
        worst: how many of the worst images the page shows.
        workers: processes that read the files.
    """
    if workers < 0 or worst < 0:
        raise ConfigError(f"workers={workers} and worst={worst}: neither may be negative; give 0 or more")
    if matching and not boundary:
        raise ConfigError("--matching pairs boundary points; add --boundary")
    from segnet.data.class_tables import open_labels
    from segnet.metrics.boundary.counts import BoundaryConfig
    from segnet.metrics.boundary.scores import BoundaryMeter
    from segnet.scoring.counting import Worst
    from segnet.scoring.page import write_sheet
    from segnet.scoring.pairs import open_truth, pair_up
    from segnet.system.files import write_json

    table = None if labels is None else open_labels(labels)
    found = open_truth(truth, split=split, labels=table, ignore_index=ignore_index, encoding=encoding)
    pairing = pair_up(Path(predicted), found, encoding=encoding, partial=partial)
    kept = Worst(worst if html is not None else 0)
    meter = BoundaryMeter(pairing.labels, BoundaryConfig(matching=matching)) if boundary else None
    scores = _score(pairing, kept, meter, workers=workers)
    against = f"{found.description}, {_images(pairing)}"
    if json is not None:  # before anything is printed, so that `segnet score ... | head` leaves the files
        given = {"predicted": str(predicted), "truth": truth, "split": found.split}
        write_json(json, {**given, **_figures(pairing, scores, meter)})
    if html is not None:
        bf = None if meter is None else meter.scores.bf("paper")
        lead = f"scored against {against}"
        write_sheet(
            html, title=str(predicted), lead=lead, scores=scores, pairing=pairing, worst=kept.images, boundary=bf
        )
    _print(f"{predicted} against {against}", scores, meter)


def _images(pairing: Pairing) -> str:
    """How many were scored."""
    paired = len(pairing.pairs)
    told = f"{paired} of {paired + len(pairing.missing)} images" if pairing.missing else f"{paired} images"
    return f"{told}, {len(pairing.superfluous)} without truth left out" if pairing.superfluous else told


def _score(pairing: Pairing, worst: Worst, meter: BoundaryMeter | None, *, workers: int) -> Scores:
    """With a progress bar."""
    import numpy as np

    from segnet.cli.console import ProgressBar
    from segnet.metrics.confusion import Scores
    from segnet.scoring.counting import score_pairs

    classes = pairing.labels.classes
    scores = Scores(np.zeros((classes, classes), dtype=np.int64), pairing.labels)
    bar = ProgressBar("scoring")
    bar.start(total=len(pairing.pairs))
    try:
        for image in score_pairs(pairing, workers=workers):
            scores += image.scores
            worst.add(image)
            if meter is not None:
                meter.add(image.pair.name, image.predicted, image.truth)
            bar.advance()
    finally:
        bar.stop()
    return scores


def _figures(pairing: Pairing, scores: Scores, meter: BoundaryMeter | None) -> dict[str, Any]:
    return {
        "images": len(pairing.pairs),
        "missing": list(pairing.missing),
        "superfluous": list(pairing.superfluous),
        **scores.to_dict(),
        **({} if meter is None else {"boundary": meter.scores.to_dict()}),
    }


def _print(heading: str, scores: Scores, meter: BoundaryMeter | None) -> None:
    from segnet.cli.console import print_boundary_scores, print_scores

    print_scores(scores, heading)
    if meter is not None:
        print_boundary_scores(meter.scores)
