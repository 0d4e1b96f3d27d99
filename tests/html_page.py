"""What a browser would find on a page of ours, and what must hold of each."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID_TAGS = {"meta", "link", "img", "br", "hr"}
SVG_LEAVES = {"path", "circle", "use"}


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text; unbalanced tags are refused."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ")

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in {"td", "th"}:
            self.cells.append("")
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_LEAVES
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts.append(data)
        if {"td", "th"} & set(self._open):
            self.cells[-1] += data


def images_of(page: Page) -> list[tuple[str, NDArray[np.uint8]]]:
    """Alternative text and RGB pixels of each image."""
    return [
        (image["alt"], np.asarray(Image.open(io.BytesIO(b64decode(image["src"].partition(",")[2]))).convert("RGB")))
        for image in page.all("img")
    ]


def assert_asks_nobody(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not {"srcset", "action", "data", "onclick", "onload"} & set(attributes)
        assert "url(" not in attributes.get("style", "")
    assert not page.all("script")


def assert_can_be_read(page: Page) -> None:
    """By ear and by keyboard."""
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    targets = [a["href"][1:] for tag in ("a", "use") for a in page.all(tag)]
    headings = {a["aria-labelledby"] for tag in ("section", "aside") for a in page.all(tag)}
    assert set(targets) | headings <= set(names)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(image["alt"] for image in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    scrolled = [attributes for _, attributes in page.elements if attributes.get("class") == "scrolled"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolled)
    assert all(pre.get("tabindex") == "0" for pre in page.all("pre"))  # a long command scrolls
