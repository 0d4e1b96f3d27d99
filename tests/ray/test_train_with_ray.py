"""``examples/train_on_ray.py`` on two nodes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from segnet.data.synthetic.scenes import write_scenes

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_on_ray.py"

CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
nodes.add_node(num_cpus=1, object_store_memory=10**8)
command = [sys.executable, sys.argv[1], "--address", nodes.address, "--", *sys.argv[2:]]
code = subprocess.run(command).returncode
nodes.shutdown()
sys.exit(code)
"""

TRAINING = """
import hashlib, os, sys
from pathlib import Path
import segnet, torch
from segnet.models.decoders import DecoderConfig
from segnet.models.encoders import EncoderConfig
from segnet.models.segnet import SegNet, SegNetConfig
data, out = sys.argv[1:]
rank = os.environ["RANK"]
torch.manual_seed(int(rank))  # only training makes the networks equal
encoder, decoder = EncoderConfig(widths=((4,), (6,))), DecoderConfig(widths=((4,), (4,)))
net = SegNet(SegNetConfig(name="toy", encoder=encoder, decoder=decoder, classes=11))
segnet.train(
    data, model=net, out=out, recipe="scratch", batch=4, epochs=1, ema=0, workers=0, device="cpu", precision="float32"
)
weights = b"".join(value.detach().numpy().tobytes() for value in net.state_dict().values())
Path(f"{out}/rank{rank}").write_text(f"{os.environ['GROUP_RANK']} {hashlib.sha256(weights).hexdigest()}")
"""


def test_processes_of_two_nodes_end_with_the_same_weights(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", train=8, val=2, size=(32, 48))
    script, out = tmp_path / "training.py", tmp_path / "run"
    script.write_text(TRAINING)
    command = [sys.executable, "-c", CLUSTER, str(EXAMPLE), str(script), str(data), str(out)]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (first, weights), (second, others) = ((out / f"rank{rank}").read_text().split() for rank in (0, 1))
    assert (first, second) == ("0", "1")
    assert weights == others
    assert (out / "best.safetensors").is_file()
