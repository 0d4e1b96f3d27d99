"""Whether an INT8 file predicts the same on another processor: with VNNI and without, each runtime in its own process.

    apt-get install qemu-user
    python benchmarks/bench_int8_cpus.py [--models toy segnet_light] [--data CAMVID] [--size 48 64]
        [--cpu Haswell] [--executorch-python PYTHON] [--node-modules FOLDER]

qemu runs a whole process as that processor would, saturating sums of ``vpmaddubsw`` included; its Haswell has AVX2 and
neither AVX-512 nor VNNI. Files are made twice: with the filters of older versions, whose largest weight of an output
channel is 127, and with today's, of which no two can overflow (``segnet.exporting.int8.saturation``). Every file runs
here and emulated. ``agreement`` is the share of pixels with the same class, in the mean over the images. ``precise`` is
ONNX Runtime with ``session.x64quantprecision``, ``limited`` is OpenVINO here with ONEDNN_MAX_CPU_ISA=AVX2.

ExecuTorch runs by the Python of another environment, where executorch and torchao are; onnxruntime-web by node, from
the folder where ``npm install onnxruntime-web`` was done. What is not given is left out. ExecuTorch's filters are its
own tool's and stand under ``old``. The result keeps the models of earlier runs that are not in this one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

RESULT = Path(__file__).parent / "results" / "int8_cpus.json"
IMAGES = 2
CALIBRATED = 16

Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for; see the top of the file."""

    models: list[str]
    data: str | None
    size: tuple[int, int]
    cpu: str
    emulator: str
    executorch_python: str | None
    node_modules: str | None

    @classmethod
    def parsed(cls) -> Options:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--models", nargs="+", default=["toy", "segnet_light"])
        parser.add_argument("--data", help="take images of its val, and calibrate on its train; else drawn scenes")
        parser.add_argument("--size", type=int, nargs=2, default=(48, 64))
        parser.add_argument("--cpu", default="Haswell", help="by qemu's name")
        parser.add_argument("--emulator", default="qemu-x86_64")
        parser.add_argument("--executorch-python")
        parser.add_argument("--node-modules")
        given = vars(parser.parse_args())
        return cls(**(given | {"size": tuple(given["size"])}))


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run_here(*sys.argv[2:])
        return
    options = Options.parsed()
    from segnet.system.files import write_json
    from segnet.system.hardware import about

    figures: dict[str, Any] = about("segnet", "torch", "onnxruntime", "openvino")
    figures |= {"emulator": version_of(options.emulator), "cpu": options.cpu, "size": options.size}
    figures |= {"images": IMAGES, "of": "val" if options.data else "drawn scenes", "models": {}}
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(name, Path(folder), options)
        before = json.loads(RESULT.read_text())["models"] if RESULT.is_file() else {}
        figures["models"] = before | {name: found}
        write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def measured(name: str, folder: Path, options: Options) -> dict[str, Any]:
    """Agreements, by kind of filters."""
    calibration, shown = images(options)
    np.save(folder / "images.npy", np.concatenate(shown))
    write_files(name, folder, calibration, options)
    found, started = {}, time.perf_counter()
    for filters in ("old", "new"):
        outputs = {}
        for key, command, environment in runs(folder, filters, options):
            print(f"{name}, {filters} filters: {key}", file=sys.stderr, flush=True)
            subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=sys.stderr)
            outputs[key] = np.load(folder / "output.npy")
            print(f"done after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        pairs = [(a, b) for a, b in combinations(outputs, 2) if is_told(a, b)]
        found[filters] = {f"{a} | {b}": agreement(outputs[a], outputs[b]) for a, b in pairs}
    return found


def is_told(first: str, second: str) -> bool:
    """Of one runtime in two places, and of the two that read the same file in one place."""
    (runtime, place), (other, elsewhere) = first.split(), second.split()
    return runtime == other or ({runtime, other} == {"onnxruntime", "openvino"} and place == elsewhere)


def agreement(first: Image, second: Image) -> float:
    return round(float((first.argmax(1) == second.argmax(1)).mean()), 4)


def runs(folder: Path, filters: str, options: Options) -> Iterator[tuple[str, list[str], Mapping[str, str]]]:
    """A name, a command that leaves ``output.npy``, and what to add to the environment."""
    limits = {"OMP_NUM_THREADS": "1"}
    places = {"here": [], "emulated": [options.emulator, "-cpu", options.cpu]}
    for place, prefix in places.items():
        for runtime, python, file in (
            ("onnxruntime", sys.executable, f"{filters}.onnx"),
            ("precise", sys.executable, f"{filters}.onnx"),
            ("openvino", sys.executable, f"{filters}.onnx"),
            ("executorch", options.executorch_python, "program.pte"),
            ("web", sys.executable, f"{filters}.onnx"),
        ):
            if python is None or (runtime == "web" and options.node_modules is None):
                continue
            if filters == "new" and runtime in {"precise", "executorch"}:
                continue  # the first is for old files, the second has filters of its own
            # For the web the emulator goes before node alone.
            before = [] if runtime == "web" else prefix
            command = [*before, python, __file__, "--run", runtime, str(folder), file]
            extra = {"SEGNET_NODE": json.dumps([*prefix, node(), options.node_modules])} if runtime == "web" else {}
            yield f"{runtime} {place}", command, limits | extra
    command = [sys.executable, __file__, "--run", "openvino", str(folder), f"{filters}.onnx"]
    yield "openvino limited", command, limits | {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def node() -> str:
    return shutil.which("node") or "node"


def run_here(runtime: str, folder: str, file: str) -> None:
    """In a process of its own, maybe emulated: no torch but for ExecuTorch."""
    images = np.load(Path(folder) / "images.npy")
    run = {"onnxruntime": in_onnxruntime, "precise": in_onnxruntime, "openvino": in_openvino}.get(runtime)
    if run is None:
        run = in_executorch if runtime == "executorch" else in_web
    outputs = run(Path(folder) / file, [image[None] for image in images], runtime)
    np.save(Path(folder) / "output.npy", np.concatenate(outputs))


def in_onnxruntime(path: Path, images: Sequence[Image], runtime: str) -> list[Image]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.x64quantprecision", "1" if runtime == "precise" else "0")
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"image": image})[0] for image in images]


def in_openvino(path: Path, images: Sequence[Image], _: str) -> list[Image]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [compiled([image])[0].copy() for image in images]


def in_executorch(path: Path, images: Sequence[Image], _: str) -> list[Image]:
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path.read_bytes()).load_method("forward")
    return [method.execute([torch.from_numpy(image)])[0].numpy().copy() for image in images]


def in_web(path: Path, images: Sequence[Image], _: str) -> list[Image]:
    *command, modules = json.loads(os.environ["SEGNET_NODE"])
    script, pixels, target = (
        Path(__file__).with_name("int8_cpus.mjs"),
        path.with_name("image.f32"),
        path.with_name("output.f32"),
    )
    found = []
    for image in images:
        image.tofile(pixels)
        sizes = [str(side) for side in image.shape[2:]]
        subprocess.run([*command, str(script), modules, str(path), str(pixels), *sizes, str(target)], check=True)
        found.append(np.fromfile(target, np.float32).reshape(1, -1, *image.shape[2:]))
    return found


def images(options: Options) -> tuple[list[Image], list[Image]]:
    """For the ranges, and to run."""
    from segnet.data.synthetic.scenes import render_scene

    if options.data is None:
        scenes = [render_scene(seed, size=options.size)[0] for seed in range(CALIBRATED + IMAGES)]
        batches = [np.divide(scene.transpose(2, 0, 1)[None], 255, dtype=np.float32, order="C") for scene in scenes]
        return batches[IMAGES:], batches[:IMAGES]
    from segnet.data.layouts import open_source
    from segnet.data.tensors import collate

    source = open_source(options.data)
    train, val = (source.dataset(split, size=options.size) for split in ("train", "val"))
    chosen = range(0, len(train), len(train) // CALIBRATED)[:CALIBRATED]
    shown = range(0, len(val), len(val) // IMAGES)[:IMAGES]
    calibration = [collate([train[index]])["image"].numpy() for index in chosen]
    return calibration, [collate([val[index]])["image"].numpy() for index in shown]


def write_files(name: str, folder: Path, calibration: Sequence[Image], options: Options) -> None:
    """old.onnx, new.onnx and, if ExecuTorch is asked for, program.pte."""
    from segnet.exporting.formats import to_onnx
    from segnet.exporting.int8 import rewriting
    from segnet.exporting.int8.calibration import measure_maps
    from segnet.exporting.programs import make_program
    from segnet.exporting.settings import ExportConfig
    from segnet.labels import CAMVID
    from segnet.runtimes.model_info import ModelInfo

    model, info = network(name, calibration), ModelInfo(name=name, labels=CAMVID)
    exact = to_onnx(make_program(model, ExportConfig()), info)
    statistics = measure_maps(exact, calibration)
    (folder / "new.onnx").write_bytes(rewriting.quantize_graph(exact, statistics).SerializeToString())
    with patch.object(rewriting, "fitting_scales", widest):
        (folder / "old.onnx").write_bytes(rewriting.quantize_graph(exact, statistics).SerializeToString())
    if options.executorch_python:
        import torch

        torch.save({"model": model, "images": list(calibration), "size": options.size}, folder / "network.pt")
        code = f"import bench_int8_cpus as b; b.write_program({str(folder)!r})"
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths}
        subprocess.run([options.executorch_python, "-c", code], check=True, env=environment)


def write_program(folder: str) -> None:
    """program.pte, in the environment that has ExecuTorch."""
    import torch

    from segnet.exporting.formats import FORMATS
    from segnet.exporting.int8.xnnpack import CalibratedProgram
    from segnet.exporting.programs import make_program
    from segnet.exporting.settings import ExportConfig
    from segnet.labels import CAMVID
    from segnet.runtimes.model_info import ModelInfo

    kept = torch.load(Path(folder) / "network.pt", weights_only=False)
    program = make_program(kept["model"], ExportConfig(size=kept["size"]), batch=1)
    info = ModelInfo(name="program", labels=CAMVID, size=kept["size"], batch=1, precision="int8")
    quantized = CalibratedProgram(program, kept["images"]).quantize(())
    FORMATS["executorch"].write(quantized, info, Path(folder) / "program.pte")


def network(name: str, calibration: Sequence[Image]) -> Any:
    """A bundled model or file; ``toy`` is two stages that have seen the images, of the tests' kind."""
    import torch

    from segnet.labels import CAMVID
    from segnet.models import checkpoint
    from segnet.models.decoders import DecoderConfig
    from segnet.models.encoders import EncoderConfig
    from segnet.models.segnet import SegNet, SegNetConfig

    if name != "toy":
        return checkpoint.load(name).model.eval()
    torch.manual_seed(0)
    encoder, decoder = EncoderConfig(widths=((8,), (8, 8))), DecoderConfig(widths=((8,), (8,)), relu=False)
    model = SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, classes=CAMVID.classes))
    with torch.no_grad():
        for _ in range(20):
            model(torch.from_numpy(np.concatenate(calibration)))
    return model.eval()


def widest(filters: Image) -> Image:
    """The scales of older versions."""
    scales: Image = np.maximum(np.abs(filters).max(axis=(1, 2, 3)) / 127, 1e-12).astype(np.float32)
    return scales


def version_of(command: str) -> str:
    output = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    return output.partition("\n")[0]


if __name__ == "__main__":
    main()
