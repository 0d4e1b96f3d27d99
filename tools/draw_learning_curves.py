"""Plot the learning curves of several runs, from their metrics.csv, into one SVG.

    python tools/draw_learning_curves.py OUT.svg "from ImageNet=a/metrics.csv" "from random weights=b/metrics.csv"

Needs Matplotlib: pip install -c constraints.txt -e '.[plot]'
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure

COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]


def main() -> None:
    if not 2 <= len(sys.argv[1:]) <= 1 + len(COLORS):
        sys.exit(f"give OUT.svg and 1 to {len(COLORS)} curves, each as NAME=metrics.csv")
    out, *curves = sys.argv[1:]
    rcParams["svg.hashsalt"] = "segnet"  # the same file for the same figures
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for color, curve in zip(COLORS, curves, strict=False):  # colors are left over
        label, _, path = curve.partition("=")
        steps, values = read(Path(path))
        axes.plot(steps, values, color=color, marker="o", markersize=4)
        axes.annotate(f"{label}: {values[-1]:.3f}", (steps[-1], values[-1]), xytext=(-4, 8), ha="right",
                      textcoords="offset points", color=color)  # fmt: skip
    axes.set(xlabel="training step", ylabel="mIoU on the validation images", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, format="svg", metadata={"Date": None})


def read(path: Path) -> tuple[list[int], list[float]]:
    """Steps and mIoU of every validation."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [int(row["step"]) for row in rows], [float(row["miou"]) for row in rows]


if __name__ == "__main__":
    main()
