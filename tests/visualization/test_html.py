from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import segnet
from segnet.checking import panels as check_panels
from segnet.visualization.html import panels
from segnet.visualization.html.markup import class_name
from segnet.visualization.html.matrix import confusion_section
from segnet.visualization.html.panels import Panel, panel_row
from segnet.visualization.html.style import STYLE

TOOLS = Path(__file__).parents[2] / "tools"
SIGHTS = ("normal vision", "protanopia", "deuteranopia", "tritanopia")

# https://www.w3.org/TR/wai-aria-1.2/#state_prop_def
NAMES = """
    activedescendant atomic autocomplete busy checked colcount colindex colspan controls current describedby details
    disabled dropeffect errormessage expanded flowto grabbed haspopup hidden invalid keyshortcuts label labelledby level
    live modal multiline multiselectable orientation owns placeholder posinset pressed readonly relevant required
    roledescription rowcount rowindex rowspan selected setsize sort valuemax valuemin valuenow valuetext
"""


def test_pages_have_attributes_of_aria_only() -> None:
    package = Path(segnet.__file__).parent
    sources = [path for suffix in ("py", "html", "js") for path in package.rglob(f"*.{suffix}")]
    written = {name for path in sources for name in re.findall(r"\baria-\w+", path.read_text(encoding="utf-8"))}
    assert {"aria-label", "aria-labelledby", "aria-live"} <= written <= {f"aria-{name}" for name in NAMES.split()}


def test_a_browser_does_not_blur_the_classes_of_a_small_mask_into_each_other() -> None:
    panel = Panel(caption="truth", alt="a, truth", source="data:,")
    assert '<img class="small"' in panel_row("a", "", [panel], (30, 5))
    assert "small" not in panel_row("a", "", [panel], (240, 320))
    assert "img.small { image-rendering: pixelated; }" in STYLE


def test_a_long_name_below_a_panel_leaves_the_others_their_width() -> None:
    """Columns of 1fr alone are as wide as the longest word in them."""
    columns = re.findall(r"\.panels \{[^}]*grid-template-columns: ([^;]+);", STYLE)
    assert len(columns) == 2
    assert all("minmax(0, 1fr)" in each for each in columns)
    assert re.search(r"\.panels figcaption \{[^}]*overflow-wrap: anywhere", STYLE)


@pytest.mark.parametrize("sight", SIGHTS)
def test_errors_and_boundaries_stand_out_from_the_dimmed_image_in_every_kind_of_sight(
    sight: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red is nearly as dark as the gray of right pixels for a reader without long-wave cones: a distance of 7."""
    monkeypatch.syspath_prepend(TOOLS)
    seen = import_module("make_palette").seen

    def distance(color: tuple[int, int, int], grays: np.ndarray) -> float:
        grounds = seen(np.repeat(np.rint(grays).astype(int)[:, None], 3, axis=1), sight)
        return float(np.linalg.norm(grounds - seen(np.array([color]), sight), axis=1).min())

    assert distance(panels.WRONG, np.linspace(0, 255 * panels.RIGHT, 64)) > 25
    assert distance(panels.WRONG, np.array(panels.UNCOUNTED[:1])) > 15
    assert distance(check_panels.BOUNDARY, np.linspace(0, 255 * check_panels.DIMMED, 64)) > 15


def test_a_name_that_is_cut_can_be_read_whole_by_pointing_at_it() -> None:
    """Tables cut names at 14rem, the confusion matrix at 9.5rem."""
    labels = segnet.ClassTable.from_names(['<road> & "paved" with stones of many different kinds', "sky"])
    whole = "&lt;road&gt; &amp; &quot;paved&quot; with stones of many different kinds"
    assert f'class="class" title="{whole}"' in class_name(labels.names[0], labels.colors[0])
    matrix = confusion_section(segnet.Scores(np.eye(2, dtype=np.int64), labels), "of a toy")
    assert f'<th scope="col" title="{whole}">' in matrix
