"""The image of a calibration: reliability diagram, and accuracy against the pixels that are retained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segnet.metrics.calibration.scores import PERCENTILES, CalibrationScores
from segnet.system.plots import require_plottable, save_figure

__all__ = ["draw"]

_BLUE, _ORANGE, _GRAY = "#0072b2", "#d55e00", "#8a8a8a"


def draw(scores: CalibrationScores, path: Path, *, title: str = "") -> None:
    """Reliability diagram on the left, accuracy of the retained pixels on the right.

    Args:
        scores: what was counted.
        path: ending in .png, .svg or .pdf.
        title: above both.

    Raises:
        MissingPackageError: Matplotlib is not installed.
        ConfigError: another ending.
        OutputError: the file cannot be written.
    """
    require_plottable(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
    reliability, retained = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    shares = figure.add_subplot(grid[1, 0], sharex=reliability)
    _reliability(reliability, scores)
    _shares(shares, scores)
    _retained(retained, scores)
    for axes in (reliability, shares, retained):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10, parse_math=False)  # names of files may hold a $
    save_figure(figure, path)


def _reliability(axes: Any, scores: CalibrationScores) -> None:
    bins = scores.config.bins
    _, confidence, accuracy = scores.reliability
    middles = (np.arange(bins) + 0.5) / bins
    axes.bar(middles, np.nan_to_num(accuracy), width=0.9 / bins, color=_BLUE, label="accuracy of the bin")
    axes.plot([0, 1], [0, 1], color=_GRAY, linewidth=1, linestyle="--", label="as sure as right")
    axes.plot(
        confidence, accuracy, color=_ORANGE, marker="o", markersize=3, linewidth=1, label="at its mean confidence"
    )
    axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"ECE {scores.ece:.4f}   NLL {scores.nll:.4f}   Brier {scores.brier:.4f}", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    axes.tick_params(labelbottom=False)


def _shares(axes: Any, scores: CalibrationScores) -> None:
    bins = scores.config.bins
    share, _, _ = scores.reliability
    axes.bar((np.arange(bins) + 0.5) / bins, share, width=0.9 / bins, color=_GRAY)
    axes.set(xlabel="confidence", ylabel="pixels", ylim=(0, 1))
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])


def _retained(axes: Any, scores: CalibrationScores) -> None:
    shares = np.linspace(0, 1, 201)[1:]
    axes.plot(100 * shares, scores.retained(shares.tolist()), color=_BLUE)
    for percentile in PERCENTILES:
        share, accuracy = 100 - percentile, scores.percentiles[percentile]
        axes.scatter(share, accuracy, color=_BLUE, zorder=3, clip_on=False)
        axes.annotate(
            f"{accuracy:.3f}", (share, accuracy), xytext=(-4, -11), textcoords="offset points", fontsize=8, ha="right"
        )
    axes.axhline(scores.accuracy, color=_GRAY, linewidth=1, linestyle="--")
    measure = scores.measure.replace("_", " ")
    axes.set(
        xlabel=f"least uncertain pixels kept, % (by {measure})", ylabel="accuracy of the pixels kept", xlim=(0, 100)
    )
    axes.set_title(f"AUROC of {measure} for errors {scores.auroc:.3f}", fontsize=9)
    axes.margins(y=0.12)
    axes.grid(alpha=0.3)
