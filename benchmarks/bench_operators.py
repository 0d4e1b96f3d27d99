"""Where the time of an exported file goes, by kind of operator, in OpenVINO and ONNX Runtime on one thread.

    segnet export segnet_light --format onnx --output mask --out float.onnx
    segnet export segnet_light --format onnx --output mask --int8 --calibrate CAMVID --out int8.onnx
    python benchmarks/bench_operators.py float.onnx int8.onnx [--size 360 480] [--rounds 20] > operators.json

Both runtimes open ONNX files. An operator's time is the median of the rounds. Of OpenVINO, a kind is the operator and
the precision that it ran in (I8 is INT8); of ONNX Runtime, the operator: QLinearConv is INT8, Conv and FusedConv are
float32.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.system.hardware import about

_WARM_UP = 3
_SHOWN = 12

Times = dict[str, dict[str, list[float]]]  # kind of operator, its name, and the milliseconds of each round


def openvino_times(path: Path, image: NDArray[np.float32], rounds: int) -> Times:
    import openvino

    core = openvino.Core()
    options = {"PERF_COUNT": "YES", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()
    times: Times = defaultdict(lambda: defaultdict(list))
    for number in range(_WARM_UP + rounds):
        request.infer([image])
        for node in request.get_profiling_info() if number >= _WARM_UP else []:
            kind = f"{node.node_type} {node.exec_type.rpartition('_')[2]}"
            times[kind][node.node_name].append(node.real_time.total_seconds() * 1e3)
    return times


def onnx_times(path: Path, image: NDArray[np.float32], rounds: int) -> Times:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(_WARM_UP + rounds):
            session.run(None, {session.get_inputs()[0].name: image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: Times = defaultdict(lambda: defaultdict(list))
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]][event["name"]].append(event["dur"] / 1e3)
    return {kind: {name: each[_WARM_UP:] for name, each in nodes.items()} for kind, nodes in times.items()}


def table_of(times: Times) -> dict[str, Any]:
    """Milliseconds of all operators, and of the kinds that take the most."""
    kinds = {kind: sum(median(each) for each in nodes.values()) for kind, nodes in times.items()}
    largest = sorted(kinds, key=lambda kind: -kinds[kind])[:_SHOWN]
    return {
        "total_ms": round(sum(kinds.values()), 2),
        "kinds": {kind: {"nodes": len(times[kind]), "ms": round(kinds[kind], 2)} for kind in largest},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--size", nargs=2, type=int, default=(360, 480))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    image = np.random.default_rng(0).random((1, 3, *arguments.size), dtype=np.float32)
    load = os.getloadavg()[0]
    rows = {
        str(path): {
            "openvino": table_of(openvino_times(path, image, arguments.rounds)),
            "onnxruntime": table_of(onnx_times(path, image, arguments.rounds)),
        }
        for path in arguments.files
    }
    machine = about("openvino", "onnxruntime", "segnet")
    print(
        json.dumps({"machine": machine, "load_before": round(load, 1), "size": arguments.size, "files": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
