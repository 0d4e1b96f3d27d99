"""Training on the nodes of a Ray cluster: a task on each node starts torchrun, and the processes meet on the first.

    pip install 'segnet[train,ray]'
    python examples/train_on_ray.py --nodes 2 --per-node 4 --gpu -- -m segnet train /shared/mydata --out /shared/run

What follows `--` is what torchrun starts. Data and run folder are absolute paths that every node sees. Ctrl-C and
SIGTERM end all processes, and `--resume` goes on; after kill -9 of this program, the processes that train go on.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

_WAIT_S = 60  # for nodes that are just starting


@ray.remote
def meeting_place() -> tuple[str, int]:
    """The address of this node, and a port that is free on it."""
    with socket.socket() as listening:
        listening.bind(("", 0))
        return ray.util.get_node_ip_address(), listening.getsockname()[1]


@ray.remote(max_retries=0)
def start(words: list[str], cores: int) -> int:
    """Run torchrun, and give its exit code."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    return subprocess.run(command, check=False, env=environment).returncode


def train(nodes: int, per_node: int, cores: int, words: list[str], *, gpu: bool) -> int:
    """Start torchrun on each node, and wait for all of them; returns the largest exit code."""
    need = {"CPU": per_node * cores, **({"GPU": per_node} if gpu else {})}
    group = placement_group([need] * nodes, strategy="STRICT_SPREAD")
    if not group.wait(_WAIT_S):
        sys.exit(f"the cluster has no {nodes} nodes with {need} each; give fewer --nodes, --per-node or --cores")
    on_node = [
        {
            "num_cpus": need["CPU"],
            "num_gpus": need.get("GPU", 0),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number),
        }
        for number in range(nodes)
    ]
    host, port = ray.get(meeting_place.options(**on_node[0]).remote())
    meeting = ["--nnodes", nodes, "--nproc-per-node", per_node, "--master-addr", host, "--master-port", port]
    tasks = [
        start.options(**options).remote([str(word) for word in (*meeting, "--node-rank", number, *words)], cores)
        for number, options in enumerate(on_node)
    ]
    return max(map(abs, ray.get(tasks)))


def main() -> None:
    """Train, and end with the exit code of torchrun."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="auto", help="of the cluster")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--per-node", type=int, default=1, help="processes of each node")
    parser.add_argument("--cores", type=int, default=1, help="of each process")
    parser.add_argument("--gpu", action="store_true", help="a GPU for each process")
    parser.add_argument("words", nargs="+")
    given = parser.parse_args()
    ray.init(address=given.address)
    sys.exit(train(given.nodes, given.per_node, given.cores, given.words, gpu=given.gpu))


if __name__ == "__main__":
    main()
