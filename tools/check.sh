#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, tests. Makes its own virtual environment.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
install=".venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt"
$install -e '.[dev]'
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/pytest
# timm stands in a folder of its own: the torchvision that it wants has no build for every torch, and would then break
# whatever else imports it.
$install --no-deps --upgrade --target .venv/timm timm torchvision
PYTHONPATH=.venv/timm .venv/bin/pytest tests/timm
