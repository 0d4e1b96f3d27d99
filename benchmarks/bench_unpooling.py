"""Codes instead of indices in other people's nets: random nets bit for bit, and ENet's bytes, files and latency.

    python benchmarks/bench_unpooling.py nets [--count 200]
    python examples/enet/train.py --out enet.pth
    python benchmarks/bench_unpooling.py enet --weights enet.pth [--size 96 128] [--formats onnx openvino]

`nets` converts random encoder-decoders (tests/random_unpooling.py) and compares their outputs bit for bit. `enet`
exports the network of examples/enet to each format, and compares the classes of synthetic scenes with PyTorch's. In
ONNX Runtime and OpenVINO the baseline is the ScatterND form: the same network, exported by torch.onnx as it is. The two
take turns, and the median counts. With `onnx`, memory and time in PyTorch are compared as well. Parts are merged into
the JSON: ExecuTorch and LiteRT need environments of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

import segnet
from segnet.benchmark.unpooling import compare_unpooling
from segnet.exporting.formats import FORMATS
from segnet.runtimes.load import open_file
from segnet.runtimes.output_suppression import suppress_output
from segnet.system.files import write_json
from segnet.system.hardware import about, seconds

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "unpooling.json"
SCENES = 8
PACKAGES = ("torch", "onnxruntime", "openvino", "executorch", "ai-edge-litert", "litert-torch")
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples" / "enet")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["nets", "enet"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128))
    parser.add_argument("--formats", nargs="*", default=["onnx", "openvino"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    if arguments.part == "nets":
        store({"nets": {"machine": about(*PACKAGES), **nets(arguments.count)}})
        return
    model, size = trained(arguments.weights), tuple(arguments.size)
    if "onnx" in arguments.formats:
        store({"enet costs": {"machine": about(*PACKAGES), **costs(model, size, arguments.rounds)}})
    for name in arguments.formats:
        store({f"enet {name}": {"machine": about(*PACKAGES), **export(model, name, size, arguments)}})


def store(parts: dict[str, Any]) -> None:
    """Add parts to the JSON."""
    figures = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    write_json(RESULT, {**figures, **parts})
    print(json.dumps(parts, indent=1))


def nets(count: int) -> dict[str, Any]:
    """How many random nets give the same bits after the conversion, by form."""
    from random_unpooling import random_net

    same, kinds = Counter[str](), Counter[str]()
    for seed in range(count):
        net, x = random_net(seed)
        kinds.update([net.form, str(x.dtype).removeprefix("torch."), f"depth {len(net.stages)}"])
        conversion = segnet.convert_unpooling(net, x)  # raises if a bit differs
        outputs = conversion.model(x)
        equal = not conversion.left and all(torch.equal(outputs[name], y) for name, y in net(x).items())
        same["equal" if equal else f"differs: {seed}"] += 1
    return {"count": count, **same, "kinds": dict(sorted(kinds.items()))}


def trained(weights: Path | None) -> nn.Module:
    """The network of the example with its weights."""
    from enet import build

    model = build()
    if weights is not None:
        model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


def scenes(size: tuple[int, int]) -> list[np.ndarray]:
    """Synthetic scenes that were not trained on, each float32 (1, 3, H, W)."""
    images = [segnet.render_scene(20_000 + seed, size=size)[0] for seed in range(SCENES)]
    return [np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 255) for image in images]


def costs(model: nn.Module, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Memory, time and determinism in PyTorch, with indices and with codes."""
    _, before, after = compare_unpooling(model, torch.rand(1, 3, *size), rounds=rounds)
    measured = [name for name in after.to_dict() if name != "deterministic"]
    ratios = {name: round(getattr(after, name) / getattr(before, name), 4) for name in measured}
    return {"size": size, "indices": before.to_dict(), "codes": after.to_dict(), "ratio": ratios}


def export(model: nn.Module, name: str, size: tuple[int, int], arguments: argparse.Namespace) -> dict[str, Any]:
    """Agreement of a file with PyTorch on scenes, and its latency."""
    images = scenes(size)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"enet{FORMATS[name].suffix}"
        report = segnet.export_module(model, torch.from_numpy(images[0]), path, format=name)
        runtime = open_file(path, threads=arguments.threads)
        with torch.no_grad():
            same = [
                (runtime.forward(image)[0].argmax(1) == model(torch.from_numpy(image)).argmax(1).numpy()).mean()
                for image in images
            ]
        row: dict[str, Any] = {"size": size, "sizes": dict(report.sizes), "bytes": report.size_bytes}
        row["agreement"] = float(np.mean(same))
        if name in {"onnx", "openvino"}:
            row |= latency(
                runtime.forward, scatter_form(model, name, images[0], arguments.threads), images[0], arguments
            )
    return row


def latency(ours: Callable[..., Any], theirs: Callable[..., Any], image: np.ndarray, arguments: Any) -> dict[str, Any]:
    """Median by turns, in ms."""
    pairs = [(seconds(lambda: ours(image)), seconds(lambda: theirs(image))) for _ in range(arguments.rounds + 2)][2:]
    ms, scatter_ms = (median(each) * 1e3 for each in zip(*pairs, strict=True))
    ratio = round(median(a / b for a, b in pairs), 3)
    return {"ms": round(ms, 2), "scatter_nd_ms": round(scatter_ms, 2), "ratio": ratio}


def scatter_form(model: nn.Module, name: str, image: np.ndarray, threads: int) -> Callable[..., Any]:
    """The network as torch.onnx exports it, in the same runtime."""
    from segnet.runtimes.onnx import open_session

    with suppress_output():
        program = torch.onnx.export(model, (torch.from_numpy(image),), dynamo=True, external_data=False)
    assert program is not None
    data = program.model_proto.SerializeToString()
    kinds = Counter(node.op_type for node in program.model_proto.graph.node)
    assert kinds["ScatterND"] + kinds["ScatterElements"], kinds
    if name == "onnx":
        session = open_session(data, threads=threads)
        return lambda given: session.run(None, {session.get_inputs()[0].name: given})
    import openvino

    core = openvino.Core()
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return core.compile_model(core.read_model(data), "CPU", options).create_infer_request().infer


if __name__ == "__main__":
    main()
