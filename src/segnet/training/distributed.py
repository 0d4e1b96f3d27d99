"""The processes of a run: how many, how they work together, and which of them speaks."""

from __future__ import annotations

import os
from typing import Any

from segnet.training.settings import TrainConfig

__all__ = ["is_first_process", "processes", "strategy"]


def is_first_process() -> bool:
    """Whether this process speaks for the run; of several only one does."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def processes(config: TrainConfig) -> tuple[int, int]:
    """How many per machine, and machines; torchrun and SLURM have decided that already."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        here = int(told["LOCAL_WORLD_SIZE"])
        return here, int(told["WORLD_SIZE"]) // here
    if SLURMEnvironment.detect():
        nodes = int(told.get("SLURM_NNODES", "1"))
        return int(told["SLURM_NTASKS"]) // nodes, nodes
    return config.devices, config.nodes


def strategy(config: TrainConfig, count: int) -> Any:
    """How Lightning is to have that many processes work together."""
    if count == 1:
        return "auto"
    from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

    if config.strategy == "fsdp":
        return FSDPStrategy(state_dict_type="full")
    # Statistics are the same everywhere already, and what is frozen has no gradients to wait for.
    return DDPStrategy(broadcast_buffers=config.batch_norm == "local", find_unused_parameters=bool(config.unfreeze_at))
