#!/usr/bin/env bash
# {{ "RLOO" if plan.leaves_one_out else "PPO" }} with {{ trainer.title }} {{ trainer.version }} from here. Needs a Ray cluster of NODES machines that see this folder under one path.
# What is given after `launch.sh` comes last and so wins: ./launch.sh --actor.adam.lr 1e-6
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
NODES="${NODES:-1}"
GPUS="${GPUS:-8}"  # on each node
PROCESSES=$((NODES * GPUS))
{% include "share-out.sh" %}

settings=(
{% for setting in settings %}
{% if setting.meaning %}
    # {{ setting.meaning }}
{% endif %}
    --{{ setting.key }} {{ setting.value | option }}
{% endfor %}

    # Where the work runs: everything on the same GPUs, one vLLM engine on each.
    --train.colocate_all
    --vllm.enable_sleep
    --ds.enable_sleep
    --vllm.num_engines "$PROCESSES"
    --vllm.gpu_memory_utilization 0.5
    --actor.num_nodes "$NODES" --actor.num_gpus_per_node "$GPUS"
    --ref.num_nodes "$NODES" --ref.num_gpus_per_node "$GPUS"
    --critic.num_nodes "$NODES" --critic.num_gpus_per_node "$GPUS"
    --reward.num_nodes "$NODES" --reward.num_gpus_per_node "$GPUS"
    --train.micro_batch_size "$MICRO"
    --rollout.micro_batch_size "$MICRO"
    --ckpt.output_dir "$HERE/trained"
    --ckpt.path "$HERE/checkpoints"
    --ckpt.save_steps {{ plan.rl.checkpoint_every }}
)
exec python -m openrlhf.cli.train_ppo_ray "${settings[@]}" "$@"
