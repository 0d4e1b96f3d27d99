from __future__ import annotations

import re

import pytest

from segnet.checking.charts import histogram


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0], [0.0, 1.0, 1.0, 5.0]])
def test_a_histogram_draws_its_values_and_no_more(values: list[float]) -> None:
    svg = histogram("Sides", values, axis="pixels", marked=[values[0]])
    assert f"{len(values)} values" in svg
    heights = [float(height) for height in re.findall(r'height="([\d.]+)" fill', svg)]
    assert len(heights) == len(set(values))
    assert "nan" not in svg
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    assert f"from {low} to {high}," in svg
    numbers = re.findall(r">([-\d.]+)</text>", svg)[2:]  # without those of the counts
    assert numbers == ([low] if low == high else [low, high])
