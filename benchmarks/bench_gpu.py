"""Inference and training on a GPU against SegNet's reference implementation, and against a matrix product of cuBLAS.

    python benchmarks/bench_gpu.py [--models segnet,segnet_squeezenet,segnet_light] [--batch 8] [--out FILE]

`reference` has the layers of `segnet` (`--reference`), with `nn.MaxPool2d(return_indices=True)` and `nn.MaxUnpool2d`.
Each network runs in four ways, the reference too, so that a gain of the way is not counted as a gain of the network:

    eager     as PyTorch comes: NCHW, float32 with TF32 convolutions
    bf16      channels_last, autocast to bfloat16
    compile   the same by `torch.compile`
    graph     the same as `bf16`, recorded and replayed as a CUDA graph

Inference is from a batch of images on the device to masks there, ours with batch norm folded as in `segnet predict`.
Training is forward, weighted cross entropy, backward and a step of SGD with momentum, without loading and augmentation.

All candidates take turns; medians of the turns. Ratios are medians of those within one turn. `share_of_product` is the
share of what a square matrix product does in the same turns, in TF32 for `eager` and in bfloat16 for the others; the
backward pass counts as two forward passes. Candidates for which `--seconds` leaves no time, or which fail, are listed
with the reason. On the CPU (`--device cpu`, to try the program) there are no CUDA graphs, and nothing is compiled to
machine code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.benchmark.baselines import ReferenceSegNet, reference_config
from segnet.models.cost import cost_of
from segnet.models.segnet import SegNet
from segnet.models.zoo import MODELS, create_model
from segnet.system.files import write_json
from segnet.system.hardware import about

RESULT = Path(__file__).parent / "results" / "gpu.json"
CLASSES = 11
TASKS = ("inference", "training")
WAYS = ("eager", "bf16", "graph", "compile")  # compilations last, since they may not fit into the time
TURN_S = 0.05
MOST_CALLS = 50
PREPARING_SHARE = 0.75  # of the time; the rest is for measuring
WARM_UP = 3
PRODUCT_SIDE = {"cuda": 8192, "cpu": 256}


@dataclass
class Candidate:
    """What is timed: a network, a way and a task; or a matrix product."""

    network: str
    way: str
    task: str
    run: Callable[[], object] | None = None
    calls: int = 1
    note: str = ""
    memory_mb: float | None = None
    ms: list[float] = field(default_factory=list)


def main() -> None:
    arguments = parse_arguments()
    end = time.monotonic() + arguments.seconds
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    candidates = prepare(arguments, end - (1 - PREPARING_SHARE) * arguments.seconds)
    for turn in range(arguments.turns):
        if turn and time.monotonic() > end:
            break
        for candidate in candidates:
            take_turn(candidate, arguments.device)
    figures = collect(candidates, arguments)
    write_json(arguments.out, figures)
    print(table(figures))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["segnet", "segnet_squeezenet", "segnet_light"]
    parser.add_argument("--models", type=lambda text: text.split(","), default=names)
    parser.add_argument("--reference", default="segnet", help="model with the layers of the reference implementation")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15, help="at most; fewer if the time is over")
    parser.add_argument("--seconds", type=float, default=90.0, help="for all; a compilation that began is finished")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def prepare(arguments: argparse.Namespace, end: float) -> list[Candidate]:
    """All candidates, warm; those that cannot run have a note instead."""
    candidates = [
        Candidate(name, way, task) for way in WAYS for name in ("reference", *arguments.models) for task in TASKS
    ]
    for candidate in candidates:
        if time.monotonic() > end:
            candidate.note = "left out: the time was over"
        else:
            warm_up(candidate, arguments)
            print(f"{candidate.network} {candidate.way} {candidate.task}: {candidate.note or 'ready'}", flush=True)
    return [product(dtype, arguments.device) for dtype in (torch.float32, torch.bfloat16)] + candidates


def warm_up(candidate: Candidate, arguments: argparse.Namespace) -> None:
    """Build the step of a candidate and run it; an error becomes its note, so that the others are still measured."""
    on_gpu = arguments.device == "cuda"
    if candidate.way == "graph" and not on_gpu:
        candidate.note = "left out: CUDA graphs need CUDA"
        return
    try:
        step = build(candidate, arguments)
        for _ in range(WARM_UP):
            step()
        candidate.memory_mb = measure_memory(step) if on_gpu else None
        candidate.run = record(step) if candidate.way == "graph" else step
        candidate.calls = count_calls(candidate.run, arguments.device)
    except Exception as error:  # of any kind: cuDNN, Inductor, memory
        candidate.run, candidate.note = None, f"failed: {type(error).__name__}: {str(error).strip()[:300]}"


def build(candidate: Candidate, arguments: argparse.Namespace) -> Callable[[], object]:
    """One call is one batch."""
    layout = torch.contiguous_format if candidate.way == "eager" else torch.channels_last
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.batch, 3, *arguments.size)
    image = torch.rand(shape, generator=generator).to(arguments.device, memory_format=layout)
    mask = torch.randint(0, CLASSES, (arguments.batch, *arguments.size), generator=generator).to(arguments.device)
    model = make_network(candidate, arguments.reference).to(arguments.device, memory_format=layout)  # type: ignore[call-overload]
    if candidate.way == "compile":
        model.compile(dynamic=False, backend="inductor" if arguments.device == "cuda" else "eager")
    bf16 = candidate.way != "eager"

    def logits() -> Tensor:
        # Without the cache, which a CUDA graph must not use; each filter is cast once anyway.
        with torch.autocast(arguments.device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return model(image).float()

    return make_inference(logits) if candidate.task == "inference" else make_training(model, logits, mask)


def make_inference(logits: Callable[[], Tensor]) -> Callable[[], object]:
    @torch.no_grad()
    def step() -> Tensor:
        return logits().argmax(dim=1)

    return step


def make_training(model: nn.Module, logits: Callable[[], Tensor], mask: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    weight = torch.ones(CLASSES, device=mask.device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(logits(), mask, weight=weight, ignore_index=255).backward()
        optimizer.step()

    return step


class Normalized(nn.Module):
    """The reference, with the normalization that our networks have inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        config = replace(reference_config(name), classes=CLASSES)
        self.network = ReferenceSegNet(config)
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(getattr(config, key)).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network((image - self.mean) / self.std)
        return logits


def make_network(candidate: Candidate, reference: str) -> nn.Module:
    training = candidate.task == "training"
    if candidate.network == "reference":
        return Normalized(reference).train(training)
    model: SegNet = create_model(candidate.network, classes=CLASSES)
    return model.train() if training else model.eval().folded()


def record(step: Callable[[], object]) -> Callable[[], object]:
    """The step as a CUDA graph, see "CUDA semantics" in PyTorch's documentation."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay(_output: object = kept) -> None:  # the output lives as long as the graph
        graph.replay()

    return replay


def measure_memory(step: Callable[[], object]) -> float:
    """How far the memory of the device grows in a step, in 10^6 bytes; the network's own is not in it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def product(dtype: torch.dtype, device: str) -> Candidate:
    """A square matrix product; of random numbers, since zeros take less power and run faster."""
    side = PRODUCT_SIDE[device]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    candidate = Candidate(
        "product", "eager" if dtype == torch.float32 else "bf16", "product", run=lambda: torch.mm(a, b)
    )
    candidate.calls = count_calls(candidate.run, device)
    return candidate


def count_calls(run: Callable[[], object] | None, device: str) -> int:
    """Calls of a turn."""
    assert run is not None
    run()
    return max(1, min(MOST_CALLS, round(TURN_S / seconds_of(run, 1, device))))


def take_turn(candidate: Candidate, device: str) -> None:
    if candidate.run is None:
        return
    try:
        candidate.ms.append(1e3 * seconds_of(candidate.run, candidate.calls, device))
    except RuntimeError as error:
        candidate.run, candidate.note = None, f"failed: {str(error).strip()[:300]}"


def seconds_of(run: Callable[[], object], calls: int, device: str) -> float:
    """Wall time of one of so many calls in a row."""
    synchronize = torch.cuda.synchronize if device == "cuda" else torch.cpu.synchronize
    synchronize()
    began = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize()
    return (time.perf_counter() - began) / calls


def collect(candidates: list[Candidate], arguments: argparse.Namespace) -> dict[str, Any]:
    on_gpu = arguments.device == "cuda"
    settings = {name: getattr(arguments, name) for name in ("device", "reference", "size", "batch", "seconds")}
    products = {each.way: each for each in candidates if each.task == "product"}
    flops = 2 * PRODUCT_SIDE[arguments.device] ** 3
    return {
        **about("segnet", "torch", "triton"),
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **settings,
        "turns": max(len(each.ms) for each in candidates),
        "product_tflops": {way: round(flops / median(each.ms) / 1e9, 2) for way, each in products.items() if each.ms},
        "rows": [row(each, candidates, arguments) for each in candidates if each.task != "product"],
    }


def row(candidate: Candidate, candidates: list[Candidate], arguments: argparse.Namespace) -> dict[str, Any]:
    names = {"network": candidate.network, "way": candidate.way, "task": candidate.task}
    if not candidate.ms:
        return {**names, "note": candidate.note}
    others = {(each.network, each.way, each.task): each for each in candidates}
    way = "eager" if candidate.way == "eager" else "bf16"
    return {
        **names,
        "ms": round(median(candidate.ms), 3),
        "images_per_s": round(1e3 * arguments.batch / median(candidate.ms), 1),
        "against_reference_same_way": ratio(others["reference", candidate.way, candidate.task], candidate),
        "against_reference_eager": ratio(others["reference", "eager", candidate.task], candidate),
        "share_of_product": share(others["product", way, "product"], candidate, arguments),
        "memory_mb": candidate.memory_mb and round(candidate.memory_mb, 1),
        "turns": len(candidate.ms),
        **({"note": candidate.note} if candidate.note else {}),
    }


def ratio(baseline: Candidate, candidate: Candidate) -> float | None:
    """How many times as fast as the baseline."""
    if not baseline.ms:
        return None
    return round(median(theirs / ours for theirs, ours in zip(baseline.ms, candidate.ms, strict=False)), 3)


def share(matrices: Candidate, candidate: Candidate, arguments: argparse.Namespace) -> float | None:
    """Share of the rate of the matrix product."""
    if not matrices.ms:
        return None
    name = arguments.reference if candidate.network == "reference" else candidate.network
    macs = count_macs(name, tuple(arguments.size)) * arguments.batch
    passes = 3 if candidate.task == "training" else 1
    work = passes * macs / PRODUCT_SIDE[arguments.device] ** 3
    return round(work * median(theirs / ours for theirs, ours in zip(matrices.ms, candidate.ms, strict=False)), 4)


@cache
def count_macs(name: str, size: tuple[int, int]) -> int:
    return cost_of(replace(MODELS[name], classes=CLASSES), size).macs


def table(figures: dict[str, Any]) -> str:
    lines = ["| network | way | task | ms | images/s | against reference: same way | eager | share of product | MB |"]
    lines.append("|---" * 9 + "|")
    for line in figures["rows"]:
        names = f"| {line['network']} | {line['way']} | {line['task']} | "
        keys = ("ms", "images_per_s", "against_reference_same_way", "against_reference_eager", "share_of_product")
        values = [line.get("note", "")] if "ms" not in line else [str(line[key]) for key in (*keys, "memory_mb")]
        lines.append(names + " | ".join(values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
