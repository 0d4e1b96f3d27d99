"""Build the documentation site into build/site; every warning is an error. Run by tools/build_docs.sh.

Links from a page to a file of the repository outside docs/ lead to a copy of that file on the site; links to folders
become plain text. The built pages must not load anything from another server.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COPY = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"

_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)\)")
_LOADED = re.compile(r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?((?:https?:)?//[^\"'\s>]+)", re.IGNORECASE)
_LINKED = re.compile(r"<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon)\b[^>]*>", re.IGNORECASE)


def copy_docs() -> None:
    """Copy docs/ to build/docs, with the linked files of the repository."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(DOCS, COPY)
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        replaced = _LINK.sub(partial(localize, page), text)
        (COPY / page.relative_to(DOCS)).write_text(replaced, encoding="utf-8")


def localize(page: Path, link: re.Match[str]) -> str:
    """The Markdown link, with a target outside docs/ replaced by its copy on the site."""
    text, address = link.groups()
    target = (page.parent / address).resolve()
    if ":" in address or target.is_relative_to(DOCS):
        return link[0]
    if not target.is_file():
        return text
    name = target.relative_to(ROOT)
    file = COPY / "repository" / name.with_name(f"{name.name}.txt")  # as text, which a browser shows
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(target, file)
    up = "../" * len(page.relative_to(DOCS).parent.parts)
    return f"[{text}]({up}{file.relative_to(COPY).as_posix()})"


def outside_requests() -> list[str]:
    """What the built pages would load from another server."""
    found = []
    for page in sorted(SITE.rglob("*.html")):
        html = page.read_text(encoding="utf-8")
        addresses = _LOADED.findall(html) + [link for link in _LINKED.findall(html) if "//" in link]
        found += [f"{page.relative_to(SITE)}: {address}" for address in addresses]
    return found


def main() -> None:
    copy_docs()
    shutil.rmtree(SITE, ignore_errors=True)
    built = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=False)
    if built.returncode:
        sys.exit("the documentation has warnings; see above")
    if not (SITE / "search.json").is_file():
        sys.exit("the documentation has no search index")
    if found := outside_requests():
        sys.exit("the documentation loads from other servers:\n" + "\n".join(found))


if __name__ == "__main__":
    main()
