#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, tests. Makes its own virtual environments.
set -euo pipefail
cd "$(dirname "$0")/.."
install="install --quiet --disable-pip-version-check -c constraints.txt"
slim=.venv/slim
executorch=.venv/executorch

# Bytecode is written when a module is imported: to compile all of torch and of what it wants takes a minute.
unset PYTHONDONTWRITEBYTECODE
environments() {
    # timm stands in a folder of its own: the torchvision that it wants has no build for every torch, and would then break
    # whatever else imports it.
    .venv/bin/pip $install --no-compile --no-deps --upgrade --target .venv/timm timm torchvision
    # Exported models predict without torch.
    python3 -m venv "$slim"
    "$slim/bin/pip" $install --no-compile -e '.[onnx,openvino]' pytest
    # ExecuTorch wants an environment of its own. (LiteRT as well, and 1.2 GB: its tests, tests/litert, are run by hand.)
    python3 -m venv "$executorch"
    "$executorch/bin/pip" $install --no-compile -e '.[executorch]' pytest
    # Only what is missing: a Node.js from elsewhere brings its own npm, and refuses Debian's.
    missing=$(for tool in node:nodejs npm:npm cmake:cmake g++:g++ chromium:chromium; do
        command -v "${tool%:*}" >/dev/null || echo "${tool#*:}"
    done)
    if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update && apt-get -qq install -y $missing >/dev/null
    fi
    mkdir -p "$slim/files/javascript"
    cp examples/javascript/package.json "$slim/files/javascript/"
    npm install --prefix "$slim/files/javascript" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
    # What builds the page for browsers, what the page runs on, and what drives Chromium.
    mkdir -p .venv/web
    cp web/browser/package.json .venv/web/
    npm install --prefix .venv/web --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
    .venv/bin/pip $install --no-compile --upgrade --target .venv/playwright playwright
    # Gradio brings pandas and a web server, and the notebook's client a kernel, which nothing else needs.
    .venv/bin/pip $install --no-compile --upgrade --target .venv/gradio gradio nbclient ipykernel
    # Ray installs 600 MB.
    .venv/bin/pip $install --no-compile --upgrade --target .venv/ray 'ray[data]'
}

# Its processes start in other folders.
many_processes() {
    PYTHONPATH="$PWD/.venv/ray" OMP_NUM_THREADS=1 .venv/bin/pytest -p no:unraisableexception tests/ray # Ray leaves open files behind
}

other_encoders_and_executorch() {
    PYTHONPATH=.venv/timm .venv/bin/pytest tests/timm
    "$executorch/bin/pytest" tests/executorch
}

# The examples and the page for browsers predict the packaged image as segnet predict does.
exported_models() {
    .venv/bin/segnet export segnet_light --format browser --out .venv/page --runtime-files .venv/web/node_modules/onnxruntime-web
    cp .venv/page/model.onnx "$slim/files/segnet_light.onnx"
    .venv/bin/segnet export segnet_light --format openvino --out "$slim/files/segnet_light.xml"
    .venv/bin/segnet predict --runtime torch --out "$slim/files/torch"
    "$slim/bin/pytest" --confcutdir=tests/slim tests/slim
    "$slim/bin/pytest" --confcutdir=tests/examples tests/examples
    PYTHONPATH=.venv/playwright .venv/bin/pytest tests/browser
    PYTHONPATH=.venv/playwright:.venv/gradio OMP_NUM_THREADS=1 .venv/bin/pytest tests/demo
    PYTHONPATH=$PWD/.venv/gradio OMP_NUM_THREADS=1 .venv/bin/pytest tests/notebooks
}

# The same answers with smaller instruction sets than this processor may have.
less_capable_processors() {
    for capability in default avx2; do
        ATEN_CPU_CAPABILITY=$capability ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/pytest tests/limited \
            tests/nn/test_codes.py::test_pool_unpool_and_gradients_equal_pytorch_bit_for_bit \
            tests/nn/test_codes.py::test_large_maps_equal_pytorch tests/system/test_hardware.py tests/system/test_devices.py
    done
    ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/pytest tests/exporting/int8/test_rewriting.py -k "near or agree or openvino"
}

# begin NAME runs the function NAME beside what follows; finish NAME waits for it and shows what it said.
groups=" "
begin() {
    set -m # a process group of its own, so that all of it can be ended
    "$1" >".venv/$1.log" 2>&1 &
    set +m
    echo $! >".venv/$1.pid"
    groups="$groups$! "
}
finish() {
    local code=0 group
    group=$(cat ".venv/$1.pid")
    wait "$group" || code=$?
    groups="${groups/ $group / }"
    cat ".venv/$1.log"
    return $code
}
trap 'for group in $groups; do kill -- "-$group" 2>/dev/null || true; done' EXIT

python3 -m venv .venv
.venv/bin/pip $install --no-compile -e '.[dev]'
begin environments
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
# A thread for each process: the networks of the tests are small.
OMP_NUM_THREADS=1 .venv/bin/pytest -n logical --maxprocesses 4 --dist worksteal
# The documentation site; a warning is an error.
bash tools/build_docs.sh
finish environments
begin exported_models
begin other_encoders_and_executorch
finish exported_models
begin many_processes
finish other_encoders_and_executorch
finish many_processes
less_capable_processors
