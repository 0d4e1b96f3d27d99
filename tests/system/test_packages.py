"""Optional packages that are missing or broken are reported in one sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest

from segnet.errors import BrokenPackageError, MissingPackageError
from segnet.system.packages import importing

NMS = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, name: str, code: str) -> None:
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(code)


def text_of(package: str) -> str:
    with pytest.raises(BrokenPackageError) as error, importing(package, "extra"):
        import_module(package)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_package_that_is_not_there_gets_the_pip_line() -> None:
    with (
        pytest.raises(MissingPackageError, match=r"no_such_package is not installed; .*segnet\[train\]"),
        importing("no_such_package", "train"),
    ):
        import_module("no_such_package")


def test_a_package_that_another_one_needs_is_named_instead_of_it(site: Path) -> None:
    install(site, "outer_one", "import no_such_package.part\n")
    with pytest.raises(MissingPackageError, match=r"^no_such_package is not"), importing("outer_one", "train"):
        import_module("outer_one")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first"),
        ("raise ImportError('undefined symbol: x')", "ImportError: undefined symbol: x"),
        ("raise OSError('libx.so: cannot open')", "OSError: libx.so: cannot open"),
        ("import numpy\nnumpy.no_such_name", "AttributeError: module 'numpy' has no attribute 'no_such_name'"),
        ("import torch.no_such_part", "ModuleNotFoundError: No module named 'torch.no_such_part'"),
        ("x = ", "SyntaxError: invalid syntax"),
    ],
)
def test_a_broken_package_is_named_with_reason_and_remedy(code: str, reason: str, site: Path) -> None:
    install(site, "broken_one", code)
    text = text_of("broken_one")
    assert text.startswith(f"broken_one cannot be imported ({reason}")
    assert text.endswith("; run: pip install --force-reinstall broken-one")


def test_the_package_that_breaks_another_is_named(site: Path) -> None:
    install(site, "outer_two", "import inner_two\n")
    install(site, "inner_two", "raise RuntimeError('no')\n")
    text = text_of("outer_two")
    assert text.startswith("outer_two cannot be imported because of inner_two (RuntimeError: no)")
    assert text.endswith("pip install --force-reinstall inner-two")


@pytest.mark.parametrize("package", ["timm", "segmentation_models_pytorch"])
def test_a_package_that_needs_torchvision_names_its_build(package: str, site: Path) -> None:
    install(site, "torchvision", NMS)
    install(site, package, "import torchvision\n")
    try:
        text = text_of(package)
    finally:
        sys.modules.pop(package, None)
    assert f"{package} cannot be imported because of torchvision (RuntimeError: operator torchvision::nms" in text
    assert "run: pip uninstall torchvision, and install its build for your torch" in text


def segnet(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "segnet", *words]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)


def test_a_broken_torchvision_costs_train_one_line(site: Path, camvid_root: Path) -> None:
    install(site, "torchvision", NMS)
    done = segnet(site, "train", str(camvid_root), "--out", str(site / "out"))
    assert done.returncode == 2
    line = done.stderr.strip()
    assert line.startswith("segnet: lightning cannot be imported because of torchvision (RuntimeError: operator")
    assert line.endswith("is not needed here; run: pip uninstall torchvision")
    assert "\n" not in line
    assert not (site / "out").exists()


def test_a_broken_torchvision_does_not_matter_to_evaluate(site: Path, camvid_root: Path) -> None:
    install(site, "torchvision", NMS)
    done = segnet(site, "evaluate", str(camvid_root), "--model", "segnet_light")
    assert done.returncode == 0, done.stderr


def test_the_extra_all_installs_no_torchvision() -> None:
    """As far as its packages are installed here; one that is not cannot be asked."""
    needed, new = set[str](), {"segnet[all]"}
    while new:
        needed |= new
        new = {found for each in new for found in requirements(each)} - needed
    names = {re.split(r"[\[]", each)[0] for each in needed}
    assert "lightning" in names
    assert not names & {"torchvision", "timm", "segmentation-models-pytorch"}


def requirements(wanted: str) -> set[str]:
    """What a package, written NAME or NAME[EXTRA,...], asks for, without versions."""
    name, _, inside = wanted.partition("[")
    extras = inside.rstrip("]").split(",") if inside else []
    try:
        lines = declared(name)
    except PackageNotFoundError:
        return set()
    found = set()
    for line in lines:
        marker = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if marker is None or marker[1] in extras:
            found.add(re.match(r"[\w.-]+(\[[\w,-]+\])?", line)[0].lower())  # type: ignore[index]
    return found


def declared(name: str) -> list[str]:
    """The requirements of a package; our own are those of pyproject.toml, not of an older installation."""
    if name != "segnet":
        return requires(name) or []
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return project["dependencies"] + [f"{line}; extra == '{key}'" for key, lines in optional.items() for line in lines]
