"""Build the wheel, install it with its base dependencies alone outside of the tree, and try it there.

    python tools/check_wheel.py [--with-dependencies FOLDER]

Prints the sizes. Every module must import, or name the package that it lacks; ``pip check`` must find nothing; commands
that need an extra must name it in one line. Needs a package index, or a folder of wheels.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST_WHEEL_MB = 60.0

# Runs in the new environment. What a module may lack are the packages of the extras.
IMPORT_ALL = """
import pkgutil, sys
from importlib import import_module
import segnet
from segnet.errors import SegNetError
lacking = {}
for module in pkgutil.walk_packages(segnet.__path__, "segnet."):
    if module.name.endswith("__main__"):
        continue
    try:
        import_module(module.name)
    except SegNetError as error:
        assert "pip install 'segnet[" in str(error), error
        lacking[module.name] = str(error).split()[0]
    except ModuleNotFoundError as error:
        assert error.name == "torch", (module.name, error.name)
        lacking[module.name] = "torch"
assert "site-packages" in segnet.__file__, segnet.__file__
print(len(lacking), "modules lack", ", ".join(sorted(set(lacking.values()))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-dependencies", type=Path, help="folder of wheels, in place of the package index")
    arguments = parser.parse_args()
    source = [] if arguments.with_dependencies is None else ["--no-index", "--find-links", arguments.with_dependencies]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        python = make_environment(folder / "env")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *source, wheel)
        run(python, "-m", "pip", "check")
        print(run(python, "-c", IMPORT_ALL, cwd=folder).strip())
        print(run(python, "-m", "segnet", "--version", cwd=folder).strip())
        require_named_extra(python, folder)


def build(folder: Path) -> Path:
    """The wheel; it holds the weights and no tests, and is small."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        unpacked = sum(entry.file_size for entry in archive.infolist())
    megabytes = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {megabytes:.1f} MB, {unpacked / 1e6:.1f} MB installed, {len(names)} files")
    assert megabytes < LARGEST_WHEEL_MB, "the wheel has grown"
    assert any(name.endswith("segnet_light.safetensors") for name in names), "the weights are missing"
    assert all(name.startswith(("segnet/", "segnet-")) for name in names), "the wheel holds more than the package"
    return wheel


def make_environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def require_named_extra(python: Path, folder: Path) -> None:
    done = subprocess.run([python, "-m", "segnet", "predict"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "pip install 'segnet[onnx]'" in done.stderr, done.stderr


def run(*words: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
