"""The report of a check on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from segnet.errors import describe_count, one_line
from segnet.system.tables import new_table, print_table

if TYPE_CHECKING:
    from segnet.data.check.findings import Finding, Severity
    from segnet.data.check.report import CheckReport
    from segnet.data.check.statistics import ClassStatistics

__all__ = ["print_check"]

_FILES = 3  # named of each finding
_STYLES: Mapping[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_check(report: CheckReport) -> None:
    """Print what was checked, the findings with their first files, the classes, and a suggested command."""
    console = Console()
    splits = ", ".join(f"{split} {len(indices)}" for split, indices in report.data.splits.items())
    console.print(
        one_line(f"{report.source.root} ({report.source.layout}), {len(report.data.samples)} pairs: {splits}"),
        style="bold", markup=False, soft_wrap=True,
    )  # fmt: skip
    for finding in report.findings:
        _print_finding(console, finding)
    if report.statistics is not None:
        _print_classes(console, report.statistics)
    _print_settings(console, report)
    counts = Counter(finding.severity for finding in report.findings)
    verdict = "training would fail or be meaningless" if report.failed else "training can start"
    console.print(
        f"{', '.join(describe_count(counts[kind], kind) for kind in _STYLES)}: {verdict}",
        style="bold", soft_wrap=True,
    )  # fmt: skip


def _print_finding(console: Console, finding: Finding) -> None:
    console.print(
        f"[{_STYLES[finding.severity]}]{finding.severity:<8}[/]{finding.count:>6}  {escape(one_line(finding.title))}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if finding.detail:
        console.print(f"{'':16}{one_line(finding.detail)}", markup=False, highlight=False, soft_wrap=True)
    for mark in finding.marks[:_FILES]:
        console.print(f"{'':16}{one_line(str(mark))}", style="dim", markup=False, highlight=False, soft_wrap=True)
    if len(finding.marks) > _FILES:
        console.print(f"{'':16}and {finding.count - _FILES} more; --json lists all", style="dim", highlight=False)
    if finding.remedy:
        console.print(f"{'':16}{finding.remedy}", markup=False, highlight=False, soft_wrap=True)


def _print_classes(console: Console, statistics: ClassStatistics) -> None:
    table = new_table("class", "pixels", "images", *statistics.weights)
    for index, name in enumerate(statistics.labels.names):
        table.add_row(
            escape(name), f"{statistics.shares[index]:.2%}",
            f"{statistics.images[index] / max(1, statistics.total_images):.0%}",
            *(f"{weights[index]:.4g}" for weights in statistics.weights.values()),
        )  # fmt: skip
    print_table(table)
    console.print(
        f"ignored: {statistics.ignored_share:.2%} of all pixels; weights of the loss by --class-weights, from train",
        style="dim", highlight=False, soft_wrap=True,
    )  # fmt: skip


def _print_settings(console: Console, report: CheckReport) -> None:
    if not report.advice:
        return
    when = " when the errors are fixed" if report.failed else ""
    console.print(f"suggested{when}: {one_line(report.command)}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{'':11}{report.advice}", markup=False, highlight=False, soft_wrap=True)
