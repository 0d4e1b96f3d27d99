#!/usr/bin/env bash
# All that waits for a GPU, in one command of at most nine minutes: the GPU tests, the benchmark against the reference
# implementation, and the trainings of VGG16 SegNet (encoder trained and frozen) and of segnet_light at full size.
#
#   bash tools/gpu.sh CAMVID WEIGHTS_FOLDER OUT [--dry-run]
#
# CAMVID          folder with train, trainannot, val and valannot
# WEIGHTS_FOLDER  folder with vgg16_imagenet_hed.safetensors and efficientnet_lite0_imagenet.safetensors
# OUT             gets at most eight files below 16 MiB each: summary.json, benchmark.json, logs.tar.gz, and the models
#                 with filters in float16, in parts where they are larger ("cat NAME.part* > NAME" joins them)
# --dry-run       the same on the CPU with toy sizes; CAMVID may be "synthetic" then, and WEIGHTS_FOLDER "none"
#
# Each stage has a time limit. One that fails is noted, and the next one runs. Call the script again to continue: stages
# that are done are skipped, and a training that was stopped resumes. Environment variables:
#
# GPU_WORK     folder of runs and logs, kept between calls (default: runs/gpu, in a dry run one that is removed); in
#              memory, such as on /dev/shm, checkpoints cost least
# GPU_SECONDS  time for everything (default: 540)
# PYTHON       Python with this package's requirements (default: python3)
set -uo pipefail

if [ $# -lt 3 ] || [ $# -gt 4 ] || [ "${4:---dry-run}" != --dry-run ]; then
    echo "usage: bash tools/gpu.sh CAMVID WEIGHTS_FOLDER OUT [--dry-run]" >&2
    exit 2
fi
data=$1 weights=$2 out=$3 dry=${4:-}
[ "$data" = synthetic ] || data=$(realpath -m "$data")
[ "$weights" = none ] || weights=$(realpath -m "$weights")
out=$(realpath -m "$out")
work=${GPU_WORK:-}
if [ -z "$work" ] && [ -n "$dry" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
work=$(realpath -m "${work:-$(dirname "$0")/../runs/gpu}")
cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-python3}
deadline=${GPU_SECONDS:-540}
packing=20 # seconds that are left for the results
ending=30  # seconds that a training may take beyond its --time, to write its checkpoint
least=60   # seconds for which it pays to begin a stage
device=cuda
if [ -n "$dry" ]; then
    device=cpu deadline=${GPU_SECONDS:-3600}
fi
workers=$(($(nproc) - 2))
[ "$workers" -le 14 ] || workers=14
[ "$workers" -ge 1 ] || workers=1
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

mkdir -p "$work/runs"
"$python" tools/gpu_steps.py check "$data" "$weights" "$device" || exit 2

# seconds_left: until the results must be written.
seconds_left() { echo $((deadline - packing - SECONDS)); }

# stage NAME LIMIT COMMAND...: runs it for LIMIT seconds at most; its output goes to a log.
stage() {
    local name=$1 limit=$2 left code=0 began=$SECONDS state="done"
    shift 2
    [ -z "$dry" ] || limit=$((5 * limit)) # of a busy CPU
    left=$(seconds_left)
    if [ -e "$work/$name.done" ]; then
        echo "== $name: done before"
        return
    elif [ "$left" -lt "$least" ]; then
        state="left out: no time"
    else
        [ "$limit" -le "$left" ] || limit=$left
        echo "== $name, at most $limit s"
        timeout --signal=TERM --kill-after=10 "$limit" "$@" >>"$work/$name.log" 2>&1 || code=$?
        case $code in
            0) touch "$work/$name.done" ;;
            124 | 137) state="stopped at its limit of $limit s; call again to continue" ;;
            *) state="failed with exit code $code; see $name.log" ;;
        esac
        [ "$state" = "done" ] || tail -n 15 "$work/$name.log" | cut -c 1-300
    fi
    printf '%s\t%s\t%s\n' "$name" "$state" $((SECONDS - began)) >>"$work/stages.tsv"
}

# training NAME SECONDS FLAGS...: a run of so many seconds, in all of its parts.
training() {
    local name=$1 seconds=$2 run="$work/runs/$1" left
    local -a length=(--epochs 1) first=()
    shift 2
    left=$(($(seconds_left) - ending))
    [ "$seconds" -le "$left" ] || seconds=$left
    [ -n "$dry" ] || length=(--epochs 2000 --time "${seconds}s")
    if [ -e "$run/last.ckpt" ] || [ -e "$run/previous.ckpt" ]; then
        first=(--resume)
    fi
    stage "$name" $((seconds + ending)) "$python" -m segnet train "$data" --out "$run" --device "$device" \
        --workers "$workers" "${length[@]}" "$@" "${first[@]}"
}

# Full size, and batches and rates for a GPU; steps are fewer than in the recipes, so the average of the weights is shorter.
vgg=(--config recipes/segnet_cpu.yaml --precision bf16 --batch 8 --lr 0.01 --crop 360 480 --crop-area 0.25 1.0
    --validate-every 5)
light=(--config recipes/segnet_light.yaml --precision bf16 --batch 16 --lr 0.002 --ema 0.993 --crop 360 480
    --crop-area 0.25 1.0 --validate-every 10)
bench=(--seconds 80)
if [ -n "$dry" ]; then
    toy=(--precision float32 --batch 2 --crop 32 32 --optimizer sgd --validate-every 1)
    vgg+=("${toy[@]}") light+=("${toy[@]}")
    workers=0
    bench=(--device cpu --models segnet_basic --reference segnet_basic --size 16 16 --batch 2 --turns 1)
    echo "dry run on the CPU: toy sizes, one epoch, no CUDA graphs, nothing compiled to machine code"
    [ -e "$work/data/valannot" ] || "$python" tools/gpu_steps.py data "$data" "$work/data" || exit 1
    data=$work/data
fi
if [ "$weights" != none ]; then
    vgg+=(--encoder-weights "$weights/vgg16_imagenet_hed.safetensors")
    light+=(--encoder-weights "$weights/efficientnet_lite0_imagenet.safetensors")
fi

stage tests 90 "$python" tools/gpu_steps.py tests "$device" "$work/tests.xml"
stage benchmark 110 "$python" benchmarks/bench_gpu.py "${bench[@]}" --out "$work/benchmark.json"
training segnet 110 "${vgg[@]}"
training segnet_light 130 "${light[@]}"
training segnet_frozen 80 "${vgg[@]}" --freeze-encoder
"$python" tools/gpu_steps.py pack "$work" "$out"
packed=$?
echo "$SECONDS seconds in all"
for name in tests benchmark segnet segnet_light segnet_frozen; do
    [ -e "$work/$name.done" ] || packed=1
done
exit "$packed"
