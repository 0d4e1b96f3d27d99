"""What a Caffe net is built like: its layers, read in their order, as a ``SegNetConfig``.

Source of the layouts: SegNet-Tutorial, Models/ and Example_Models/.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

from segnet.errors import ConfigError, ModelError
from segnet.models.caffe.files import Layer, Net
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNetConfig

__all__ = ["Layout", "Stage", "Unit", "read_layout"]

_BODY = ("LRN", "Convolution", "BN", "ReLU", "Dropout", "Pooling", "Upsample")
# What stands around a net in training and in use. "...Data" brings images, Split names a map twice.
_AROUND = {"Input", "Softmax", "SoftmaxWithLoss", "Accuracy", "ArgMax", "Silence", "Split"}
_LRN = {"local_size": (5, 5.0), "alpha": (1.0, 1e-4), "beta": (0.75, 0.75), "k": (1.0, 1.0)}  # default, ours


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A convolution and what belongs to it."""

    conv: Layer
    norm: Layer | None
    relu: Layer | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Units between two changes of resolution, and the dropout layers in and around them.

    Attributes:
        resize: the Pooling that ends it, or the Upsample that begins it.
        units: in their order.
        before: dropout behind the last unit.
        after: dropout behind the Pooling.
    """

    resize: Layer
    units: tuple[Unit, ...]
    before: Layer | None = None
    after: Layer | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A net, taken apart.

    Attributes:
        config: without a name; 3 channels.
        encoder: shallowest stage first.
        decoder: deepest stage first; without the classifier.
        classifier: the convolution that gives the logits.
    """

    config: SegNetConfig
    encoder: tuple[Stage, ...]
    decoder: tuple[Stage, ...]
    classifier: Layer

    @property
    def units(self) -> tuple[Unit, ...]:
        """All but the classifier, in the order of the net."""
        return tuple(chain.from_iterable(stage.units for stage in self.encoder + self.decoder))


def read_layout(net: Net) -> Layout:
    """Take a net apart.

    Raises:
        ModelError: it holds something that ``SegNetConfig`` cannot express, with the layer's name and the reason.
    """
    walk = _Walk(net)
    norm = walk.take("LRN")
    encoder = []
    while not walk.at("Upsample"):
        encoder.append(_encoder_stage(walk))
    decoder = [_decoder_stage(walk, stage) for stage in reversed(encoder)]
    classifier, decoder[-1] = _without_classifier(walk, decoder[-1])
    walk.end()
    if norm is not None:
        _check_lrn(norm)
    config = _config(net, encoder, decoder, classifier)
    config = replace(config, local_response_norm=norm is not None)
    return Layout(config=config, encoder=tuple(encoder), decoder=tuple(decoder), classifier=classifier)


class _Walk:
    """The layers between image and logits, one after the other."""

    def __init__(self, net: Net) -> None:
        self._path = net.path
        self._layers = _chain(net)
        self._place = 0

    def at(self, kind: str) -> bool:
        return self._place < len(self._layers) and self._layers[self._place].type == kind

    def take(self, kind: str) -> Layer | None:
        """The next layer, if it is of this type."""
        if not self.at(kind):
            return None
        self._place += 1
        return self._layers[self._place - 1]

    def need(self, kind: str) -> Layer:
        """The next layer, which has to be of this type."""
        layer = self.take(kind)
        if layer is not None:
            return layer
        if self._place == len(self._layers):
            raise ModelError(
                f"{self._path}: ends where a layer of type {kind} belongs; give the description of a SegNet"
            )
        raise self._misplaced(f"where {kind} belongs")

    def end(self) -> None:
        """There are no more layers."""
        if self._place < len(self._layers):
            raise self._misplaced("behind the last convolution")

    def _misplaced(self, where: str) -> ModelError:
        layer = self._layers[self._place]
        return ModelError(
            f"{layer.where} of type {layer.type} stands {where}; a SegNet is convolutions (each with BN and ReLU, or "
            "without), Dropout and Pooling, stage by stage, then Upsample, convolutions and Dropout, stage by stage"
        )


def _chain(net: Net) -> list[Layer]:
    """The layers of the body, each taking what the one before it gives."""
    same: dict[str, str] = {}
    body: list[Layer] = []
    for layer in net.layers:
        bottoms = tuple(same.get(name, name) for name in layer.bottoms)
        if layer.type == "Split":
            same |= dict.fromkeys(layer.tops, "".join(bottoms[:1]))
        if layer.type in _AROUND or layer.type.endswith("Data"):
            continue
        if layer.type not in _BODY:
            raise ModelError(f"{layer.where} has type {layer.type!r}; a SegNet is made of {', '.join(_BODY)}")
        if layer.conditional:
            raise ModelError(f"{layer.where} is there in one phase only; give the description that is used for testing")
        if body and bottoms[:1] != body[-1].tops[:1]:
            raise ModelError(
                f"{layer.where} takes {', '.join(bottoms) or 'nothing'}, but the layer before it gives "
                f"{', '.join(body[-1].tops) or 'nothing'}; only a single chain of layers can be converted"
            )
        body.append(replace(layer, bottoms=bottoms))
        for top in layer.tops:  # from here on a map of its own
            same.pop(top, None)
    return body


def _units(walk: _Walk) -> tuple[Unit, ...]:
    units = []
    while walk.at("Convolution"):
        units.append(_unit(walk))
    return tuple(units)


def _unit(walk: _Walk) -> Unit:
    return Unit(conv=walk.need("Convolution"), norm=walk.take("BN"), relu=walk.take("ReLU"))


def _encoder_stage(walk: _Walk) -> Stage:
    units, before, pool = (_unit(walk), *_units(walk)), walk.take("Dropout"), walk.need("Pooling")
    if pool.word("pool", "MAX") != "MAX" or _square(pool, "kernel_size", 0) != 2 or _square(pool, "stride", 1) != 2:
        raise ModelError(f"{pool.where} pools otherwise than the maximum of 2x2 at stride 2, which SegNet unpools")
    if _square(pool, "pad", 0) or len(pool.tops) != 2:
        raise ModelError(f"{pool.where} has padding, or no second top for its mask; SegNet unpools with the mask")
    return Stage(resize=pool, units=units, before=before, after=walk.take("Dropout"))


def _decoder_stage(walk: _Walk, mirrored: Stage) -> Stage:
    upsample, pool = walk.need("Upsample"), mirrored.resize
    if upsample.bottoms[1:] != pool.tops[1:]:
        raise ModelError(
            f"{upsample.where} takes the mask {', '.join(upsample.bottoms[1:]) or 'of none'}; the stages mirror each "
            f"other, so it should be {pool.tops[1]}"
        )
    sized = upsample.whole("upsample_h", 0) and upsample.whole("upsample_w", 0)
    scales = {upsample.whole(side, upsample.whole("scale", 2)) for side in ("scale_h", "scale_w")}
    if not sized and scales != {2}:
        raise ModelError(f"{upsample.where} enlarges otherwise than to double size; the pooling halves")
    return Stage(resize=upsample, units=_units(walk), before=walk.take("Dropout"))


def _without_classifier(walk: _Walk, last: Stage) -> tuple[Layer, Stage]:
    """The classifier, and the last stage without it; dropout may stand between them."""
    units = last.units
    if last.before is not None or not units:
        units = (*units, _unit(walk))
    unit = units[-1]
    for layer in (unit.norm, unit.relu):
        if layer is not None:
            raise ModelError(f"{layer.where} stands behind the last convolution, whose values are to be the logits")
    return unit.conv, replace(last, units=units[:-1])


def _config(net: Net, encoder: list[Stage], decoder: list[Stage], classifier: Layer) -> SegNetConfig:
    depths = range(len(encoder), 0, -1)
    try:
        return SegNetConfig(
            name="",
            encoder=EncoderConfig(
                widths=_widths(encoder),
                kernel=_kernel(encoder),
                dropout_before_pooling=tuple(number for number, stage in enumerate(encoder, 1) if stage.before),
                dropout_after_pooling=tuple(number for number, stage in enumerate(encoder, 1) if stage.after),
            ),
            decoder=DecoderConfig(
                widths=_widths(decoder),
                kernel=_kernel(decoder),
                relu=_relu(encoder, decoder),
                classifier_kernel=_side(classifier),
                dropout_stages=tuple(sorted(n for n, stage in zip(depths, decoder, strict=True) if stage.before)),
            ),
            mean=(0.0, 0.0, 0.0),
            std=(1 / 255, 1 / 255, 1 / 255),
            dropout=_dropout([*encoder, *decoder]),
            classes=classifier.whole("num_output", 0),
        )
    except ConfigError as error:
        raise ModelError(f"{net.path}: describes a net that cannot be built ({error})") from error


def _widths(stages: Iterable[Stage]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(unit.conv.whole("num_output", 0) for unit in stage.units) for stage in stages)


def _kernel(stages: Iterable[Stage]) -> int:
    """The side of all filters; 3, as in the paper, if there are none."""
    kernel = 0
    for unit in chain.from_iterable(stage.units for stage in stages):
        side = _side(unit.conv)
        if kernel and side != kernel:
            raise ModelError(f"{unit.conv.where} has filters of side {side}, those before it {kernel}; one is possible")
        kernel = side
    return kernel or 3


def _side(conv: Layer) -> int:
    """The side of a convolution's filters, if it keeps the size of its input."""
    side = _square(conv, "kernel_size", 0)
    if side % 2 == 0 or _square(conv, "pad", 0) != side // 2 or _square(conv, "stride", 1) != 1:
        raise ModelError(f"{conv.where} does not keep the size of its input; an odd side k, pad k // 2 and stride 1 do")
    if conv.whole("group", 1) != 1 or conv.whole("dilation", 1) != 1:
        raise ModelError(f"{conv.where} has groups or dilation; SegNet's filters have none")
    return side


def _square(layer: Layer, key: str, default: int) -> int:
    """A setting that is given for both sides, or for each."""
    short = key.removesuffix("_size")
    sides = {layer.whole(f"{short}_{side}", layer.whole(key, default)) for side in ("h", "w")}
    if len(sides) > 1:
        raise ModelError(f"{layer.where} has another {key} in height than in width; only squares can be converted")
    return sides.pop()


def _relu(encoder: list[Stage], decoder: list[Stage]) -> bool:
    """Whether the decoder has ReLUs; the encoder has to."""
    there = [unit.relu is not None for stage in decoder for unit in stage.units]
    wanted = not there or there[0]
    for stages, relu in ((encoder, True), (decoder, wanted)):
        for conv in (unit.conv for stage in stages for unit in stage.units if (unit.relu is not None) != relu):
            raise ModelError(
                f"{conv.where} is {'not ' if relu else ''}followed by a ReLU; one must follow everywhere in the "
                "encoder, and everywhere or nowhere in the decoder"
            )
    for layer in (unit.relu for stage in [*encoder, *decoder] for unit in stage.units):
        if layer is not None and layer.number("negative_slope", 0.0):
            raise ModelError(f"{layer.where} lets negative values through; SegNet's ReLU does not")
    return wanted


def _dropout(stages: list[Stage]) -> float:
    """The probability at all places; 0 without any."""
    layers = [layer for stage in stages for layer in (stage.before, stage.after) if layer is not None]
    ratios = {layer.number("dropout_ratio", 0.5) for layer in layers}
    if len(ratios) > 1:
        raise ModelError(f"{layers[0].path}: Dropout has the ratios {sorted(ratios)}; one for all layers is possible")
    return ratios.pop() if ratios else 0.0


def _check_lrn(layer: Layer) -> None:
    for key, (default, ours) in _LRN.items():
        if abs(layer.number(key, default) - ours) > 1e-6 * ours:
            raise ModelError(f"{layer.where} has {key} {layer.number(key, default):g}; SegNet-Basic's is {ours:g}")
    if layer.word("norm_region", "ACROSS_CHANNELS") != "ACROSS_CHANNELS":
        raise ModelError(f"{layer.where} normalizes within a channel; SegNet-Basic's does across channels")
