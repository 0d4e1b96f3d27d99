"""Plot of a benchmark: mIoU against latency, or bars of latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from segnet.benchmark.measure import Measured
from segnet.system.plots import require_plottable, save_figure

__all__ = ["plot_benchmark"]

Scores = Mapping[tuple[str, str], float]


def plot_benchmark(rows: Sequence[Measured], scores: Scores, path: Path) -> None:
    """Plot mIoU against latency if scores are known, otherwise latency as bars.

    Args:
        rows: the measurements.
        scores: mIoU by model and precision.
        path: output path, ending in .png, .svg or .pdf.

    Raises:
        MissingPackageError: Matplotlib is not installed.
        ConfigError: the path has another suffix.
        OutputError: the file cannot be written.
    """
    require_plottable(path)
    from matplotlib.figure import Figure

    scored = [row for row in rows if not row.candidate.baseline and row.candidate.kind in scores]
    figure = Figure(figsize=(7, 4.5 if scored else 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    if scored:
        _points(axes, scored, scores)
    else:
        _bars(axes, rows)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _points(axes: Any, rows: Sequence[Measured], scores: Scores) -> None:
    from matplotlib.ticker import LogFormatter

    middle = sqrt(min(row.p50_ms for row in rows) * max(row.p50_ms for row in rows))
    for row in rows:
        x, y = row.p50_ms, scores[row.candidate.kind]
        axes.scatter(x, y, color="#0072b2", zorder=3)
        beside = {"xytext": (-6, 4), "ha": "right"} if x > middle else {"xytext": (6, 4)}  # both inside the plot
        axes.annotate(_label(row), (x, y), textcoords="offset points", fontsize=8, **beside)
    axes.set(xscale="log", xlabel="latency of one image, ms (median)", ylabel="mIoU")
    axes.xaxis.set_major_formatter(LogFormatter())  # 232.5, where powers of ten would be too long to stand side by side
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.grid(alpha=0.3)


def _bars(axes: Any, rows: Sequence[Measured]) -> None:
    places = range(len(rows))
    colors = ["#d55e00" if row.candidate.baseline else "#0072b2" for row in rows]
    bars = axes.barh(places, [row.p50_ms for row in rows], color=colors)
    axes.set_yticks(places, [_label(row) for row in rows])
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("latency of one image, ms (median)")


def _label(row: Measured) -> str:
    """Label of a row: name, precision and size, as far as they are not the default."""
    candidate = row.candidate
    size = "" if candidate.size == (360, 480) else f" {candidate.size[0]}x{candidate.size[1]}"
    precision = "" if row.precision == "float32" else f" {row.precision}"
    return f"{candidate.label}{precision}{size}"
