#!/usr/bin/env bash
# Build the documentation site into build/site, in a virtual environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv/docs
.venv/docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
.venv/docs/bin/python tools/build_docs.py
