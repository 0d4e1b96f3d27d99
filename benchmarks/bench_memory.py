"""Memory of SegNet: what is kept for the decoder, and the peak of a prediction and of a training step.

    python benchmarks/bench_memory.py [--rounds 2]
    python benchmarks/bench_memory.py --table       # the tables of docs/explanation/memory.md, from the last figures

The baseline is the reference implementation: `nn.MaxPool2d(return_indices=True)`, `nn.MaxUnpool2d`, and convolution,
batch norm and ReLU as modules of their own. Two figures of one call in a fresh process that ran a small image before,
both on top of the weights and the images:

    tensors   bytes of all tensors alive after an operation, at the worst moment; exact, but blind to scratch memory
    resident  growth of the peak resident memory, in up to three settings of glibc: `exact` (whatever is freed goes back
              to the system), `returning` (as glibc comes: part of it does), `keeping` (as the `segnet` command sets it)

On a GPU the peak of PyTorch's CUDA allocator takes the place of `resident`. Time is that of training steps by turns.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bench_ops import KEEPING
from segnet.benchmark.baselines import ReferenceSegNet
from segnet.benchmark.live_tensors import LiveTensors
from segnet.models import efficientnet
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.squeezenet import squeezenet_channels
from segnet.models.zoo import MODELS, create_model
from segnet.system.files import write_json
from segnet.system.hardware import about

RESULT = Path(__file__).parent / "results" / "memory.json"
SIZE = (360, 480)
WARM_UP = (32, 32)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
MB = 2**20

# The paper's table 1, column "storage multiplier"; it gives none for the row without addition.
PUBLISHED: Mapping[str, int | None] = {
    "bilinear": 0,
    "segnet_basic": 1,
    "segnet_basic_encoder_addition": 64,
    "segnet_basic_single_channel_decoder": 1,
    "fcn_basic": 11,
    "fcn_basic_no_addition": None,
    "fcn_basic_no_dim_reduction": 64,
    "fcn_basic_no_addition_no_dim_reduction": 0,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One measurement.

    Attributes:
        task: ``predict`` (one image) or ``train`` (four images: forward, loss, backward, step of plain SGD).
        baseline: ``reference``, ``segnet``, or ``saving`` (segnet after ``save_memory()``).
    """

    task: str
    model: str
    baseline: str
    layout: str
    precision: str = "float32"


PREDICT = [
    Case(task="predict", model=model, baseline=baseline, layout=layout)
    for model in ("segnet", "segnet_basic")
    for baseline, layout in (("reference", "contiguous"), ("segnet", "contiguous"), ("segnet", "channels_last"))
]
TRAIN = [
    Case(task="train", model=model, baseline=baseline, layout=layout, precision=precision)
    for model, precision in (("segnet", "float32"), ("segnet_basic", "float32"), ("segnet", "bfloat16"))
    for baseline, layout in (("reference", "contiguous"), ("segnet", "channels_last"), ("saving", "channels_last"))
]


def main() -> None:
    arguments = parse_arguments()
    if arguments.table:
        print("\n\n".join(tables(json.loads(RESULT.read_text())).values()))
    elif arguments.case:
        print(json.dumps(peak(Case(**json.loads(arguments.case)))))
    elif arguments.time:
        print(json.dumps(step_seconds(arguments.rounds)))
    else:
        write_json(RESULT, measure(arguments.rounds))
        print("\n\n".join(tables(json.loads(RESULT.read_text())).values()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="of timed training steps")
    parser.add_argument("--table", action="store_true", help="print the tables of the last figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--time", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(rounds: int) -> dict[str, Any]:
    return {
        **about("segnet", "torch"),
        "size": SIZE,
        "device": DEVICE,
        "kept": [kept_bytes(name, SIZE) for name in MODELS],
        "predict": [peaks(case) for case in PREDICT],
        "train": [peaks(case) for case in TRAIN],
        "step_s": json.loads(in_child(KEEPING, "--time", "--rounds", str(rounds))),
    }


def peaks(case: Case) -> dict[str, Any]:
    """The peaks of one case, in bytes."""
    runs = {}
    for name, tunables in allocators(case.task).items():
        runs[name] = json.loads(in_child(tunables, "--case", json.dumps(asdict(case))))
        print(case, name, runs[name], file=sys.stderr)
    first = next(iter(runs.values()))
    resident = {name: run["resident"] for name, run in runs.items()}
    return {**asdict(case), "weights": first["weights"], "tensors": first["tensors"], "resident": resident}


def allocators(task: str) -> dict[str, str]:
    """Settings of glibc to measure with; a training step frees too little before its peak to need more than one."""
    if DEVICE == "cuda":
        return {"cuda": ""}
    exact = {"exact": "glibc.malloc.mmap_threshold=65536"}
    return {**exact, "returning": "", "keeping": KEEPING} if task == "predict" else exact


def in_child(tunables: str, *arguments: str) -> str:
    # A fresh process: what an earlier case left behind would count, and glibc reads its tunables once.
    command, environment = [sys.executable, __file__, *arguments], {**os.environ, "GLIBC_TUNABLES": tunables}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


# What is kept for the decoder


def kept_bytes(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Bytes that a model's encoder hands to its decoder for one image, from the tensors themselves."""
    model = create_model(name).eval()
    with torch.inference_mode():
        kept = model.encoder(torch.rand(1, 3, *size), model.decoder.skips)[1]
    codes = [entry for entry in kept if entry.code is not None]
    return {
        "model": name,
        "codes": sum(entry.code.nbytes for entry in codes),
        "maps": sum(entry.features.nbytes for entry in kept if entry.features is not None),
        "indices": sum(_index_bytes(entry.code.shape[1], entry.size) for entry in codes),
    }


def _index_bytes(channels: int, size: tuple[int, int]) -> int:
    return F.max_pool2d(torch.zeros(1, channels, *size), 2, 2, ceil_mode=True, return_indices=True)[1].nbytes


def counted_bytes(config: SegNetConfig, size: tuple[int, int]) -> tuple[int, int]:
    """The same for codes and maps, from the table of layers alone."""
    codes = maps = 0
    pooled_channels = 0
    decoder, (stride, ends) = config.decoder, _stages(config)
    size = (-(-size[0] // stride), -(-size[1] // stride))
    for end, widths in zip(ends, reversed(decoder.widths), strict=True):
        windows = -(-size[0] // 2) * -(-size[1] // 2)
        codes += end * -(-windows // 4) if decoder.upsampling == "indices" else 0
        channels = config.classes if decoder.compress else widths[-1] if widths else end
        if decoder.addition == "maps" or (decoder.addition == "pooled" and pooled_channels):
            maps += channels * size[0] * size[1] * 4
        size, pooled_channels = (-(-size[0] // 2), -(-size[1] // 2)), end
    return codes, maps


def _stages(config: SegNetConfig) -> tuple[int, tuple[int, ...]]:
    """The stride before the first stage that keeps something, and the channels of each such stage."""
    encoder = config.encoder
    if encoder.kind == "efficientnet_lite0":
        return 2, efficientnet.CHANNELS[:-1]
    widths = tuple(stage[-1] for stage in encoder.widths)
    return encoder.stem_stride, widths or squeezenet_channels(encoder.stem_stride)


# The baselines


def build(case: Case) -> nn.Module:
    model: nn.Module = ReferenceSegNet(MODELS[case.model]) if case.baseline == "reference" else create_model(case.model)
    if isinstance(model, SegNet):
        model.save_memory(case.baseline == "saving")
        model = model.folded() if case.task == "predict" else model
    return model.train(case.task == "train").to(DEVICE, memory_format=LAYOUTS[case.layout])  # type: ignore[call-overload,no-any-return]


def work(case: Case, model: nn.Module, size: tuple[int, int]) -> Callable[[], None]:
    """What is measured of a model, for images of this size."""
    return (predicting if case.task == "predict" else training)(case, model, size)


def predicting(case: Case, model: nn.Module, size: tuple[int, int]) -> Callable[[], None]:
    image = torch.rand(1, 3, *size, device=DEVICE).contiguous(memory_format=LAYOUTS[case.layout])

    @torch.inference_mode()
    def predict() -> None:
        model(image)

    return predict


def training(case: Case, model: nn.Module, size: tuple[int, int]) -> Callable[[], None]:
    image = torch.rand(4, 3, *size, device=DEVICE).contiguous(memory_format=LAYOUTS[case.layout])
    mask = torch.randint(0, 11, (4, *size), device=DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    half = case.precision == "bfloat16"

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16) if half else nullcontext():
            loss = F.cross_entropy(model(image), mask)
        loss.backward()
        optimizer.step()

    return step


# The ways to measure memory


def peak(case: Case) -> dict[str, int]:
    """One call in this process, which has to be a fresh one."""
    model = build(case)
    known = [*model.parameters(), *model.buffers()]
    with LiveTensors(known):  # at its first use PyTorch imports 70 MB of Python
        work(case, model, WARM_UP)()
    model.zero_grad()
    call = work(case, model, SIZE)
    grown = begin_peak()
    with LiveTensors(known) as live:
        call()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    return {"weights": weights, "tensors": live.peak, "resident": grown()}


def begin_peak() -> Callable[[], int]:
    """Forget the peak so far; the result tells how far memory then went beyond what it is now, in bytes."""
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        return lambda: torch.cuda.max_memory_allocated() - allocated
    ctypes.CDLL(None).malloc_trim(0)  # free memory that the process still has would be used unseen
    Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets VmHWM
    before = status("VmRSS")
    return lambda: status("VmHWM") - before


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


# Time


def step_seconds(rounds: int) -> list[dict[str, Any]]:
    """Training steps by turns; the smallest time of each counts."""
    cases = [case for case in TRAIN if case.model == "segnet" and case.precision == "float32"]
    calls = []
    for case in cases:
        model = build(case)
        work(case, model, WARM_UP)()
        calls.append(work(case, model, SIZE))
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(round(time.perf_counter() - start, 3))
    return [{**asdict(case), "seconds": taken} for case, taken in zip(cases, times, strict=True)]


# The tables of the page


def tables(figures: Mapping[str, Any]) -> dict[str, str]:
    """By name: the Markdown tables of docs/explanation/memory.md."""
    return {
        "kept": kept_table(figures["kept"]),
        "predict": peaks_table(renamed(figures["predict"])),
        "train": peaks_table(renamed(figures["train"]), renamed(figures["step_s"])),
    }


def renamed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an older file in the names of today: ``rival`` and ``textbook`` were ``baseline`` and ``reference``."""
    keys, values = {"rival": "baseline"}, {"textbook": "reference"}
    return [
        {
            keys.get(key, key): values.get(value, value) if isinstance(value, str) else value
            for key, value in row.items()
        }
        for row in rows
    ]


def kept_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Models that keep the same share a row."""
    alike: dict[tuple[int, int, int], list[str]] = {}
    for row in rows:
        alike.setdefault((row["codes"], row["maps"], row["indices"]), []).append(row["model"])
    unit = next(row["codes"] for row in rows if row["model"] == "segnet_basic")
    cells = []
    for (codes, maps, indices), models in alike.items():
        published = [PUBLISHED[name] for name in models if name in PUBLISHED]
        said = " or ".join(dict.fromkeys("n/a" if value is None else str(value) for value in published))
        names = ", ".join(f"`{name}`" for name in models)
        ratio = f"{(codes + maps) / unit:.2f}"
        cells.append([names, _mb(codes), _mb(maps), _mb(indices + maps), ratio, said or "-"])
    return _table(["model", "codes", "maps", "with int64 indices", "relative to `segnet_basic`", "paper"], cells)


def peaks_table(rows: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]] = ()) -> str:
    """MB, and seconds of a step where they are given; in brackets the ratio to the reference implementation."""
    settings = list(rows[0]["resident"])
    seconds = {_identity(step): min(step["seconds"]) for step in steps}
    cells = []
    for row in rows:
        reference = next(other for other in rows if _group(other) == _group(row) and other["baseline"] == "reference")
        numbers = [
            _against(row["tensors"] / MB, reference["tensors"] / MB),
            *(_against(row["resident"][name] / MB, reference["resident"][name] / MB) for name in settings),
            _against((row["tensors"] + row["weights"]) / MB, (reference["tensors"] + reference["weights"]) / MB),
        ]
        if _identity(row) in seconds:
            numbers.append(_against(seconds[_identity(row)], seconds[_identity(reference)]))
        elif steps:
            numbers.append("")
        implementation = {"saving": "`--save-memory`"}.get(row["baseline"], row["baseline"])
        cells.append([f"`{row['model']}`, {row['precision']}", f"{implementation}, {row['layout']}", *numbers])
    resident = [f"resident, {name}" for name in settings]
    heads = ["model", "implementation", "tensors", *resident, "tensors and weights", *(["step, s"] if steps else [])]
    return _table(heads, cells)


def _group(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["model"], row["precision"]


def _identity(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[field.name] for field in fields(Case))


def _against(here: float, there: float) -> str:
    return f"{here:,.0f} ({here / there:.2f})" if there >= 100 else f"{here:.1f} ({here / there:.2f})"


def _mb(count: int) -> str:
    return f"{count / MB:,.2f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
