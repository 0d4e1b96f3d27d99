"""The models that the demo offers, opened when they are first used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from segnet.errors import ConfigError, ModelError
from segnet.inference.predictor import Predictor
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import apply_verification

__all__ = ["UPLOADABLE", "Models"]

UPLOADABLE = (".safetensors", ".onnx")
"""Suffixes of model files that a visitor may upload: one file each, and reading them runs no code."""

_OPEN_AT_ONCE = 4


class Models:
    """Predictors by model and number of samples; the few that were used last stay open.

    Args:
        offered: model files, names of bundled models, or addresses of the hub; the first is opened at once.
        device: of PyTorch models, see ``open_runtime``.
        threads: number of compute threads; 0: the runtime's choice.

    Attributes:
        names: of the models that are offered.
        turn: held while an image is segmented, so that visitors do not slow each other down.

    Raises:
        ConfigError: no model is offered, or the device does not exist.
        ModelError: the first model cannot be used.
    """

    def __init__(self, offered: Sequence[str], *, device: str = "auto", threads: int = 0) -> None:
        if not offered:
            raise ConfigError("no model is offered; give at least one")
        self.names = tuple(offered)
        self._allowed = set(offered)
        self._device, self._threads = device, threads
        self._open: OrderedDict[tuple[str, int], Predictor] = OrderedDict()
        self.turn = Lock()
        self._lock = Lock()
        self.open(self.names[0])

    def add(self, upload: Path) -> None:
        """Allow a file that a visitor uploaded.

        Raises:
            ModelError: it is of a kind that is not taken, or it cannot be used.
        """
        if upload.suffix not in UPLOADABLE:
            raise ModelError(f"{upload.name}: is no model file that can be uploaded; give {' or '.join(UPLOADABLE)}")
        self._allowed.add(str(upload))
        try:
            self.open(str(upload))
        except Exception:
            self._allowed.discard(str(upload))
            raise

    def open(self, name: str, samples: int = 0) -> Predictor:
        """The predictor of a model, with confidence and uncertainty where the model gives them.

        Args:
            name: one that is offered, or the path of an upload.
            samples: number of Monte Carlo dropout samples; ignored by models without dropout.

        Raises:
            ConfigError: the model is not offered.
            ModelError, MissingPackageError: it cannot be used.
        """
        with self._lock:
            return self._opened(name, self._drawn(name, samples))

    def open_own(self, name: str, samples: int = 0) -> Predictor:
        """A predictor that nobody else uses, for what runs beside the images; see ``open``."""
        with self._lock:
            samples = self._drawn(name, samples)
        return self._load(name, samples)

    def _drawn(self, name: str, samples: int) -> int:
        """The samples that a model draws: none without dropout."""
        if name not in self._allowed:
            raise ConfigError(f"{name[:80]!r} is not offered here; choose one of {', '.join(self.names)}")
        return samples if samples and self._opened(name, 0).runtime.has_dropout else 0

    def _opened(self, name: str, samples: int) -> Predictor:
        key = (name, samples)
        if key not in self._open:
            self._open[key] = self._load(name, samples)
            while len(self._open) > _OPEN_AT_ONCE:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]

    def _load(self, name: str, samples: int) -> Predictor:
        runtime = open_runtime(name, device=self._device, threads=self._threads, samples=samples)
        apply_verification(runtime, "first_use")
        return Predictor(runtime, confidence=runtime.gives_probabilities, uncertainty=bool(runtime.measures))
