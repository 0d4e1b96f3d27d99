"""Lightning, or one sentence that says how to install or repair it.

Every other file of this room takes Lightning from here.
"""

from __future__ import annotations

import logging

from segnet.system.packages import importing

with importing("lightning", "train"):
    import lightning
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.io import TorchCheckpointIO
    from lightning.pytorch import loggers
    from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, WeightAveraging
    from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

__all__ = [
    "Callback",
    "DDPStrategy",
    "EarlyStopping",
    "FSDPStrategy",
    "LearningRateMonitor",
    "LightningModule",
    "SLURMEnvironment",
    "TorchCheckpointIO",
    "Trainer",
    "WeightAveraging",
    "loggers",
    "seed_everything",
]

LightningModule = lightning.LightningModule
Trainer = lightning.Trainer
seed_everything = lightning.seed_everything

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
