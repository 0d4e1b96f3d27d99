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
# The same with lesser instruction sets than this processor may have.
for capability in default avx2; do
    ATEN_CPU_CAPABILITY=$capability ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/pytest tests/limited \
        tests/test_ops.py::test_pool_unpool_and_gradients_equal_pytorch_bit_for_bit \
        tests/test_ops.py::test_large_maps_equal_pytorch tests/system/test_hardware.py tests/system/test_devices.py
done
ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/pytest tests/exporting/int8/test_rewriting.py -k "near or agree or openvino"
# timm stands in a folder of its own: the torchvision that it wants has no build for every torch, and would then break
# whatever else imports it.
$install --no-deps --upgrade --target .venv/timm timm torchvision
PYTHONPATH=.venv/timm .venv/bin/pytest tests/timm
# Exported models label images without torch.
slim=.venv/slim
.venv/bin/segnet export segnet_light --format onnx --out "$slim/files/segnet_light.onnx"
.venv/bin/segnet export segnet_light --format openvino --out "$slim/files/segnet_light.xml"
.venv/bin/segnet predict --out "$slim/files/torch"
python3 -m venv "$slim"
"$slim/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt -e '.[onnx,openvino]' pytest
"$slim/bin/pytest" --confcutdir=tests/slim tests/slim
# ExecuTorch wants an environment of its own. (LiteRT as well, and 1.2 GB: its tests, tests/litert, are run by hand.)
python3 -m venv .venv/executorch
.venv/executorch/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[executorch]' pytest
.venv/executorch/bin/pytest tests/executorch
# The examples label the packaged image as segnet predict does.
missing=$(for tool in node npm cmake g++; do command -v "$tool" >/dev/null || echo "$tool"; done)
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -qq update && apt-get -qq install -y nodejs npm cmake g++ >/dev/null
fi
mkdir -p "$slim/files/javascript"
cp examples/javascript/package.json "$slim/files/javascript/"
npm install --prefix "$slim/files/javascript" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
"$slim/bin/pytest" --confcutdir=tests/examples tests/examples
