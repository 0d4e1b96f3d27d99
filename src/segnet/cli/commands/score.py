"""segnet score: scores predicted masks of any tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segnet.cli.flags import WORST
from segnet.cli.output_files import require_distinct, require_writable_files
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError

if TYPE_CHECKING:
    from segnet.metrics.boundary.scores import BoundaryScores
    from segnet.metrics.confusion import Scores
    from segnet.scoring.pairs import Pairing

__all__ = ["run"]


def run(
    predicted: Path,
    truth: str,
    /,
    *,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    split: str = "val",
    classes: str | None = None,
    ignore_index: tuple[int, ...] = (),
    encoding: Literal["auto", "numbers", "colors"] = "auto",
    partial: bool = False,
    boundary: bool = False,
    one_to_one: bool = False,
    json: Path | None = None,
    html: Path | None = None,
    worst: int = WORST,
    workers: int = 1,
) -> None:
    """Score predicted masks of any tool: the figures of "segnet evaluate", without a model.

    Args:
        predicted: Folder of predicted masks, named as the images are.
        truth: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic"; or a folder of masks
            only, with --classes.
        source: how the data set is read.
        split: Split of the data set: train, val or test.
        classes: Class table: camvid, camvid12, sun, pascal, a data.yaml, or a file of one name per line. Default: that
            of the data set.
        ignore_index: Mask values that are ignored, with commas between. Default: those of the data set, or 255.
        encoding: Encoding of the predicted masks: class indices or colors of the class table. auto takes color files
            for colors, gray and palette files for indices.
        partial: Score only the images that have a prediction, instead of requiring one for each.
        boundary: Measure boundary F1 as in the paper, and mIoU within 2, 4, 8 and 16 pixels of true boundaries.
        one_to_one: Match boundary points one to one with --boundary, as the paper's figures do. It needs SciPy and
            takes some thirty times as long.
        json: Path of a JSON file of all figures, the confusion matrix included. Default: no file.
        html: Path of an HTML page with the scores and the worst images. Default: no page.
        worst: Number of images on the page, those with the lowest mIoU.
        workers: Number of threads that read the files. Raise it for large data sets.
    """
    if workers < 1 or worst < 0:
        raise ConfigError(f"worst={worst} and workers={workers} is not possible; give --worst 0 or more, --workers 1")
    require_distinct(json, html)
    require_writable_files({"--json": json, "--html": html})
    from segnet.data.class_tables import open_labels
    from segnet.metrics.boundary.counts import BoundaryConfig
    from segnet.metrics.boundary.scores import BoundaryMeter
    from segnet.metrics.extremes import Extremes
    from segnet.scoring.counting import ScoredImage, score_all
    from segnet.scoring.page import write_sheet
    from segnet.scoring.pairs import open_truth, pair_up
    from segnet.system.files import write_json
    from segnet.system.progress import progress_bar

    table = None if classes is None else open_labels(classes)
    truths = open_truth(truth, source=source, split=split, labels=table, ignore_index=ignore_index, encoding=encoding)
    pairing = pair_up(Path(predicted), truths, encoding=encoding, partial=partial)
    kept = Extremes[ScoredImage](lowest=worst if html is not None else 0)
    meter = BoundaryMeter(pairing.labels, config=BoundaryConfig(one_to_one=one_to_one)) if boundary else None
    with progress_bar("scoring", len(pairing.pairs)) as progress:
        scores = score_all(pairing, worst=kept, boundary=meter, workers=workers, progress=progress)
    boundaries = None if meter is None else meter.scores
    against = f"{truths.description}, {_images(pairing)}"
    if json is not None:  # before anything is printed, so that `segnet score ... | head` leaves the files
        origin = {"predicted": str(predicted), "truth": truth, "split": truths.split}
        write_json(json, {**origin, **_figures(pairing, scores, boundaries)})
    if html is not None:
        write_sheet(
            html, title=str(predicted), lead=f"scored against {against}", scores=scores, pairing=pairing,
            worst=kept.items, boundary=None if boundaries is None else boundaries.bf("paper"),
        )  # fmt: skip
    _print(f"{predicted} against {against}", scores, boundaries)


def _images(pairing: Pairing) -> str:
    """How many images were scored, in words."""
    paired = len(pairing.pairs)
    count = f"{paired} of {paired + len(pairing.missing)} images" if pairing.missing else f"{paired} images"
    return f"{count}, {len(pairing.superfluous)} without truth left out" if pairing.superfluous else count


def _figures(pairing: Pairing, scores: Scores, boundary: BoundaryScores | None) -> dict[str, Any]:
    return {
        "images": len(pairing.pairs),
        "missing": list(pairing.missing),
        "superfluous": list(pairing.superfluous),
        **scores.to_dict(),
        **({} if boundary is None else {"boundary": boundary.to_dict()}),
    }


def _print(heading: str, scores: Scores, boundary: BoundaryScores | None) -> None:
    from segnet.cli.console import print_boundary_scores, print_scores

    print_scores(scores, heading)
    if boundary is not None:
        print_boundary_scores(boundary)
