"""Every module is held to the table of floors in docs/design.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import segnet

PACKAGE = Path(segnet.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in {"__init__.py", "__main__.py"})
HEAVY = {
    "lightning", "torchmetrics", "kornia", "onnx", "onnxruntime", "onnxscript", "openvino", "executorch",
    "torchao", "coremltools", "litert_torch", "ai_edge_litert", "gradio", "fastapi", "uvicorn", "av", "ray", "timm",
    "huggingface_hub", "matplotlib", "scipy", "pyvips", "segmentation_models_pytorch", "pycocotools", "contourpy",
}  # fmt: skip
# What Lightning runs; no other file imports these but inside a function.
ON_LIGHTNING = {"keeping.py", "reporting.py", "resuming.py", "task.py", "watching.py"}
HEAVY_ALLOWED = {(name, "lightning") for name in ON_LIGHTNING}
# ``files`` stands on another room of its floor. ``Predictor.stream`` is a second name for ``segnet.stream``, a floor
# above, since people look for it at the predictor.
SIDEWAYS_ALLOWED = {("files", "errors"), ("inference", "video")}


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


def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_table_is_read() -> None:
    table = floors()
    assert table["cli"] == 9
    assert table["commands"] == 8
    assert table["errors"] == 0
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_stands_on_a_floor(path: Path) -> None:
    assert room_of(module_name(path)) in floors()


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down_and_never_sideways(path: Path) -> None:
    table, here = floors(), room_of(module_name(path))
    for name in imported(parse(path), inside_functions=True):
        if not name.startswith("segnet."):
            continue
        there = room_of(name)
        allowed = there == here or (here, there) in SIDEWAYS_ALLOWED or table[there] < table[here]
        assert allowed, f"{path.name} on floor {table[here]} imports {name} on floor {table[there]}"


def test_commands_do_not_know_each_other() -> None:
    for path in (PACKAGE / "commands").glob("*.py"):
        names = imported(parse(path), inside_functions=True)
        assert not [name for name in names if name.startswith("segnet.cli.commands")], path.name


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    top = {name.split(".")[0] for name in imported(parse(path), inside_functions=False)}
    assert {(path.name, name) for name in top & HEAVY} <= HEAVY_ALLOWED


def test_what_needs_lightning_is_imported_inside_functions() -> None:
    needing = {f"segnet.training.{name.removesuffix('.py')}" for name in ON_LIGHTNING}
    users = {path.name for path in MODULES if needing & set(imported(parse(path), inside_functions=False))}
    assert users <= ON_LIGHTNING


@pytest.mark.parametrize("module", ["segnet", "segnet.cli.main", "segnet.cli.commands.predict"])
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
