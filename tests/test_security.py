"""No code in a file is run, nothing is fetched from a network, and the bill of materials is complete."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import segnet
from segnet.errors import SegNetError
from segnet.inference.predictor import Predictor
from segnet.models import checkpoint
from segnet.models.pretrained import read_weights
from segnet.runtimes.load import open_runtime
from segnet.training.resume import newest_checkpoint

ROOT = Path(__file__).parents[1]
PACKAGE = Path(segnet.__file__).parent
PROGRAMS = sorted(PACKAGE.rglob("*.py"))

# Where sockets are asked for, a program with this hook ends. Local ones between processes (AF_UNIX) have no host.
BLOCKED = """
import sys
def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname", "urllib.Request"}:
        raise SystemExit(f"network: {event} {arguments}")
sys.addaudithook(refuse)
"""


class Hostile:
    """A pickle that writes a file when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.trace, "run")


@pytest.mark.parametrize("name", ["m.safetensors", "m.pth", "m.pt", "m.onnx", "m.xml", "last.ckpt"])
def test_a_hostile_pickle_is_never_run(name: str, tmp_path: Path) -> None:
    path, trace = tmp_path / name, tmp_path / "trace"
    torch.save({"state_dict": {"a": Hostile(trace)}, "epoch": 1}, path)
    readers: list[Callable[[], object]] = [
        lambda: checkpoint.load(path),
        lambda: read_weights(str(path)),
        lambda: open_runtime(path, device="cpu"),
        lambda: Predictor.load(path),
    ]
    if name == "last.ckpt":
        readers = [lambda: newest_checkpoint(tmp_path)]
    for read in readers:
        with pytest.raises(SegNetError):
            read()
        assert not trace.exists()


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_the_package_has_no_unsafe_way_to_load() -> None:
    names = [(path.name, ast.unparse(call.func), keywords(call)) for path in PROGRAMS for call in calls(path)]
    loads = [(file, words) for file, called, words in names if called == "torch.load"]
    assert loads
    assert all(words.get("weights_only") == "True" for _, words in loads)
    unsafe = {
        "eval",
        "exec",
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "marshal.loads",
        "os.system",
        "np.fromfile",
    }
    assert not [(file, called) for file, called, _ in names if called in unsafe]
    assert not [file for file, _, words in names if "True" in (words.get("allow_pickle"), words.get("shell"))]


def test_importing_every_module_opens_no_connection() -> None:
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PROGRAMS]
    names = [name for name in modules if not name.endswith(("__main__", "__init__"))]
    code = BLOCKED + f"from importlib import import_module\nfor name in {names}: import_module(name)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_predict_opens_no_connection(tmp_path: Path) -> None:
    code = BLOCKED + "from segnet.cli.main import main\nmain(sys.argv[1:])"
    words = ["predict", "--out", str(tmp_path), "--device", "cpu", "--max-size", "64"]
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "mask" / "street.png").is_file()


def test_the_block_of_connections_blocks() -> None:
    code = BLOCKED + "import socket\nsocket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "network: socket." in done.stderr


def test_the_bill_of_materials_has_what_is_installed() -> None:
    tool = ROOT / "tools" / "make_sbom.py"
    done = subprocess.run([sys.executable, str(tool), "--extra", "torch"], capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "segnet")
    versions = {component["name"].lower(): component["version"] for component in bill["components"]}
    assert {"numpy", "pillow", "safetensors", "pyyaml", "rich", "torch"} <= set(versions)
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert "lightning" not in versions
    assert all(component["licenses"][0]["license"]["name"] for component in bill["components"])
