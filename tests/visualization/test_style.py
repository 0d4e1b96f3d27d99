"""How labels are shown."""

from __future__ import annotations

import pytest

from segnet.errors import ConfigError
from segnet.labels import CAMVID
from segnet.visualization.style import OverlayStyle


@pytest.mark.parametrize("opacity", [-0.1, 1.1])
def test_an_opacity_outside_0_to_1_is_refused(opacity: float) -> None:
    with pytest.raises(ConfigError, match=r"opacity=.* is not possible; give 0"):
        OverlayStyle(opacity=opacity)


def test_an_unknown_legend_or_palette_is_refused() -> None:
    with pytest.raises(ConfigError, match="legend='above' is not possible: one of 'auto', 'below', 'none' wanted"):
        OverlayStyle(legend="above")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="palette='blind' is not possible: one of 'model', 'colorblind' wanted"):
        OverlayStyle(palette="blind")  # type: ignore[arg-type]


@pytest.mark.parametrize("lines", [-1, 101])
def test_lines_of_an_impossible_width_are_refused(lines: int) -> None:
    with pytest.raises(ConfigError, match=r"outline_width=.* is not possible; give pixels, 0 \(no lines\) to 100"):
        OverlayStyle(outline_width=lines)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Rode", "there is no class 'Rode'; did you mean 'Road'? known are Sky, Building, Pole, Road,"),
        ("CAR", "there is no class 'CAR'; did you mean 'Car'? known are Sky"),
        ("Zebra", "there is no class 'Zebra'; known are Sky"),
    ],
)
def test_an_unknown_class_is_told_with_those_that_are_near_and_all_that_are_known(name: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        OverlayStyle(show_classes=("Sky", name)).hidden(CAMVID)
    assert str(error.value).startswith(told)
    assert str(error.value).endswith("Pedestrian, Bicyclist")


def test_without_a_filter_no_class_is_hidden() -> None:
    assert OverlayStyle().hidden(CAMVID) == []
    assert OverlayStyle(show_classes=("Car", "Road", "Car")).hidden(CAMVID) == [0, 1, 2, 4, 5, 6, 7, 9, 10]


def test_the_colors_are_the_models_own_unless_asked_otherwise() -> None:
    assert OverlayStyle().colored(CAMVID) is CAMVID
    assert OverlayStyle(palette="colorblind").colored(CAMVID) == CAMVID.colorblind()
