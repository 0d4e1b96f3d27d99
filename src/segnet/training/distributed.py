"""The processes of a run: how many there are, which one reports, and how they average a number."""

from __future__ import annotations

import os

import torch.distributed as distributed
from torch import Tensor

from segnet.training.lightning import SLURMEnvironment
from segnet.training.settings import TrainConfig

__all__ = ["count_processes", "is_first_process", "mean_over_processes"]


def is_first_process() -> bool:
    """Whether this process has rank 0. Only that one prints and logs."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def count_processes(config: TrainConfig) -> tuple[int, int]:
    """Processes per node, and nodes. Under torchrun or SLURM their numbers count, not those of ``config``."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        per_node = int(environment["LOCAL_WORLD_SIZE"])
        return per_node, int(environment["WORLD_SIZE"]) // per_node
    if SLURMEnvironment.detect():
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return int(environment["SLURM_NTASKS"]) // nodes, nodes
    return config.devices, config.nodes


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of each value of a tensor over all processes, without a gradient."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
