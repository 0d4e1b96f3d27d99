"""Pieces of HTML that several sections share. Whatever comes from outside is escaped here or by its section."""

from __future__ import annotations

import math
import re
from html import escape

from segnet.labels import Color

__all__ = ["class_name", "identifier", "number", "percent", "scrolled", "section", "swatch"]


def percent(share: float, digits: int = 1) -> str:
    """A share as people read it, with a space that does not break; a dash for NaN."""
    if not math.isfinite(share):
        return "–"
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Four digits; a dash for NaN."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def swatch(color: Color) -> str:
    """A small square of that colour."""
    red, green, blue = color
    return f'<i class="swatch" style="background:rgb({red},{green},{blue})"></i>'


def class_name(name: str, color: Color) -> str:
    """A class as it is written everywhere: its colour, then its name."""
    return f'<span class="class">{swatch(color)}{escape(name)}</span>'


def identifier(title: str) -> str:
    """What a link to the section of that title points to."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def section(title: str, *body: str) -> str:
    """A part of the page under its heading, which a link can point to."""
    name = identifier(title)
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{"".join(body)}</section>'


def scrolled(table: str, label: str) -> str:
    """A table that may be wider than the screen: it scrolls by itself, by keyboard too."""
    return f'<div class="scrolled" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'
