"""The models of a service: opened at the start, opened again on request, the old ones kept if the new are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import numpy as np

from segnet.bands import stored_bands
from segnet.errors import SegNetError, one_line
from segnet.inference.predictor import Predictor
from segnet.web.service.refusals import RefusedError

__all__ = ["ModelSet", "describe_model"]

log = logging.getLogger("segnet.service")

_TRIAL_SIZE = (64, 64)  # of the image on which a model is tried, if it takes any size


class ModelSet:
    """Predictors by name; the first is the default.

    Args:
        openers: by the name of each model, a function that loads it.

    Raises:
        SegNetError: a model cannot be loaded or run.
    """

    def __init__(self, openers: Mapping[str, Callable[[], Predictor]]) -> None:
        self._openers = dict(openers)
        self._predictors = {name: _open(opener) for name, opener in openers.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self._predictors)

    def find(self, name: str | None) -> tuple[str, Predictor]:
        """A model with its name; the default for None.

        Raises:
            RefusedError: there is no such model.
        """
        name = self.names[0] if name is None else name
        if name not in self._predictors:
            known = ", ".join(self.names)
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no model {name[:60]!a}; this service has {known}")
        return name, self._predictors[name]

    def reload(self) -> None:
        """Load all models again; one that is refused stays as it was, with a line in the log."""
        for name, opener in self._openers.items():
            try:
                self._predictors[name] = _open(opener)
            except SegNetError as error:
                log.error("the model %s stays as it was: %s", name, one_line(error))
            except Exception as error:  # whatever a runtime raises: the model that runs must not be lost
                log.error("the model %s stays as it was: %s: %s", name, type(error).__name__, one_line(error))
            else:
                log.info("the model %s was loaded again", name)

    def describe(self) -> list[dict[str, Any]]:
        """``describe_model`` of each model."""
        return [
            {"name": name, "default": name == self.names[0], **describe_model(predictor)}
            for name, predictor in self._predictors.items()
        ]


def describe_model(predictor: Predictor) -> dict[str, Any]:
    """What a client needs to know of a model: classes with names, mask values and colors, bands, and sizes."""
    info, labels = predictor.runtime.info, predictor.labels
    bands = stored_bands(predictor.channels)
    return {
        "network": info.name,
        "runtime": repr(predictor.runtime),
        "precision": info.precision,
        "channels": info.channels,
        "bands": None if bands is None else list(bands.indices),
        "size": None if info.size is None else list(info.size),
        "max_size": predictor.resize.max_size,
        "classes": [
            {"name": name, "value": value, "color": list(color)}
            for name, value, color in zip(labels.names, labels.values, labels.colors, strict=True)
        ],
    }


def _open(opener: Callable[[], Predictor]) -> Predictor:
    """A predictor that has predicted an image: the first request is not slower, and a broken model shows now."""
    predictor = opener()
    info = predictor.runtime.info
    predictor.predict_pixels(np.zeros((*(info.size or _TRIAL_SIZE), info.channels), dtype=np.uint8))
    return predictor
