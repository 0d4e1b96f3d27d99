"""segnet demo: a page for people that segments their images, camera and videos."""

from __future__ import annotations

import logging
import time

__all__ = ["run"]

log = logging.getLogger("segnet")


def run(*model: str, host: str = "127.0.0.1", port: int = 7860, device: str = "auto", threads: int = 0) -> int:
    """Serve a page that segments images, a camera and videos, until Ctrl-C. It works offline.

    Args:
        *model: Models that the page offers: model files, names of bundled models, or hf://OWNER/NAME. Default: all
            bundled models, segnet_light first.
        host: Address to listen on. Set 0.0.0.0 to let other computers use it; it has no password.
        port: Port to listen on. Set 0 for a free one.
        device: Device of PyTorch models: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
        threads: Number of CPU threads. Default: 0, the choice of the runtime. Lower it to leave cores to other
            programs.
    """
    from segnet.models.bundled import bundled_models
    from segnet.system.signals import TERMINATED, noting_termination
    from segnet.web.demo.models import Models
    from segnet.web.demo.server import running_demo

    offered = model or tuple(sorted(bundled_models(), key=lambda name: name != "segnet_light"))
    with (
        noting_termination() as terminated,
        running_demo(Models(offered, device=device, threads=threads), host=host, port=port) as address,
    ):
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        while not terminated():
            time.sleep(0.2)
    log.warning("segnet: stopped by SIGTERM")
    return TERMINATED
