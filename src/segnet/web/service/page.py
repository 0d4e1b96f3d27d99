"""The page that describes the service: one file without scripts and without any request to elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from segnet.visualization.html.markup import code_block, render_page, scrolled

__all__ = ["render_api"]

_EXAMPLES = """curl -F image=@photo.jpg ADDRESS/v1/segment -o mask.png
curl -F image=@photo.jpg "ADDRESS/v1/segment?format=overlay" -o overlay.png
curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" "ADDRESS/v1/segment?format=json"
"""


def render_api(schema: Mapping[str, Any], address: str) -> str:
    """The HTML page of an OpenAPI description.

    Args:
        schema: the description, as ``/openapi.json`` has it.
        address: of the service, for the examples.
    """
    parts = {"Examples": code_block(_EXAMPLES.replace("ADDRESS", address))}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts[f"{method.upper()} {path}"] = _describe(operation)
    info = schema["info"]
    return render_page(
        title=info["title"], kind="HTTP API", lead=info["description"], parts=parts,
        notes='<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
    )  # fmt: skip


def _describe(operation: Mapping[str, Any]) -> str:
    text = f"<p>{escape(operation.get('description') or operation['summary'])}</p>"
    if operation.get("security"):
        text += "<p>Needs the header <code>Authorization: Bearer TOKEN</code>.</p>"
    if parameters := operation.get("parameters"):
        rows = [(each["name"], f"in {each['in']}", each.get("description", "")) for each in parameters]
        text += _table("Parameters", rows)
    if body := operation.get("requestBody"):
        text += _table("Request body", [(kind, "", body.get("description", "")) for kind in body["content"]])
    answers = operation["responses"].items()
    return text + _table(
        "Answers", [(status, ", ".join(each.get("content", {})), each["description"]) for status, each in answers]
    )


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h3>{escape(title)}</h3>" + scrolled(f"<table><tbody>{body}</tbody></table>", title)
