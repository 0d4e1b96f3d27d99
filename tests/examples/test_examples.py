"""The programs under ``examples`` predict the same mask of the packaged image as ``segnet predict``.

Run by ``tools/check.sh`` where torch is missing; its folder ``files`` holds the exported models, the mask of
``segnet predict``, and what npm installed. A C++ compiler, CMake and node must be there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FILES = Path(sys.prefix) / "files"
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
STREET = ROOT / "src" / "segnet" / "data" / "sample" / "street.jpg"
NAMES = [
    *["Sky", "Building", "Pole", "Road", "Pavement", "Tree"],
    *["SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"],
]


class Program:
    """One example, ready to run, with the kinds of file that it reads and writes."""

    def __init__(self, *command: str | Path, model: str, image: str, mask: str, folder: Path) -> None:
        self.command = command
        self.model = FILES / f"segnet_light{model}"
        self.image = folder / f"street{image}"
        self.mask = folder / f"mask{mask}"
        with Image.open(STREET) as street:
            street.save(self.image)  # so that every program gets the pixels that segnet got

    def __call__(self, *words: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, *words], capture_output=True, text=True)

    def shares(self, image: Path) -> dict[str, float]:
        """What it prints of an image: percent by class."""
        done = self(self.model, image, self.mask)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        rows = [re.fullmatch(r" *(\d+\.\d)%  (\w+)", line) for line in done.stdout.splitlines()]
        return {row[2]: float(row[1]) for row in rows if row}


def python(folder: Path) -> Program:
    script = EXAMPLES / "python" / "predict.py"
    return Program(sys.executable, script, model=".onnx", image=".png", mask=".png", folder=folder)


def cpp(folder: Path) -> Program:
    build = folder / "build"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its python knows OpenVINO
    strict = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"
    for words in (["-S", EXAMPLES / "cpp", "-B", build, strict], ["--build", build]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert done.returncode == 0, done.stdout + done.stderr
    return Program(build / "predict", model=".xml", image=".ppm", mask=".pgm", folder=folder)


def javascript(folder: Path) -> Program:
    script = shutil.copy(EXAMPLES / "javascript" / "predict.mjs", folder)
    (folder / "node_modules").symlink_to(FILES / "javascript" / "node_modules")
    return Program("node", script, model=".onnx", image=".png", mask=".png", folder=folder)


@pytest.fixture(scope="module", params=[python, cpp, javascript], ids=lambda make: make.__name__)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    make: Callable[[Path], Program] = request.param
    return make(tmp_path_factory.mktemp(make.__name__))


def without_metadata(model: Path, folder: Path) -> Path:
    """The same model with another key where its metadata was."""
    key, other = (b"\n\x06segnet", b"\n\x06nobody") if model.suffix == ".onnx" else (b"<names ", b"<nobody ")
    data = model.read_bytes()
    assert data.count(key) == 1
    if model.suffix == ".xml":
        shutil.copy(model.with_suffix(".bin"), folder / "silent.bin")
    silent = folder / f"silent{model.suffix}"
    silent.write_bytes(data.replace(key, other))
    return silent


def read(mask: Path) -> np.ndarray:
    with Image.open(mask) as image:
        return np.asarray(image)


def test_the_mask_is_the_one_of_segnet_predict_and_its_shares_are_printed(program: Program) -> None:
    shares = program.shares(program.image)
    mask = read(program.mask)
    expected = read(FILES / "torch" / "mask" / "street.png")
    assert mask.shape == expected.shape
    assert (mask == expected).mean() > 0.999
    counts = np.bincount(mask.ravel(), minlength=len(NAMES))
    assert shares == pytest.approx(dict(zip(NAMES, 100 * counts / counts.sum(), strict=True)), abs=0.051)
    assert list(shares) == [NAMES[index] for index in np.argsort(-counts, kind="stable")]


def corner(image: Path, folder: Path) -> Path:
    small = folder / f"corner{image.suffix}"
    with Image.open(image) as whole:
        whole.crop((0, 0, 45, 33)).save(small)
    return small


def test_any_size_works(program: Program, tmp_path: Path) -> None:
    assert sum(program.shares(corner(program.image, tmp_path)).values()) == pytest.approx(100, abs=0.6)
    assert read(program.mask).shape == (33, 45)


def test_every_error_is_one_line(program: Program, tmp_path: Path) -> None:
    model, image, mask = program.model, corner(program.image, tmp_path), tmp_path / program.mask.name
    cut = tmp_path / f"cut{image.suffix}"
    cut.write_bytes(image.read_bytes()[:1000])
    silent = without_metadata(model, tmp_path)
    missing = tmp_path / "missing"
    wrong = {
        "usage": (model,),
        "missing": (missing.with_suffix(model.suffix), image, mask),
        "missing.": (model, missing.with_suffix(image.suffix), mask),
        "has no class names": (silent, image, mask),
        "": (model, cut, mask),
        "nowhere": (model, image, tmp_path / "nowhere" / mask.name),
    }
    for reason, words in wrong.items():
        done = program(*words)
        assert done.returncode == 1, words
        assert not done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert reason in done.stderr
    assert not mask.exists()


def test_the_python_example_needs_nothing_of_this_package() -> None:
    text = (EXAMPLES / "python" / "predict.py").read_text(encoding="utf-8")
    found = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert found == {"json", "sys", "numpy", "onnxruntime", "PIL"}
