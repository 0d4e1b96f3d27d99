"""Muon steps are orthogonal for filter banks; everything else is PyTorch's AdamW."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segnet.training.optimizers import Muon, orthogonalize


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


def gradients(net: nn.Module, seed: int) -> None:
    net.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_orthogonalize_has_the_directions_of_the_singular_value_decomposition() -> None:
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    for given, expected in ((matrix, left @ right), (matrix.T, (left @ right).T)):
        found = orthogonalize(given)
        assert found.shape == given.shape
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.9
        assert values.max() < 1.1
        assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.97


@pytest.mark.parametrize("equal", [1, 23])
def test_orthogonalize_lifts_singular_values_down_to_half_a_percent_of_the_bound(equal: int) -> None:
    generator = torch.Generator().manual_seed(2)
    left, _, right = torch.linalg.svd(torch.randn(24, 90, generator=generator).double(), full_matrices=False)
    values = torch.ones(24, dtype=torch.float64)
    values[equal:] = torch.logspace(-0.5, -2, 24 - equal)
    bound = values.pow(4).sum() ** 0.25
    for smallest, least in ((0.005, 0.9), (0.002, 0.3)):
        values[-1] = smallest * bound
        for scale in (1e-5, 1.0, 1e6):  # below, what keeps zeros from being divided by zero counts
            found = left.T @ orthogonalize((scale * left * values @ right).float()).double() @ right.T
            assert least < found.diagonal().min() < least + 0.2
            assert found.diagonal().max() < 1.1


def test_orthogonalize_leaves_zeros() -> None:
    assert not orthogonalize(torch.zeros(4, 9)).any()


def test_the_memory_layout_of_filters_does_not_change_the_step() -> None:
    nets = small_net(), small_net().to(memory_format=torch.channels_last)
    for net in nets:
        gradients(net, 3)
        Muon(net, lr=0.1, weight_decay=0.1).step()
    torch.testing.assert_close(nets[0][0].weight, nets[1][0].weight)


def test_scale_of_the_gradient_does_not_matter_to_a_filter_bank() -> None:
    small, large = small_net(), small_net()
    for net, factor in ((small, 1.0), (large, 1024.0)):
        gradients(net, 2)
        net[0].weight.grad *= factor
        Muon(net, lr=0.1, weight_decay=0.0, adamw_modules=(net[3],)).step()
    torch.testing.assert_close(small[0].weight, large[0].weight, rtol=0, atol=1e-3)


def test_everything_but_the_filters_goes_as_adamw() -> None:
    mine, plain = small_net(), small_net()
    muon = Muon(mine, lr=0.25, weight_decay=0.1, adamw_modules=(mine[3],))
    vectors = [parameter for parameter in plain.parameters() if parameter.ndim == 1]
    adamw = torch.optim.AdamW(
        [{"params": [plain[3].weight], "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.01
    )
    for seed in range(3):
        gradients(mine, seed)
        gradients(plain, seed)
        muon.step()
        adamw.step()
    for (name, left), right in zip(mine.named_parameters(), plain.parameters(), strict=True):
        if name != "0.weight":  # the last bit depends on how a processor groups the values of a vector
            torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-8)


def test_weight_decay_shrinks_filters_by_lr_times_decay() -> None:
    net = small_net()
    before = net[0].weight.detach().clone()
    net[0].weight.grad = torch.zeros_like(before)
    Muon(net, lr=0.5, weight_decay=0.2).step()
    torch.testing.assert_close(net[0].weight, before * 0.9)


def test_frozen_parameters_stay_and_a_closure_is_called_once() -> None:
    net = small_net()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    calls = []

    def closure() -> torch.Tensor:
        calls.append(1)
        loss = net(torch.ones(1, 3, 4, 4)).square().mean()
        loss.backward()
        return loss

    loss = Muon(net, lr=0.1, weight_decay=0.0).step(closure)
    assert calls == [1]
    assert loss.item() > 0
    assert torch.equal(net[0].weight, before)


def test_a_saved_state_goes_on_as_if_never_stopped() -> None:
    straight, stopped = small_net(), small_net()
    first = Muon(straight, lr=0.1, weight_decay=0.01)
    second = Muon(stopped, lr=0.1, weight_decay=0.01)
    for seed in range(2):
        for net, optimizer in ((straight, first), (stopped, second)):
            gradients(net, seed)
            optimizer.step()
    resumed = Muon(stopped, lr=0.1, weight_decay=0.01)
    resumed.load_state_dict(second.state_dict())
    for net, optimizer in ((straight, first), (stopped, resumed)):
        gradients(net, 9)
        optimizer.step()
    for left, right in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(left, right)
