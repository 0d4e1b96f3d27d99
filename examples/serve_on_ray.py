"""The HTTP service on many processes or machines, by Ray Serve: one address, replicas of the model behind it.

    pip install 'segnet[serve,onnx]' 'ray[serve]'
    python examples/serve_on_ray.py --model segnet_light --replicas 2
    curl -F image=@photo.jpg http://127.0.0.1:8000/v1/segment -o mask.png

Each replica is the application of `segnet serve`: the same routes, limits and masks. Ray starts a replica again that
died, spreads requests over the machines of a cluster (RAY_ADDRESS), and drains a replica before it ends. A token is
read from SEGNET_TOKEN, as by `segnet serve`.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from ray import serve

from segnet import Predictor
from segnet.web.service.app import create_app
from segnet.web.service.models import ModelSet
from segnet.web.service.settings import ServiceConfig


def build(model: str, replicas: int, threads: int) -> Any:
    """The application of Ray Serve."""
    token = ServiceConfig().read_token()  # here: the environment of a replica is that of `ray start`

    def application() -> Any:
        """Called in each replica, so every one opens its own model."""
        opener = partial(Predictor.load, model, threads=threads)
        return create_app(ModelSet({"model": opener}), ServiceConfig(), token=token)

    @serve.deployment(num_replicas=replicas, ray_actor_options={"num_cpus": threads}, max_ongoing_requests=64)
    @serve.ingress(application)
    class SegNet:
        """A replica."""

    return SegNet.bind()


def main() -> None:
    """Serve until the program is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segnet_light")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    serve.start(http_options=serve.HTTPOptions(host="127.0.0.1", port=given.port))
    serve.run(build(given.model, given.replicas, given.threads), blocking=True)


if __name__ == "__main__":
    main()
