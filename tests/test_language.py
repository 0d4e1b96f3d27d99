"""The words of the field stay: no retired word comes back."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_no_retired_word_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    found = list(import_module("measure_code").retired_words(ROOT))
    assert found == [], f"{Counter(word.lower() for *_, word in found)}; tools/measure_code.py lists the retired words"


def test_a_retired_word_is_found_and_a_part_of_a_word_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("An image.\nThe Picture, told; avoid depictured.\n", encoding="utf-8")
    found = list(import_module("measure_code").retired_words(tmp_path))
    assert found == [("docs/a.md", 2, "Picture"), ("docs/a.md", 2, "told")]
