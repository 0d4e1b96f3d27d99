"""The example that serves by Ray, without Ray: what it hands over to the replicas."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "serve_on_ray.py"


def test_a_replica_without_the_variable_of_the_token_is_guarded_too(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    serve = SimpleNamespace(
        deployment=lambda **settings: lambda service: SimpleNamespace(bind=lambda: service),
        ingress=lambda application: lambda service: made.append(application),
    )
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    monkeypatch.setenv("SEGNET_TOKEN", "a" * 32)
    build = runpy.run_path(str(EXAMPLE))["build"]
    build(str(model_file), 1, 1)
    monkeypatch.delenv("SEGNET_TOKEN")
    app = made[0]()
    (guards,) = (route.dependencies for route in app.routes if getattr(route, "path", "") == "/v1/segment")
    assert guards
    app.state.service.close()
