"""``report.html``: scores, learning curves, data and settings of a run, with its best and its worst images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from segnet.metrics.confusion import Scores
from segnet.training.report.curves import Line, line_chart, shared_line, small_chart
from segnet.training.report.headline import headline
from segnet.training.report.images import Example, images_section
from segnet.training.report.record import SCORES, Record
from segnet.training.report.splits import data_section
from segnet.training.report.training_images import TrainingExample, training_images_section
from segnet.training.settings import TrainConfig
from segnet.visualization.html.markup import (
    class_name,
    code_block,
    number,
    percent,
    scrolled,
    warnings_list,
    write_page,
)
from segnet.visualization.html.matrix import classes_table, confusion_section

__all__ = ["write_report"]

_COLUMNS = ("epoch", "step", "seconds", "lr", "train_loss", *SCORES)


def write_report(
    path: Path,
    record: Record,
    examples: Sequence[Example] = (),
    *,
    training: Sequence[TrainingExample] = (),
) -> None:
    """Write the page whole or not at all.

    Args:
        path: File to write, such as ``out / "report.html"``.
        record: Content of the page.
        examples: Validation images to show, from ``choose_examples``.
        training: Training images to show, from ``choose_training_examples``.

    Raises:
        OutputError: The file cannot be written.
    """
    parts = {
        **_score_parts(record, examples),
        "Training images": training_images_section(training, record.labels),
        "Data": data_section(record.labels, record.data),
        "Settings": f'<div class="pair">{_settings(record.settings)}{_environment(record.environment)}</div>',
        "Reproduce": _commands(record.commands),
    }
    parts = {title: part for title, part in parts.items() if part}
    notes = warnings_list(record.warnings)
    write_page(path, title=record.title, kind="training report", lead=_lead(record), parts=parts, notes=notes)


def _score_parts(record: Record, examples: Sequence[Example]) -> dict[str, str]:
    """The sections that need a validation."""
    if record.confusion is None or not record.rows:
        return {"Result": "<p>The scores are added after the first validation. Reload this page then.</p>"}
    scores = Scores(record.confusion, record.labels)
    return {
        "Result": headline(record),
        "Learning curves": _curves(record),
        "Classes": _classes(record) + classes_table(scores, "at the best epoch"),
        "Confusion matrix": confusion_section(scores, "of the best epoch"),
        "Images": images_section(examples, record.labels),
    }


def _lead(record: Record) -> str:
    """One line below the title: epochs, data and duration."""
    last = record.rows[-1] if record.rows else {"epoch": 0}
    parts = [f"Training report · epoch {last['epoch']}"]
    if limit := record.settings.get("time"):  # ends the run; epochs is an upper limit
        parts[0] += f", --time {limit}"
    elif "epochs" in record.settings:
        parts[0] += f" of {record.settings['epochs']}"
    if "data" in record.settings:
        parts.append(str(record.settings["data"]))
    if record.rows:
        parts.append(_duration(float(last.get("seconds", math.nan))))
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _curves(record: Record) -> str:
    epochs, best = record.epochs, record.epochs[record.best]
    scores = [
        Line(name=name.removesuffix(" accuracy").removesuffix(" average"), values=record.column(column), style=style)
        for (column, name), style in zip(SCORES.items(), "abc", strict=True)
    ]
    charts = (
        line_chart("Validation scores", epochs, scores, best=best, form=_short_percent),
        line_chart(
            "Training loss", epochs, [Line(name="", values=record.column("train_loss"))], best=best, form=number
        ),
        line_chart("Learning rate", epochs, [Line(name="", values=record.column("lr"))], best=best, form=_rate),
    )
    return f'<div class="charts">{"".join(charts)}</div>{_rows_table(record)}'


def _short_percent(share: float) -> str:
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"


def _rate(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _rows_table(record: Record) -> str:
    """Table of the values of the curves."""
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in _COLUMNS)
    rows = []
    for index, row in enumerate(record.rows):
        cells = "".join(f'<td class="number">{_format_cell(row.get(name, math.nan))}</td>' for name in _COLUMNS[1:])
        mark = " (best)" if index == record.best else ""
        rows.append(f'<tr><th scope="row" class="number">{row["epoch"]}{mark}</th>{cells}</tr>')
    table = (
        "<table><caption>One row per validation. metrics.csv also has the IoU of each class.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return f"<details><summary>Table of values</summary>{scrolled(table, 'Scores of all validations')}</details>"


def _format_cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}" if math.isfinite(value) else "–"
    return escape(str(value))


def _classes(record: Record) -> str:
    """One small chart per class, the best first, since one chart with up to 255 lines is unreadable."""
    best, epochs = record.best, record.epochs
    columns = {name: record.column(f"iou_{name}") for name in record.labels.names}
    order = sorted(columns, key=lambda name: -_or_least(columns[name][best]))
    colors = dict(zip(record.labels.names, record.labels.colors, strict=True))
    charts = []
    for name in order:
        value = percent(columns[name][best])
        caption = f"{class_name(name, colors[name])}<b>{value}</b>"
        text = f"IoU of {name}: {percent(columns[name][0])} in epoch {epochs[0]}, {value} in epoch {epochs[best]}"
        charts.append(small_chart(caption, text, epochs, columns[name], best=epochs[best]))
    return (
        "<p>IoU of each class in percent over the epochs, the best class first. The dot and the number show "
        f"epoch {epochs[best]}. The dotted line is the mean IoU over the classes.</p>"
        f'{shared_line(epochs, record.column("miou"))}<div class="smalls">{"".join(charts)}</div>'
    )


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _settings(settings: Mapping[str, Any]) -> str:
    """Table of all settings. Those that differ from ``TrainConfig()``, the recipe ``scratch``, are bold."""
    defaults = TrainConfig().to_dict()
    rows = []
    for name, value in settings.items():
        changed = name in defaults and defaults[name] != value
        kind = "value changed" if changed else "value"
        default = _setting(defaults[name]) if changed else ""
        rows.append(
            f'<tr><th scope="row">{escape(str(name))}</th><td class="{kind}">{_setting(value)}</td>'
            f'<td class="value">{default}</td></tr>'
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("setting", "value", "in recipe scratch, if different"))
    return (
        "<div><table><caption>Settings of the run, as in config.yaml</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return escape(" ".join(map(str, value))) or "–"
    return escape(str(value)) or "–"


def _environment(environment: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="value">{escape(str(value))}</td></tr>'
        for name, value in environment.items()
    )
    return f"<div><table><caption>Hardware, versions and speed</caption><tbody>{rows}</tbody></table></div>"


def _commands(commands: Sequence[str]) -> str:
    if not commands:
        return "<p>The run was started by a program, so there is no command to repeat it.</p>"
    return "".join(map(code_block, commands))
