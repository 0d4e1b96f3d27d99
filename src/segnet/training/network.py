"""The network that a run trains: a new one, or that of a model file."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from segnet.bands import Bands, Channels, count_channels, describe_channels, stored_bands
from segnet.data.band_statistics import measure_bands
from segnet.data.layouts import Source
from segnet.errors import ConfigError
from segnet.models import checkpoint
from segnet.models.bundled import bundled_models, local_file
from segnet.models.hub import is_hub_address
from segnet.models.segnet import SegNet
from segnet.models.zoo import adapted, create_model
from segnet.training.fitted_norms import fit_batch_norms
from segnet.training.run_config import NetworkConfig

__all__ = ["continued_network", "image_channels", "make_network", "measure_input", "own_channels"]

log = logging.getLogger("segnet")


def make_network(config: NetworkConfig, source: Source) -> SegNet:
    """A new network for the classes of a data set, or the network of a model file, in training mode.

    Raises:
        ConfigError: values that exclude each other.
        ModelError: a model file cannot be used, or has other layers.
    """
    if config.names_file:
        return _load_network(config, source)
    channels = image_channels(config, source)
    model = create_model(
        config.model,
        classes=source.labels,
        in_channels=count_channels(channels),
        dropout=config.dropout,
        weights=config.weights,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        freeze_encoder=config.freeze_encoder,
    )
    if not (config.weights or config.encoder_weights or config.encoder):
        bundled = f"; --weights {config.model} takes the bundled ones" if config.model in bundled_models() else ""
        log.info("%s begins with random weights%s", config.model, bundled)
    if not _has_bands(model, channels):
        measure_input(model, channels, source)
    if config.encoder_weights and config.encoder_norms == "fitted" and source.splits.get("train"):
        fit_batch_norms(model, source.dataset("train", channels=model.config.image_channels))
    return model


def continued_network(config: NetworkConfig, out: Path) -> NetworkConfig:
    """The network of a run to continue: that of its own weights where the model file that it began with is gone.

    Which weights those are does not matter, since the checkpoint replaces them.
    """
    start, own = config.model if config.names_file else config.weights, out / "best.safetensors"
    if start is None or is_hub_address(start) or local_file(start) or not own.is_file():
        return config
    log.info("%s, with which this run began, is gone; the network is that of %s", start, own)
    return NetworkConfig(model=str(own), freeze_encoder=config.freeze_encoder)


def measure_input(model: SegNet, channels: Channels, source: Source) -> None:
    """Let a network take images of a data set, with the statistics of the training images if it takes bands of them.

    Raises:
        DataError: The images have other bands, or values that cannot be used.
    """
    if (bands := stored_bands(channels)) is not None and source.splits.get("train"):
        found = measure_bands(source.splits["train"], bands)
        model.set_bands(found.bands, mean=found.mean, std=found.std)


def image_channels(config: NetworkConfig, source: Source) -> Channels:
    """How images are read for a new network: by the settings of the run, or by those of the data set.

    Raises:
        ConfigError: The channels or bands are not possible.
    """
    if config.in_channels is None:
        return source.channels
    if isinstance(config.in_channels, int):
        if config.in_channels < 1:
            raise ConfigError(f"in_channels={config.in_channels} is not possible; give 1, 3 or the number of bands")
        return config.in_channels
    known = stored_bands(source.channels)
    return Bands(indices=config.in_channels, value_range=known.value_range if known else ())


def own_channels(model: SegNet, source: Source) -> Channels:
    """How images are read for a network of the user's own: by its configuration, or else by the bands of the data."""
    bands, count = stored_bands(source.channels), model.config.in_channels
    if model.config.bands.indices or bands is None or len(bands.indices) != count:
        return model.config.image_channels
    return bands


def _has_bands(model: SegNet, channels: Channels) -> bool:
    """Whether the network came with weights for these bands already."""
    wanted, theirs = stored_bands(channels), model.config.bands
    return wanted is None or (bool(theirs.indices) and wanted.reads_like(theirs))


def _require_input(config: NetworkConfig, model: SegNet, source: Source) -> None:
    """A model file decides how images are read; bands that the user or a data.yaml names must be the same."""
    theirs, wanted = model.config.image_channels, image_channels(config, source)
    one, other = stored_bands(theirs), stored_bands(wanted)
    if config.in_channels is None and other is None:
        return  # color images may be read as gray, and gray ones in color
    if not (theirs == wanted if one is None or other is None else one.reads_like(other)):
        raise ConfigError(
            f"{config.model} takes {describe_channels(theirs)} for good, and the images are to be read as "
            f"{describe_channels(wanted)}; leave --in-channels out, or give --model {model.config.name} --weights "
            f"{config.model}"
        )


def _load_network(config: NetworkConfig, source: Source) -> SegNet:
    """The network of a model file; it decides channels, dropout and encoder."""
    for name in ("weights", "encoder", "encoder_weights"):
        if getattr(config, name):
            flag = name.replace("_", "-")
            raise ConfigError(f"{config.model} brings its own weights; leave --{flag} out, or give a model's name")
    kept = checkpoint.load(config.model)
    _require_input(config, kept.model, source)
    if config.dropout not in (None, fixed := kept.model.config.dropout):
        raise ConfigError(
            f"{config.model} has dropout={fixed} for good; leave --dropout out, or give --model "
            f"{kept.model.config.name} --weights {config.model}"
        )
    network = kept.model.train()
    if kept.labels.names != source.labels.names:
        made = replace(network.config, classes=source.labels.classes)
        network = adapted(kept, made, source=config.model, labels=source.labels)
    if config.freeze_encoder:
        network.freeze_encoder()
    return network
