"""What a video costs beside its model: rate, latency, memory, and how steady it becomes.

python benchmarks/bench_video.py CLIP [--model segnet_light] [--max-size 480] [--frames 60] [--camvid FOLDER]
python benchmarks/bench_video.py CLIP --parts rate --int8 segnet_light_int8.xml --frames 150 --rounds 5
python benchmarks/bench_video.py --table

Rate: `segment_video` reads the clip, segments it and writes an overlay as H.264 with its sound; the baseline runs the
same model in the same process over the same frames, already in memory. Both take turns, in PyTorch, in OpenVINO and in
an INT8 file of OpenVINO (`segnet export segnet_light --format openvino --int8 --calibrate CamVid`), each in a process
of its own. With the milliseconds of each stage.
Latency: the clip stands in for a camera. Memory: the peak of a process that segments 200 and 2,000 frames. Flicker: the
share of pixels that change their class from frame to frame, without and with smoothing. CamVid: its annotated images as
short videos, a window that moves over them with noise on top, scored at the last frame.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from importlib.metadata import version
from operator import add
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from segnet.data.layouts import open_dataset
from segnet.inference.predictor import Predictor
from segnet.inference.smoothing import SmoothedRuntime
from segnet.inference.stream import stream
from segnet.inference.video import segment_video, write_video
from segnet.inference.video_report import THREADS, VideoReport
from segnet.media.video.opening import open_video
from segnet.media.video.reading import open_clip
from segnet.media.video.settings import VideoConfig
from segnet.media.video.writing import VideoFormat, open_video_writer
from segnet.metrics.confusion import score_mask
from segnet.system.allocator import keep_freed_memory
from segnet.system.files import write_json
from segnet.system.hardware import about, instruction_sets

RESULT = Path(__file__).parent / "results" / "video.json"
SMOOTH = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--model", default="segnet_light")
    parser.add_argument("--max-size", type=int, default=0, help="longest side of segmented frames; 0: the model's")
    parser.add_argument("--int8", type=Path, help="an INT8 file of the model for OpenVINO")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--camvid", type=Path)
    parser.add_argument("--parts", default="rate,latency,memory,flicker,camvid")
    parser.add_argument("--table", action="store_true", help="print the rows of docs/how-to/video.md of the last run")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.memory_of:
        print(peak_mb(arguments.clip, arguments.model, arguments.memory_of))
        return
    if arguments.contender:
        print(json.dumps(contend(arguments)))
        return
    figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if arguments.table:
        print(table(figures["runtimes"]["rows"]))
        return
    parts = arguments.parts.split(",")
    if "rate" in parts:
        figures["runtimes"] = runtimes(arguments)
    if set(parts) - {"rate"}:
        measure_others(arguments, parts, figures)
    write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def measure_others(arguments: argparse.Namespace, parts: list[str], figures: dict[str, Any]) -> None:
    """Latency, memory, flicker and CamVid."""
    predictor = Predictor.load(arguments.model, max_size=arguments.max_size or "model")
    figures |= {**about("segnet", "torch", "numpy", "pillow", "av"), "clip": describe(arguments.clip)}
    name = predictor.runtime.info.name + (f" at {arguments.max_size}" if arguments.max_size else "")
    if "latency" in parts:
        figures.setdefault("latency", {})[name] = latency(predictor, arguments.clip)
    if "memory" in parts:
        figures["memory"] = memory(arguments.clip, arguments.model)
    if "flicker" in parts:
        figures.setdefault("flicker", {})[name] = flicker(predictor, arguments.clip)
    if "camvid" in parts and arguments.camvid:
        figures.setdefault("camvid", {})[name] = camvid(predictor, arguments.camvid)


def describe(clip: Path) -> str:
    found = open_clip(clip)
    height, width = next(found.read()).image.shape[:2]
    sound = ", with sound" if found.audio else ""
    return f"{clip.name}: {found.frames} frames of {width}x{height}, {float(found.rate):g}/s{sound}"


def runtimes(arguments: argparse.Namespace) -> dict[str, object]:
    """The model in each library, each in a process of its own; the table of docs/how-to/video.md."""
    found, before = open_clip(arguments.clip), os.getloadavg()
    if not found.audio:
        raise SystemExit(f"{arguments.clip} has no sound; give a clip that has")
    contenders = {"PyTorch": (arguments.model, "torch"), "OpenVINO": (arguments.model, "openvino")}
    if arguments.int8:
        contenders["OpenVINO INT8"] = (str(arguments.int8), "auto")
    rows = {}
    for name, (model, runtime) in contenders.items():
        command = [sys.executable, __file__, str(arguments.clip), "--model", model, "--contender", runtime]
        command += ["--max-size", str(arguments.max_size)] if arguments.max_size else []
        command += ["--frames", str(arguments.frames), "--rounds", str(arguments.rounds)]
        rows[name] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return {
        **about("segnet", "torch", "openvino", "numpy", "pillow", "av"),
        "instruction_sets": instruction_sets(),
        "clip": describe(arguments.clip),
        "model": arguments.model,
        "load_before": [round(load, 2) for load in before],
        "load_after": [round(load, 2) for load in os.getloadavg()],
        "rows": rows,
    }


def table(rows: dict[str, Any]) -> str:
    """Rates by runtime, and the stages of its best video in milliseconds per frame, in Markdown."""
    stages = [name for names in THREADS.values() for name in names if name != "save"]
    lines = ["| | video | bare model loop | share | slowest | processor ms per frame (bare) | memory peak |"]
    lines += ["|---|---:|---:|---:|---|---:|---:|"]
    for name, row in rows.items():
        share = row["best_video_per_s"] / row["best_bare_per_s"]
        cpu = f"{row['median_video_cpu_ms']:.0f} ({row['median_bare_cpu_ms']:.0f})"
        rates = f"{row['best_video_per_s']:.1f} | {row['best_bare_per_s']:.1f} | {share:.2f}"
        lines.append(f"| {name} | {rates} | {row['slowest']} | {cpu} | {row['peak_mb']:.0f} MB |")
    lines += ["", f"| ms | {' | '.join(stages)} |", "|---|" + "---:|" * len(stages)]
    for name, row in rows.items():
        taken = (row["stages_ms_of_best"].get(stage, {"ms": 0.0})["ms"] for stage in stages)
        lines.append(f"| {name} | {' | '.join(f'{ms:.1f}' for ms in taken)} |")
    return "\n".join(lines)


def contend(arguments: argparse.Namespace) -> dict[str, object]:
    """One library: its videos with sound and its bare loop over the same frames in memory, by turns."""
    size = arguments.max_size or "model"
    predictor = Predictor.load(arguments.model, runtime=arguments.contender, max_size=size, verify="never")
    config = VideoConfig(end=float(arguments.frames / open_clip(arguments.clip).rate))
    turns: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        segment_video(predictor, arguments.clip, out, config=config)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before the frames are held in memory
        images = [frame.image for frame in open_clip(arguments.clip).read(end=config.end)]
        best = VideoReport()
        for _ in range(arguments.rounds):
            bare_s, bare_cpu_s = time_of(lambda: [predictor(image) for image in images])
            report = segment_video(predictor, arguments.clip, out, config=config)
            best = max(best, report, key=lambda each: each.rate)
            turns.append(
                {
                    "bare_per_s": round(len(images) / bare_s, 2),
                    "video_per_s": round(report.rate, 2),
                    "share": round(report.rate * bare_s / len(images), 3),
                    "bare_cpu_ms": round(1000 * bare_cpu_s / len(images), 1),
                    "video_cpu_ms": round(1000 * report.cpu_seconds / report.frames, 1),
                }
            )
        written = out.stat().st_size
    return {
        "backend": getattr(predictor.runtime, "backend", f"PyTorch {version('torch')}"),
        "working_size": predictor.working_size(*images[0].shape[:2]),
        "frames": len(images),
        "rounds": turns,
        **{f"best_{name}": max(turn[name] for turn in turns) for name in ("bare_per_s", "video_per_s")},
        **{f"median_{name}": round(median(turn[name] for turn in turns), 3) for name in turns[0]},
        "stages_ms_of_best": best.stages_ms(),
        "slowest": best.slowest,
        "peak_mb": round(peak, 1),
        "written_mb": round(written / 1e6, 2),
    }


def time_of(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of the processor, of all threads."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def latency(predictor: Predictor, clip: Path) -> dict[str, float]:
    """From the moment that a frame is there to its prediction, against one run of the model on the same frames."""
    config, report = VideoConfig(live=True), VideoReport()
    taken = []
    for labeled in stream(predictor, clip, config=VideoConfig(every=25)):
        start = time.perf_counter()
        predictor(labeled.image)
        taken.append((time.perf_counter() - start) * 1000)
    with tempfile.TemporaryDirectory() as out:
        video = open_video(clip, config)
        write_video(predictor, video, {"overlay": Path(out) / "out.mp4"}, config=config, report=report)
    model = float(np.median(taken))
    return {
        "model_ms": round(model, 1),
        "latency_ms": round(report.latency_ms(50) or 0, 1),
        "latency_p95_ms": round(report.latency_ms(95) or 0, 1),
        "more_than_model_ms": round((report.latency_ms(50) or 0) - model, 1),
        "labeled": report.frames,
        "dropped": report.dropped,
    }


def memory(clip: Path, model: str) -> dict[str, float]:
    peaks = {}
    for count in (200, 2000):
        command = [sys.executable, __file__, str(clip), "--model", model, "--memory-of", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[count] = float(done.stdout)
    return {"peak_mb_200": peaks[200], "peak_mb_2000": peaks[2000], "ratio": round(peaks[2000] / peaks[200], 3)}


def peak_mb(clip: Path, model: str, count: int) -> float:
    """Of a process that segments the clip's first images, half as wide, over and over."""
    predictor = Predictor.load(model, max_size=128)
    images = [frame.image[::2, ::2].copy() for frame in open_clip(clip).read(end=1.0)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mkv"
        with open_video_writer(source, images[0].shape[:2], VideoFormat()) as video:
            for number in range(count):
                video.add(images[number % len(images)], Fraction(number, 25))
        segment_video(predictor, source, Path(folder) / "out.mp4")
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def flicker(predictor: Predictor, clip: Path) -> dict[str, float]:
    found = {}
    with tempfile.TemporaryDirectory() as out:
        for smooth in (0.0, SMOOTH):
            config = VideoConfig(smoothing=smooth, flicker=True)
            meter = segment_video(predictor, clip, Path(out) / "out.mp4", config=config).flicker
            found[smooth] = (meter.share or 0.0, meter.share_along_motion or 0.0)
    return {
        "smooth": SMOOTH,
        "changed": round(found[0.0][0], 5),
        "changed_smooth": round(found[SMOOTH][0], 5),
        "changed_along_motion": round(found[0.0][1], 5),
        "changed_along_motion_smooth": round(found[SMOOTH][1], 5),
        "ratio": round(found[SMOOTH][0] / found[0.0][0], 3),
        "ratio_along_motion": round(found[SMOOTH][1] / found[0.0][1], 3),
    }


def camvid(predictor: Predictor, root: Path, *, images: int = 16, frames: int = 8) -> dict[str, object]:
    """mIoU of the last frame, for windows that stand still or move 2 and 6 pixels a frame."""
    data = open_dataset(root, split="val")
    chosen = [data[number] for number in range(0, len(data), len(data) // images)][:images]
    pairs = [((sample["image"].numpy() * 255).round(), sample["mask"].numpy().astype(np.uint8)) for sample in chosen]
    rows = {f"{speed}_px_a_frame": moving_window(predictor, pairs, speed, frames) for speed in (0, 2, 6)}
    return {"images": len(pairs), "frames_each": frames, "noise_sd": 8, "smooth": SMOOTH, "miou": rows}


def moving_window(
    predictor: Predictor, pairs: list[tuple[np.ndarray, np.ndarray]], speed: int, frames: int
) -> dict[str, float]:
    """Of images (3, H, W) from 0 to 255 and masks (H, W)."""
    noise, single, steadied = np.random.default_rng(0), [], []
    for image, mask in pairs:
        width = image.shape[2] - 6 * frames
        smooth = SmoothedRuntime(predictor.runtime, SMOOTH)
        for frame in range(frames):
            cut = image[:, :, speed * frame :][:, :, :width]
            noisy = np.clip(cut + noise.normal(0, 8, cut.shape), 0, 255).round()
            batch = (noisy / 255).astype(np.float32)[None]
            blended = smooth.run(batch).mask[0]
        truth = mask[:, speed * (frames - 1) :][:, :width]
        single.append(score_mask(predictor.runtime.run(batch).mask[0], truth, predictor.labels))
        steadied.append(score_mask(blended, truth, predictor.labels))
    return {name: round(reduce(add, found).miou, 4) for name, found in (("single", single), ("smooth", steadied))}


if __name__ == "__main__":
    main()
