#!/usr/bin/env bash
# Trains by RLOO with TRL {{ trl }} on GPUS GPUs of this machine.
# Options after `launch.sh` replace those of config.yaml: ./launch.sh --learning_rate 1e-6
# Without a GPU: GPUS=0 ./launch.sh --use_cpu true --bf16 false --gradient_checkpointing false
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
GPUS="${GPUS:-1}"
PROCESSES=$((GPUS > 0 ? GPUS : 1))
# Each process trains on an equal share of the {{ plan.shape.update }} replies of an update, MICRO at a time: a smaller MICRO needs less memory.
MINIBATCH={{ plan.shape.update }}
if ((MINIBATCH % PROCESSES)); then
    echo "the $MINIBATCH replies of an update cannot be divided among $PROCESSES processes: set another GPUS" >&2
    exit 2
fi
MICRO="${MICRO:-8}"
while ((MINIBATCH / PROCESSES % MICRO)); do MICRO=$((MICRO - 1)); done
export HF_HUB_DISABLE_TELEMETRY=1
exec accelerate launch --num_processes "$PROCESSES" "$HERE/train.py" \
    --config "$HERE/config.yaml" --output_dir "$HERE/trained" \
    --per_device_train_batch_size "$MICRO" --gradient_accumulation_steps $((MINIBATCH / (MICRO * PROCESSES))) "$@"
