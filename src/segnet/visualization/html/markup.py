"""The frame of a page and pieces of HTML that sections share.

Whatever comes from outside is escaped here or by its section.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from segnet.labels import Color
from segnet.system.files import replacing
from segnet.visualization.html.style import STYLE

__all__ = [
    "class_name", "code_block", "number", "percent", "render_page", "scrolled", "section", "swatch", "warnings_list",
    "write_page",
]  # fmt: skip

# Nothing outside the file is ever asked for, whatever names or settings contain.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(path: Path, *, title: str, kind: str, lead: str, parts: Mapping[str, str], notes: str = "") -> None:
    """Write a page whole or not at all: one file that a browser shows without asking anybody else for anything.

    Args:
        path: such as ``out / "report.html"``.
        title: of the page.
        kind: what sort of page it is, such as "training report".
        lead: one line below the title.
        parts: heading -> HTML of each section, in order; links to them stand at the top.
        notes: HTML that stands before the sections.

    Raises:
        OutputError: the file cannot be written.
    """
    page = render_page(title=title, kind=kind, lead=lead, parts=parts, notes=notes)
    with replacing(path) as temporary:
        # A file's name may hold bytes that are no letters.
        temporary.write_text(page, encoding="utf-8", errors="replace")


def render_page(*, title: str, kind: str, lead: str, parts: Mapping[str, str], notes: str = "") -> str:
    """The text that ``write_page`` writes."""
    links = "".join(f'<li><a href="#{_identifier(heading)}">{escape(heading)}</a></li>' for heading in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}: {escape(kind)}</title><style>{STYLE}</style></head>\n'
        f'<body><header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>{notes}'
        + "\n".join(section(heading, body) for heading, body in parts.items())
        + "</main></body></html>\n"
    )


def percent(share: float, digits: int = 1) -> str:
    """A share as people read it, with a space that does not break; a dash for NaN."""
    if not math.isfinite(share):
        return "–"
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Four digits; a dash for NaN."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def swatch(color: Color) -> str:
    """A small square of that color."""
    red, green, blue = color
    return f'<i class="swatch" style="background:rgb({red},{green},{blue})"></i>'


def class_name(name: str, color: Color) -> str:
    """A class as it is written everywhere: its color, then its name, which the pointer shows whole where it is cut."""
    return f'<span class="class" title="{escape(name)}">{swatch(color)}{escape(name)}</span>'


def section(title: str, *body: str) -> str:
    """A part of the page under its heading, which a link can point to."""
    name = _identifier(title)
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{"".join(body)}</section>'


def scrolled(table: str, label: str) -> str:
    """A table that may be wider than the screen: it scrolls by itself, by keyboard too."""
    return f'<div class="scrolled" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def code_block(text: str) -> str:
    """A command, or lines of them; a long line scrolls by itself, by keyboard too."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def warnings_list(sentences: Sequence[str]) -> str:
    """What a reader must know before the figures, as the ``notes`` of a page; empty if there is nothing."""
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<aside class="notes" aria-labelledby="notes"><h2 id="notes">Warnings</h2><ul>{items}</ul></aside>'


def _identifier(title: str) -> str:
    """What a link to the section of that title points to."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
