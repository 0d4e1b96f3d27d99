"""Every recipe is a set of flags that ``segnet train`` takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from segnet.cli.commands.train import run
from segnet.cli.parser import parse

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_line_of_a_recipe_reaches_the_settings(recipe: Path) -> None:
    _, flags = parse("train", run, ["data", "--config", str(recipe)])
    training = flags["training"]
    settings = {**vars(training.augment), **vars(training), **vars(flags["network"]), **flags}
    for key, value in yaml.safe_load(recipe.read_text()).items():
        assert settings[key] == (tuple(value) if isinstance(value, list) else value), key


def test_the_published_and_the_bundled_recipes_are_there() -> None:
    assert {"paper_segnet_basic", "paper_segnet", "bayesian", "segnet_light"} <= {path.stem for path in RECIPES}
