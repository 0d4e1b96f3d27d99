"""What is lost when processes are killed, disks are full, and files are damaged, removed or forbidden.

    python benchmarks/bench_faults.py [--only NAME ...] [--trials N] [--images 60] [--seed 0]
                                     [--out benchmarks/results/faults.json]

Each trial runs the command itself in a process of its own, on synthetic scenes and a network of 3,000 weights. The
process is forked from one that has imported the libraries, so that random moments fall into the work and not into
imports.

A clock that jumps is ``time.time`` of the process; files that a killed process left get times of the past or future as
well. Memory runs out by a limit on the address space of one process, a little above what it has at that moment.

A loss is: a file that is half-written, a result that differs from an undisturbed run's, an earlier file that is gone,
a temporary file that stays after the next run, a traceback, or another exit code than is documented. Faults that
need root (a full or read-only file system, another user) are left out without it, and named in ``skipped``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from segnet.cli.main import COMMANDS
from segnet.cli.main import main as main_of_segnet
from segnet.data.synthetic.scenes import write_scenes
from segnet.errors import ModelError
from segnet.labels import CAMVID
from segnet.models import checkpoint
from segnet.models.bundled import find
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.system.files import write_json
from segnet.system.hardware import about

_IMPORTED_LATER = (
    "segnet.training.run", "segnet.exporting.export", "segnet.results.images", "kornia", "pycocotools.mask",
)  # fmt: skip
NOBODY = 65534
HANGS = 1000  # in place of an exit code
TOY = SegNetConfig(
    name="toy", encoder=EncoderConfig(widths=((8,), (12,))), decoder=DecoderConfig(widths=((8,), (8,))), classes=11
)


@dataclass
class Trials:
    """What the trials of one fault showed.

    Attributes:
        lost: sentences, one for each loss.
        outcomes: how often each outcome occurred.
    """

    lost: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def require(self, holds: object, loss: str) -> None:
        if not holds:
            self.lost.append(loss)


@dataclass(frozen=True)
class World:
    """The files that all trials read; ``chance`` draws the moments and places of the faults.

    Attributes:
        durations_s: of the commands that were measured.
    """

    root: Path
    chance: random.Random
    durations_s: dict[Callable[..., Ended], float] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        return self.root / "toy.safetensors"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def large_images(self) -> Path:
        return self.root / "large"

    @contextmanager
    def folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.root) as name:
            yield Path(name)


@dataclass
class Ended:
    """A process that has ended: its exit code and what it wrote to standard error."""

    code: int
    error: str

    @property
    def clean(self) -> bool:
        """Ended by the system, or with a documented code, and without a traceback."""
        return self.code in {0, 2, 143, -signal.SIGTERM, -signal.SIGKILL} and "Traceback" not in self.error

    @property
    def outcome(self) -> str:
        names = {0: "succeeded", 2: "refused in one line", -9: "killed", -11: "crashed", HANGS: "did not end"}
        return names.get(self.code, f"exit code {self.code}")


@dataclass
class Running:
    """A process that was forked from this one."""

    pid: int
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float) -> int | None:
        """The exit code; None if the process still runs after so many seconds."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self.code

    def send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


Disturb = Callable[[Running], Any]


@dataclass(frozen=True)
class Jump:
    """The clock jumps by ``seconds``, ``after`` so many seconds."""

    after: float
    seconds: float

    def begin(self) -> None:
        """Change the clock of this process."""
        began, read = time.monotonic(), time.time_ns

        def time_ns() -> int:
            return read() + int(1e9 * self.seconds) * (time.monotonic() - began > self.after)

        time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9


def segnet(
    *words: object,
    disturb: Disturb | None = None,
    user: int | None = None,
    cache: Path | None = None,
    clock: Jump | None = None,
    most_s: float = 600,
) -> Ended:
    """Run a command; ``disturb`` is called with the running process, which is killed after so many seconds."""
    with tempfile.NamedTemporaryFile("w+") as error:
        running = Running(os.fork())
        if not running.pid:
            become_command([str(word) for word in words], error.fileno(), user, cache, clock)
        if disturb is not None:
            disturb(running)
        hangs = running.wait(most_s) is None
        if hangs:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait(60)
        assert running.code is not None
        return Ended(HANGS if hangs else running.code, Path(error.name).read_text(errors="replace"))


def become_command(words: list[str], error: int, user: int | None, cache: Path | None, clock: Jump | None) -> None:
    """Run the command in the forked process, which ends with it."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(error, 2)
        if cache is not None:
            os.environ["SEGNET_CACHE"] = str(cache)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        if clock is not None:
            clock.begin()
        main_of_segnet(words)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def after(seconds: float, act: Disturb) -> Disturb:
    """Act once, so many seconds after the start, if the process still runs."""

    def wait(running: Running) -> None:
        if running.wait(seconds) is None:
            act(running)

    return wait


def kill(running: Running) -> None:
    """The process alone; those that it started must notice by themselves."""
    running.send(signal.SIGKILL)


def terminate(running: Running) -> None:
    running.send(signal.SIGTERM)


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file, without the journal (its fingerprints hold times)."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".segnet-written"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".segnet-*") if path.name != ".segnet-written"]


def whole(path: Path) -> bool:
    """Whether a file can be read to its end."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            *lines, rest = path.read_text().split("\n")
            return not rest and all(isinstance(json.loads(line), dict) for line in lines)
        elif path.suffix == ".pt2":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        elif path.suffix == ".safetensors":
            return checkpoint.load(path).verified
    except (OSError, ValueError, ModelError, zipfile.BadZipFile):
        return False
    return True


def shown(folder: Path) -> list[Path]:
    """Files under their final names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


# --- commands


def predict(world: World, out: Path, **options: Any) -> Ended:
    words = ("--model", world.model, "--out", out, "--save", "mask,overlay,coco", "--records", out / "records.jsonl")
    source = options.pop("source", world.images)
    return segnet("predict", source, *words, "--json", out / "report.json", "--device", "cpu", **options)


def predict_large(world: World, out: Path, **options: Any) -> Ended:
    return predict(world, out, source=world.large_images, **options)


def train(world: World, out: Path, *more: object, **options: Any) -> Ended:
    words = ("--epochs", 2, "--batch", 2, "--precision", "float32", "--workers", 1, "--save-every", "1e-6")
    return segnet(
        "train", world.data, "--model", world.model, "--out", out, *words, "--device", "cpu", *more, **options
    )


def export(world: World, out: Path, **options: Any) -> Ended:
    return segnet("export", world.model, "--format", "torch", "--out", out / "toy.pt2", **options)


def convert(world: World, out: Path, **options: Any) -> Ended:
    return segnet("convert", world.root / "net.caffemodel", "--out", out / "net.safetensors", **options)


def duration_s(run: Callable[..., Ended], world: World) -> float:
    """The shorter of two runs: the first fills caches. Each command is measured once."""
    if run not in world.durations_s:
        seconds = []
        for _ in range(2):
            with world.folder() as folder:
                began = time.monotonic()
                ended = run(world, folder / "out")
                assert ended.code == 0, ended.error
                seconds.append(time.monotonic() - began)
        world.durations_s[run] = min(seconds)
    return world.durations_s[run]


# --- faults: each adds the trials to a table


def kill_command(
    run: Callable[..., Ended], same: Callable[[Path, Path], bool], *, jumps: bool = False
) -> Callable[[World, int, Trials], None]:
    """``kill -9`` at a random moment, then the same command again; with ``jumps``, the clock of both jumps as well."""

    def trials(world: World, count: int, table: Trials) -> None:
        for out, undisturbed, clock in killed_runs(run, world, count, table, jumps=jumps):
            halves = [path.name for path in shown(out) if not whole(path)]
            table.require(not halves, f"half-written after a kill: {halves}")
            require_mended(run(world, out, clock=clock), out, table)
            table.require(same(out, undisturbed), "the results of the next run differ")

    return trials


def killed_runs(
    run: Callable[..., Ended], world: World, count: int, table: Trials, *, jumps: bool
) -> Iterator[tuple[Path, Path, Jump | None]]:
    """Runs killed at a random moment: the folder, that of an undisturbed run, and the clock of the next run."""
    seconds = duration_s(run, world)
    with world.folder() as reference:
        run(world, reference / "out")
        for _ in range(count):
            with world.folder() as folder:
                out = folder / "out"
                clocks = [draw_jump(world, seconds) if jumps else None for _ in range(2)]
                disturb = after(world.chance.uniform(0, seconds), kill)
                table.outcomes[run(world, out, disturb=disturb, clock=clocks[0]).outcome] += 1
                if clocks[0] is not None:
                    move_times(out, clocks[0])
                yield out, reference / "out", clocks[1]


def require_mended(again: Ended, out: Path, table: Trials) -> None:
    table.require(again.code == 0, f"the next run fails: {again.error[-300:]}")
    table.require(not temporary(out), f"temporary files stay: {temporary(out)}")


def draw_jump(world: World, seconds: float) -> Jump:
    """At a random moment of a run, by up to two days backwards or forwards."""
    return Jump(world.chance.uniform(0, seconds), world.chance.uniform(-1, 1) * 2 * 86_400)


def move_times(out: Path, clock: Jump) -> None:
    """Give temporary files the times that a clock which jumped would have given them."""
    for path in out.rglob(".segnet-*"):
        if path.name != ".segnet-written":
            os.utime(path, (time.time() + clock.seconds,) * 2)


def same_files(one: Path, other: Path) -> bool:
    return {path.name for path in shown(one)} == {path.name for path in shown(other)} and all(map(whole, shown(one)))


def same_predictions(one: Path, other: Path) -> bool:
    return contents(one) == contents(other)


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "net.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def kill_train(*, jumps: bool = False) -> Callable[[World, int, Trials], None]:
    """``kill -9`` at a random moment, then ``--resume``, or a new start if nothing had been saved."""

    def trials(world: World, count: int, table: Trials) -> None:
        for out, undisturbed, clock in killed_runs(train, world, count, table, jumps=jumps):
            require_mended(resume(world, out, table, clock=clock), out, table)
            table.require(same_training(out, undisturbed), "the weights differ from an undisturbed run's")

    return trials


def resume(world: World, out: Path, table: Trials, *more: object, **options: Any) -> Ended:
    saved = any((out / name).exists() for name in ("last.ckpt", "previous.ckpt"))
    table.outcomes["resumed" if saved else "started anew"] += 1
    if not saved and (out / "metrics.csv").exists():  # killed between the first scores and the first checkpoint
        shutil.rmtree(out)
    return train(world, out, *more, *(["--resume"] if saved else []), **options)


def same_training(one: Path, other: Path) -> bool:
    first, second = (
        load_file(folder / "best.safetensors") if (folder / "best.safetensors").exists() else {}
        for folder in (one, other)
    )
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def starve(run: Callable[..., Ended], most: int) -> Callable[[World, int, Trials], None]:
    """A command gets up to ``most`` bytes more than it has at its start; then it is given again without a limit."""

    def trials(world: World, count: int, table: Trials) -> None:
        with world.folder() as reference:
            run(world, reference / "out")
            names = {path.name for path in shown(reference / "out")}
            for _ in range(count):
                with world.folder() as folder:
                    out, room = folder / "out", world.chance.randrange(most)
                    ended = run(world, out, disturb=lambda running, room=room: cap(running.pid, room), most_s=60)
                    table.outcomes[ended.outcome] += 1
                    clean = ended.clean or ended.code in (HANGS, -signal.SIGSEGV)  # of a library without memory
                    table.require(clean, f"no clean end: {ended.code} {ended.error[-600:]}")
                    table.require(all(map(whole, shown(out))), "a half-written file")
                    again = resume(world, out, table) if run is train else run(world, out)
                    table.require(again.code == 0, f"the next run fails: {again.error[-300:]}")
                    table.require({path.name for path in shown(out)} == names, "files are missing")
                    table.require(not temporary(out), f"temporary files stay: {temporary(out)}")

    return trials


def cap(pid: int, room: int) -> None:
    """Let a process have so many bytes more than now."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        size = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
        resource.prlimit(pid, resource.RLIMIT_AS, (size + room, size + room))


def disturb_reader(act: Callable[[World, int], object]) -> Callable[[World, int, Trials], None]:
    """Something happens to a process that reads images, in the middle of a training run, which is then resumed."""

    def trials(world: World, count: int, table: Trials) -> None:
        for _ in range(count):
            with world.folder() as folder:
                out = folder / "out"

                def disturb(running: Running, out: Path = out) -> None:
                    while running.poll() is None and not (out / "previous.ckpt").exists():
                        time.sleep(0.01)
                    for child in children(running.pid):
                        with suppress(OSError):
                            act(world, child)

                ended = train(world, out, "--epochs", 6, disturb=disturb, most_s=60)
                table.outcomes[ended.outcome] += 1
                table.require(ended.clean or ended.code == HANGS, f"no clean end: {ended.code} {ended.error[-600:]}")
                again = train(world, out, "--epochs", 6, "--resume")
                table.require(again.code == 0, f"the next run fails: {again.error[-300:]}")

    return trials


def kill_process(world: World, pid: int) -> None:
    """As the system does when memory runs out."""
    os.kill(pid, signal.SIGKILL)


def starve_process(world: World, pid: int) -> None:
    cap(pid, world.chance.choice([0, 100_000, 1_000_000, 4_000_000]))


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def terminate_predict(world: World, count: int, table: Trials) -> None:
    """SIGTERM at a random moment: whole files, and as many masks as records and COCO images."""
    seconds = duration_s(predict, world)
    for _ in range(count):
        with world.folder() as folder:
            out = folder / "out"
            ended = predict(world, out, disturb=after(world.chance.uniform(0, seconds), terminate))
            table.outcomes[ended.outcome] += 1
            table.require(ended.clean, f"no clean end: {ended.code} {ended.error[-300:]}")
            table.require(all(map(whole, shown(out))), "a half-written file")
            if ended.code == 143 and list(out.glob("mask/*.png")):
                masks = len(list(out.glob("mask/*.png")))
                records = len((out / "records.jsonl").read_text().splitlines())
                images = len(json.loads((out / "coco.json").read_text())["images"])
                table.require(masks == records == images, f"{masks} masks, {records} records, {images} COCO images")


def full_disk(run: Callable[..., Ended], largest: int) -> Callable[[World, int, Trials], None]:
    """A file system that is too small by a random amount; earlier results of the command stay as they were."""

    def trials(world: World, count: int, table: Trials) -> None:
        with world.folder() as reference:
            run(world, reference / "out")
            for _ in range(count):
                with mounted(world, size=world.chance.randrange(4096, largest)) as folder:
                    ended = run(world, folder / "out")
                    check_refusal(ended, folder / "out", table)

    return trials


def check_refusal(ended: Ended, out: Path, table: Trials) -> None:
    table.outcomes[ended.outcome] += 1
    table.require(ended.clean and ended.code in (0, 2), f"no clean end: {ended.code} {ended.error[-300:]}")
    halves = [path.name for path in shown(out) if not whole(path)] if out.is_dir() else []
    table.require(not halves, f"half-written: {halves}")
    table.require(not temporary(out), f"temporary files stay: {temporary(out)}")


def read_only(world: World, count: int, table: Trials) -> None:
    """A read-only file system, which holds earlier results, for each command in turn."""
    commands = [predict, train, export, convert]
    for number in range(count):
        with mounted(world, size=64_000_000) as folder:
            run = commands[number % len(commands)]
            run(world, folder / "out")
            before = contents(folder)
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            ended = run(world, folder / "out")
            check_refusal(ended, folder / "out", table)
            table.require(ended.code == 2 and contents(folder) == before, "an earlier file changed, or no error")


@contextmanager
def mounted(world: World, *, size: int) -> Iterator[Path]:
    with world.folder() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def remove_images(world: World, count: int, table: Trials) -> None:
    """Images are removed, cut off and forbidden while they are predicted; all others must be complete."""
    seconds = duration_s(predict, world)
    for _ in range(count):
        with world.folder() as folder:
            images, out = folder / "images", folder / "out"
            shutil.copytree(world.images, images)
            gone = world.chance.sample(sorted(images.iterdir()), 10)

            def spoil(running: Running, gone: Sequence[Path] = gone) -> None:
                for number, path in enumerate(gone):
                    path.unlink() if number % 2 else os.truncate(path, 200)

            ended = predict(world, out, source=images, disturb=after(world.chance.uniform(0, seconds), spoil))
            check_refusal(ended, out, table)
            kept = {path.stem for path in images.iterdir()} - {path.stem for path in gone}
            missing = kept - {path.stem for path in out.glob("mask/*.png")}
            table.require(not missing, f"without masks: {sorted(missing)}")


def lose_permission(world: World, count: int, table: Trials) -> None:
    """Another user's folder of results can no longer be written, from a random moment on."""
    seconds = duration_s(predict, world)
    for _ in range(count):
        with world.folder() as folder:
            out = folder / "out"
            folder.chmod(0o755)
            out.mkdir()
            os.chown(out, NOBODY, NOBODY)

            def forbid(running: Running, out: Path = out) -> None:
                for path in (*out.iterdir(), out):
                    os.chown(path, 0, 0)

            moment = world.chance.uniform(0, seconds)
            ended = predict(world, out, disturb=after(moment, forbid), user=NOBODY, cache=out)
            table.outcomes[ended.outcome] += 1
            table.require(ended.clean, f"no clean end: {ended.code} {ended.error[-300:]}")
            table.require(all(map(whole, shown(out))), "a half-written file")


def two_trainings(world: World, count: int, table: Trials) -> None:
    """Two runs start in one folder: one trains, the other is refused."""
    seconds = duration_s(train, world)
    for _ in range(count):
        with world.folder() as folder:
            out, ends = folder / "out", []

            def start_second(running: Running, out: Path = out, ends: list[Ended] = ends) -> None:
                ends.append(train(world, out))

            ends.append(train(world, out, disturb=after(world.chance.uniform(0, seconds / 2), start_second)))
            table.outcomes.update(end.outcome for end in ends)
            if len(ends) == 1:  # the first had ended before the second could start
                continue
            table.require(sorted(end.code for end in ends) == [0, 2], f"ended with {[end.code for end in ends]}")
            table.require(all(end.clean for end in ends), "a traceback")
            table.require(whole(out / "best.safetensors"), "no whole model file")


def two_predictions(world: World, count: int, table: Trials) -> None:
    """Two runs predict the same images into one folder: whole files; one of them has the file of records."""
    with world.folder() as reference:
        predict(world, reference / "out")
        seconds = duration_s(predict, world)
        for _ in range(count):
            with world.folder() as folder:
                out, ends = folder / "out", []

                def start_second(running: Running, out: Path = out, ends: list[Ended] = ends) -> None:
                    ends.append(predict(world, out))

                ends.append(predict(world, out, disturb=after(world.chance.uniform(0, seconds / 2), start_second)))
                table.outcomes.update(end.outcome for end in ends)
                table.require(all(end.clean for end in ends), f"no clean end: {[end.error[-200:] for end in ends]}")
                table.require(all(map(whole, shown(out))), "a half-written file")
                masks = {path.name for path in out.glob("mask/*.png")}
                table.require(masks == {path.name for path in (reference / "out/mask").iterdir()}, "masks are missing")
                table.require(not temporary(out), f"temporary files stay: {temporary(out)}")


def damage_model(world: World, count: int, table: Trials) -> None:
    """A random range of a bundled model file is overwritten, cleared, flipped, swapped, or cut off."""
    original = find("segnet_light").read_bytes()
    expected = checkpoint.load("segnet_light")
    state = expected.model.state_dict()
    path = world.root / "damaged.safetensors"
    for number in range(count):
        path.write_bytes(damaged(original, number, world.chance))
        try:
            found = checkpoint.load(path)
        except ModelError:
            table.outcomes["refused"] += 1
            continue
        table.outcomes["loaded equal"] += 1
        values = found.model.state_dict()
        equal = all(torch.equal(values[name], value) for name, value in state.items())
        about_equal = (found.labels, found.provenance, found.scores) == (
            expected.labels, expected.provenance, expected.scores,
        )  # fmt: skip
        table.require(equal and about_equal, f"trial {number}: loaded, and differs")


def damaged(original: bytes, number: int, chance: random.Random) -> bytes:
    """Every third damage is in the header."""
    header = 8 + int.from_bytes(original[:8], "little")
    end = header if number % 3 == 0 else len(original)
    start = chance.randrange(end)
    length = min(chance.choice([1, 1, 1, 8, 64, 4096]), len(original) - start)
    content = bytearray(original)
    kind = number % 5
    if kind == 0:
        content[start] ^= 1 << chance.randrange(8)
    elif kind == 1:
        content[start : start + length] = bytes(length)
    elif kind == 2:
        content[start : start + length] = chance.randbytes(length)
    elif kind == 3:
        other = chance.randrange(len(original) - length)
        block = content[start : start + length]
        content[start : start + length] = content[other : other + length]
        content[other : other + length] = block[: len(content) - other]
    else:
        del content[start : start + length]
    return bytes(content)


FAULTS: dict[str, tuple[int, bool, Callable[[World, int, Trials], None]]] = {
    "model file damaged": (500, False, damage_model),
    "kill -9 during predict": (50, False, kill_command(predict, same_predictions)),
    "kill -9 during convert": (50, False, kill_command(convert, same_weights)),
    "kill -9 during export": (50, False, kill_command(export, same_files)),
    "kill -9 during train": (50, False, kill_train()),
    "SIGTERM during predict": (20, False, terminate_predict),
    "reading process of train killed": (10, False, disturb_reader(kill_process)),
    "memory of a reading process of train runs out": (20, False, disturb_reader(starve_process)),
    "memory runs out in predict": (20, False, starve(predict_large, 640_000_000)),
    "memory runs out in export": (20, False, starve(export, 320_000_000)),
    "memory runs out in train": (20, False, starve(train, 430_000_000)),
    "clock jumps during predict": (20, False, kill_command(predict, same_predictions, jumps=True)),
    "clock jumps during convert": (20, False, kill_command(convert, same_weights, jumps=True)),
    "clock jumps during export": (20, False, kill_command(export, same_files, jumps=True)),
    "clock jumps during train": (20, False, kill_train(jumps=True)),
    "disk full in predict": (20, True, full_disk(predict, 120_000)),
    "disk full in train": (10, True, full_disk(train, 700_000)),
    "disk full in export": (5, True, full_disk(export, 80_000)),
    "disk full in convert": (10, True, full_disk(convert, 24_000)),
    "read-only file system": (8, True, read_only),
    "images removed and cut off while read": (10, False, remove_images),
    "permission lost during predict": (10, True, lose_permission),
    "two trainings in one folder": (10, False, two_trainings),
    "two predictions in one folder": (10, False, two_predictions),
}
"""For each fault: trials, whether it needs root on Linux, and what runs them."""


@contextmanager
def make_world(seed: int, images: int) -> Iterator[World]:
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    for module in (*(f"segnet.cli.commands.{name.replace('-', '_')}" for name in COMMANDS), *_IMPORTED_LATER):
        import_module(module)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from caffe_oracle import caffemodel, random_weights, vgg_text

    with tempfile.TemporaryDirectory(prefix="segnet-faults-") as name:
        world = World(Path(name), random.Random(seed))
        world.root.chmod(0o755)
        os.environ["SEGNET_CACHE"] = str(world.root / "cache")
        torch.manual_seed(seed)
        checkpoint.save(SegNet(TOY), CAMVID, world.model)
        write_scenes(world.data, train=6, val=3, size=(48, 64))
        world.images.mkdir()
        generator = np.random.default_rng(seed)
        for number in range(images):
            pixels = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(world.images / f"{number:03}.png")
        world.large_images.mkdir()
        for number in range(8):
            Image.fromarray(pixels).resize((900, 700)).save(world.large_images / f"{number}.jpg")
        text = vgg_text(((3,), (4,)), 11, (11, 14))
        weights = random_weights(text, generator)
        (world.root / "net.caffemodel").write_bytes(caffemodel(text, weights))
        yield world


def run_fault(world: World, name: str, count: int) -> dict[str, Any]:
    table, began = Trials(), time.monotonic()
    FAULTS[name][2](world, count, table)
    return {
        "fault": name,
        "trials": count,
        "lost": len(table.lost),
        "outcomes": dict(table.outcomes),
        **({"losses": table.lost[:5]} if table.lost else {}),
        "seconds": round(time.monotonic() - began),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--trials", type=int, help="of each fault; default: what the table in the program says")
    parser.add_argument("--images", type=int, default=60, help="how many are predicted; 10 of them are spoiled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "faults.json")
    arguments = parser.parse_args()
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    rows = (
        {row["fault"]: row for row in json.loads(arguments.out.read_text())["rows"]} if arguments.out.exists() else {}
    )
    chosen = [name for name in arguments.only if root or not FAULTS[name][1]]
    with make_world(arguments.seed, arguments.images) as world:
        for name in chosen:
            rows[name] = run_fault(world, name, arguments.trials or FAULTS[name][0])
            print(json.dumps(rows[name]), flush=True)
            skipped = [name for name in arguments.only if name not in chosen]
            machine = about("torch", "lightning", "onnxruntime", "segnet")
            report = {"machine": machine, "seed": arguments.seed, "skipped": skipped, "rows": list(rows.values())}
            write_json(arguments.out, report)


if __name__ == "__main__":
    main()
