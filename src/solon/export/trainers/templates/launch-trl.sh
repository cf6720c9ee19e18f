#!/usr/bin/env bash
# RLOO with {{ trainer.title }} {{ trainer.version }} from here, on GPUS GPUs of this machine.
# What is given after `launch.sh` wins over config.yaml: ./launch.sh --learning_rate 1e-6
# Without a GPU: GPUS=0 ./launch.sh --use_cpu true --bf16 false --gradient_checkpointing false
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
GPUS="${GPUS:-1}"
PROCESSES=$((GPUS > 0 ? GPUS : 1))
{% include "share-out.sh" %}
export HF_HUB_DISABLE_TELEMETRY=1
exec accelerate launch --num_processes "$PROCESSES" "$HERE/train.py" \
    --config "$HERE/config.yaml" --output_dir "$HERE/trained" \
    --per_device_train_batch_size "$MICRO" --gradient_accumulation_steps $((MINIBATCH / (MICRO * PROCESSES))) "$@"
