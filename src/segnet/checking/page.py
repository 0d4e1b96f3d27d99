"""The check as a page for the browser, one file: every finding and every class in images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.checking.charts import histogram
from segnet.checking.panels import class_panels, sample_panels
from segnet.data.check.findings import Finding, Severity
from segnet.data.check.report import CheckReport
from segnet.data.check.statistics import ClassStatistics
from segnet.data.check.values import count_by_image
from segnet.visualization.html.markup import class_name, code_block, number, percent, scrolled, write_page

__all__ = ["write_check_page"]

_LISTED = 200  # files of a finding in words
_EXAMPLES = 3  # images of each class
_PLURALS: dict[Severity, str] = {"error": "errors", "warning": "warnings", "note": "notes"}


def write_check_page(path: Path, report: CheckReport, *, most: int) -> None:
    """Write the page whole or not at all.

    Args:
        path: such as ``check.html``.
        report: of the data set, whose files are read again for the images.
        most: images of each finding.

    Raises:
        OutputError: the file cannot be written.
    """
    parts = {"Result": _result(report)}
    for severity, words in _PLURALS.items():
        chosen = [finding for finding in report.findings if finding.severity == severity]
        if chosen:
            parts[words.capitalize()] = "".join(_finding(finding, report, most) for finding in chosen)
    if report.statistics is not None:
        parts["Classes"] = _classes(report.statistics)
        parts["Classes in images"] = _examples(report)
    parts["Distributions"] = _charts(report)
    splits = ", ".join(f"{split} {len(indices)}" for split, indices in report.data.splits.items())
    lead = f"{report.source.layout}, {len(report.data.samples)} pairs: {splits}"
    write_page(path, title=str(report.source.root), kind="data check", lead=lead, parts=parts)


def _result(report: CheckReport) -> str:
    counts = Counter(finding.severity for finding in report.findings)
    tiles = {"pairs": len(report.data.samples), **{words: counts[key] for key, words in _PLURALS.items()}}
    if report.statistics is not None:
        tiles["classes"] = report.data.labels.classes
    cells = "".join(f'<div><dt>{name}</dt><dd class="value">{value}</dd></div>' for name, value in tiles.items())
    verdict = "Training would fail or be meaningless." if report.failed else "Training can start."
    rows = "".join(
        f'<tr><th scope="row">{finding.severity}</th><td class="number">{finding.count}</td>'
        f"<td>{escape(finding.title)}</td></tr>"
        for finding in report.findings
    )
    head = '<th scope="col">kind</th><th scope="col" class="number">count</th><th scope="col">finding</th>'
    table = f"<table><caption>Findings</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return (
        f'<dl class="tiles">{cells}</dl><p><strong>{verdict}</strong></p>'
        f"{table if rows else '<p>Nothing was found.</p>'}{_suggestion(report)}"
    )


def _suggestion(report: CheckReport) -> str:
    if not report.advice:
        return ""
    start = "When the errors are fixed, train" if report.failed else "Train"
    return f"<p>{start} with this command, which {escape(report.advice)}.</p>{code_block(report.command)}"


def _finding(finding: Finding, report: CheckReport, most: int) -> str:
    remedy = f"<p>{escape(finding.detail)}</p>" if finding.detail else ""
    remedy += f"<p>What to do: {escape(finding.remedy)}.</p>" if finding.remedy else ""
    with_images = [mark for mark in finding.marks if mark.sample is not None][:most]
    rows = "".join(
        sample_panels(report, mark.sample, mark.other, mark.reason) for mark in with_images if mark.sample is not None
    )
    return f"<h3>{escape(finding.title)}: {finding.count}</h3>{remedy}{_file_list(finding)}{rows}"


def _file_list(finding: Finding) -> str:
    if not finding.marks:
        return ""
    items = "".join(f"<li>{escape(str(mark))}</li>" for mark in finding.marks[:_LISTED])
    more = len(finding.marks) - _LISTED
    rest = f"<p>And {more} more; the JSON file has all.</p>" if more > 0 else ""
    opened = " open" if len(finding.marks) <= 3 else ""
    return f"<details{opened}><summary>Files ({len(finding.marks)})</summary><ul>{items}</ul>{rest}</details>"


def _classes(statistics: ClassStatistics) -> str:
    splits = [*statistics.by_split]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in [
            ("class", ""), ("pixels", ""), ("images", ' class="number"'),
            *((f"of {split}", ' class="number"') for split in splits),
            *((balance, ' class="number"') for balance in statistics.weights),
        ]
    )  # fmt: skip
    rows = "".join(_class_row(statistics, index, splits) for index in range(statistics.labels.classes))
    caption = "Shares of the classes, and weights of the loss by formula"
    table = f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    note = (
        f"<p>Ignored: {percent(statistics.ignored_share, 2)} of all pixels. Pixels: share of those that count. Images: "
        "share of the images that show the class. Weights are computed from train.</p>"
    )
    return scrolled(table, "Classes") + note


def _class_row(statistics: ClassStatistics, index: int, splits: list[str]) -> str:
    labels, share = statistics.labels, float(statistics.shares[index])
    widest = max(float(statistics.shares.max()), 1e-9)
    numbers = [percent(statistics.images[index] / max(1, statistics.total_images), 0)]
    for split in splits:
        counts = statistics.by_split[split]
        numbers.append(percent(counts[index] / max(1, int(counts.sum())), 2))
    numbers += [number(float(weights[index])) for weights in statistics.weights.values()]
    cells = "".join(f'<td class="number">{text}</td>' for text in numbers)
    return (
        f'<tr><th scope="row">{class_name(labels.names[index], labels.colors[index])}</th>'
        f'<td class="bar" style="--w:{100 * share / widest:.1f}%">{percent(share, 2)}</td>{cells}</tr>'
    )


def _examples(report: CheckReport) -> str:
    """Each class in the images that show most of it, of different scenes if possible."""
    data = report.data
    assert data.reader is not None  # else there are no statistics
    reader = data.reader
    pixels, _ = count_by_image(data, reader)
    parts = []
    for index, name in enumerate(data.labels.names):
        chosen = list(_typical(pixels[:, index]))
        label = class_name(name, data.labels.colors[index])
        heading = f"in {int((pixels[:, index] > 0).sum())} of {len(pixels)} images"
        rows = class_panels(report, reader, index, chosen, heading) if chosen else "<p>Never seen.</p>"
        parts.append(f"<h3>{label}</h3>{rows}")
    note = (
        "<p>From each third of the data set the image that shows most of the class, in its color with a yellow edge; "
        "all else is gray.</p>"
    )
    return note + "".join(parts)


def _typical(counts: NDArray[np.int64]) -> Iterator[int]:
    """In each third of the samples the one with most pixels of the class."""
    for part in np.array_split(np.arange(len(counts)), _EXAMPLES):
        if len(part) and counts[part].max() > 0:
            yield int(part[counts[part].argmax()])


def _charts(report: CheckReport) -> str:
    facts = report.data.facts
    fits = [one.alignment.fit for one in facts if one.alignment is not None]
    islands = [float(one.islands) for one in facts if one.mask_size is not None]
    sides = [float(max(one.image_size)) for one in facts if one.image_size is not None]
    charts = [
        histogram("Fit of masks on the edges of their images", fits, axis="fit", marked=[float(np.median(fits))])
        if fits else "",
        histogram("Islands of 4 pixels or fewer", islands, axis="islands in a mask") if islands else "",
        histogram("Longest sides", sides, axis="pixels") if sides else "",
    ]  # fmt: skip
    note = (
        "<p>The fit is the mean strength of edges below the boundaries of a mask, in standard deviations: about 0 for "
        "a mask of another image. The dashed line is the median.</p>"
    )
    return note + f'<div class="charts">{"".join(charts)}</div>'
