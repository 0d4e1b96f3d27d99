"""Monte Carlo dropout: samples of a network's logits for one image, with dropout on.

The layers before the first dropout give the same in every sample, so they are computed once; the rest is computed for
several samples at once. Each sample has its own random generator, so that it depends only on the seed and its number,
not on how many samples are computed together.

Source: Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet" (arXiv:1511.02680), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.decoders import Decoder
from segnet.models.encoders import Encoder, Kept
from segnet.models.segnet import SegNet

__all__ = ["Sampler", "dropouts"]

_BYTES_AT_ONCE = 2**30  # for the maps of the samples that are computed together
_GENERATORS: ContextVar[Sequence[torch.Generator]] = ContextVar("generators", default=())
"""Of the samples that this thread draws, in their order; empty if it draws none. Several threads may share a model."""
_MAPS_AT_ONCE = 4  # maps of the largest size in memory while a step runs: input, output and temporary ones


def dropouts(model: SegNet) -> dict[str, nn.Dropout]:
    """Dropout layers of a network by name, without those of probability 0."""
    layers = {name: part for name, part in model.named_modules() if isinstance(part, nn.Dropout)}
    return {name: layer for name, layer in layers.items() if layer.p > 0}


class Sampler:
    """Draws samples of a network's logits.

    >>> sampler = Sampler(model.folded(), seed=0)
    >>> mean = torch.cat(list(sampler.logits(image, 40))).softmax(dim=1).mean(dim=0)

    Args:
        model: a network in evaluation mode with dropout; its dropouts are replaced, and drop only while a sample is
            drawn.
        seed: random seed; together with the number of a sample it determines the dropped numbers.

    Raises:
        ConfigError: the network has no dropout.
    """

    def __init__(self, model: SegNet, *, seed: int = 0) -> None:
        layers = dropouts(model)
        if not layers:
            raise ConfigError(
                f"{model.config.name} was made without dropout, so all its samples would be the same; leave samples "
                "out, or train it with --dropout 0.5 (bayesian_segnet and bayesian_segnet_basic have it unasked)"
            )
        self.seed = seed
        for name, layer in layers.items():
            model.set_submodule(name, _Drawn(layer.p))
        steps = _steps(model)
        first = next(index for index, (part, _) in enumerate(steps) if _drops(part))
        self._shared = [step for _, step in steps[:first]]
        self._sampled = [step for _, step in steps[first:]]

    def logits(self, image: Tensor, samples: int, *, at_once: int | None = None) -> Iterator[Tensor]:
        """Samples in their order, several at a time.

        Args:
            image: (1, C, H, W), RGB in [0, 1].
            samples: number of samples.
            at_once: number of samples computed together. None: one first, then as many as fit 1 GiB by its largest map.

        Yields:
            logits (up to ``at_once``, classes, H, W).
        """
        state = _State(image, image, image, ())
        for step in self._shared:
            state = step(state)
        done, together = 0, at_once or 1
        while done < samples:
            numbers = range(done, min(done + together, samples))
            logits, largest = self._draw(state, numbers)
            yield logits
            done = numbers.stop
            if at_once is None and numbers.start == 0:
                together = max(1, _BYTES_AT_ONCE // (_MAPS_AT_ONCE * largest))

    def _draw(self, state: _State, numbers: Sequence[int]) -> tuple[Tensor, int]:
        """The logits of some samples, and the bytes of the largest map on the way."""
        generators = [self._generator(number, state.x.device) for number in numbers]
        state = state._replace(x=state.x.expand(len(numbers), *state.x.shape[1:]))
        largest = 0
        token = _GENERATORS.set(generators)
        try:
            for step in self._sampled:
                state = step(state)
                largest = max(largest, state.x.nbytes)
        finally:
            _GENERATORS.reset(token)
        return state.x, largest

    def _generator(self, number: int, device: torch.device) -> torch.Generator:
        mixed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        return torch.Generator(device).manual_seed(int(mixed))


class _Drawn(nn.Module):
    """Dropout of a batch of samples, each drawn by its own generator; without generators nothing is dropped."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        generators = _GENERATORS.get()
        if not generators:
            return x
        # A module of the user's may drop of other than maps, such as tokens, and have several rows of each sample.
        samples, channels, *sides = len(generators), *x.shape[1:]
        kept = torch.empty(samples, len(x) // samples, *sides, channels, device=x.device, dtype=x.dtype)
        for sample, generator in zip(kept, generators, strict=True):
            sample.bernoulli_(1 - self.probability, generator=generator)
        return x * kept.flatten(0, 1).movedim(-1, 1) * (1 / (1 - self.probability))


class _State(NamedTuple):
    """State between two steps of the forward pass.

    Attributes:
        image: the input.
        before: the input of the current encoder stage.
        x: the current map.
        kept: codes and skip connections of the encoder stages so far, shallowest first.
    """

    image: Tensor
    before: Tensor
    x: Tensor
    kept: tuple[Kept, ...]


_Step = Callable[[_State], _State]


def _steps(model: SegNet) -> list[tuple[nn.Module, _Step]]:
    """The forward pass of ``SegNet.forward`` as a list of steps, each with its module."""
    encoder, decoder = model.encoder, model.decoder
    steps: list[tuple[nn.Module, _Step]] = [(nn.Identity(), lambda s: s._replace(x=model.normalized(s.x)))]
    if isinstance(encoder, Encoder):
        for number, skip in enumerate(decoder.skips):
            steps += [
                _entering(encoder.stages[number]),
                _through(encoder.early_dropouts[number]),
                _pooling(encoder, skip),
                _through(encoder.dropouts[number]),
            ]
    else:
        steps.append((encoder, lambda s: _after(s, *encoder(s.x, decoder.skips))))
    steps.append(_through(decoder.entrance))
    for index, stage in enumerate(decoder.stages):
        steps += [_upsampling(decoder, index), _through(stage), _through(decoder.dropouts[index]), _adding(index)]
    steps.append((model.classifier, lambda s: s._replace(x=model.classified(s.x, s.image))))
    return steps


def _through(module: nn.Module) -> tuple[nn.Module, _Step]:
    return module, lambda s: s._replace(x=module(s.x))


def _entering(module: nn.Module) -> tuple[nn.Module, _Step]:
    return module, lambda s: s._replace(before=s.x, x=module(s.x))


def _pooling(encoder: Encoder, skip: nn.Module) -> tuple[nn.Module, _Step]:
    return skip, lambda s: _after(s, *_one(encoder.pool(s.before, s.x, skip)))


def _one(pooled: tuple[Tensor, Kept]) -> tuple[Tensor, list[Kept]]:
    return pooled[0], [pooled[1]]


def _after(state: _State, x: Tensor, kept: Sequence[Kept]) -> _State:
    return state._replace(x=x, before=x, kept=(*state.kept, *kept))


def _upsampling(decoder: Decoder, index: int) -> tuple[nn.Module, _Step]:
    return nn.Identity(), lambda s: s._replace(x=decoder.upsample(index, s.x, _fanned(s, index)))


def _adding(index: int) -> tuple[nn.Module, _Step]:
    return nn.Identity(), lambda s: s._replace(x=_added(s.x, _fanned(s, index).features))


def _fanned(state: _State, index: int) -> Kept:
    """Code and skip connection for decoder stage ``index``, expanded to the number of samples."""
    entry = state.kept[-1 - index]
    if entry.code is None or len(entry.code) == len(state.x):
        return entry
    return entry._replace(code=entry.code.expand(len(state.x), *entry.code.shape[1:]))


def _added(x: Tensor, features: Tensor | None) -> Tensor:
    return x if features is None else x + features


def _drops(part: nn.Module) -> bool:
    return any(isinstance(inner, _Drawn) for inner in part.modules())
