"""The network: its parts as published, any size, and what can be done to it."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.bands import Bands
from segnet.errors import ConfigError, ShapeError
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig, local_response_norm
from segnet.models.zoo import MODELS, create_model

# (in, out, kernel, ReLU?) of every convolution, from the authors' prototxt files.
BASIC_TABLE = [
    (3, 64, 7, True), (64, 64, 7, True), (64, 64, 7, True), (64, 64, 7, True),
    (64, 64, 7, False), (64, 64, 7, False), (64, 64, 7, False), (64, 64, 7, False),
    (64, 11, 1, False),
]  # fmt: skip
SEGNET_TABLE = [
    (3, 64, 3, True), (64, 64, 3, True),
    (64, 128, 3, True), (128, 128, 3, True),
    (128, 256, 3, True), (256, 256, 3, True), (256, 256, 3, True),
    (256, 512, 3, True), (512, 512, 3, True), (512, 512, 3, True),
    (512, 512, 3, True), (512, 512, 3, True), (512, 512, 3, True),
    (512, 512, 3, True), (512, 512, 3, True), (512, 512, 3, True),
    (512, 512, 3, True), (512, 512, 3, True), (512, 256, 3, True),
    (256, 256, 3, True), (256, 256, 3, True), (256, 128, 3, True),
    (128, 128, 3, True), (128, 64, 3, True),
    (64, 64, 3, True),
    (64, 11, 3, False),
]  # fmt: skip


def on_meta(name: str, **options) -> SegNet:
    with torch.device("meta"):
        return create_model(name, **options)


def layers(model: SegNet) -> list[tuple[int, int, int, bool]]:
    """(in, out, kernel, ReLU?) in the order in which the convolutions stand; every convolution keeps the size."""
    leaves = [module for module in model.modules() if not list(module.children())]
    found = []
    for place, module in enumerate(leaves):
        if isinstance(module, nn.Conv2d):
            side = module.kernel_size[0]
            assert module.kernel_size == (side, side)
            assert module.padding == (side // 2, side // 2)
            assert module.stride == module.dilation == (1, 1)
            assert module.bias is not None
            last = module is model.classifier
            assert last or isinstance(leaves[place + 1], nn.BatchNorm2d)
            found.append((module.in_channels, module.out_channels, side, not last and _has_relu(leaves, place)))
    return found


def _has_relu(leaves: list[nn.Module], place: int) -> bool:
    return place + 2 < len(leaves) and isinstance(leaves[place + 2], nn.ReLU)


@pytest.mark.parametrize(("name", "table"), [("segnet", SEGNET_TABLE), ("segnet_basic", BASIC_TABLE)])
def test_layers_are_the_published_ones(name: str, table: list[tuple[int, int, int, bool]]):
    assert layers(on_meta(name)) == table


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [("segnet", 11, 29_449_355), ("segnet_webdemo", None, 29_449_932), ("segnet_pascal", None, 29_455_125),
     ("segnet_sun", None, 29_464_934), ("bayesian_segnet_camvid", None, 29_486_411), ("segnet_basic", None, 1_416_587)],
)  # fmt: skip
def test_parameters_are_as_many_as_published(name: str, classes: int | None, count: int):
    model = on_meta(name, classes=classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_dropout_version_has_as_many_parameters_as_the_plain_one():
    assert sum(p.numel() for p in on_meta("segnet_basic", dropout=0.5).parameters()) == 1_416_587


@pytest.mark.parametrize(("stages", "deepest"), [(4, (23, 30)), (5, (12, 15))])
def test_poolings_round_up_as_the_published_nets_do(stages: int, deepest: tuple[int, int]):
    widths = ((1,),) * stages
    encoder, decoder = EncoderConfig(widths=widths), DecoderConfig(widths=widths)
    model = SegNet(SegNetConfig(name="thin", encoder=encoder, decoder=decoder, classes=2)).eval()
    code_map, pooled = model.encoder(torch.rand(1, 3, 360, 480), model.decoder.skips)
    sizes = [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)][:stages]
    assert code_map.shape[2:] == deepest
    assert [entry.size for entry in pooled] == sizes
    windows = [math.ceil(height / 2) * math.ceil(width / 2) for height, width in sizes]
    # Nothing else is kept for the decoder: two bits a window.
    assert [entry.code.numel() for entry in pooled] == [math.ceil(count / 4) for count in windows]
    assert all(entry.code.dtype == torch.uint8 and entry.features is None for entry in pooled)
    assert model(torch.rand(1, 3, 360, 480)).shape == (1, 2, 360, 480)


# Independent plain PyTorch networks with the weights of ours.


def plain_unit(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, relu: bool) -> Tensor:
    x = F.conv2d(x, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2)
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)
    return x.relu() if relu else x


def plain_segnet(model: SegNet, x: Tensor, depths: tuple[list[int], list[int]], decoder_relu: bool) -> Tensor:
    """The paper's network on PyTorch's own pooling; ``depths``: convolutions per stage, encoder and decoder."""
    convs = iter([module for module in model.modules() if isinstance(module, nn.Conv2d)])
    norms = iter([module for module in model.modules() if isinstance(module, nn.BatchNorm2d)])
    remembered = []
    for depth in depths[0]:
        for _ in range(depth):
            x = plain_unit(x, next(convs), next(norms), True)
        size = x.shape
        x, index = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        remembered.append((index, size))
    for depth in depths[1]:
        index, size = remembered.pop()
        x = F.max_unpool2d(x, index, 2, 2, output_size=size[2:])
        for _ in range(depth):
            x = plain_unit(x, next(convs), next(norms), decoder_relu)
    last = next(convs)
    return F.conv2d(x, last.weight, last.bias, padding=last.kernel_size[0] // 2)


def stir(model: SegNet) -> SegNet:
    """Norms as after training: none of them neutral."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            if module.track_running_stats:
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


@torch.no_grad()
def test_segnet_basic_equals_a_plain_network_of_pytorch_operators():
    model = stir(create_model("segnet_basic", classes=4))
    image = torch.rand(1, 3, 27, 22)
    x = F.local_response_norm(image * 255, 5, alpha=1e-4, beta=0.75, k=1.0)
    expected = plain_segnet(model, x, ([1] * 4, [1] * 4), decoder_relu=False)
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_segnet_equals_a_plain_network_of_pytorch_operators():
    narrow = SegNetConfig(
        name="narrow",
        encoder=EncoderConfig(widths=((4, 4), (5, 5), (6, 6, 6))),
        decoder=DecoderConfig(widths=((6, 6, 5), (5, 4), (4,))),
        classes=3,
    )
    model = stir(SegNet(narrow))
    image = torch.rand(2, 3, 27, 22)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean[:, None, None]) / std[:, None, None]
    expected = plain_segnet(model, x, ([2, 2, 3], [3, 2, 1]), decoder_relu=True)
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height", range(1, 10))
@pytest.mark.parametrize("width", range(1, 10))
@torch.no_grad()
def test_logits_have_the_size_of_the_image(narrow: SegNet, height: int, width: int):
    assert narrow.eval()(torch.rand(1, 3, height, width)).shape == (1, 5, height, width)


@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
@torch.no_grad()
def test_segnet_basic_labels_the_smallest_images(size: tuple[int, int]):
    logits = create_model("segnet_basic").eval()(torch.rand(2, 3, *size))
    assert logits.shape == (2, 11, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
def test_segnet_labels_the_smallest_images(size: tuple[int, int]):
    assert on_meta("segnet").eval()(torch.rand(2, 3, *size, device="meta")).shape == (2, 11, *size)


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_lrn_equals_that_of_pytorch(channels: int):
    x = torch.rand(2, channels, 6, 5) * 255
    torch.testing.assert_close(local_response_norm(x), F.local_response_norm(x, 5, 1e-4, 0.75, 1.0))


def test_lrn_does_not_overflow_in_float16():
    white = torch.full((1, 3, 2, 2), 255.0)
    torch.testing.assert_close(
        local_response_norm(white.half()).float(), local_response_norm(white), rtol=5e-3, atol=0.0
    )


def test_filters_begin_as_he_et_al_say():
    model = create_model("segnet_basic")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] ** 2
            wanted = math.sqrt(2 / fan_in)
            standard_error = wanted / math.sqrt(2 * module.weight.numel())
            assert abs(module.weight.std().item() - wanted) < 5 * standard_error
            assert abs(module.weight.mean().item()) < 5 * wanted / math.sqrt(module.weight.numel())
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0.001).all()


def places_of_dropout(model: SegNet) -> list[list[int]]:
    """Stages, counted from 1 at full resolution: before the pooling, after it, at the end of the decoder's."""
    sides = [*map(list, (model.encoder.early_dropouts, model.encoder.dropouts, model.decoder.dropouts))]
    sides[2].reverse()
    found = [[n for n, module in enumerate(side, start=1) if isinstance(module, nn.Dropout)] for side in sides]
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) == sum(map(len, found))
    assert all(module.p == 0.5 for module in dropouts)
    return found


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("bayesian_segnet", [[], [3, 4, 5], [3, 4, 5]]),  # bayesian_segnet_train
        ("bayesian_segnet_basic", [[], [3, 4], [3, 4]]),  # bayesian_segnet_basic_train
        ("bayesian_segnet_camvid", [[], [3, 4, 5], [3, 4, 5]]),
        ("segnet_sun", [[], [3, 4, 5], [3, 4, 5]]),
        ("segnet_pascal", [[1, 2, 3, 4, 5], [5], [2, 3, 4, 5]]),
        ("segnet", [[], [], []]),
        ("segnet_webdemo", [[], [], []]),
    ],
)
def test_dropout_stands_where_the_published_nets_have_it(name: str, places: list[list[int]]):
    assert places_of_dropout(on_meta(name)) == places


@pytest.mark.parametrize(
    ("name", "bayesian"), [("segnet", "bayesian_segnet"), ("segnet_basic", "bayesian_segnet_basic")]
)
def test_dropout_makes_a_bayesian_segnet_of_a_plain_one_and_back(name: str, bayesian: str):
    assert places_of_dropout(on_meta(name, dropout=0.5)) == places_of_dropout(on_meta(bayesian))
    assert places_of_dropout(on_meta(bayesian, dropout=0.0)) == [[], [], []]


def test_dropout_acts_after_the_pooling_in_training_only(narrow_config: SegNetConfig):
    model = SegNet(SegNetConfig(**(vars(narrow_config) | {"dropout": 0.5})))
    image = torch.rand(1, 3, 16, 16)
    pooled_maps: list[Tensor] = []
    model.encoder.dropouts[-1].register_forward_hook(lambda _m, _i, out: pooled_maps.append(out))
    assert not torch.equal(model(image), model(image))
    assert pooled_maps[0].shape[2:] == (2, 2)
    model.eval()
    assert torch.equal(model(image), model(image))


@pytest.mark.parametrize("name", ["narrow", "basic"])
@torch.no_grad()
def test_folded_norms_give_the_same_logits(narrow: SegNet, name: str):
    model = stir(narrow if name == "narrow" else create_model("segnet_basic", classes=3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    image = torch.rand(2, 3, 21, 18)
    folded = model.folded()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(image), model(image), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Unusual(nn.Module):
    """Modules called ``conv`` and ``bn`` that are no convolution with a batch norm to fold behind it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.deep = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.unit = nn.Sequential()
        if kind == "norm first":
            self.unit.add_module("bn", nn.BatchNorm2d(3))
            self.unit.add_module("conv", nn.Conv2d(3, 3, 1))
        elif kind == "layer between":
            self.unit.add_module("conv", nn.Conv2d(3, 3, 1))
            self.unit.add_module("relu", nn.ReLU())
            self.unit.add_module("bn", nn.BatchNorm2d(3))
        elif kind == "norm with activation":
            self.unit.add_module("conv", nn.Conv2d(3, 3, 1))
            self.unit.add_module("bn", ActivatedNorm(3))
        elif kind == "norm of each image":
            self.unit.add_module("conv", nn.Conv2d(3, 3, 1))
            self.unit.add_module("bn", nn.BatchNorm2d(3, track_running_stats=False))
        else:
            self.unit = Reversed()

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.unit(x)
        return [x, self.deep(x)]


class ActivatedNorm(nn.BatchNorm2d):
    """As timm's BatchNormAct2d."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Reversed(nn.Module):
    """A unit of a network with activations before its convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.bn(x).relu())


@pytest.mark.parametrize(
    "kind", ["norm first", "layer between", "norm with activation", "norm of each image", "module of the user's"]
)
@torch.no_grad()
def test_norms_that_cannot_be_folded_stay(kind: str):
    model = stir(create_model("segnet_basic", classes=3, encoder=Unusual(kind)))
    image = torch.rand(1, 3, 9, 7)
    torch.testing.assert_close(model.folded()(image), model(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@torch.no_grad()
def test_norms_are_folded_in_float32(narrow: SegNet, dtype: torch.dtype):
    model, image = stir(narrow).to(dtype), torch.rand(1, 3, 21, 18)
    folded = model.folded()
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.float32}
    assert next(model.parameters()).dtype == dtype
    torch.testing.assert_close(folded(image), model.float()(image), rtol=1e-3, atol=1e-3)


class NormedTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.deep = nn.BatchNorm1d(3), nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.norm(x.flatten(2)).view_as(x)
        return [x, self.deep(x)]


def test_memory_is_saved_without_counting_a_batch_twice_in_the_norms_of_tokens():
    model = create_model("segnet_basic", classes=3, encoder=NormedTokens()).train()
    model.save_memory()
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    assert model.encoder.body.norm.num_batches_tracked == 1


def test_an_encoder_of_ours_takes_no_module(narrow_config: SegNetConfig):
    with pytest.raises(ConfigError, match="an encoder of kind 'convolutions' is no module of yours; leave the module"):
        SegNet(narrow_config, NormedTokens())


def test_memory_is_saved_without_counting_a_batch_twice_in_the_norms_of_skip_connections(narrow: SegNet):
    config = replace(narrow.config, decoder=replace(narrow.config.decoder, addition="maps", addition_norm=True))
    plain = SegNet(config).train()
    saving = deepcopy(plain)
    saving.save_memory()
    image = torch.rand(2, 3, 16, 16)
    for model in (plain, saving):
        torch.manual_seed(0)
        model(image).square().mean().backward()
    for (name, wanted), found in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(found, wanted), name


def test_folded_copy_is_in_evaluation_mode_and_the_model_keeps_its_own(narrow: SegNet):
    narrow.train()
    folded = narrow.folded()
    assert not any(module.training for module in folded.modules())
    assert narrow.training


def test_frozen_encoder_keeps_weights_and_statistics_while_the_decoder_learns(narrow: SegNet):
    narrow.freeze_encoder()
    narrow.eval()
    narrow.train()
    encoder = {key: value.clone() for key, value in narrow.encoder.state_dict().items()}
    decoder = {key: value.clone() for key, value in narrow.decoder.state_dict().items()}
    step = torch.optim.SGD(narrow.parameters(), lr=0.1)
    narrow(torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert all(parameter.grad is None for parameter in narrow.encoder.parameters())
    step.step()
    assert all(torch.equal(value, encoder[key]) for key, value in narrow.encoder.state_dict().items())
    assert not any(torch.equal(value, decoder[key]) for key, value in narrow.decoder.state_dict().items())


def test_normalization_is_inside(narrow: SegNet):
    seen: list[Tensor] = []
    narrow.encoder.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    narrow.eval()(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 4, 4))
    assert {"mean", "std"} <= set(narrow.state_dict())


@torch.no_grad()
def test_channels_last_gives_the_same_logits(narrow: SegNet):
    stir(narrow)
    image = torch.rand(2, 3, 21, 18)
    expected = narrow(image)
    turned = narrow.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["narrow", "basic"])
def test_bfloat16_autocast_agrees_with_float32_up_to_rounding(narrow: SegNet, name: str):
    model = stir(narrow if name == "narrow" else create_model("segnet_basic", classes=3))
    image = torch.rand(2, 3, 16, 16)
    exact = model(image)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image)
    assert logits.dtype == torch.bfloat16
    # Rounding moves some positions of near-equal maxima, and with them whole values.
    assert F.cosine_similarity(logits.float().flatten(), exact.flatten(), dim=0) > 0.9
    logits.float().square().mean().backward()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_backward_reaches_every_parameter(narrow_config: SegNetConfig, dropout: float):
    model = SegNet(SegNetConfig(**(vars(narrow_config) | {"dropout": dropout})))
    F.cross_entropy(model(torch.rand(4, 3, 17, 23)), torch.randint(5, (4, 17, 23))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A convolution's bias before a batch norm has no effect, hence a gradient of nearly 0.
        assert parameter.grad.any() or name.endswith("conv.bias"), name


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
@pytest.mark.parametrize("name", list(MODELS))
def test_any_number_of_channels(name: str, channels: int):
    model = on_meta(name, in_channels=channels)
    assert model.mean.shape == model.std.shape == (1, channels, 1, 1)
    logits = model.eval()(torch.rand(1, channels, 9, 9, device="meta"))
    assert logits.shape == (1, MODELS[name].classes, 9, 9)


def test_mean_and_std_are_cycled_over_the_channels(narrow_config: SegNetConfig):
    model = SegNet(SegNetConfig(**(vars(narrow_config) | {"in_channels": 4})))
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([0.485, 0.456, 0.406, 0.485]))


def test_an_empty_batch_gives_empty_logits(narrow: SegNet):
    assert narrow.eval()(torch.rand(0, 3, 6, 6)).shape == (0, 5, 6, 6)


@pytest.mark.parametrize(
    "image",
    [torch.rand(3, 8, 8), torch.rand(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)],
    ids=["no batch", "four channels", "bytes"],
)
def test_what_is_no_image_batch_is_refused(narrow: SegNet, image: Tensor):
    with pytest.raises(ShapeError):
        narrow.eval()(image)


def test_config_survives_json(narrow_config: SegNetConfig):
    for config in (narrow_config, *MODELS.values()):
        assert SegNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 0}, "classes=0"),
        ({"classes": 256}, "classes=256"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"mean": ()}, r"mean=\(\)"),
        ({"std": ()}, r"std=\(\)"),
        ({"std": (0.2, 0.0, 0.2)}, "std above 0"),
        ({"classes": True}, "classes=True is not possible: a whole number"),
        ({"in_channels": 3.0}, "in_channels=3.0 is not possible: a whole number"),
        ({"std": (math.nan,)}, r"std=\(nan,\) is not possible: a list, each item a finite number"),
        ({"mean": (0.5, -math.inf)}, "is not possible: .* finite"),
        ({"mean": (10**400,)}, "is not possible: .* finite"),
        ({"dropout": "0.5"}, "dropout='0.5' is not possible: a finite"),
        ({"local_response_norm": "no"}, "true or false"),
        ({"name": 5}, "name=5 is not possible: a text"),
        ({"encoder": ((4,),)}, "possible: EncoderConfig wanted"),
        ({"decoder": DecoderConfig(widths=((4,),), dropout_stages=(2,))}, "stages are 1 to 1"),
        ({"decoder": DecoderConfig(widths=((4,),), dropout_stages=(0,))}, "stages are 1 to 1"),
    ],
)
def test_impossible_settings_are_refused(narrow_config: SegNetConfig, change: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        SegNetConfig(**(vars(narrow_config) | change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": ((4,),), "kernel": 2}, "must be odd"),
        ({"widths": ((4,),), "kernel": -1}, "must be odd"),
        ({"widths": ((4,),), "kernel": 3.0}, "kernel=3.0 is not possible: a whole number"),
        ({"widths": ((4,),), "dropout_after_pooling": (2.0,)}, "is not possible: .* whole number"),
        ({"widths": ((4, 4.5),)}, "is not possible: .* whole number"),
        ({"widths": ("ab",)}, "is not possible: .* whole number"),
        ({"widths": ((4, 0),)}, "channels above 0"),
        ({"widths": ((4,),) * 17}, "1 to 16 stages"),
        ({"widths": ((4,), ())}, "at least one convolution"),
        ({}, "described by widths"),
        ({"kind": "squeezenet1_1", "widths": ((4,),)}, "described by widths"),
    ],
)
def test_an_impossible_encoder_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": ()}, "needs stages"),
        ({"widths": ((6, 0),)}, "channels above 0"),
        ({"widths": ((4,),), "kernel": 4}, "the decoder's kernel 4 must be odd"),
        ({"widths": ((4,),), "classifier_kernel": 0}, "the classifier's kernel 0 must be odd"),
        ({"widths": ((4,),), "upsampling": "nearest"}, "one of 'indices', 'bilinear', 'learned'"),
        ({"widths": ((4,),), "addition": True}, "one of 'none', 'pooled', 'maps'"),
        ({"widths": ((4,),), "relu": 1}, "true or false"),
        ({"widths": ((),), "compress": True}, "fits neither indices nor convolutions"),
        ({"widths": ((4,),), "compress": True, "upsampling": "learned"}, "fits neither indices nor convolutions"),
    ],
)
def test_an_impossible_decoder_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        DecoderConfig(**settings)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (((8, 6), (6, 4), (4,), (4,)), "3 encoder stages need as many"),
        (((8, 7), (6, 4), (4,)), "encoder stage 2 ends in 6, decoder stage 2 begins with 7"),
    ],
)
def test_a_decoder_that_does_not_fit_its_encoder_is_refused(
    narrow_config: SegNetConfig, widths: tuple[tuple[int, ...], ...], message: str
):
    settings = vars(narrow_config) | {"decoder": DecoderConfig(widths=widths)}
    with pytest.raises(ConfigError, match=message):
        SegNet(SegNetConfig(**settings))


def test_an_encoder_of_no_known_kind_is_refused(narrow_config: SegNetConfig):
    settings = vars(narrow_config) | {"encoder": EncoderConfig(kind="resnet")}
    with pytest.raises(ConfigError, match="of kind 'resnet': hand over the module"):
        SegNet(SegNetConfig(**settings))


def test_unknown_setting_is_refused(narrow_config: SegNetConfig):
    with pytest.raises(ConfigError, match="unknown model setting 'depth'"):
        SegNetConfig.from_dict(narrow_config.to_dict() | {"depth": 5})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x"}, "not complete"),
        ({"name": "x", "encoder": {}, "decoder": {}}, "described by widths"),
        (
            {"name": "x", "encoder": 5, "decoder": 5},
            "5 is not possible: an object with the settings of EncoderConfig",
        ),
        ([], "an object with the settings of SegNetConfig"),
        ({"name": "x", "encoder": {"stages": 3}}, "unknown model setting 'stages'"),
    ],
)
def test_settings_that_are_not_complete_are_refused(values: object, message: str):
    with pytest.raises(ConfigError, match=message):
        SegNetConfig.from_dict(values)


def test_the_representation_names_classes_and_parameters_and_keeps_the_layers(narrow: SegNet) -> None:
    count = sum(parameter.numel() for parameter in narrow.parameters())
    assert f"narrow, classes=5, in_channels=3, parameters={count:,}\n" in repr(narrow)
    assert "(encoder): Encoder(" in repr(narrow)


def test_bands_are_normalized_to_the_size_of_numbers_that_the_filters_know() -> None:
    """The published SegNet-Basic sees 0 to 255, others numbers around 1: measured statistics keep that size."""
    bands = Bands(indices=(3, 0, 1, 2), count=4)
    for name, size in (("segnet_squeezenet", 1.0), ("segnet_light", 0.45), ("segnet_basic", 57.6)):
        model = create_model(name, classes=2, in_channels=4)
        model.set_bands(bands, mean=(0.1, 0.2, 0.3, 0.4), std=(0.01, 0.02, 0.03, 0.04))
        given = torch.tensor([0.11, 0.22, 0.33, 0.44]).view(1, 4, 1, 1)
        torch.testing.assert_close((given - model.mean) / model.std, torch.full_like(given, size), rtol=0.01, atol=0)
        assert model.config.image_channels == bands
        assert SegNetConfig.from_dict(json.loads(json.dumps(model.config.to_dict()))) == model.config
    with pytest.raises(ConfigError, match="2 bands do not fit a network of 4 channels"):
        model.set_bands(Bands(indices=(0, 1)), mean=(0.0, 0.0), std=(1.0, 1.0))
    with pytest.raises(ConfigError, match=r"bands \[0, 1\] are not possible with in_channels=4"):
        replace(model.config, bands=Bands(indices=(0, 1)))
