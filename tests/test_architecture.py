"""Every module is held to the table of floors in docs/design.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import segnet

PACKAGE = Path(segnet.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in {"__init__.py", "__main__.py"})
HEAVY = {
    "lightning", "torchmetrics", "kornia", "onnx", "onnxruntime", "onnxscript", "openvino", "executorch",
    "torchao", "coremltools", "litert_torch", "ai_edge_litert", "gradio", "fastapi", "uvicorn", "av", "ray", "timm",
    "huggingface_hub", "matplotlib", "scipy", "pyvips", "segmentation_models_pytorch", "pycocotools", "contourpy",
    "tifffile", "starlette", "pyarrow", "fsspec",
}  # fmt: skip
# These files of training/ need Lightning. No other file imports them, except inside a function.
ON_LIGHTNING = {
    f"segnet.training.{name}"
    for name in (
        "averaging", "best_weights", "collapse", "distributed", "early_stopping", "lightning", "lr_finder", "module",
        "overfitting", "pace", "planning", "progress", "report_writer", "resume", "run", "score_log", "setup",
        "step_times", "time_limit", "trainer",
    )
}  # fmt: skip
HEAVY_ALLOWED = {
    ("segnet.training.lightning", "lightning"),
    ("segnet.web.service.app", "fastapi"), ("segnet.web.service.app", "starlette"),
    ("segnet.web.service.server", "uvicorn"), ("segnet.web.service.protocol", "uvicorn"),
}  # fmt: skip
MOST_ENTRIES, MOST_FLOORS, MOST_BODY_LINES = 21, 8, 40


@cache
def floors() -> dict[str, int]:
    table = re.search(r"^Floors:.*?```\n(.*?)```", DESIGN.read_text(encoding="utf-8"), re.S | re.M)
    assert table, "docs/design.md has no table of floors"
    found = {}
    for line in table[1].splitlines():
        number, rooms = line.split(maxsplit=1)
        for room in re.sub(r"\(.*\)", "", rooms).split():
            found[room.rstrip("/*")] = int(number)
    return found


def room_of(module: str) -> str:
    """``segnet.data.synthetic.film`` -> ``data``."""
    return module.split(".")[1]


def module_name(path: Path) -> str:
    return ".".join(("segnet", *path.relative_to(PACKAGE).with_suffix("").parts))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(tree: ast.AST, *, inside_functions: bool) -> list[str]:
    """Names of the modules that are imported; those that only a type checker sees are no imports."""
    found: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a module stands"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif is_type_checking(node):
            continue
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += imported(node, inside_functions=inside_functions)
    return found


class Module(NamedTuple):
    """What a module imports, anywhere and outside functions, and the names of its long functions."""

    imports: list[str]
    top_imports: list[str]
    long_functions: list[str]


@cache
def read(path: Path) -> Module:
    """Once for all tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return Module(
        imported(tree, inside_functions=True),
        imported(tree, inside_functions=False),
        [function.name for function in functions if body_lines(function) > MOST_BODY_LINES],
    )


def dependencies() -> dict[str, set[str]]:
    """Every module with those of this package that it imports, inside functions too."""
    names = {module_name(path) for path in MODULES}
    found: dict[str, set[str]] = {}
    for path in MODULES:
        parts = {name if name in names else name.rpartition(".")[0] for name in read(path).imports}
        found[module_name(path)] = parts & names
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import circle; none if there is no circle."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := search(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := search(name, []))), [])


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_the_table_is_read() -> None:
    table = floors()
    assert table["errors"] == 0
    assert table["cli"] == max(table.values())
    assert len(MODULES) > 20


def test_the_house_has_few_rooms_and_floors() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if not path.name.startswith("__") and path.name != "py.typed"]
    assert len(entries) <= MOST_ENTRIES
    assert len(set(floors().values())) <= MOST_FLOORS


def test_the_design_names_the_rooms_that_exist() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert set(floors()) == rooms
    layout = re.search(r"^## Layout.*?```\n(.*?)```", DESIGN.read_text(encoding="utf-8"), re.S | re.M)
    assert layout
    named = re.findall(r"[a-z0-9_]+\.py", layout[1].partition("\ntests/")[0])
    assert set(named) <= {path.name for path in PACKAGE.rglob("*.py")}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down_and_never_sideways(path: Path) -> None:
    table, here = floors(), room_of(module_name(path))
    for name in read(path).imports:
        if not name.startswith("segnet."):
            continue
        there = room_of(name)
        assert there == here or table[there] < table[here], (
            f"{path.name} on floor {table[here]} imports {name} on floor {table[there]}"
        )


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle(dependencies()) == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_function_bodies_are_short(path: Path) -> None:
    assert read(path).long_functions == []


def test_commands_do_not_know_each_other() -> None:
    for path in (PACKAGE / "cli" / "commands").glob("*.py"):
        assert not [name for name in read(path).imports if name.startswith("segnet.cli.commands")], path.name


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    top = {name.split(".")[0] for name in read(path).top_imports}
    assert {(module_name(path), name) for name in top & HEAVY} <= HEAVY_ALLOWED


def test_what_needs_lightning_is_imported_inside_functions() -> None:
    """``a.b.name`` may be a module or a name of the module ``a.b``."""
    users = {
        module_name(path)
        for path in MODULES
        for name in read(path).top_imports
        if {name, name.rpartition(".")[0]} & ON_LIGHTNING
    }
    assert users <= ON_LIGHTNING


@pytest.mark.parametrize(
    "module",
    ["segnet", "segnet.cli.main", "segnet.cli.commands.predict", "segnet.cli.commands.export", "segnet.models.bundled",
     "segnet.batch.run"],
)  # fmt: skip
def test_torch_is_not_imported_by(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'lightning', 'kornia', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_no_torch_and_no_parser() -> None:
    code = (
        "import sys\nfrom segnet.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print({'torch', 'numpy', 'yaml', 'segnet.cli.parser', 'segnet.cli.signature'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
