"""Print figures of the code base: rooms, floors, circles, walks, long functions, lines, retired words.

python tools/measure_code.py [--root DIR] [--json FILE] [--walks NAME ...]

A walk runs one command and counts its stops: the modules of the package in which a function runs between the command
line and the written file. The command line's own parts (parser, flags) count as one stop, and so does ``models``.
Services (``system``), values (errors, class table, model info, overlay style) and what runs while a module is imported
are no stops.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Words of this project's own that gave way to the terms of the field, and where one of them is right after all.
RETIRED = {
    r"pictures?": {"src/segnet/labels.py"},  # a class of SUN RGB-D
    r"told": set(),
    r"spoiled": set(),
    r"labell?ing": set(),
    r"label maps?": set(),
    r"movies?": set(),
    r"rivals?": set(),
    r"textbooks?": set(),
    r"masks alone": set(),
    r"by heart": set(),
    r"so manieth": set(),
    r"keepers?": set(),
    r"tellers?": set(),
    r"thaw\w*": set(),
    r"void": {
        "examples/cpp",
        "src/segnet/data/layouts/naming.py",
        "docs/how-to/own-data.md",
    },  # C++; a class of data sets
    r"colours?|grey|neighbours?": {"src/segnet/data/class_lists.py"},  # a column of other tools' files
}
SEARCHED = ("src", "docs", "README.md", "recipes", "examples")
TEXT = {".py", ".md", ".yaml", ".mjs", ".cpp", ".toml", ".txt"}

_TRAIN = (
    "train synthetic --model segnet_basic --epochs 1 --batch 8 --precision float32 --workers 0 --resize 24 32 --out out"
)
_INT8 = "export segnet_light --format onnx --int8 --calibrate synthetic --max-drop 1 --out out.onnx"
WALKS = {
    "predict": ["predict", "photo.png", "--out", "out"],
    "train": _TRAIN.split(),
    "export --int8": _INT8.split(),
}

_TRACER = """
import json, sys, threading
seen = {}
def trace(frame, event, _):
    name, code = frame.f_globals.get("__name__", ""), frame.f_code
    if event == "call" and name.startswith("segnet") and code.co_flags & 1 and not code.co_name.startswith(("<", "__")):
        seen.setdefault(name, None)
threading.setprofile(trace); sys.setprofile(trace)
import runpy
try: runpy.run_module("segnet", run_name="__main__", alter_sys=False)
except SystemExit as end: code = end.code
finally: sys.setprofile(None); threading.setprofile(None)
print("WALK" + json.dumps({"code": code, "modules": list(seen)}))
"""


def main() -> None:
    """Print the figures, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--walks", nargs="*", default=list(WALKS), choices=list(WALKS), metavar="NAME")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    figures = {**measure(root), "walks": {name: stops(root, name) for name in arguments.walks}}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for name, value in figures.items():
        if name == "walks":
            for walk, modules in value.items():
                print(f"walk {walk}: {len(modules)} stops\n  {' -> '.join(modules)}")
        else:
            print(f"{name}: {value}")


def measure(root: Path) -> dict[str, Any]:
    """Figures that need no run."""
    package = root / "src" / "segnet"
    bodies = [body_lines(function) for path in package.rglob("*.py") for function in functions(path)]
    words = [word for _, _, word in retired_words(root)]
    return {
        "entries": sum(not path.name.startswith("__") and path.name != "py.typed" for path in package.iterdir()),
        "floors": len(set(_floors(root).values())),
        "modules in import circles": sum(len(circle) for circle in circles(package)),
        "functions over 25 body lines": sum(lines > 25 for lines in bodies),
        "functions over 40 body lines": sum(lines > 40 for lines in bodies),
        "lines of source": _lines(root / "src"),
        "lines of tests": _lines(root / "tests"),
        "retired words": len(words),
    }


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def retired_words(root: Path) -> Iterator[tuple[str, int, str]]:
    """(file, line, word) of each retired word."""
    for path in (path for place in SEARCHED for path in _files(root / place)):
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for pattern, allowed in RETIRED.items():
                if not any(name.startswith(place) for place in allowed):
                    yield from (
                        (name, number, word) for word in re.findall(rf"(?i)(?<![a-z])(?:{pattern})(?![a-z])", line)
                    )


def dependencies(package: Path) -> dict[str, set[str]]:
    """Every module with those of the package that it imports, inside functions too; type checking is no import."""
    files = {_module(package, path): path for path in package.rglob("*.py") if path.name != "__init__.py"}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        wanted = set(_imports(ast.parse(path.read_text(encoding="utf-8"))))
        graph[name] = {found for each in wanted for found in (each, each.rpartition(".")[0]) if found in files}
    return graph


def circles(package: Path) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan's strongly connected components)."""
    graph, order, low, stack = dependencies(package), dict[str, int](), dict[str, int](), list[str]()
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            start = stack.index(name)
            if len(stack) - start > 1:
                found.append(stack[start:])
            del stack[start:]

    for name in graph:
        if name not in order:
            visit(name)
    return found


def stops(root: Path, walk: str) -> list[str]:
    """The modules in which a function runs when a command runs, in the order of their first call."""
    words = WALKS[walk]
    with TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(root / "src"), "XDG_CACHE_HOME": folder}
        code = "import shutil, sys; from PIL import Image; Image.new('RGB', (480, 360), 'gray').save('photo.png')\n"
        code += f"sys.argv = {['segnet', *words]!r}\n{_TRACER}"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    walked = next((line for line in done.stdout.splitlines() if line.startswith("WALK")), None)
    if walked is None or json.loads(walked[4:])["code"]:
        raise SystemExit(f"segnet {' '.join(words)} failed: {done.stderr[-2000:]}")
    return list(dict.fromkeys(stop for name in json.loads(walked[4:])["modules"] if (stop := _stop(name))))


def _stop(module: str) -> str | None:
    room = ([*module.split("."), ""])[1]
    name = module.rpartition(".")[2]
    values = {"errors", "labels", "model_info"} | ({"style"} if room == "visualization" else set())
    if room in {"", "__main__", "system"} or name in values:
        return None
    if room == "cli" and "commands" not in module:
        return "cli"
    if room == "models":
        return "models"
    return module.removeprefix("segnet.")


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node)


def _module(package: Path, path: Path) -> str:
    return ".".join(("segnet", *path.relative_to(package).with_suffix("").parts))


def _floors(root: Path) -> dict[str, int]:
    design = (root / "docs" / "design.md").read_text(encoding="utf-8")
    table = re.search(r"^Floors:.*?```\n(.*?)```", design, re.S | re.M)
    lines = [line.split(maxsplit=1) for line in table[1].splitlines()] if table else []
    return {room: int(number) for number, rooms in lines for room in rooms.split()}


def _files(place: Path) -> list[Path]:
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    return [path for path in found if path.is_file() and path.suffix in TEXT and ".egg-info" not in str(path)]


def _lines(place: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in place.rglob("*.py"))


if __name__ == "__main__":
    main()
