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
# The documentation site; a warning is an error.
bash tools/build_docs.sh
# timm is installed into a folder of its own: it needs torchvision, which has no build for every torch and would then
# break the import of Lightning.
$install --no-deps --upgrade --target .venv/timm timm torchvision
PYTHONPATH=.venv/timm .venv/bin/pytest tests/timm
# Inference with exported models works without torch.
slim=.venv/slim
.venv/bin/segnet export segnet_light --format onnx --out "$slim/files/segnet_light.onnx"
.venv/bin/segnet export segnet_light --format openvino --out "$slim/files/segnet_light.xml"
.venv/bin/segnet predict --out "$slim/files/torch"
python3 -m venv "$slim"
"$slim/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt -e '.[onnx,openvino]' pytest
"$slim/bin/pytest" --confcutdir=tests/slim tests/slim
# ExecuTorch is tested in an environment of its own. (LiteRT needs one too, of 1.2 GB: run tests/litert by hand.)
python3 -m venv .venv/executorch
.venv/executorch/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[executorch]' pytest
.venv/executorch/bin/pytest tests/executorch
# The examples predict the same mask of the packaged image as segnet predict.
missing=$(for tool in node npm cmake g++; do command -v "$tool" >/dev/null || echo "$tool"; done)
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -qq update && apt-get -qq install -y nodejs npm cmake g++ >/dev/null
fi
mkdir -p "$slim/files/javascript"
cp examples/javascript/package.json "$slim/files/javascript/"
npm install --prefix "$slim/files/javascript" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
"$slim/bin/pytest" --confcutdir=tests/examples tests/examples
