from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from segnet.errors import ConfigError
from segnet.exporting.programs import Pipeline, make_program
from segnet.exporting.settings import ExportConfig
from segnet.models.segnet import SegNet

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
