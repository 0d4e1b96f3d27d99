"""What every model keeps to, whatever its encoder and its decoder.

Most of it is tested on thin copies, with a sixteenth of the channels; counts and fingerprints on the nets as they are.
When the logits are meant to change, ``python tests/models/test_contracts.py`` writes fingerprints.json anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental import _config

from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.encoders import Widths
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.zoo import MODELS, create_model, list_encoders

FINGERPRINTS = Path(__file__).with_name("fingerprints.json")

# Ours at the published number of classes, and the paper's count in millions (Table 1) where it has one.
PARAMETERS = {
    "segnet": (29_449_355, None),
    "segnet_light": (2_724_491, None),
    "segnet_squeezenet": (1_956_843, None),
    "bayesian_segnet": (29_449_355, None),
    "bayesian_segnet_camvid": (29_486_411, None),
    "segnet_webdemo": (29_449_932, None),
    "segnet_sun": (29_464_934, None),
    "segnet_pascal": (29_455_125, None),
    "bayesian_segnet_basic": (1_416_587, None),
    "bilinear": (613_003, 0.625),
    "segnet_basic": (1_416_587, 1.425),
    "segnet_basic_encoder_addition": (1_416_587, 1.425),
    "segnet_basic_single_channel_decoder": (626_315, 0.625),
    "fcn_basic": (646_124, 0.65),
    "fcn_basic_no_addition": (643_979, 0.65),
    "fcn_basic_no_dim_reduction": (1_661_579, 1.625),
    "fcn_basic_no_addition_no_dim_reduction": (1_661_579, 1.625),
}
# torchvision's whole classifiers, and what of them stands behind the convolutions.
VGG_HEAD, SQUEEZENET_HEAD = 123_642_856, 513_000
TORCHVISION = {
    "vgg11": 132_863_336 - VGG_HEAD,
    "vgg13": 133_047_848 - VGG_HEAD,
    "vgg16": 138_357_544 - VGG_HEAD,
    "vgg19": 143_667_240 - VGG_HEAD,
    "vgg11_bn": 132_868_840 - VGG_HEAD,
    "vgg13_bn": 133_053_736 - VGG_HEAD,
    "vgg16_bn": 138_365_992 - VGG_HEAD,
    "vgg19_bn": 143_678_248 - VGG_HEAD,
    "squeezenet1_1": 1_235_496 - SQUEEZENET_HEAD,
}


class Pyramid(nn.Module):
    """A backbone of the user's: a map per stride, each from the one before it.

    A 3x3 filter with a border halves rounding up; a 2x2 filter without one rounds down, and cannot halve one pixel.
    """

    def __init__(self, strides: tuple[int, ...], *, rounds_up: bool = True) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        channels = 3
        for number, stride in enumerate(strides, start=1):
            side, border = (3, 1) if rounds_up or stride == 1 else (2, 0)
            conv = nn.Conv2d(channels, 4 * number, side, stride=stride, padding=border, bias=False)
            self.stages.append(nn.Sequential(conv, nn.BatchNorm2d(4 * number), nn.ReLU()))
            channels = 4 * number

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


BODIES: dict[str, Callable[[], nn.Module]] = {
    "whole": partial(Pyramid, (1, 2, 2)),
    "half": partial(Pyramid, (2, 2, 2)),
    "rounding_down": partial(Pyramid, (1, 2, 2), rounds_up=False),
    "leaping": partial(Pyramid, (1, 2, 4)),
}


class Case(NamedTuple):
    """A model, and the encoder it is put on: a name, or one of ``BODIES``; empty for its own."""

    row: str
    encoder: str = ""

    def __str__(self) -> str:
        return f"{self.row}-{self.encoder}" if self.encoder else self.row

    def body(self) -> nn.Module | None:
        return BODIES[self.encoder]() if self.encoder in BODIES else None

    def config(self, dropout: float | None = None) -> SegNetConfig:
        encoder = self.body() or self.encoder or None
        with torch.device("meta"):
            return create_model(self.row, encoder=encoder, dropout=dropout).config

    def network(self, dropout: float | None = None) -> SegNet:
        """Thin, filled, in evaluation mode."""
        return filled(SegNet(thin(self.config(dropout)), self.body()))

    def sides(self) -> list[tuple[int, int]]:
        smallest = 4 if self.encoder == "rounding_down" else 1
        return [
            (height, width) for height, width in [(1, 1), (1, 6), (5, 4), (33, 47)] if min(height, width) >= smallest
        ]


ROWS = [Case(row) for row in MODELS]
CASES = [
    *ROWS,
    *(Case(row, encoder) for row in ("segnet", "fcn_basic") for encoder in list_encoders()),
    *(Case("segnet", body) for body in BODIES),
    Case("bilinear", "rounding_down"),
    Case("segnet_basic_encoder_addition", "half"),
]


def thin(config: SegNetConfig, stages: int = 16) -> SegNetConfig:
    """The same network with a sixteenth of the channels and its first stages only; encoders of no widths are fixed."""
    encoder, decoder = config.encoder, config.decoder
    if not encoder.widths:
        return config
    encoder = replace(
        encoder,
        widths=_narrowed(encoder.widths)[:stages],
        dropout_before_pooling=_up_to(stages, encoder.dropout_before_pooling),
        dropout_after_pooling=_up_to(stages, encoder.dropout_after_pooling),
    )
    decoder = replace(
        decoder, widths=_narrowed(decoder.widths)[-stages:], dropout_stages=_up_to(stages, decoder.dropout_stages)
    )
    return replace(config, encoder=encoder, decoder=decoder)


def _narrowed(widths: Widths) -> Widths:
    return tuple(tuple(width // 16 for width in stage) for stage in widths)


def _up_to(stages: int, places: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(place for place in places if place <= stages)


@torch.no_grad()
def filled(model: SegNet) -> SegNet:
    """Weights and statistics that look random but come out of whole numbers, so the same on every machine."""
    for place, (name, tensor) in enumerate(model.state_dict().items()):
        if not tensor.is_floating_point() or name in ("mean", "std"):
            continue
        values = noise()[1009 * place :][: tensor.numel()]
        if tensor.ndim == 4:
            values = values * (6 / tensor[0].numel()) ** 0.5  # He et al.
        elif name.endswith(("weight", "running_var")):
            values = 1 + values / 2
        tensor.copy_(values.view_as(tensor))
    return model.eval()


@cache
def noise() -> Tensor:
    """Float64 numbers in [-1, 1), more than the largest layer has weights."""
    index = torch.arange(2**22)
    return ((index * index & 0xFFFFFFFF) * 73_244_475 & 0xFFFFFFFF) / 2**31 - 1


def one_of_each_graph() -> list[Case]:
    """Dropout is nothing in evaluation mode, and the number of classes a width like others."""

    def graph(case: Case) -> SegNetConfig:
        config = replace(case.config(), name="", dropout=0.0, classes=11)
        encoder = replace(config.encoder, dropout_before_pooling=(), dropout_after_pooling=())
        return replace(config, encoder=encoder, decoder=replace(config.decoder, dropout_stages=()))

    return list({graph(case): case for case in reversed(ROWS)}.values())[::-1]


ONE_OF_EACH = one_of_each_graph()
# Two stages show every kind of node; the time that an export takes grows much faster than their number. SqueezeNet and
# EfficientNet have stages of their own: networks that have them are exported for one size here, and segnet_light for
# all sizes by tools/check.sh.
FIRE, INVERTED = Case("segnet_squeezenet"), Case("segnet_light")
# Their nodes are those of others: segnet with a convolution more, FCN-Basic with one of two parts, and the body "half"
# with the first map of "leaping".
SEEN = [
    Case("bayesian_segnet_camvid"), Case("fcn_basic_no_addition"), Case("fcn_basic_no_dim_reduction"),
    Case("segnet", "whole"),
]  # fmt: skip
GRAPHS = [
    case for case in (*ONE_OF_EACH, *(Case("segnet", body) for body in BODIES)) if case not in (FIRE, INVERTED, *SEEN)
]
COMPILED = [*GRAPHS, Case("segnet", "vgg16"), FIRE, INVERTED]


def shallow(case: Case, stages: int = 2) -> SegNet:
    """Thin, with few stages, and where those are fixed with few blocks: strided, added to their input, and neither."""
    with pytest.MonkeyPatch.context() as patch:
        groups = (((24, 3, 1),), ((40, 5, 2),), ((80, 3, 1), (112, 5, 1)), ((192, 5, 1),))
        patch.setattr("segnet.models.efficientnet._GROUPS", groups)
        return filled(SegNet(thin(case.config(), stages=stages), case.body()))


def step(model: SegNet, *, classes: int) -> Tensor:
    """Loss and gradients of a small batch, the same whenever it is called."""
    torch.manual_seed(5)
    image, mask = torch.rand(2, 3, 37, 29), torch.randint(classes, (2, 37, 29))
    loss = F.cross_entropy(model(image), mask)
    loss.backward()
    return loss.detach()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For nets as small as these, threads cost ten times what they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def network(case: Case) -> SegNet:
    """Not to be changed."""
    return case.network()


@pytest.fixture(scope="module")
def logits(network: SegNet) -> Tensor:
    with torch.no_grad():
        return network(an_image())


def an_image(dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, 3, 33, 47) in [0, 1], the same on every machine."""
    return (noise()[: 3 * 33 * 47].view(1, 3, 33, 47) / 2 + 0.5).to(dtype)


# The two filters are for warnings that PyTorch 2.13 raises about its own code.
compiles = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning", "ignore:.*torch.jit:DeprecationWarning"
)


class TestEveryModel:
    @torch.no_grad()
    def test_keeps_the_size_of_the_image(self, case: Case, network: SegNet):
        for side in case.sides():
            found = network(torch.rand(2, 3, *side))
            assert found.shape == (2, network.config.classes, *side)
            assert found.isfinite().all()

    def test_learns_with_every_parameter(self, network: SegNet):
        model = deepcopy(network).train()
        step(model, classes=network.config.classes)
        norms = {name.rpartition(".")[0] for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)}
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            # A convolution's bias has no effect before a batch norm.
            unit = name.removesuffix(".conv.bias")
            assert parameter.grad.any() or (unit != name and unit in norms), name

    def test_comes_back_from_its_file(self, case: Case, network: SegNet, logits: Tensor, tmp_path: Path):
        labels = ClassTable.from_names([f"class {number}" for number in range(network.config.classes)])
        path = checkpoint.save(network, labels, tmp_path / "model.safetensors")
        loaded = checkpoint.load(path, encoder=case.body()).model
        assert loaded.config == network.config
        with torch.no_grad():
            assert torch.equal(loaded(an_image()), logits)

    @torch.no_grad()
    def test_drops_out_in_training_only(self, case: Case):
        model, image = case.network(dropout=0.5), torch.rand(2, 3, 37, 29)
        assert torch.equal(model(image), model(image))
        has_dropout = any(isinstance(part, nn.Dropout) for part in model.modules())
        assert has_dropout or case.encoder in BODIES  # their two stages are above those with dropout
        model.train()
        assert torch.equal(model(image), model(image)) is not has_dropout

    @torch.no_grad()
    def test_is_the_same_in_channels_last(self, network: SegNet, logits: Tensor):
        turned = deepcopy(network).to(memory_format=torch.channels_last)
        found = turned(an_image().contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-3 * logits.abs().max().item())

    @torch.no_grad()
    def test_is_nearly_the_same_in_bfloat16(self, network: SegNet, logits: Tensor):
        halved = deepcopy(network).bfloat16()(an_image(torch.bfloat16))
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(an_image())
        for found in (halved, mixed):
            assert found.dtype == torch.bfloat16
            # Rounding moves some positions of near-equal maxima, and with them whole values.
            assert F.cosine_similarity(found.float().flatten(), logits.flatten(), dim=0) > 0.9

    def test_saves_memory_without_a_trace(self, case: Case):
        plain = case.network(dropout=0.3).train()
        saving = deepcopy(plain)
        saving.save_memory()
        classes = plain.config.classes
        assert torch.equal(step(plain, classes=classes), step(saving, classes=classes))
        for (name, wanted), found in zip(plain.named_parameters(), saving.parameters(), strict=True):
            assert torch.equal(found.grad, wanted.grad), name
        for (name, wanted), found in zip(plain.named_buffers(), saving.buffers(), strict=True):
            assert torch.equal(found, wanted), name

    def test_has_the_logits_that_it_had(self, case: Case, network: SegNet):
        assert fingerprint(network) == pytest.approx(kept_fingerprints()[f"thin {case}"], rel=1e-6)

    @pytest.mark.parametrize("row", ONE_OF_EACH, ids=str)
    def test_has_the_logits_that_it_had_at_full_width(self, row: Case):
        assert fingerprint(SegNet(row.config())) == pytest.approx(kept_fingerprints()[str(row)], rel=1e-6)

    @pytest.mark.parametrize("row", list(MODELS))
    def test_has_as_many_parameters_as_published(self, row: str):
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in create_model(row).parameters())
        ours, papers = PARAMETERS[row]
        assert count == ours
        assert papers is None or count / 1e6 == pytest.approx(papers, rel=0.025)

    @compiles
    @pytest.mark.parametrize("graph", COMPILED, ids=str)
    @torch.no_grad()
    def test_compiles_in_one_graph(self, graph: Case):
        torch._dynamo.reset()
        model, image = shallow(graph), torch.rand(2, 3, 21, 18)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-4)

    @compiles
    @pytest.mark.usefixtures("quick_compiler")
    @torch.no_grad()
    def test_gives_the_same_logits_as_compiled_code(self):
        torch._dynamo.reset()
        model, image = shallow(Case("segnet_basic"), stages=1), torch.rand(2, 3, 21, 18)
        found = torch.compile(model, fullgraph=True)(image)
        torch.testing.assert_close(found, model(image), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("graph", GRAPHS, ids=str)
    @torch.no_grad()
    def test_is_exported_once_for_all_sizes(self, graph: Case):
        model = shallow(graph)
        program = exported(model)
        for shape in [(1, 3, 64, 51), (3, 3, 33, 33), (1, 3, 9, 200)]:
            image = torch.rand(shape)
            torch.testing.assert_close(program(image), model(image), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("row", [Case("segnet_basic"), Case("segnet", "squeezenet1_1"), FIRE, INVERTED], ids=str)
    @torch.no_grad()
    def test_is_exported_at_its_full_depth(self, row: Case):
        model, image = row.network(), torch.rand(2, 3, 33, 47)
        program = torch.export.export(model, (image,)).module()
        torch.testing.assert_close(program(image), model(image), rtol=1e-4, atol=1e-4)


def exported(model: SegNet) -> nn.Module:
    free = torch.export.Dim.DYNAMIC
    shapes = {"image": {0: free, 2: free, 3: free}}
    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # else sides above 1 are a condition
        return torch.export.export(model, (torch.rand(2, 3, 37, 42),), dynamic_shapes=shapes).module()


@torch.no_grad()
def fingerprint(model: SegNet) -> list[float]:
    """Mean, spread, and four logits; in float64, so that rounding cannot move the position of a maximum."""
    logits = filled(deepcopy(model).double())(an_image(torch.float64))
    few = logits[0, [0, 1, -2, -1], [0, 20, 11, -1], [0, 3, 40, -1]]
    return [logits.mean().item(), logits.std().item(), *few.tolist()]


@cache
def kept_fingerprints() -> dict[str, list[float]]:
    kept: dict[str, list[float]] = json.loads(FINGERPRINTS.read_text(encoding="utf-8"))
    return kept


def write_fingerprints() -> None:
    prints = {f"thin {case}": fingerprint(case.network()) for case in CASES}
    prints |= {str(row): fingerprint(SegNet(row.config())) for row in ONE_OF_EACH}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in prints.items())
    FINGERPRINTS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


@pytest.mark.parametrize("encoder", TORCHVISION)
def test_an_encoder_has_the_filters_of_torchvision(encoder: str):
    with torch.device("meta"):
        model = create_model("segnet", encoder=encoder)
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == TORCHVISION[encoder]


@pytest.mark.parametrize(
    ("body", "codes", "sizes", "covered"),
    [
        ("whole", [True, True], [(17, 23), (9, 12)], [(17, 23), (9, 12)]),
        ("half", [True, True], [(9, 12), (5, 6)], [(9, 12), (5, 6)]),
        ("rounding_down", [True, True], [(17, 23), (8, 11)], [(16, 22), (8, 10)]),
        ("leaping", [True, False], [(17, 23), (9, 12)], [(17, 23), (9, 12)]),
    ],
)
@torch.no_grad()
def test_where_the_maps_of_a_module_halve_codes_are_kept(
    body: str, codes: list[bool], sizes: list[tuple[int, int]], covered: list[tuple[int, int]]
):
    model = Case("segnet", body).network()
    _, kept = model.encoder(torch.rand(1, 3, 17, 23), model.decoder.skips)
    assert [entry.code is not None for entry in kept] == codes
    assert [entry.size for entry in kept] == sizes
    assert [entry.covered for entry in kept] == covered


def test_all_models_have_their_published_count():
    assert list(PARAMETERS) == list(MODELS)


if __name__ == "__main__":
    write_fingerprints()
