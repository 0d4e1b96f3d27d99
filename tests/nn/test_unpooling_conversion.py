"""Conversion of models with PyTorch's pairs: the same outputs, what is replaced, what is left and why."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segnet
from random_unpooling import random_net
from segnet.errors import ConfigError, ModelError
from segnet.nn.conversion import convert_unpooling, restore_unpooling

X = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(0)).round()


class Autoencoder(nn.Module):
    """Two stages; ``middle`` is the inner one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pools = nn.ModuleList(nn.MaxPool2d(2, return_indices=True) for _ in range(2))
        self.unpools = nn.ModuleList(nn.MaxUnpool2d(2) for _ in range(2))

    def middle(self, x: Tensor) -> Tensor:
        values, indices = self.pools[1](x)
        return self.unpools[1](self.second(values), indices)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        values, indices = self.pools[0](self.first(x))
        return self.unpools[0](self.middle(values), indices, output_size=x.shape)


class Arithmetic(Autoencoder):
    def middle(self, x: Tensor) -> Tensor:
        values, indices = self.pools[1](x)
        return self.unpools[1](values, indices + 0)


class Returned(Autoencoder):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = self.pools[0](x)
        return self.unpools[0](values, indices), indices


class Spectrum(Autoencoder):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(super().forward(x))


class Misfit(Autoencoder):
    def middle(self, x: Tensor) -> Tensor:
        last_row = (torch.arange(8) == 7)[:, None]  # PyTorch refuses its indices, which lie behind the smaller map
        values, indices = self.pools[1](F.pad(x - 100.0 * last_row, (0, 1)))
        return self.unpools[1](values, indices.clone())


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unpool = nn.MaxUnpool2d(2)

    def forward(self, values: Tensor, indices: Tensor) -> Tensor:
        return self.unpool(values, indices)


class Overlapping(Autoencoder):
    def __init__(self) -> None:
        super().__init__()
        self.pools[1], self.unpools[1] = nn.MaxPool2d(3, 2, 1, return_indices=True), nn.MaxUnpool2d(3, 2, 1)

    def middle(self, x: Tensor) -> Tensor:
        return self.unpools[1](*self.pools[1](x), output_size=x.shape)


class Functional(Autoencoder):
    """One pair in functional form, one of modules."""

    def middle(self, x: Tensor) -> Tensor:
        values, indices = F.max_pool2d(x, 2, return_indices=True)
        return super().middle(x) + F.max_unpool2d(values, indices, 2, output_size=x.shape[2:])


def trained(model: nn.Module) -> nn.Module:
    """With batch norm that has seen images."""
    with torch.no_grad():
        model.train()(X)
    return model


@pytest.mark.parametrize("seed", [0, 1, 4, 6, 8, 13])
def test_a_random_net_gives_the_same_bits(seed: int) -> None:
    """benchmarks/bench_unpooling.py does the same for 200 seeds; 1 and 6 are in functional form."""
    net, x = random_net(seed)
    conversion = convert_unpooling(net, x)
    assert conversion.left == ()
    converted = conversion.model(x)
    assert all(torch.equal(converted[name], y) for name, y in net(x).items())
    assert not any(type(module) in (nn.MaxPool2d, nn.MaxUnpool2d) for module in conversion.model.modules())


def test_a_conversion_names_pairs_and_touches_neither_weights_nor_modes() -> None:
    model = trained(Autoencoder())
    model.second.eval()
    before = deepcopy(model.state_dict())
    conversion = convert_unpooling(model, X)
    assert str(conversion).splitlines() == [
        "replaced pools.0 -> unpools.0 (2x2, 2 bits)",
        "replaced pools.1 -> unpools.1 (2x2, 2 bits)",
    ]
    assert type(model.pools[0]) is nn.MaxPool2d
    for one in (model, conversion.model):
        assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
        assert one.training
        assert not one.second.training


def test_a_conversion_leaves_the_callers_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, before = Autoencoder(), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPUs were seeded"))
    convert_unpooling(model, X)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_steps_are_the_same_bit_for_bit() -> None:
    model = Autoencoder()
    converted = convert_unpooling(model, X).model
    for one in (model, converted):
        one.train()(X).square().mean().backward()
    for (name, a), b in zip(model.named_parameters(), converted.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


def test_inplace_replaces_the_modules_of_the_model_and_restoring_brings_them_back() -> None:
    model = Autoencoder()
    expected = model.eval()(X)
    assert convert_unpooling(model, X, inplace=True).model is model
    assert isinstance(model.pools[0], segnet.nn.MaxPool2d)
    assert torch.equal(model(X), expected)
    assert restore_unpooling(model) is model
    assert {type(module) for module in (*model.pools, *model.unpools)} == {nn.MaxPool2d, nn.MaxUnpool2d}
    assert torch.equal(model(X), expected)
    with pytest.raises(ModelError, match=r"Autoencoder has no pooling of segnet\.nn to restore"):
        restore_unpooling(model)


def test_hooks_stay_where_they_were() -> None:
    model, heard = trained(Autoencoder()), []
    model.pools[0].register_forward_hook(lambda module, *_: heard.append(type(module)))
    model.unpools[1].register_forward_pre_hook(lambda module, _: heard.append(type(module)))
    converted = convert_unpooling(model, X).model
    heard.clear()
    converted(X)
    assert heard == [segnet.nn.MaxPool2d, segnet.nn.MaxUnpool2d]
    restore_unpooling(converted)(X)
    assert heard[2:] == [nn.MaxPool2d, nn.MaxUnpool2d]


def test_a_converted_model_is_not_converted_again() -> None:
    with pytest.raises(ModelError, match=r"Autoencoder has pooling of segnet\.nn already"):
        convert_unpooling(convert_unpooling(Autoencoder(), X).model, X)


def test_shared_modules_stay_shared() -> None:
    model = Autoencoder()
    model.pools[1] = model.pools[0]
    converted = convert_unpooling(model, X).model
    assert converted.pools[0] is converted.pools[1]
    assert torch.equal(converted.eval()(X), model.eval()(X))
    restored = restore_unpooling(converted)
    assert restored.pools[0] is restored.pools[1]


@dataclass
class Output:
    logits: Tensor
    extra: Any


def test_outputs_may_be_dataclasses_and_arrays() -> None:
    class Net(Autoencoder):
        def forward(self, x: Tensor) -> Output:
            y = super().forward(x)
            return Output(y, {"array": y.detach().numpy(), "name": "net"})

    converted = convert_unpooling(Net().eval(), X).model
    assert isinstance(converted.pools[0], segnet.nn.MaxPool2d)
    assert converted(X).logits.shape == (*X.shape[:1], 4, *X.shape[2:])


@pytest.mark.parametrize("kind", [Autoencoder, Functional])
def test_a_model_that_writes_into_its_input_is_converted_and_the_example_stays(kind: type[Autoencoder]) -> None:
    class Centered(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Any:
            x -= 3.0
            return super().forward(x)

    model, example = Centered().eval(), X.clone()
    converted = convert_unpooling(model, example).model
    assert torch.equal(example, X)
    assert torch.equal(converted(X.clone()), model(X.clone()))


def test_outputs_may_be_complex() -> None:
    model = Spectrum().eval()
    assert torch.equal(convert_unpooling(model, X).model(X), model(X))


def test_indices_in_a_dataclass_are_returned_indices() -> None:
    class Net(Autoencoder):
        def forward(self, x: Tensor) -> Output:
            values, indices = self.pools[0](x)
            return Output(self.unpools[0](values, indices), [indices])

    with pytest.raises(ModelError, match=r"the indices of pools\.0 are also returned to the caller"):
        convert_unpooling(Net(), X)


@pytest.mark.parametrize("inplace", [True, False])
def test_modules_that_a_model_also_holds_in_a_list_are_replaced_there(inplace: bool) -> None:
    class Listing(Autoencoder):
        def __init__(self) -> None:
            super().__init__()
            self.stages = [(self.first, self.pools[0])]

        def forward(self, x: Tensor) -> Tensor:
            ((convolution, pool),) = self.stages
            values, indices = pool(convolution(x))
            return self.unpools[0](values, indices, output_size=x.shape)

    model = Listing()
    expected = model(X)
    converted = convert_unpooling(model, X, inplace=inplace).model
    assert type(converted.stages[0][1]) is segnet.nn.MaxPool2d
    assert torch.equal(converted(X), expected)
    assert torch.equal(restore_unpooling(converted)(X), expected)


def test_functional_form_becomes_a_graph_with_codes_and_can_be_restored() -> None:
    model = trained(Functional()).eval()
    conversion = convert_unpooling(model, X)
    assert len(conversion.replaced) == 3
    targets = [str(node.target) for node in conversion.model.graph.nodes]
    assert not [target for target in targets if "max_" in target]
    for shape in [(2, 3, 16, 20), (1, 3, 24, 16)]:
        x = torch.randn(shape)
        assert torch.equal(conversion.model(x), model(x))
    restored = restore_unpooling(conversion.model)
    assert "aten.max_unpool2d.default" in [str(node.target) for node in restored.graph.nodes]
    assert torch.equal(restored(X), model(X))


def test_modules_and_graphs_of_one_model_are_restored_together() -> None:
    both = nn.ModuleList(convert_unpooling(model, X).model for model in (Autoencoder(), Functional()))
    restored = restore_unpooling(both)
    assert type(restored[0].pools[0]) is nn.MaxPool2d
    assert "aten.max_unpool2d.default" in [str(node.target) for node in restored[1].graph.nodes]


@pytest.mark.skipif(torch.__version__ < "2.12", reason="PyTorch 2.10 guards a program by the parity of its example")
def test_unpooling_without_an_output_size_is_converted_for_all_sizes() -> None:
    """Of odd sides that are rounded down PyTorch would put values elsewhere."""

    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)

    converted = convert_unpooling(Plain(), X).model
    for size in [(16, 20), (10, 30), (9, 14)]:
        x = torch.randn(1, 3, *size)
        assert torch.equal(converted(x), Plain()(x))
    assert torch.equal(converted(X[..., :19]), converted(X[..., :18]))


def test_an_exported_program_is_converted_as_a_graph() -> None:
    model = Autoencoder().eval()
    program = torch.export.export(model, (X,))
    conversion = convert_unpooling(program, X)
    assert conversion.replaced == ("pools.0 -> unpools.0 (2x2, 2 bits)", "pools.1 -> unpools.1 (2x2, 2 bits)")
    assert torch.equal(conversion.model(X), model(X))


def test_what_is_not_possible_is_left_and_named() -> None:
    conversion = convert_unpooling(Overlapping(), X)
    assert conversion.replaced == ("pools.0 -> unpools.0 (2x2, 2 bits)",)
    assert [each.name for each in conversion.left] == ["pools.1", "unpools.1"]
    assert "left pools.1: pools.1: windows of 3x3 at a stride of 2x2 overlap, so an index is needed" in str(conversion)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)), X, "Sequential has no pair of max-pooling with indices"),
        (Returned(), X, r"pools\.0: the indices of pools\.0 are also returned to the caller"),
        (
            Decoder(),
            (X, (torch.arange(320).view(16, 20) * 4).expand_as(X)),
            "unpool: its indices do not come straight from a pooling of this model",
        ),
    ],
)
def test_a_model_without_a_pair_that_can_be_replaced_is_refused(model: nn.Module, inputs: Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_unpooling(model, inputs)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Arithmetic(), "the indices of pools.1 go through aten.add.Tenso"),
        (
            Misfit(),
            "unpools.1 unpools to 8x10 what pools.1 pooled from 8x11, so PyTorch puts values at other places",
        ),
    ],
)
def test_a_pair_with_a_fault_is_left_beside_one_without(model: nn.Module, message: str) -> None:
    conversion = convert_unpooling(model, X)
    assert conversion.replaced == ("pools.0 -> unpools.0 (2x2, 2 bits)",)
    assert message in conversion.left[0].reason
    assert [each.name for each in conversion.left] == ["pools.1", "unpools.1"]
    assert torch.equal(conversion.model.eval()(X), model.eval()(X))


def test_a_function_cannot_be_replaced_in_place() -> None:
    with pytest.raises(
        ConfigError, match=r"Functional \(F\.max_pool2d\) is a function and cannot be replaced in place"
    ):
        convert_unpooling(Functional(), X, inplace=True)


def test_a_model_that_cannot_be_traced_is_refused() -> None:
    class Branching(Functional):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 1e9 else x * 2)

    with pytest.raises(ModelError, match=r"torch\.export cannot trace Branching: "):
        convert_unpooling(Branching(), X)


@pytest.mark.parametrize("inplace", [True, False])
def test_other_outputs_after_the_conversion_are_refused(inplace: bool) -> None:
    class Looking(Autoencoder):
        """Behaves by the kind of its modules."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + float(type(self.pools[0]) is nn.MaxPool2d)

    model = Looking()
    with pytest.raises(ModelError, match="Looking gives other outputs after the conversion, so it stays as it is"):
        convert_unpooling(model, X, inplace=inplace)
    assert type(model.pools[0]) is nn.MaxPool2d


def test_a_model_that_fails_after_the_conversion_is_refused_and_stays_as_it_is() -> None:
    class Bound(Autoencoder):
        """Calls the pooling of another model after a copy."""

        def __init__(self) -> None:
            super().__init__()
            self.pool = lambda x: self.pools[0](x)

        def forward(self, x: Tensor) -> Tensor:
            return self.unpools[0](*self.pool(self.first(x)))

    class Checking(Autoencoder):
        def forward(self, x: Tensor) -> Tensor:
            values, indices = self.pools[0](x)
            if indices.dtype != torch.int64:
                raise TypeError("no indices")
            return self.unpools[0](values, indices)

    with pytest.raises(ModelError, match=r"Bound fails \(.*\) after the conversion, so it stays as it is"):
        convert_unpooling(Bound(), X)
    model = Checking()
    with pytest.raises(ModelError, match=r"Checking fails \(.*no indices\) after the conversion, so it stays as it is"):
        convert_unpooling(model, X, inplace=True)
    assert {type(module) for module in (*model.pools, *model.unpools)} == {nn.MaxPool2d, nn.MaxUnpool2d}
