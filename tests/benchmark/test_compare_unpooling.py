"""What codes change: the bytes that are counted are those that are there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.benchmark.unpooling import compare_unpooling
from segnet.nn.conversion import convert_unpooling
from segnet.nn.tracing import find_groups


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.pool, self.unpool = nn.MaxPool2d(3, return_indices=True), nn.MaxUnpool2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.unpool(*self.pool(x), output_size=x.shape[2:])


class Functional(Net):
    def forward(self, x: Tensor) -> Tensor:
        values, indices = F.max_pool2d(self.first(x), 2, return_indices=True)
        return F.max_unpool2d(values, indices, 2)


def test_counted_bytes_are_those_of_the_tensors() -> None:
    model, x = Net(), torch.rand(2, 3, 13, 16)
    (group,) = find_groups(model, (x,))
    code = convert_unpooling(model, x).model.pool(model.first(x))[1]
    assert (group.index_bytes, group.code_bytes) == (model.pool(model.first(x))[1].nbytes, code.nbytes)


def test_measuring_changes_neither_the_model_nor_the_converted_one() -> None:
    class Normalized(Net):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    model, x = Normalized().eval(), torch.rand(2, 3, 12, 12)
    expected = model(x)
    conversion, _, _ = compare_unpooling(model, x, rounds=1)
    assert not conversion.model.training
    assert torch.equal(conversion.model(x), expected)
    assert torch.equal(model(x), expected)


def test_a_net_in_functional_form_is_measured_in_evaluation_mode() -> None:
    model = Functional()
    _, before, after = compare_unpooling(model, torch.rand(1, 3, 8, 8), rounds=1)
    assert before.decoder_bytes == 32 * after.decoder_bytes
    assert (before.deterministic, after.deterministic) == (False, True)
    assert min(before.inference_ms, after.step_ms) > 0.0
    assert model.training


def test_a_net_may_return_more_than_tensors() -> None:
    class Described(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor | str | None]:
            return {"logits": super().forward(x), "loss": None, "name": "net"}

    _, before, after = compare_unpooling(Described(), torch.rand(1, 3, 9, 9), rounds=1)
    assert before.decoder_bytes > after.decoder_bytes
