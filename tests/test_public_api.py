"""The public names: one list, each loaded on first use, each documented."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import segnet

PACKAGE = Path(segnet.__file__).parent
MODULES = sorted(
    ".".join(("segnet", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if path.name not in {"__init__.py", "__main__.py"}
)


def names_for_type_checkers() -> dict[str, str]:
    """Name -> module of the ``if TYPE_CHECKING`` block, which is what editors and mypy see."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_the_list_the_lazy_table_and_the_type_checkers_view_agree() -> None:
    assert set(segnet.__all__) == set(segnet._HOME_OF)
    assert names_for_type_checkers() == segnet._HOME_OF | {"nn": "segnet"}
    assert len(segnet.__all__) == len(set(segnet.__all__))


def test_type_checkers_see_no_name_that_is_not_there() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert "__getattr__" not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_dir_is_the_public_list_the_module_of_layers_and_the_version() -> None:
    assert {name for name in dir(segnet) if not name.startswith("__")} == {*segnet.__all__, "nn"}
    assert all(hasattr(segnet, name) for name in dir(segnet))
    assert segnet.__version__ == version("segnet")


@pytest.mark.parametrize("name", segnet.__all__)
def test_public_name_is_the_one_of_its_home(name: str) -> None:
    home = import_module(segnet._HOME_OF[name])
    assert getattr(segnet, name) is getattr(home, name)
    assert name in home.__all__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segment_anything'"):
        _ = segnet.segment_anything


@pytest.mark.parametrize("module", MODULES)
def test_module_and_its_public_names_are_documented(module: str) -> None:
    home = import_module(module)
    assert inspect.getdoc(home)
    for name in getattr(home, "__all__", []):
        assert hasattr(home, name), f"{module}.__all__ names {name}, which is not there"
        assert is_documented(home, name), f"{module}.{name} has no docstring"


def is_documented(home: ModuleType, name: str) -> bool:
    """Constants and type aliases, which cannot carry a docstring at run time, count as documented; so do other
    libraries' names."""
    thing = getattr(home, name)
    if not getattr(thing, "__module__", "segnet").startswith("segnet"):
        return True
    return not (inspect.isclass(thing) or inspect.isfunction(thing)) or bool(thing.__doc__)
