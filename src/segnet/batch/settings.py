"""Where ``segnet predict`` runs the model: in this process, or in many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segnet.errors import ConfigError

__all__ = ["EngineConfig"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where the images are predicted.

    Attributes:
        engine: local predicts in this process. ray predicts in many, on this machine or on a Ray cluster, and takes
            list files, addresses such as s3://, Parquet and WebDataset shards. The same command, run again, predicts
            only what is missing.
        address: Ray cluster to join (--engine ray): auto, or HOST:PORT of its head. Default: none, this machine alone.
        workers: Number of processes that predict (--engine ray), each with a model of its own. Default: 0, one for each
            GPU, or for each --threads cores.
    """

    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"workers={self.workers} is not possible; give 1 or more processes, or 0 for the default")
        if self.engine == "local" and (self.address is not None or self.workers):
            raise ConfigError(
                f"address={self.address} and workers={self.workers} need many processes; add --engine ray, or leave "
                "them out"
            )
