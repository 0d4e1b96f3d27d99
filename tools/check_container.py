"""Run what the Dockerfile runs, without a container engine: its steps in a new folder, then its default command.

    python tools/check_container.py [--index-url URL]

The first stage's RUN steps make a virtual environment in a temporary folder in place of /opt/segnet. The default
command then segments synthetic frames and a clip, and masks, clips and GIFs must come out. Needs a package index. Base
image, user, volumes and layers are not tried.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Step(NamedTuple):
    """One instruction of a Dockerfile: name of its stage, word, and the rest of the line."""

    stage: str
    word: str
    rest: str


def read_dockerfile(path: Path) -> list[Step]:
    """The instructions in order, continued lines joined; those before the first FROM have the stage ''."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    steps: list[Step] = []
    stage = ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM":
            stage = rest.split()[-1]
        if word:
            steps.append(Step(stage, word.upper(), " ".join(rest.split())))
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index-url", help="package index in place of that of PyTorch")
    arguments = parser.parse_args()
    steps = read_dockerfile(ROOT / "Dockerfile")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(steps, folder, arguments.index_url)
        render(folder, folder / "in")
        run_default(steps, folder)
        print(f"{directory_size(folder / 'opt/segnet') / 1e6:.0f} MB installed")


def build(steps: list[Step], folder: Path, index: str | None) -> None:
    """The COPY and RUN steps of the stage ``build``, with /opt and /source below the folder."""
    source = folder / "source"
    source.mkdir()
    for step in (step for step in steps if step.stage == "build"):
        if step.word == "COPY":
            *names, place = step.rest.split()
            for name in names:
                copy(ROOT / name, source / place / ("" if (ROOT / name).is_file() else "."))
        if step.word == "RUN":
            command = step.rest.replace("/opt/segnet", str(folder / "opt/segnet"))
            if index is not None:
                command = command.replace("https://download.pytorch.org/whl/cpu", index)
            print("RUN", command, flush=True)
            subprocess.run(["sh", "-ec", command], cwd=source, check=True, env=clean_environment())


def copy(path: Path, place: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy(path, place)


def render(folder: Path, frames: Path) -> None:
    """Frames and a clip, made with what was installed."""
    code = (
        "import sys, segnet\nfrom pathlib import Path\nfrom fractions import Fraction\nfrom PIL import Image\n"
        "from segnet.media.video.writing import VideoFormat, open_video_writer\n"
        "out = Path(sys.argv[1]); out.mkdir()\nimages = [segnet.render_scene(n, size=(90, 120))[0] for n in range(4)]\n"
        "[Image.fromarray(image).save(out / f'{n}.png') for n, image in enumerate(images)]\n"
        "with open_video_writer(out / 'drive.mp4', (90, 120), VideoFormat()) as writer:\n"
        "    [writer.add(image, Fraction(n, 25)) for n, image in enumerate(images)]\n"
    )
    python = folder / "opt/segnet/bin/python"
    subprocess.run([python, "-c", code, frames], cwd=folder, check=True, env=clean_environment())


def run_default(steps: list[Step], folder: Path) -> None:
    """Entry point and command of the last stage, on the frames."""
    last = steps[-1].stage
    words: list[str] = []
    for word in ("ENTRYPOINT", "CMD"):
        words += json.loads(next(step.rest for step in steps if (step.stage, step.word) == (last, word)))
    script = next(step.rest.split()[0] for step in steps if step.stage == last and step.rest.endswith(words[1]))
    command = [str(folder / "opt/segnet/bin" / words[0]), str(ROOT / script), *words[2:]]
    places = {"SEGNET_IN": str(folder / "in"), "SEGNET_OUT": str(folder / "out"), "SEGNET_CACHE": str(folder / "cache")}
    print(shlex.join(command), flush=True)
    subprocess.run(command, cwd=folder, check=True, env=clean_environment() | places)
    written = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.*") if path.is_file()}
    expected = {"overlay.mp4", "overlay.gif", "overlay/drive.mp4", "overlay/drive.gif"}
    expected |= {f"{kind}/{n}.png" for kind in ("mask", "overlay") for n in range(4)}
    missing = expected | {f"mask/drive/{n:06}.png" for n in range(4)}
    missing -= written
    assert not missing, f"not written: {sorted(missing)}"
    print(f"{len(written)} files written")


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def directory_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    sys.exit(main())
