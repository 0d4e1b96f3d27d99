"""The page docs/reference/python.md, made of the docstrings and signatures of the public names."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cached_property
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import segnet

__all__ = ["SECTIONS", "page"]

SECTIONS = {
    "Inference": (
        "Predictor", "TorchRuntime", "Prediction", "SegmentedFrame", "stream", "segment_video", "TileConfig",
        "TTAConfig", "ResizePolicy", "VideoConfig", "OverlayStyle",
    ),
    "Output files": ("CocoFile", "RecordFile"),
    "Models": (
        "create_model", "list_models", "list_encoders", "SegNet", "SegNetConfig", "load", "save", "bundled_models",
        "Checkpoint",
    ),
    "Data": (
        "open_dataset", "open_source", "SegmentationDataset", "Sample", "Source", "ClassTable", "Bands", "render_scene",
        "write_scenes",
    ),
    "Training": ("train", "TrainResult", "NetworkConfig", "TrainConfig", "AugmentConfig", "recalibrate"),
    "Evaluation": (
        "evaluate", "Scores", "confusion", "score_mask", "BoundaryMeter", "BoundaryConfig", "BoundaryScores",
    ),
    "Calibration": ("CalibrationMeter", "CalibrationConfig", "CalibrationScores", "fit_temperature", "scale_logits"),
    "Export": (
        "export", "export_page", "ExportConfig", "ExportReport", "Verification", "export_module", "ModuleReport",
        "Tolerance", "Int8Gate",
    ),
    "Pooling with 2-bit codes": (
        "max_pool", "max_unpool", "nn.MaxPool2d", "nn.MaxUnpool2d", "convert_unpooling", "Conversion",
        "restore_unpooling",
    ),
    "Constants and errors": ("CAMVID", "IGNORE_INDEX", "SegNetError"),
}  # fmt: skip

_TITLES = ("Args", "Attributes", "Returns", "Yields", "Raises")
_SECTION = re.compile(rf"^({'|'.join(_TITLES)}):$", re.MULTILINE)
_LITERAL = re.compile(r"Literal\[(.*?)\]")
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): ", re.MULTILINE)

_INTRODUCTION = """
# Python API

Every name here is an attribute of `segnet`, such as `segnet.Predictor`; `help(segnet.Predictor)` shows the same. A user
error raises `segnet.SegNetError` or a subclass.

Images are `uint8` arrays (H, W, 3) in RGB; masks are `uint8` arrays (H, W) of class indices.
"""


class Docstring(NamedTuple):
    """The parts of a docstring: its text, and the text of each section."""

    text: str
    sections: dict[str, str]

    @classmethod
    def of(cls, thing: Any) -> Docstring:
        """Of a class, a function or a property."""
        text, *rest = _SECTION.split(inspect.getdoc(thing) or "")
        bodies = map(inspect.cleandoc, rest[1::2])
        return cls(text.strip(), dict(zip(rest[0::2], bodies, strict=True)))

    def entries(self, title: str) -> dict[str, str]:
        """Name -> text of a section of names; names that share a text stand together."""
        parts = _ENTRY.split(self.sections.get(title, ""))[1:]
        return dict(zip(parts[0::2], map(_cell, parts[1::2]), strict=True))


def page() -> str:
    """The text of the page."""
    text = _INTRODUCTION
    for heading, names in SECTIONS.items():
        text += f"\n## {heading}\n" + "".join(f"\n### segnet.{name}\n{_entry(name)}" for name in names)
    return text


def _entry(name: str) -> str:
    thing = attrgetter(name)(segnet)
    if inspect.isclass(thing):
        return "".join(_class(name, thing))
    if inspect.isfunction(thing):
        return "".join(_function(f"segnet.{name}", thing))
    return f"\n{_constant(name)}\n"


def _class(name: str, cls: type) -> Iterator[str]:
    docstring = Docstring.of(cls)
    names_fields = is_dataclass(cls)
    if cls.__init__ is not object.__init__ and not issubclass(cls, Exception):  # type: ignore[misc]
        yield _signature(f"segnet.{name}", cls.__init__)  # type: ignore[misc]
    yield _text(docstring.text)
    if not names_fields:
        yield _parameters(docstring, cls.__init__)  # type: ignore[misc]
    yield _attributes(docstring, cls)
    yield _raises(docstring)
    instance = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(".")[2]).lower()
    for method, function in _methods(cls):
        yield f"\n#### Calling a {name}\n" if method == "__call__" else f"\n#### {name}.{method}\n"
        called = f"segnet.{name}.{method}" if isinstance(_members(cls)[method], classmethod) else f"{instance}.{method}"
        yield from _function(called.removesuffix(".__call__"), function)


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    docstring = Docstring.of(function)
    yield _signature(name, function)
    yield _text(docstring.text)
    yield _parameters(docstring, function)
    for title in ("Returns", "Yields"):
        if title in docstring.sections:
            yield f"\n**{title}** {_cell(docstring.sections[title])}\n"
    yield _raises(docstring)


def _signature(name: str, function: Callable[..., Any]) -> str:
    """As it is called, one parameter a line if it is long."""
    parts = []
    parameters = [item for key, item in inspect.signature(function).parameters.items() if key not in ("self", "cls")]
    for before, item in zip([None, *parameters], parameters, strict=False):
        if item.kind is item.KEYWORD_ONLY and (before is None or before.kind is not item.KEYWORD_ONLY):
            parts.append("*")
        stars = {item.VAR_POSITIONAL: "*", item.VAR_KEYWORD: "**"}.get(item.kind, "")
        parts.append(f"{stars}{item.name}{'' if item.default is item.empty else f'={_value(item.default)}'}")
    result = _result(function)
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"
    return f"\n```text\n{line}\n```\n"


def _result(function: Callable[..., Any]) -> str:
    """The type of what is returned, behind an arrow; nothing if that is None."""
    annotation = str(inspect.signature(function).return_annotation)
    written = function.__qualname__.split(".")[0] if annotation == "Self" else annotation
    return "" if function.__name__ == "__init__" or annotation == "None" else f" -> {written}"


def _parameters(docstring: Docstring, function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters
    rows = []
    for names, text in docstring.entries("Args").items():
        kinds = [_kind(parameters[name].annotation, function) for name in names.split(", ") if name in parameters]
        rows.append((_code(names), " <br> ".join(dict.fromkeys(kinds)), text))
    return _table(("parameter", "type", "meaning"), rows)


def _attributes(docstring: Docstring, cls: type) -> str:
    """Fields in the order of the docstring, then properties; types and defaults where there are any."""
    known = {field.name: field for field in fields(cls)} if is_dataclass(cls) else {}
    rows = []
    for names, text in docstring.entries("Attributes").items():
        found = [known[name] for name in names.split(", ") if name in known]
        kinds = " <br> ".join(dict.fromkeys(_kind(field.type, cls) for field in found))
        defaults = " <br> ".join(dict.fromkeys(f"`{_default(field)}`" for field in found if _default(field)))
        rows.append((_code(names), kinds, defaults, text))
    for name, function in _properties(cls):
        kind = _kind(inspect.signature(function).return_annotation, function)
        rows.append((f"`{name}`", kind, "", _cell(Docstring.of(function).text)))
    return _table(("attribute", "type", "default", "meaning"), rows)


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Without the columns that are empty; nothing if there is no row."""
    if not rows:
        return ""
    used = [number for number in range(len(titles)) if any(row[number] for row in rows)]
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n" + "".join(f"| {' | '.join(line[number] for number in used)} |\n" for line in lines)


def _raises(docstring: Docstring) -> str:
    lines = [f"- {_code(names)}: {text}\n" for names, text in docstring.entries("Raises").items()]
    return "\n**Raises**\n\n" + "".join(lines) if lines else ""


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public methods of the class, in the order of the source, and behind them those of its bases in this package."""
    for name, member in _members(cls).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(function) and (name == "__call__" or not name.startswith("_")) and function.__doc__:
            yield name, function


def _members(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("segnet."):
            found = {**found, **{name: member for name, member in vars(base).items() if name not in found}}
    return found


def _properties(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else getattr(member, "func", None)
        if isinstance(member, property | cached_property) and function and not name.startswith("_"):
            yield name, function


def _constant(name: str) -> str:
    """The text below an assignment, which is no docstring at run time."""
    tree = ast.parse(Path(str(import_module(segnet._HOME_OF[name]).__file__)).read_text(encoding="utf-8"))
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            assert isinstance(after, ast.Expr)
            assert isinstance(after.value, ast.Constant)
            return _cell(after.value.value)
    raise LookupError(name)


def _text(text: str) -> str:
    """Paragraphs, with examples as code that is not run."""
    blocks = []
    for block in filter(None, re.split(r"\n\s*\n", text)):
        example = block.startswith(">>>")
        blocks.append(f"```pycon\n{block}\n```" if example else block.replace("``", "`"))
    return "".join(f"\n{block}\n" for block in blocks)


def _default(field: Any) -> str:
    if field.default_factory is not MISSING:
        return f"{getattr(field.default_factory, '__name__', '')}()"
    return "" if field.default is MISSING else _value(field.default)


def _value(value: Any) -> str:
    """As it is written in a program; a config with its defaults by its class alone."""
    if is_dataclass(value):
        return f"{type(value).__name__}()"
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def _kind(annotation: Any, owner: Any) -> str:
    """A type as it is written in the source of its owner, but sets of words as these words."""
    if annotation is inspect.Signature.empty:
        return ""
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    known = vars(sys.modules[owner.__module__])
    written = _LITERAL.sub(lambda found: found[1].replace(", ", " | "), written)
    written = re.sub(r"(?<!['\w.])\w+", lambda found: _words(known.get(found[0])) or found[0], written)
    return f"`{written.replace(' | ', ' or ')}`"  # not every reader of Markdown takes a bar in a table


def _words(kind: Any) -> str:
    """The values of a ``Literal``; nothing for another type."""
    return " | ".join(map(repr, get_args(kind))) if get_origin(kind) is Literal else ""


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _cell(text: Any) -> str:
    """One line for a table, with line breaks before the items of a list."""
    lines = re.sub(r"\n\s*- ", " <br>- ", str(text))
    return " ".join(lines.split()).replace("|", "\\|").replace("``", "`")
