"""Ray Data runs the workers: one model per actor, parts stream through ``map_batches``.

Ray restarts an actor that died and gives it the part in hand again; ``done.py`` knows which of its images are done.
Ray's own job checkpoints (``ray.data.checkpoint``, 2.60) are not used: they need the images to come from a reader of
Ray, note whole blocks, and complete their two phases only for files that hold many rows, so masks could be written
twice.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from segnet.batch.settings import EngineConfig
from segnet.batch.sources import Item, Part
from segnet.batch.worker import BatchReport, Task, Worker
from segnet.errors import ConfigError
from segnet.system.packages import importing
from segnet.system.threads import available_cores

__all__ = ["Pool", "connected", "stream_reports"]

_OBJECT_STORE_BYTES = 100_000_000  # addresses go in and counts come out; images never pass through it
_BLOCK_BYTES = 100  # so that each report is passed on at once
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}


class Pool(NamedTuple):
    """The processes of a run.

    Attributes:
        workers: their number.
        gpu: whether each takes a GPU.
        elastic: whether to begin with fewer where a cluster has no room for all of them yet.
    """

    workers: int
    gpu: bool
    elastic: bool


@contextmanager
def connected(config: EngineConfig, *, threads: int, device: str) -> Iterator[Pool]:
    """Join the cluster, or start one on this machine that ends with the block, or with this process.

    Args:
        config: address and number of workers.
        threads: cores of each worker.
        device: cuda: each worker takes a GPU; auto: if there are any.

    Raises:
        MissingPackageError: Ray is not installed.
        ConfigError: there is no cluster at the address, or it has no room for one worker.
    """
    ray = _import_ray()
    own = not ray.is_initialized()
    if own:
        _start(config, threads)
    try:
        yield _choose_pool(config, threads, device)
    finally:
        if own:
            ray.shutdown()


def stream_reports(task: Task, parts: Sequence[Part], pool: Pool) -> Iterator[BatchReport]:
    """Predict all parts; the reports come in any order, as they are made."""
    import ray.data
    from ray.data import ActorPoolStrategy

    _quieten(ray.data)
    most = min(pool.workers, len(parts))
    actors = ActorPoolStrategy(min_size=1, max_size=most) if pool.elastic else ActorPoolStrategy(size=most)
    rows = [{"part": json.dumps(part)} for part in parts]
    reports = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Actor, fn_constructor_args=(task,), batch_size=1, compute=actors,
        num_cpus=task.threads, num_gpus=1 if pool.gpu else None,
    )  # fmt: skip
    for row in reports.iter_rows():
        yield BatchReport(**json.loads(row["report"]))


class Actor:
    """A worker as ``map_batches`` calls it.

    Args:
        task: what to do.
    """

    def __init__(self, task: Task) -> None:
        self._worker = Worker(task)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        """The reports of a batch of parts, each as text."""
        for text in batch["part"]:
            number, items, shard = json.loads(text)
            for report in self._worker.predict(Part(number, [Item(*item) for item in items], shard)):
                yield {"report": [report.to_json()]}


def _import_ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with importing("ray", "ray"):
        import ray
        import ray.data
    return ray


def _start(config: EngineConfig, threads: int) -> None:
    ray = _import_ray()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address is None:
        os.environ.setdefault("RAY_enable_autoscaler_v2", "1")  # the other one ends a second after SIGTERM
        cores = max(config.workers * threads, available_cores(), threads)
        ray.init(
            address="local", num_cpus=cores, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet
        )
        return
    try:
        ray.init(address=config.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"address={config.address} is no Ray cluster that answers; start one with ray start --head, and give "
            "HOST:PORT or auto"
        ) from error


def _choose_pool(config: EngineConfig, threads: int, device: str) -> Pool:
    """As many workers as asked for, or as fit into the cluster."""
    resources = _import_ray().cluster_resources()
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    gpu = device.startswith("cuda") or (device == "auto" and gpus > 0)
    room = gpus if gpu else cores // threads
    if room == 0:
        raise ConfigError(
            f"the Ray cluster has {cores} cores and {gpus} GPUs, too few for one process of {threads} threads on "
            f"{device}; give fewer --threads or another --device"
        )
    return Pool(config.workers or room, gpu, config.address is not None)


def _quieten(data: Any) -> None:
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
