"""What codes instead of indices change in a module: memory, time and determinism, before and after the conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from segnet.benchmark.live_tensors import LiveTensors
from segnet.nn.conversion import Conversion, convert_unpooling
from segnet.nn.programs import as_inputs
from segnet.nn.tracing import find_groups, leaves
from segnet.system.hardware import seconds

__all__ = ["UnpoolingCost", "compare_unpooling"]


@dataclass(frozen=True, kw_only=True)
class UnpoolingCost:
    """Figures of one form of a module, for the example.

    Attributes:
        decoder_bytes: what pooling keeps for unpooling: indices or codes.
        inference_bytes, step_bytes: tensors alive at the worst moment of an inference, and of a forward and backward
            pass, without weights and inputs.
        inference_ms, step_ms: median time of an inference, and of a forward and backward pass.
        deterministic: whether it runs under ``torch.use_deterministic_algorithms(True)``.
    """

    decoder_bytes: int
    inference_bytes: int
    step_bytes: int
    inference_ms: float
    step_ms: float
    deterministic: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_unpooling(
    model: nn.Module, example: Any, *, rounds: int = 5
) -> tuple[Conversion, UnpoolingCost, UnpoolingCost]:
    """Measure a module with PyTorch's pooling and unpooling, and with codes; it is not changed.

    Args:
        model: any module that ``segnet.convert_unpooling`` takes.
        example: its input: a tensor, or a tuple of tensors.
        rounds: number of timed calls of each form, by turns.

    Returns:
        the conversion, and the figures before and after it.

    Raises:
        ModelError: see ``segnet.convert_unpooling``.
    """
    inputs = as_inputs(example)
    groups = find_groups(model, inputs)
    conversion = convert_unpooling(model, inputs)
    # The graphs of functional form have no training mode; then both are measured in evaluation mode.
    trains = not isinstance(conversion.model, GraphModule)
    converted = deepcopy(conversion.model) if trains else conversion.model  # training moves batch norm's statistics
    forms = [_Form(deepcopy(model), inputs, trains), _Form(converted, inputs, trains)]
    times = [[(seconds(form.infer), seconds(form.step)) for form in forms] for _ in range(rounds + 1)][1:]
    kept = (sum(group.index_bytes for group in groups), sum(group.code_bytes for group in groups))
    before, after = (
        form.cost(decoder_bytes, [row[index] for row in times])
        for index, (form, decoder_bytes) in enumerate(zip(forms, kept, strict=True))
    )
    return conversion, before, after


class _Form:
    """A module with its two tasks."""

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...], trains: bool) -> None:
        self.model, self.inputs, self.trains = model, inputs, trains

    def infer(self) -> None:
        self._set_mode(False)
        with torch.no_grad():
            self.model(*self.inputs)

    def step(self) -> None:
        self._set_mode(self.trains)
        outputs = [leaf for leaf in leaves(self.model(*self.inputs)) if isinstance(leaf, Tensor)]
        torch.stack([leaf.float().square().mean() for leaf in outputs if leaf.is_floating_point()]).sum().backward()  # type: ignore[no-untyped-call]
        for parameter in self.model.parameters():
            parameter.grad = None

    def cost(self, decoder_bytes: int, times: list[tuple[float, float]]) -> UnpoolingCost:
        inference, step = (median(each) * 1e3 for each in zip(*times, strict=True))
        return UnpoolingCost(
            decoder_bytes=decoder_bytes,
            inference_bytes=self._peak(self.infer),
            step_bytes=self._peak(self.step),
            inference_ms=inference,
            step_ms=step,
            deterministic=self._is_deterministic(),
        )

    def _peak(self, task: Callable[[], None]) -> int:
        with LiveTensors([*self.inputs, *self.model.parameters(), *self.model.buffers()]) as live:
            task()
        return int(live.peak)

    def _is_deterministic(self) -> bool:
        with _deterministic():
            try:
                self.step()
            except RuntimeError:
                return False
        return True

    def _set_mode(self, training: bool) -> None:
        for module in self.model.modules():
            module.training = training


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.use_deterministic_algorithms(before)
