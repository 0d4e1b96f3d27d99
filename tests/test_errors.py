"""Errors of libraries in one line."""

from __future__ import annotations

import pytest

from segnet.errors import describe_error, first_line


@pytest.mark.parametrize(
    ("error", "line", "described"),
    [
        (ValueError("no such name\nmore of it"), "no such name", "ValueError: no such name"),
        (OSError("\n  no answer  \n"), "no answer", "OSError: no answer"),
        (AssertionError(), "AssertionError", "AssertionError"),
    ],
)
def test_an_error_is_told_by_its_first_line_or_else_by_its_kind(error: Exception, line: str, described: str) -> None:
    assert first_line(error) == line
    assert describe_error(error) == described
