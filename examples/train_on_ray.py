"""Train on the nodes of a Ray cluster: on each node one torchrun starts the processes.

    python examples/train_on_ray.py --nodes 2 --processes 4 -- mydata --batch 64 --out /shared/runs/many

Needs segnet[train] and ray on every node, and the data and the run folder on a file system that all nodes share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from ray.util import get_node_ip_address
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

import ray


def main() -> None:
    """Start one agent on each node, and end with the largest of their exit codes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="on each node, each with a GPU if there are any")
    parser.add_argument("--port", type=int, default=29400, help="that is free on the first node")
    parser.add_argument("--address", default="auto", help="of the Ray cluster")
    parser.add_argument("words", nargs="+", help="of segnet train")
    arguments = parser.parse_args()
    ray.init(address=arguments.address, include_dashboard=False)
    each = {"CPU": arguments.processes}
    if ray.cluster_resources().get("GPU", 0):
        each["GPU"] = arguments.processes
    group = placement_group([each] * arguments.nodes, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    places = [PlacementGroupSchedulingStrategy(group, index) for index in range(arguments.nodes)]
    first = ray.get(address.options(scheduling_strategy=places[0]).remote())
    launcher = [
        "--nnodes", str(arguments.nodes), "--nproc-per-node", str(arguments.processes), "--rdzv-backend", "c10d",
        "--rdzv-endpoint", f"{first}:{arguments.port}", "--rdzv-id", "segnet",
    ]  # fmt: skip
    agents = [
        train.options(scheduling_strategy=place, num_cpus=arguments.processes, num_gpus=each.get("GPU", 0)).remote(
            launcher, arguments.words
        )
        for place in places
    ]
    sys.exit(max(ray.get(agents)))


@ray.remote(num_cpus=0)
def address() -> str:
    """The network address of a node."""
    return str(get_node_ip_address())


@ray.remote(max_retries=0)
def train(launcher: list[str], words: list[str]) -> int:
    """The exit code of torchrun on this node."""
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "segnet", "train", *words]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    main()
