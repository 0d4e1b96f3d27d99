"""Samples that share what stands before the first dropout, against the whole network run again for each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models import mc_dropout as sampling
from segnet.models.mc_dropout import Sampler, dropouts
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import MODELS, create_model

SAMPLES = 5


class Pyramid(nn.Module):
    """A backbone of two halvings that drops inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.drop(self.first(x))
        half = nn.functional.max_pool2d(x, 2, ceil_mode=True)
        return [x, half, nn.functional.max_pool2d(half, 2, ceil_mode=True)]


class Rows(Pyramid):
    """Drops rows of tokens, (N * H, W, C)."""

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.first(x).movedim(1, -1)
        x = self.drop(x.flatten(0, 1)).view_as(x).movedim(-1, 1)
        return [x, nn.functional.max_pool2d(x, 2, ceil_mode=True)]


def made(name: str, config: SegNetConfig) -> SegNet:
    """Small networks with dropout in all the places there are."""
    if name in MODELS:
        return create_model(name, dropout=0.5)
    if name == "before the pooling":
        encoder = replace(config.encoder, dropout_before_pooling=(2,), dropout_after_pooling=(3,))
        return SegNet(replace(config, encoder=encoder, dropout=0.5))
    if name == "decoder alone":
        encoder = replace(config.encoder, dropout_after_pooling=())
        return SegNet(replace(config, encoder=encoder, dropout=0.5))
    return create_model("segnet_basic", encoder=Pyramid(), classes=5, dropout=0.3)


NAMES = ["segnet_light", "fcn_basic", "segnet_basic_encoder_addition", "before the pooling", "decoder alone", "custom"]


@pytest.fixture(params=NAMES)
def network(request: pytest.FixtureRequest, narrow_config: SegNetConfig) -> SegNet:
    return made(request.param, narrow_config).eval()


class Naive(nn.Module):
    """Dropout with numbers of a generator of its own, as ``Sampler`` promises: by seed and number of the sample."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.empty(1, *x.shape[2:], x.shape[1]).bernoulli_(1 - self.probability, generator=self.generator)
        return x * kept.permute(0, 3, 1, 2) / (1 - self.probability)


def naive(model: SegNet, image: Tensor, sampler: Sampler) -> Tensor:
    """All of the network for each sample, one at a time."""
    model = deepcopy(model)
    drawn = [Naive(place.p) for place in dropouts(model).values()]
    for name, each in zip(dropouts(model), drawn, strict=True):
        model.set_submodule(name, each)
    found = []
    for number in range(SAMPLES):
        generator = sampler._generator(number, image.device)
        for each in drawn:
            each.generator = generator
        found.append(model(image))
    return torch.cat(found)


@pytest.mark.parametrize("at_once", [1, 3, None])
@torch.no_grad()
def test_samples_are_those_of_the_whole_network_run_again(network: SegNet, at_once: int | None) -> None:
    image = torch.rand(1, 3, 37, 50)
    sampler = Sampler(deepcopy(network), seed=7)
    found = torch.cat(list(sampler.logits(image, SAMPLES, at_once=at_once)))
    torch.testing.assert_close(found, naive(network, image, sampler), rtol=1e-3, atol=1e-3)
    assert all(not torch.equal(found[0], other) for other in found[1:])


@torch.no_grad()
@torch.no_grad()
def test_samples_of_tokens_depend_only_on_seed_and_number() -> None:
    sampler = Sampler(create_model("segnet_basic", encoder=Rows(), classes=5, dropout=0.0).eval(), seed=1)
    image = torch.rand(1, 3, 9, 13)
    alone, together = (torch.cat(list(sampler.logits(image, SAMPLES, at_once=at_once))) for at_once in (1, SAMPLES))
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    assert not torch.equal(alone[0], alone[1])


def test_what_stands_before_the_first_dropout_runs_once_and_the_rest_for_each_chunk() -> None:
    model = create_model("bayesian_segnet_basic").eval()
    sampler = Sampler(model)
    runs = {name: 0 for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}

    def count(name: str) -> None:
        runs[name] += 1

    for name, part in model.named_modules():
        if name in runs:
            part.register_forward_hook(lambda *_, name=name: count(name))
    list(sampler.logits(torch.rand(1, 3, 20, 24), SAMPLES, at_once=2))
    once = {name for name in runs if name.startswith(("encoder.stages.0", "encoder.stages.1", "encoder.stages.2"))}
    assert runs == {name: 1 if name in once else 3 for name in runs}


@torch.no_grad()
def test_the_bound_counts_how_many_samples_fit(monkeypatch: pytest.MonkeyPatch, narrow_config: SegNetConfig) -> None:
    sampler = Sampler(SegNet(replace(narrow_config, dropout=0.5)).eval())
    image = torch.rand(1, 3, 32, 48)
    largest = 5 * 32 * 48 * 4  # the logits, of five classes in float32; what else there is has four channels
    monkeypatch.setattr(sampling, "_BYTES_AT_ONCE", 4 * 3 * largest)
    assert [len(each) for each in sampler.logits(image, 8)] == [1, 3, 3, 1]
    monkeypatch.setattr(sampling, "_BYTES_AT_ONCE", 1)
    assert [len(each) for each in sampler.logits(image, 3)] == [1, 1, 1]


@torch.no_grad()
def test_a_seed_gives_the_same_samples_and_another_seed_others(narrow_config: SegNetConfig) -> None:
    model, image = SegNet(replace(narrow_config, dropout=0.5)).eval(), torch.rand(1, 3, 16, 20)
    first, again, other = (
        torch.cat(list(Sampler(deepcopy(model), seed=seed).logits(image, 3, at_once=3))) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@torch.no_grad()
def test_between_samples_the_network_drops_nothing(narrow_config: SegNetConfig) -> None:
    model, image = SegNet(replace(narrow_config, dropout=0.5)).eval(), torch.rand(1, 3, 16, 20)
    plain = model(image)
    sampler = Sampler(model)
    list(sampler.logits(image, 2))
    assert torch.equal(model(image), plain)


@torch.no_grad()
def test_threads_that_share_a_network_draw_the_samples_of_one_alone(narrow_config: SegNetConfig) -> None:
    model, image = SegNet(replace(narrow_config, dropout=0.5)).eval(), torch.rand(1, 3, 16, 20)
    sampler = Sampler(model)

    @torch.no_grad()
    def draw() -> Tensor:
        return torch.cat(list(sampler.logits(image, 3, at_once=3)))

    alone, others = draw(), []
    with ThreadPoolExecutor(1) as pool:

        def draw_in_between(*_: object) -> None:
            handle.remove()
            others.append(pool.submit(draw).result())

        handle = model.decoder.stages[0].register_forward_pre_hook(draw_in_between)
        assert torch.equal(draw(), alone)
    assert torch.equal(others[0], alone)


@torch.no_grad()
def test_what_is_kept_is_enlarged_so_that_the_mean_stays(narrow_config: SegNetConfig) -> None:
    drawn = sampling._Drawn(0.3)
    token = sampling._GENERATORS.set([torch.Generator().manual_seed(0)])
    found = drawn(torch.ones(1, 4, 200, 300))
    sampling._GENERATORS.reset(token)
    assert float((found == 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.01)


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"segnet_basic was made without dropout.* train it with --dropout 0\.5"):
        Sampler(create_model("segnet_basic").eval())
