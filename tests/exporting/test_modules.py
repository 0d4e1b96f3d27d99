"""Export of any module: unpooling in any form, several inputs and outputs, free sizes, INT8 by the caller's score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segnet
from segnet.errors import ConfigError, ModelError
from segnet.exporting.comparison import Tolerance
from segnet.exporting.int8.gate import Int8Gate
from segnet.exporting.modules import export_module
from segnet.runtimes.load import open_file, open_runtime

X = torch.randn(1, 3, 14, 20, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """One pair of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.unpool(*self.pool(x), output_size=x.shape).relu())


class Functional(Net):
    """In functional form, with two inputs and a dictionary of outputs."""

    def forward(self, x: Tensor, depth: Tensor) -> dict[str, Any]:  # type: ignore[override]
        x = self.first(x) + depth
        values, indices = F.max_pool2d(x, 2, return_indices=True)
        x = F.max_unpool2d(values, indices, 2)
        return {"logits": self.last(x), "aux": [x.mean(dim=1)]}


def test_a_file_takes_every_size_that_the_module_takes(tmp_path: Path) -> None:
    report = export_module(Net(), X, tmp_path / "net.onnx")
    assert report.agreement == 1.0
    assert report.sizes == {"x": ("batch", 3, "height", "width")}
    assert [one.shape for one in report.comparisons] == [(1, 3, 14, 20), (1, 3, 14, 20), (2, 3, 47, 53)]
    kept = json.loads((tmp_path / "net.onnx.report.json").read_text())
    assert kept == json.loads(json.dumps(report.to_dict()))
    assert (kept["inputs"], kept["outputs"], kept["left"]) == (["x"], ["output"], [])


@pytest.fixture(scope="module")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the size of the example; not to be changed."""
    return export_module(Net(), X, tmp_path_factory.mktemp("net") / "net.onnx", dynamic=False).path


def test_a_file_holds_no_scatter(net_file: Path) -> None:
    import onnx

    kinds = {node.op_type for node in onnx.load(net_file).graph.node}
    assert not kinds & {"ScatterND", "MaxUnpool", "MaxPool"}


def test_openvino_takes_the_same_graph(tmp_path: Path) -> None:
    assert export_module(Net(), X, tmp_path / "net.xml", dynamic=False).agreement == 1.0


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    model, inputs = Functional(), (X, torch.randn(1, 1, 14, 20))
    report = export_module(model, inputs, tmp_path / "net.onnx", dynamic=False)
    assert report.info.input_names == ("x", "depth")
    assert report.info.output_names == ("logits", "aux_0")
    logits, mean = open_file(report.path).forward(*(each.numpy() for each in inputs))
    with torch.no_grad():
        expected = model.eval()(*inputs)
    np.testing.assert_allclose(logits, expected["logits"].numpy(), atol=1e-5)
    np.testing.assert_allclose(mean, expected["aux"][0].numpy(), atol=1e-5)


def test_a_converted_module_is_exported_and_the_model_stays_as_it_is(tmp_path: Path) -> None:
    model = segnet.convert_unpooling(Net(), X).model.train()
    report = export_module(model, X, tmp_path / "net.pt2", format="torch", dynamic=False)
    assert report.agreement == 1.0
    assert model.training


def test_a_module_that_writes_into_its_input_is_exported_and_the_example_stays(tmp_path: Path) -> None:
    class Centered(Net):
        def forward(self, x: Tensor) -> Tensor:
            x -= 0.5
            return super().forward(x)

    example = X.clone()
    assert export_module(Centered(), example, tmp_path / "net.onnx", dynamic=False).agreement == 1.0
    assert torch.equal(example, X)


def test_sizes_are_fixed_where_the_module_takes_only_one(tmp_path: Path) -> None:
    model = nn.Sequential(Net(), nn.Flatten(), nn.Linear(4 * 14 * 20, 3))
    report = export_module(model, X, tmp_path / "net.onnx")
    assert report.sizes["input"][1:] == (3, 14, 20)


def test_a_program_that_serves_fewer_sizes_than_the_module_is_fixed(tmp_path: Path) -> None:
    class Even(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.shape[3] % 2 == 0 else super().forward(x) * 2

    report = export_module(Even(), X, tmp_path / "net.onnx")
    assert report.sizes == {"x": (1, 3, 14, 20)}


@pytest.mark.parametrize("rule", ["large", "small", "square"])
def test_sizes_of_another_branch_are_not_given_to_the_branch_of_the_example(rule: str, tmp_path: Path) -> None:
    class Branching(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            height, width = x.shape[2:]
            example = {"large": height < 300, "small": height > 9, "square": height == width}
            return super().forward(x) * (1 if example[rule] else 2)

    square = X[..., :14]
    report = export_module(Branching(3, 2, 1), square, tmp_path / "net.pt2", format="torch")
    assert report.sizes == {"x": (1, 3, 14, 14)}


def test_inputs_of_one_size_stay_free(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return F.pad(x + y, (3, 3, 3, 3), mode="reflect")  # refuses fewer than four pixels, as the program does

    report = export_module(Sum(), (X, X + 1), tmp_path / "net.pt2", format="torch")
    assert report.sizes == dict.fromkeys("xy", ("batch", 3, "height", "width"))


def test_what_cannot_be_rewritten_is_named_in_the_report(tmp_path: Path) -> None:
    class Overlapping(Net):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.unpool = nn.MaxPool2d(3, 2, 1, return_indices=True), nn.MaxUnpool2d(3, 2, 1)

    report = export_module(Overlapping(), X, tmp_path / "net.pt2", dynamic=False)
    assert "pool: pool: windows of 3x3 at a stride of 2x2 overlap, so an index is needed" in report.left


def test_a_file_of_a_module_is_no_model_to_predict_with(net_file: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx: was exported from a module of yours and has no classes"):
        open_runtime(net_file)
    (output,) = open_file(str(net_file)).forward(X.numpy())
    assert output.shape[2:] == X.shape[2:]


def test_int8_is_kept_if_the_callers_score_allows_it(tmp_path: Path) -> None:
    model, images = Net().eval(), [np.random.default_rng(seed).random((1, 3, 14, 20), np.float32) for seed in range(4)]
    with torch.no_grad():
        wanted = model(torch.from_numpy(images[0])).argmax(dim=1).numpy()

    def score(run: Any) -> float:
        return float((run(images[0])[0].argmax(axis=1) == wanted).mean())

    gate = Int8Gate(images=images, score=score, max_drop=0.2)
    report = export_module(model, X, tmp_path / "a.onnx", int8=gate, dynamic=False)
    assert report.info.precision == "int8"
    assert report.accuracy["float32"] == {"score": 1.0}
    assert 0.8 <= report.accuracy["int8"]["score"] <= 1.0
    worse = iter([1.0, 0.9, 0.8])
    gate = Int8Gate(images=images, score=lambda run: next(worse))
    with pytest.raises(ModelError, match=r"of the score: float32 has 1\.0000, INT8 0\.9000 with 0, 0\.80"):
        export_module(model, X, tmp_path / "b.onnx", int8=gate, dynamic=False)
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"path": "net.bin"}, r"net\.bin: its suffix names no format; give one of \.onnx, \.xml"),
        (
            {"path": "net.onnx", "format": "openvino"},
            r"is no name for this format; give one that ends in \.xml",
        ),
        ({"path": "net.onnx", "example": 3}, "an input is int; give a tensor"),
        ({"path": "net.onnx", "example": X.half()}, r"an input is torch\.float16 .*; give a tensor"),
        ({"path": "net.onnx", "example": X[:0]}, r"an input is torch\.float32 \(0, .*; give a tensor"),
        ({"path": "net.pt2", "int8": Int8Gate(images=[], score=lambda run: 0.0)}, "INT8 needs a module of one input"),
        (
            {"path": "net.onnx", "example": X.double(), "int8": Int8Gate(images=[], score=lambda run: 0.0)},
            r"INT8 needs an input of float32, and the example is torch\.float64",
        ),
        ({"path": "net.onnx", "int8": True}, r"int8=True is not possible; give segnet\.Int8Gate\(images=images, score"),
        (
            {"path": "net.onnx", "tolerance": 0.1},
            r"tolerance=0\.1 is not possible; give segnet\.Tolerance\(median=1e-3",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words: dict[str, Any], message: str, tmp_path: Path) -> None:
    words = {"example": X, **words, "path": tmp_path / words["path"]}
    with pytest.raises(ConfigError, match=message):
        export_module(Net(), **words)


@pytest.mark.parametrize(
    ("image", "given"),
    [
        (np.zeros((1, 3, 14, 20)), r"float64 \(1, 3, 14, 20\)"),
        (np.zeros((3, 14, 20), np.float32), r"float32 \(3, 14, 20\)"),
        (np.zeros((1, 4, 14, 20), np.float32), r"float32 \(1, 4, 14, 20\)"),
    ],
)
def test_images_for_int8_that_the_module_does_not_take_are_refused(image: Any, given: str, tmp_path: Path) -> None:
    gate = Int8Gate(images=[X.numpy(), image], score=lambda run: 0.0)
    with pytest.raises(ConfigError, match=f"an image for INT8 is {given}; give each as float32 1 x 3 x 14 x 20"):
        export_module(Net(), X, tmp_path / "net.onnx", int8=gate, dynamic=False)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    class Number(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, int]:  # type: ignore[override]
            return super().forward(x), 3

    with pytest.raises(ConfigError, match="Number does not return tensors alone; wrap it in a module that does"):
        export_module(Number(), X, tmp_path / "net.onnx", dynamic=False)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda y: y.bfloat16(), r"Other returns torch\.bfloat16 .*; wrap it"),
        (lambda y: y[:, :0], r"Other returns torch\.float32 \(1, 0, .*; wrap it"),
        (lambda y: {"a": {"b": y}, "a_b": y + 1}, "two tensors of one name: a_b, a_b; give other keys"),
        (lambda y: {"x": y, "output_x": y + 1}, "two tensors of one name: output_x, output_x; give other keys"),
    ],
)
def test_outputs_that_no_file_can_hold_are_refused(
    outputs: Callable[[Tensor], Any], message: str, tmp_path: Path
) -> None:
    class Other(Net):
        def forward(self, x: Tensor) -> Any:
            return outputs(super().forward(x))

    with pytest.raises(ConfigError, match=message):
        export_module(Other(), X, tmp_path / "net.onnx", dynamic=False)


def test_a_file_out_of_the_tolerance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the exported file does not give what PyTorch gives"):
        export_module(Net(), X, tmp_path / "net.onnx", dynamic=False, tolerance=Tolerance(median=0.0, p999=0.0))
    assert list(tmp_path.iterdir()) == []


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    gate = Int8Gate(images=[X.numpy()], score=lambda run: float("nan"))
    with pytest.raises(ConfigError, match="the score of a file is nan; let the function return"):
        export_module(Net(), X, tmp_path / "net.onnx", int8=gate, dynamic=False)


def test_a_gate_without_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_drop=nan is not possible"):
        Int8Gate(images=[], score=lambda run: 0.0, max_drop=float("nan"))


def test_what_cannot_be_copied_is_refused_with_what_helps(tmp_path: Path) -> None:
    net, image, weights = nn.Conv2d(3, 2, 1), torch.rand(1, 3, 8, 8), torch.ones(1, requires_grad=True)
    net.register_forward_pre_hook(lambda module, inputs: vars(module).update(scaled=weights * 2))  # as weight_norm does
    net(image)
    with pytest.raises(
        ModelError, match=r"^Conv2d cannot be copied \(.*\); call it once within torch.no_grad\(\) first$"
    ):
        segnet.export_module(net, image, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"^a str is no module; give a torch.nn.Module$"):
        segnet.export_module("net", image, tmp_path / "net.onnx")  # type: ignore[arg-type]
    with torch.no_grad():
        net(image)
    segnet.export_module(net, image, tmp_path / "net.pt2")
