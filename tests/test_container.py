"""The container: rules of the Dockerfile, and its default command on frames and a clip. No engine is needed.

tools/check_container.py runs the steps of the Dockerfile as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import segnet
from segnet.cli.commands import serve
from segnet.cli.parser import parse
from segnet.models import checkpoint
from segnet.models.segnet import SegNet, SegNetConfig
from video_clips import decoded, write_clip

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from check_container import Step, read_dockerfile  # noqa: E402

STEPS = read_dockerfile(ROOT / "Dockerfile")
STAGES = {step.stage for step in STEPS if step.stage}


def of(stage: str, word: str) -> list[str]:
    return [step.rest for step in STEPS if (step.stage, step.word) == (stage, word)]


def test_a_dockerfile_is_read_with_its_stages_and_continued_lines(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text('# a\nARG A=1\nFROM x:${A} AS one\nRUN a \\\n    && b\n# c\nCMD ["d"]\n', encoding="utf-8")
    assert read_dockerfile(file) == [
        Step("", "ARG", "A=1"), Step("one", "FROM", "x:${A} AS one"), Step("one", "RUN", "a && b"),
        Step("one", "CMD", '["d"]'),
    ]  # fmt: skip


def test_base_images_have_a_full_version() -> None:
    """DL3006, DL3007: a tag, and not ``latest``."""
    arguments = dict(rest.split("=") for rest in of("", "ARG"))
    for image in (step.rest.split()[0] for step in STEPS if step.word == "FROM"):
        if image not in STAGES:
            name, tag = image.replace("${PYTHON}", arguments["PYTHON"]).split(":")
            assert (name, bool(re.fullmatch(r"3\.\d+\.\d+-slim-[a-z]+", tag))) == ("python", True)


@pytest.mark.parametrize("stage", ["predict", "service"])
def test_an_image_runs_as_a_user_without_rights_and_gets_signals(stage: str) -> None:
    """DL3002, DL3025: a user that is not root, and commands without a shell; the program is not the user's."""
    (user,) = of(stage, "USER")
    assert f"--uid {user} " in of("base", "RUN")[0]
    assert int(user) > 0
    for word in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(json.loads(rest), list) for rest in of(stage, word))
    assert of(stage, "CMD")
    assert not [rest for rest in of(stage, "COPY") if "--chown" in rest]


def test_nothing_is_left_behind_by_installing() -> None:
    """DL3042, DL3009, DL3020, DL4006: no cache of pip, no lists of apt, no ADD, no pipe."""
    for step in STEPS:
        assert step.word != "ADD"
        if step.word == "RUN":
            assert "pip install" not in step.rest or "--no-cache-dir" in step.rest
            assert not re.search(r"\bapt(-get)?\b|\bsudo\b|\bcurl\b|\bwget\b|\|", step.rest)


def test_the_last_stage_is_the_default_and_all_that_is_copied_is_sent() -> None:
    assert STEPS[-1].stage == "predict"
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for step in STEPS:
        if step.word == "COPY" and not step.rest.startswith("--from"):
            for name in step.rest.split()[:-1]:
                assert (ROOT / name).exists(), name
                assert f"!{name.removeprefix('./')}" in sent, name


def test_compose_builds_stages_that_exist() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {service["build"]["target"] for service in services.values()} == {"predict", "service"} <= STAGES
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_command_of_the_service_is_one_of_segnet() -> None:
    program, name, *words = json.loads(of("service", "CMD")[0])
    assert (program, name) == ("segnet", "serve")
    service = parse(name, serve.run, words)[1]["service"]
    assert (service.host, service.port) == ("0.0.0.0", int(of("service", "EXPOSE")[0]))  # noqa: S104


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from segnet.models.decoders import DecoderConfig
    from segnet.models.encoders import EncoderConfig

    network = SegNetConfig(
        name="small", encoder=EncoderConfig(widths=((4,),)), decoder=DecoderConfig(widths=((4,),)), classes=11
    )
    return checkpoint.save(SegNet(network), segnet.CAMVID, tmp_path_factory.mktemp("model") / "small.safetensors")


def run(source: Path, out: Path, *words: object, **settings: str) -> tuple[int, str]:
    """Exit code and errors of the default command."""
    environment = {**os.environ, "SEGNET_IN": str(source), "SEGNET_OUT": str(out), **settings}
    command = [sys.executable, str(ROOT / of("predict", "COPY")[-1].split()[0]), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stderr


def test_frames_and_a_clip_become_masks_overlays_clips_and_gifs(model: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, seed in (("a.jpg", 1), ("b.png", 2), ("c.png", 3)):
        Image.fromarray(segnet.render_scene(seed, size=(48, 64))[0]).save(source / name)
    write_clip(source / "drive.mp4", 6)
    code, errors = run(source, out, "--model", model, SEGNET_RATE="5")
    assert code == 0, errors
    for kind in ("mask", "overlay"):
        assert sorted(path.name for path in (out / kind).glob("*.png")) == ["a.png", "b.png", "c.png"]
    assert len(list((out / "mask" / "drive").glob("*.png"))) == 6
    frames = decoded(out / "overlay.mp4")
    assert [float(time) for time, _ in frames] == [0, 0.2, 0.4]
    assert len(decoded(out / "overlay" / "drive.mp4")) == 6
    for name, count in (("overlay.gif", 3), ("overlay/drive.gif", 3)):
        assert len(decoded(out / name)) == count
    (out / "overlay.gif").write_bytes(b"mine")
    code, errors = run(source, out, "--model", model)
    assert code == 2
    assert "overlay.gif was not written by an earlier run" in errors


@pytest.mark.parametrize(
    ("folder", "rate", "text"),
    [("none", "10", "is no folder; mount one"), ("", "10", "holds no image and no video"), ("", "x", "SEGNET_RATE=x")],
)
def test_what_cannot_be_segmented_is_one_line(folder: str, rate: str, text: str, tmp_path: Path) -> None:
    code, errors = run(tmp_path / folder, tmp_path / "out", SEGNET_RATE=rate)
    assert code == 2
    assert text in errors
    assert errors.count("\n") == 1
