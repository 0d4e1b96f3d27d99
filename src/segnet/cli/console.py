"""Tables of scores on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from segnet.system.tables import new_table, print_table

if TYPE_CHECKING:
    from segnet.metrics.boundary.scores import BoundaryScores
    from segnet.metrics.calibration.scores import CalibrationScores
    from segnet.metrics.confusion import Scores

__all__ = [
    "print_boundary_scores",
    "print_calibration",
    "print_robustness",
    "print_scores",
]


def print_scores(scores: Scores, heading: str) -> None:
    """Print the means and a table of the classes, with the convention they follow."""
    from segnet.metrics.confusion import CONVENTION

    console = Console()
    console.print(heading, style="bold", markup=False, soft_wrap=True)
    console.print(
        f"global accuracy {scores.global_accuracy:.4f}   class average {scores.class_average:.4f}   "
        f"mIoU {scores.miou:.4f}   frequency-weighted IoU {scores.frequency_weighted_iou:.4f}",
        soft_wrap=True,
    )
    table = new_table("class", "IoU", "accuracy", "share of pixels")
    shares = scores.pixels / max(1, scores.pixels.sum())
    for row in zip(scores.labels.names, scores.iou, scores.accuracy, shares, strict=True):
        table.add_row(escape(row[0]), f"{row[1]:.4f}", f"{row[2]:.4f}", f"{row[3]:.2%}")
    print_table(table)
    absent = f"; absent: {', '.join(scores.absent)}" if scores.absent else ""
    console.print(f"convention: {CONVENTION}{absent}", style="dim", markup=False)
    if not all(scores.pixels):
        console.print(
            f"over all {scores.labels.classes} classes, absent ones as 0 (the authors' script): class average "
            f"{scores.class_average_of_all:.4f}   mIoU {scores.miou_of_all:.4f}",
            style="dim", soft_wrap=True,
        )  # fmt: skip
    if missed := scores.unlabeled_pixels:
        share = missed / scores.pixels.sum()
        console.print(f"no class was predicted for {missed} pixels ({share:.2%}); they count as wrong", soft_wrap=True)


def print_robustness(rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print a row of means for each corruption; the first row is for the images as they are."""
    first = next(iter(rows.values()))
    titles = {"global_accuracy": "global", "class_average": "class avg", "miou": "mIoU", "boundary_f1": "BF"}
    table = new_table("images", *(titles[name] for name in first), "share of mIoU left")
    for name, means in rows.items():
        share = means["miou"] / first["miou"] if first["miou"] else 0.0
        table.add_row(escape(name), *(f"{value:.4f}" for value in means.values()), f"{share:.0%}")
    Console().print(table)


def print_boundary_scores(scores: BoundaryScores) -> None:
    """Print boundary F1 by both conventions, mIoU near true boundaries, and a table of the classes."""
    console = Console()
    console.print(f"\nboundary F1 {scores.bf('paper'):.4f} (paper)   {scores.bf('script'):.4f} (script)")
    bands = zip(scores.config.radii, scores.trimap, strict=True)
    near_borders = "   ".join(f"{radius:g} px {near.miou:.4f}" for radius, near in bands)
    console.print(f"mIoU near true borders: {near_borders}", highlight=False, soft_wrap=True)
    table = new_table("class", "BF (paper)", "BF (script)", "precision", "recall")
    columns = (scores.class_bf("paper"), scores.class_bf("script"), scores.precision, scores.recall)
    for name, *values in zip(scores.labels.names, *columns, strict=True):
        table.add_row(escape(name), *(f"{value:.4f}" for value in values))
    print_table(table)
    missing = scores.left_out("paper")
    without = f"; {len(missing)} without a true boundary left out: {', '.join(missing[:3])}" if missing else ""
    more = ", ..." if len(missing) > 3 else ""
    paired = ", one to one" if scores.config.one_to_one else ""
    console.print(
        f"convention: within {scores.config.tolerance:.2%} of the diagonal{paired}; mean over the classes of an "
        f"image, then over images; paper: classes with true boundary, script: or predicted{without}{more}",
        style="dim", markup=False,
    )  # fmt: skip


def print_calibration(scores: CalibrationScores) -> None:
    """Print the confidence calibration, and how well uncertainty finds errors."""
    console, measure = Console(), scores.measure.replace("_", " ")
    console.print(
        f"\nECE {scores.ece:.4f}   NLL {scores.nll:.4f}   Brier {scores.brier:.4f}   "
        f"mean confidence {scores.confidence:.4f} at accuracy {scores.accuracy:.4f}",
        soft_wrap=True,
    )
    pavpu = scores.pavpu
    console.print(
        f"uncertainty by {measure}: AUROC for errors {scores.auroc:.4f}   PAvPU {pavpu.share:.4f}   "
        f"accurate if certain {pavpu.accurate_if_certain:.4f}   uncertain if inaccurate "
        f"{pavpu.uncertain_if_inaccurate:.4f}",
        soft_wrap=True,
    )
    table = new_table("confidence percentile", "pixels kept", "accuracy", texts=0)
    for percentile, accuracy in scores.percentiles.items():
        table.add_row(str(percentile), f"{100 - percentile} %", f"{accuracy:.4f}")
    console.print(table)
    console.print(
        f"convention: ECE of {scores.config.bins} bins of equal width; NLL in nats; Brier summed over the classes; "
        f"PAvPU of {scores.config.patch}x{scores.config.patch} pixels, uncertain from their mean on, "
        f"{pavpu.threshold:.3g}",
        style="dim", markup=False,
    )  # fmt: skip
