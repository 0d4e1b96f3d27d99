"""What INT8 brings: SegNet (VGG16) at 480x360 in PyTorch, ONNX Runtime and OpenVINO, against a baseline.

python benchmarks/bench_int8.py [--rounds 5] [--threads 2]

The reference implementation is the same network with nn.MaxPool2d(return_indices=True) and nn.MaxUnpool2d, as most
implementations have it; its ONNX scatters through int64 indices. Its INT8 is made by each runtime's own tool, with what
that tool does unasked: quantize_static (convolutions, per channel), and NNCF. Ours is segnet.quantization. The peak is
a chain of large INT8 convolutions in OpenVINO. Weights are random: only time is measured. All take turns, and the best
round of each counts, since other programs can only make a round slower.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import torch
from torch import Tensor, nn

from segnet.data.synthetic.scenes import render_scene
from segnet.exporting.formats import to_onnx
from segnet.exporting.int8.calibration import measure_maps
from segnet.exporting.int8.rewriting import quantize_graph
from segnet.exporting.programs import make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import CAMVID
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model
from segnet.runtimes.model_info import ModelInfo
from segnet.system.files import write_json
from segnet.system.hardware import about

RESULT = Path(__file__).parent / "results" / "int8.json"
SIZE = (360, 480)
PEAK = (4, 512, 45, 60)  # how many convolutions measure the peak; their channels, height and width

Run = Callable[[], object]


class ReferenceSegNet(nn.Module):
    """The same convolutions, with PyTorch's own pooling and unpooling between them."""

    def __init__(self, model: SegNet) -> None:
        super().__init__()
        self.mean, self.std = model.mean, model.std
        self.encoder, self.decoder, self.classifier = model.encoder.stages, model.decoder.stages, model.classifier
        self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True, ceil_mode=True), nn.MaxUnpool2d(2, 2)

    def forward(self, image: Tensor) -> Tensor:
        x, kept = (image - self.mean) / self.std, []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, indices = self.pool(x)
            kept.append((indices, size))
        for stage, (indices, size) in zip(self.decoder, reversed(kept), strict=True):
            x = stage(self.unpool(x, indices, output_size=size))
        logits: Tensor = self.classifier(x)
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    figures: dict[str, Any] = about("segnet", "torch", "onnx", "onnxruntime", "openvino", "nncf")
    figures |= {"model": "segnet", "size": SIZE, "batch": 1, "threads": arguments.threads, "rounds": arguments.rounds}
    runs = runners(arguments.threads)
    best = take_turns(runs, arguments.rounds)
    figures["latency_ms"] = {name: round(value * 1e3, 1) for name, value in best.items() if name != "peak"}
    figures |= ratios(best)
    write_json(RESULT, figures)
    print(json.dumps(figures, indent=2))


def runners(threads: int) -> dict[str, Run]:
    model = create_model("segnet", classes=CAMVID.classes).eval()
    reference = ReferenceSegNet(model).eval()
    info = ModelInfo(name="segnet", labels=CAMVID)
    images = [_as_batch(render_scene(seed, size=SIZE)[0]) for seed in range(4)]
    image = images[0]
    ours = to_onnx(make_program(model, ExportConfig()), info)
    ours8 = quantize_graph(ours, measure_maps(ours, images))
    theirs = reference_onnx(reference)
    folded = model.folded().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    channels_last = torch.from_numpy(image).contiguous(memory_format=torch.channels_last)
    return {
        "reference, PyTorch": lambda: in_torch(reference, torch.from_numpy(image)),
        "ours, PyTorch": lambda: in_torch(folded, channels_last),
        "reference, ONNX Runtime": in_onnxruntime(theirs, image, threads),
        "ours, ONNX Runtime": in_onnxruntime(ours, image, threads),
        "reference, OpenVINO": in_openvino(theirs, image, threads),
        "ours, OpenVINO": in_openvino(ours, image, threads),
        "reference, ONNX Runtime INT8": in_onnxruntime(reference_static(theirs, images), image, threads),
        "ours, ONNX Runtime INT8": in_onnxruntime(ours8, image, threads),
        "reference, OpenVINO INT8": in_openvino(reference_nncf(theirs, images), image, threads),
        "ours, OpenVINO INT8": in_openvino(ours8, image, threads),
        "peak": in_openvino(*peak(), threads),
    }


def take_turns(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def ratios(best: dict[str, float]) -> dict[str, float]:
    network = multiplications(create_model("segnet", classes=CAMVID.classes).folded())
    count, channels, height, width = PEAK
    rate, peak_rate = network / best["ours, OpenVINO INT8"], count * channels**2 * 9 * height * width / best["peak"]
    return {
        "int8_against_reference_pytorch": round(best["reference, PyTorch"] / best["ours, OpenVINO INT8"], 2),
        "int8_against_reference_int8": round(best["reference, OpenVINO INT8"] / best["ours, OpenVINO INT8"], 2),
        "int8_against_own_float32_openvino": round(best["ours, OpenVINO"] / best["ours, OpenVINO INT8"], 2),
        "int8_against_own_float32_onnxruntime": round(best["ours, ONNX Runtime"] / best["ours, ONNX Runtime INT8"], 2),
        "giga_multiplications": round(network / 1e9, 1),
        "giga_multiplications_per_s": round(rate / 1e9),
        "peak_giga_multiplications_per_s": round(peak_rate / 1e9),
        "share_of_peak": round(rate / peak_rate, 3),
    }


def multiplications(model: nn.Module) -> float:
    """Of the convolutions, for one image."""
    found = []

    def count(conv: nn.Module, _: object, output: Tensor) -> None:
        found.append(output[0, 0].numel() * conv.weight.numel())

    hooks = [conv.register_forward_hook(count) for conv in model.modules() if isinstance(conv, nn.Conv2d)]
    in_torch(model, torch.rand(1, 3, *SIZE))
    for hook in hooks:
        hook.remove()
    return float(sum(found))


@torch.inference_mode()
def in_torch(model: nn.Module, image: Tensor) -> Tensor:
    result: Tensor = model(image)
    return result


def in_onnxruntime(model: onnx.ModelProto, image: np.ndarray, threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: image})


def in_openvino(model: onnx.ModelProto | ov.Model, image: np.ndarray, threads: int) -> Run:
    core = ov.Core()
    read = model if isinstance(model, ov.Model) else core.read_model(model.SerializeToString())
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(read, "CPU", options).create_infer_request()
    return lambda: request.infer([image])


def reference_onnx(model: nn.Module) -> onnx.ModelProto:
    """Of this one size: any other form of it is slower."""
    program = torch.export.export(model, (torch.rand(1, 3, *SIZE),))
    return torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"]).model_proto


def reference_static(model: onnx.ModelProto, images: list[np.ndarray]) -> onnx.ModelProto:
    """By ONNX Runtime's own tool, convolutions only, per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {"image": image}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(after)


def reference_nncf(model: onnx.ModelProto, images: list[np.ndarray]) -> ov.Model:
    read = ov.Core().read_model(model.SerializeToString())
    return nncf.quantize(read, nncf.Dataset(images), subset_size=len(images))


def peak() -> tuple[onnx.ModelProto, np.ndarray]:
    """Convolutions that keep every multiplier busy, in INT8 from end to end."""
    count, channels, height, width = PEAK
    large = [(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()) for _ in range(count)]
    layers = [layer for pair in large for layer in pair]
    network = nn.Sequential(nn.Conv2d(1, channels, 1), nn.ReLU(), *layers, nn.Conv2d(channels, 1, 1)).eval()
    image = torch.rand(1, 1, height, width)
    program = torch.export.export(network, (image,))
    model = torch.onnx.export(program, dynamo=True, input_names=["image"]).model_proto
    return quantize_graph(model, measure_maps(model, [image.numpy()])), image.numpy()


def _as_batch(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None] / np.float32(255))


if __name__ == "__main__":
    main()
