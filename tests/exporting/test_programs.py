from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.exporting.formats import to_onnx
from segnet.exporting.programs import KeptProgram, Pipeline, make_program
from segnet.exporting.settings import ExportConfig
from segnet.labels import ClassTable
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import create_model
from segnet.runtimes.model_info import ModelInfo

FIVE = ClassTable.from_names(list("abcde"))
SIDES = [(1, 1), (1, 9), (7, 1), (23, 30), (40, 17)]


@pytest.fixture
def used(narrow: SegNet) -> SegNet:
    """Three stages, with batch norm that has seen images; in training mode."""
    with torch.no_grad():
        narrow(torch.rand(2, 3, 24, 32))
    return narrow


def test_one_program_takes_every_size_and_number_and_names_neither_folders_nor_batch_norm(used: SegNet) -> None:
    made = make_program(used, ExportConfig())
    assert not any("stack_trace" in node.meta for node in made.graph.nodes)
    assert "batch_norm" not in str(made.graph)
    program = made.module()
    assert used.training
    used.eval()
    with torch.no_grad():
        for number, side in enumerate(SIDES, start=1):
            image = torch.rand(number, 3, *side)
            torch.testing.assert_close(program(image), used(image), rtol=1e-4, atol=1e-4)


def test_a_program_of_one_size_refuses_others(used: SegNet) -> None:
    program = make_program(used, ExportConfig(size=(9, 14)), batch=1).module()
    assert program(torch.rand(1, 3, 9, 14)).shape == (1, 5, 9, 14)
    for shape in [(1, 3, 9, 15), (2, 3, 9, 14)]:
        with pytest.raises(AssertionError, match="Guard failed"):
            program(torch.rand(shape))


@pytest.mark.parametrize("resize_to", [None, (12, 16)])
def test_outputs_are_what_their_names_say(resize_to: tuple[int, int] | None, used: SegNet) -> None:
    config, image = ExportConfig(resize_to=resize_to), torch.rand(2, 3, 21, 33)
    used.eval()
    with torch.no_grad():
        logits = Pipeline(used, config)(image)
        probabilities = Pipeline(used, replace(config, output="probabilities"))(image)
        mask = Pipeline(used, replace(config, output="mask"))(image)
    torch.testing.assert_close(probabilities, logits.exp() / logits.exp().sum(dim=1, keepdim=True))
    assert torch.equal(mask, logits.argmax(dim=1).byte())
    assert logits.shape == (2, 5, 21, 33)


def test_resizing_gives_the_network_the_working_size_and_the_caller_the_images(used: SegNet) -> None:
    seen: list[torch.Size] = []
    used.eval().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    image = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        found = Pipeline(used, ExportConfig(resize_to=(12, 16)))(image)
        means = used(F.avg_pool2d(image, 2))  # bilinear at half the size is the mean of four pixels
    assert seen[0] == (1, 3, 12, 16)
    torch.testing.assert_close(found, F.interpolate(means, scale_factor=2, mode="bilinear"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["size", "resize_to"])
def test_an_impossible_size_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} \(0, 5\) is not possible; give HEIGHT WIDTH"):
        ExportConfig(**{name: (0, 5)})


class Clipped(nn.Module):
    """A number of operators that a table of decompositions may hold."""

    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        self.clip = nn.ReLU6(inplace=inplace)

    def forward(self, image: Tensor) -> Tensor:
        return self.clip(image + 1).to(torch.float64)


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")  # of PyTorch's own
@pytest.mark.parametrize("inplace", [False, True])
def test_a_program_is_traced_again_only_where_an_operator_has_to_be_decomposed(inplace: bool) -> None:
    image = torch.rand(2, 3, 4, 5)
    program = torch.export.export(Clipped(inplace=inplace), (image,))
    before, kept = str(program.graph), KeptProgram(program)
    assert "aten.to.dtype" not in str(kept.graph)
    assert (kept.run_decompositions({torch.ops.aten.floor.default: torch.floor}) is kept) is not inplace
    table = {torch.ops.aten.add.Tensor: lambda x, y: torch.sub(x, -y)}
    decomposed = kept.run_decompositions(table)
    assert "aten.sub" in str(decomposed.graph)
    for each in (program, kept, decomposed):
        torch.testing.assert_close(each.module()(image), (image + 1).double())
    assert str(program.graph) == before


def test_exports_of_our_networks_trace_them_once(narrow_config: SegNetConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stage has every operator of more."""
    encoder = EncoderConfig(widths=((4, 4),), dropout_after_pooling=(1,))
    shallow = SegNet(
        replace(narrow_config, encoder=encoder, decoder=DecoderConfig(widths=((4, 4),), dropout_stages=(1,)))
    )

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", refuse)
    monkeypatch.setattr("torch.onnx._internal.fx.passes.type_promotion.InsertTypePromotion._run", refuse)
    for output in ("logits", "probabilities", "mask"):
        config = ExportConfig(output=output, resize_to=(12, 16))
        proto = to_onnx(make_program(shallow, config), ModelInfo(name="toy", labels=FIVE, output=output))
        assert {"Conv", "Resize"} <= {node.op_type for node in proto.graph.node}


@pytest.mark.parametrize("operation", [lambda x: x * x.int(), lambda x: x + 1, lambda x: x.int() / 2, lambda x: x > 3])
def test_casts_are_inserted_where_types_are_promoted(operation: Callable[[Tensor], Tensor]) -> None:
    class Mixed(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return operation(image)

    image = 5 * torch.rand(1, 2, 3, 4)
    program = torch.export.export(Mixed(), (image,))
    proto = to_onnx(program, ModelInfo(name="toy", labels=FIVE))
    onnxruntime = pytest.importorskip("onnxruntime")
    (found,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"image": image.numpy()})
    assert torch.equal(torch.from_numpy(found), operation(image))


def test_relu6_is_in_the_program_beside_relu() -> None:
    torch.manual_seed(0)
    network = create_model("segnet_light", classes=5)
    with torch.no_grad():
        network(torch.rand(2, 3, 64, 64))  # for batch norms that leave values above six
    network.eval()
    assert {nn.ReLU, nn.ReLU6} <= {type(module) for module in network.modules()}
    program = make_program(network, ExportConfig(size=(33, 70)), batch=1)
    image = torch.rand(1, 3, 33, 70)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), network(image), rtol=1e-4, atol=1e-4)
    assert str(program.graph).count("hardtanh.default") == sum(type(m) is nn.ReLU6 for m in network.modules())
