"""Transfer: what fits of a model file is taken, the classifier row by row by the names of its classes."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segnet.errors import ConfigError, ModelError
from segnet.labels import CAMVID, ClassTable
from segnet.models import checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
from segnet.models.transfer import transfer
from segnet.models.zoo import MODELS, create_model


@pytest.fixture
def narrow_file(narrow: SegNet, five_labels: ClassTable, tmp_path: Path) -> checkpoint.Checkpoint:
    with torch.no_grad():
        narrow(torch.rand(2, 3, 24, 32))  # so that the norms are not those of a new network
    return checkpoint.load(checkpoint.save(narrow, five_labels, tmp_path / "narrow.safetensors"))


def body(model: SegNet) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_bundled_model_gives_other_classes_all_but_its_classifier(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="segnet"):
        model = create_model("segnet_light", classes=23, weights="segnet_light")
    assert caplog.messages == ["loaded 335 of 337 tensors from segnet_light; new: classifier (23 classes)"]
    assert model.training
    assert same(body(model), body(checkpoint.load("segnet_light").model))
    assert model.classifier.weight.shape[0] == 23


def test_classes_in_common_keep_their_rows_whatever_their_order(
    narrow_file: checkpoint.Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ClassTable.from_names(["water", "Car", "sky", "grass"])
    model = SegNet(replace(narrow_file.model.config, classes=4))
    before = model.classifier.weight.clone()
    with caplog.at_level(logging.INFO, logger="segnet"):
        transfer(model, narrow_file, "narrow", labels)
    old, new = narrow_file.model.classifier, model.classifier
    for kind in ("weight", "bias"):
        torch.testing.assert_close(getattr(new, kind)[[1, 2]], getattr(old, kind)[[4, 0]], rtol=0, atol=0)
    assert torch.equal(new.weight[[0, 3]], before[[0, 3]])
    assert caplog.messages[0].endswith("; new: classifier (4 classes, with the rows of car, sky)")


def test_the_same_classes_in_another_order_are_not_mixed_up(narrow_file: checkpoint.Checkpoint) -> None:
    model = SegNet(narrow_file.model.config)
    transfer(model, narrow_file, "narrow", ClassTable.from_names(narrow_file.labels.names[::-1]))
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(image).flip(1), narrow_file.model(image))


def test_a_file_of_the_same_classes_is_taken_whole(
    narrow_file: checkpoint.Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    model = SegNet(narrow_file.model.config)
    with caplog.at_level(logging.INFO, logger="segnet"):
        report = transfer(model, narrow_file, "narrow", narrow_file.labels)
    assert same(model.state_dict(), narrow_file.model.state_dict())
    count = len(model.state_dict())
    assert (len(report.loaded), report.new) == (count, ())
    assert caplog.messages == [f"loaded {count} of {count} tensors from narrow"]


def test_compressed_maps_are_classes_too(five_labels: ClassTable, tmp_path: Path) -> None:
    """Without a classifier the decoder's channels are the classes, so other classes of the same number are all new."""
    config = SegNetConfig(
        name="fcn",
        encoder=EncoderConfig(widths=((4,), (6,))),
        decoder=DecoderConfig(widths=((),) * 2, upsampling="learned", compress=True),
        classes=5,
    )
    kept = checkpoint.load(checkpoint.save(SegNet(config), five_labels, tmp_path / "fcn.safetensors"))
    report = transfer(SegNet(config), kept, "fcn", ClassTable.from_names(list("abcde")))
    assert {name.partition(".")[0] for name in report.new} == {"decoder"}
    assert not transfer(SegNet(config), kept, "fcn", five_labels).new


def test_other_input_channels_adapt_the_first_filters_alone(narrow_file: checkpoint.Checkpoint) -> None:
    kept = narrow_file.model
    gray = SegNet(replace(kept.config, in_channels=1))
    transfer(gray, narrow_file, "narrow", narrow_file.labels)
    first = "encoder.stages.0.0.conv.weight"
    torch.testing.assert_close(gray.state_dict()[first], kept.state_dict()[first].sum(1, keepdim=True))
    others = {first, "mean", "std"}
    given = {name: value for name, value in kept.state_dict().items() if name not in others}
    assert same({name: value for name, value in gray.state_dict().items() if name not in others}, given)


def test_a_layer_that_does_not_fit_is_new_with_its_norm(narrow_file: checkpoint.Checkpoint) -> None:
    config = narrow_file.model.config
    wide = replace(config, decoder=replace(config.decoder, widths=((8, 6), (5, 4), (4,))))
    report = transfer(SegNet(wide), narrow_file, "narrow", narrow_file.labels)
    assert {name.rpartition(".")[0].rpartition(".")[0] for name in report.new} == {
        "decoder.stages.1.0", "decoder.stages.1.1"
    }  # fmt: skip


def test_a_classifier_of_another_kernel_is_new_and_takes_no_rows(
    narrow_file: checkpoint.Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    config = narrow_file.model.config
    model = SegNet(replace(config, decoder=replace(config.decoder, classifier_kernel=5)))
    with caplog.at_level(logging.INFO, logger="segnet"):
        report = transfer(model, narrow_file, "narrow", narrow_file.labels)
    assert report.new == ("classifier.weight", "classifier.bias")
    assert report.classes == ()
    assert caplog.messages[0].endswith("; new: classifier (5 classes)")


def test_the_normalization_comes_with_the_weights(narrow_config: SegNetConfig, tmp_path: Path) -> None:
    row = MODELS["segnet_light"]
    given = SegNet(replace(row, mean=(0.1, 0.2, 0.3)))
    file = checkpoint.save(given, CAMVID, tmp_path / "other.safetensors")
    model = create_model("segnet_light", classes=3, weights=file)
    assert model.config.mean == (0.1, 0.2, 0.3)
    torch.testing.assert_close(model.mean, given.mean)


def test_weights_of_other_layers_are_refused_and_change_nothing(narrow_file: checkpoint.Checkpoint) -> None:
    encoder, decoder = EncoderConfig(widths=((5,), (7,), (9,))), DecoderConfig(widths=((9, 7), (7, 5), (5,)))
    model = SegNet(replace(narrow_file.model.config, encoder=encoder, decoder=decoder))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match="narrow: holds narrow, whose layers are not those of narrow"):
        transfer(model, narrow_file, "narrow", narrow_file.labels)
    assert same(model.state_dict(), before)


def test_weights_are_given_once() -> None:
    with pytest.raises(ConfigError, match="give one of the two"):
        create_model("segnet_light", weights="segnet_light", encoder_weights="imagenet")
