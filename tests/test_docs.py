"""The documentation is true: its commands parse, its snippets run, its links have targets, its site has every page."""

from __future__ import annotations

import ast
import inspect
import io
import re
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass
from importlib import import_module
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

import segnet
from segnet.cli import main as cli
from segnet.cli.parser import parse
from segnet.data.synthetic.scenes import write_scenes
from segnet.media.images.masks import read_mask
from segnet.media.images.writing import write_image
from video_clips import write_clip

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in (ROOT / "README.md", *DOCS.rglob("*.md")) if page.is_file())
USER_PAGES = [page for page in PAGES if page != DOCS / "design.md"]  # its commands are plans as well

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_EPOCH = re.compile(r"epoch \d+/\d+  loss ")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_IN_SHELL = {"bash", "sh", "console"}

# What a snippet on the front page may take for granted.
_GIVEN = {"features": torch.rand(1, 4, 7, 6), "size": (7, 6)}


def _blocks(page: Path, languages: set[str]) -> list[str]:
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for _, language, text in found if language in languages]


def _commands() -> list[tuple[str, ...]]:
    """The words after ``segnet`` of every command in a shell block, each once."""
    found = set()
    for page in USER_PAGES:
        for block in _blocks(page, _IN_SHELL):
            for part in re.split(r"&&|[|;\n]", block.replace("\\\n", " ")):
                words = shlex.split(part.strip().removeprefix("$ "), comments=True)
                if words and Path(words[0]).name == "segnet":
                    found.add(tuple(words[1:]))
    return sorted(found)


def _snippets() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT).as_posix()}-{number}", text)
        for page in USER_PAGES
        for number, text in enumerate(_blocks(page, {"python"}))
    ]


def _tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    module = import_module(name)
    sys.modules.pop(name)
    return module


def test_every_command_is_shown_somewhere() -> None:
    shown = {words[0] for words in _commands() if words}
    assert set(cli.COMMANDS) <= shown <= set(cli.COMMANDS) | {"COMMAND", "--help", "--version"}


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_commands_in_the_docs_parse(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not words or words[0].startswith("-") or "--help" in words:
        return
    for file in [after for flag, after in pairwise(words) if flag == "--config"]:
        given = (ROOT / file).read_text(encoding="utf-8") if file.startswith("recipes/") else "{}\n"
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(given, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = import_module(f"segnet.cli.commands.{words[0].replace('-', '_')}").run
    parse(words[0], run, list(words[1:]))


def test_flags_in_commands_of_programs_exist() -> None:
    reference = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    flags = []
    for file in (*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tools/*.py")):
        lists = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.List)]
        for words in [[str(each.value) for each in node.elts if isinstance(each, ast.Constant)] for node in lists]:
            if words[:2] == ["-m", "segnet"]:
                flags += [(file.name, word) for word in words if word.startswith("--") and word != "--help"]
    assert flags
    assert not [(name, flag) for name, flag in flags if not re.search(rf"`{flag}[ `]", reference)]


def test_benchmarks_write_figures_whole_or_not_at_all() -> None:
    """After hours, a disk that is full or a folder that is missing must not cost the figures of earlier parts."""
    programs = {file.name: file.read_text(encoding="utf-8") for file in ROOT.glob("benchmarks/*.py")}
    assert not [name for name, text in programs.items() if "write_text(json.dumps" in text]
    assert sum("write_json(" in text for text in programs.values()) > 20


def test_more_learning_curves_than_colors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth curve was left out, and nothing said so."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    monkeypatch.setattr("sys.argv", ["draw_learning_curves.py", "out.svg", *(f"{name}=a.csv" for name in "abcde")])
    with pytest.raises(SystemExit, match="1 to 4 curves"):
        import_module("draw_learning_curves").main()


def test_yaml_settings_in_the_docs_parse(tmp_path: Path) -> None:
    """Blocks that begin with ``# mine.yaml`` are files for ``--config``."""
    run = import_module("segnet.cli.commands.train").run
    blocks = [text for page in USER_PAGES for text in _blocks(page, {"yaml"}) if text.startswith("# mine.yaml")]
    assert blocks
    for text in blocks:
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        parse("train", run, ["data", "--config", str(tmp_path / "mine.yaml")])


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of images of the synthetic street, with masks."""
    return write_scenes(tmp_path_factory.mktemp("street"), train=8, val=2, size=(48, 64))


@pytest.fixture
def at_home(tmp_path: Path, street: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader: ``mydata`` with images of the street, ``photo.jpg`` and ``drive.mp4``."""
    (tmp_path / "mydata").symlink_to(street)
    write_image(tmp_path / "photo.jpg", segnet.render_scene(9, size=(48, 64))[0])
    write_clip(tmp_path / "drive.mp4", 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in _snippets()])
def test_python_snippets_run_and_print_what_they_say(text: str, at_home: Path) -> None:
    """Each top-level ``print`` prints one line; where a comment follows, it is that line."""
    text = text.replace('time="10m"', "epochs=1")
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(text, "snippet", "exec"), {"__name__": "snippet", **_GIVEN})
    promised = [line.partition(" # ")[2].strip() for line in text.splitlines() if line.startswith("print(")]
    printed = [line for line in out.getvalue().splitlines() if not _EPOCH.match(line)]
    assert len(printed) == len(promised)
    assert [said or line for said, line in zip(promised, printed, strict=True)] == printed


def test_the_fine_tuning_example_runs_in_the_shell(at_home: Path) -> None:
    (block,) = [text for text in _blocks(DOCS / "start.md", _IN_SHELL) if "--time 10m" in text]
    commands = [shlex.split(line) for line in block.replace("--time 10m", "--epochs 1").splitlines()]
    assert [words[:2] for words in commands] == [["segnet", word] for word in ("train", "evaluate", "predict")]
    for words in commands:
        with pytest.raises(SystemExit) as left:
            cli.main(words[1:])
        assert not left.value.code
    assert (at_home / "runs/mine/report.html").is_file()
    assert read_mask(at_home / "predictions/mine/mask/photo.png").shape == (48, 64)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        if heading and target.suffix == ".md":
            assert heading in _headings(target), f"{page.name} links to {link}; there is no such heading"


def _headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    lines = [line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in lines}


def test_the_site_lists_every_page_once() -> None:
    listed = _pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def _pages_of(nav: list[dict[str, object]]) -> list[str]:
    pages: list[str] = []
    for entry in nav:
        for target in entry.values():
            pages += _pages_of(target) if isinstance(target, list) else [str(target)]
    return pages


def test_the_site_requests_no_fonts_from_outside() -> None:
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["theme"]["font"] is False


def test_site_links_to_copies_of_repository_files(monkeypatch: pytest.MonkeyPatch) -> None:
    build = _tool("build_docs", monkeypatch)
    monkeypatch.setattr(build, "COPY", DOCS)
    monkeypatch.setattr(build.shutil, "copyfile", lambda source, target: None)
    monkeypatch.setattr(build.Path, "mkdir", lambda path, **settings: None)
    page = DOCS / "how-to" / "train.md"

    def localized(link: str) -> str:
        return str(build.localize(page, build._LINK.fullmatch(link)))

    assert localized("[recipe](../../recipes/bayesian.yaml)") == "[recipe](../repository/recipes/bayesian.yaml.txt)"
    assert localized("[programs](../../benchmarks)") == "programs"
    assert localized("[files](../reference/files.md)") == "[files](../reference/files.md)"
    assert localized("[Optuna](https://optuna.org)") == "[Optuna](https://optuna.org)"


def test_python_reference_documents_every_public_name_once() -> None:
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = [*segnet.__all__, *(f"nn.{name}" for name in segnet.nn.__all__)]
    assert sorted(re.findall(r"^### segnet\.([\w.]+)$", text, re.MULTILINE)) == sorted(names)


def test_python_reference_documents_fields_and_methods() -> None:
    """Each field of a config, and each method and property of a class, stands in the section of its class."""
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### segnet\.([\w.]+)\n(.*?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL))
    for name, section in sections.items():
        thing = attrgetter(name)(segnet)
        if is_dataclass(thing) and isinstance(thing, type):
            missing = [field.name for field in fields(thing) if f"`{field.name}`" not in section]
            assert not missing, f"segnet.{name}: its docstring names no attribute {missing}"
        for member, value in vars(thing).items() if isinstance(thing, type) else ():
            if isinstance(value, property) and not member.startswith("_"):
                assert f"| `{member}` |" in section
            if inspect.isfunction(value) and not member.startswith("_"):
                assert f"#### {name}.{member}\n" in text, f"segnet.{name}.{member} has no docstring"


def test_the_index_leads_to_every_page() -> None:
    links = _LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links}
    assert linked >= {page.resolve() for page in DOCS.rglob("*.md")} - {(DOCS / "index.md").resolve()}


def test_generated_reference_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in _tool("make_reference", monkeypatch).pages().items():
        written = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert written == text, f"docs/reference/{name} is outdated; run: python tools/make_reference.py"


def test_drawings_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, svg in _tool("draw_codes", monkeypatch).drawings().items():
        written = (DOCS / "explanation" / name).read_text(encoding="utf-8")
        assert written == svg, f"docs/explanation/{name} is outdated; run: python tools/draw_codes.py"
