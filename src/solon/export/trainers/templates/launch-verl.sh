#!/usr/bin/env bash
# {{ "RLOO" if plan.leaves_one_out else "PPO" }} with {{ trainer.title }} {{ trainer.version }} from here. Needs a Ray cluster of NODES machines that see this folder under one path, which
# holds no space. What is given after `launch.sh` comes last and so wins: ./launch.sh trainer.test_freq=10
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
    "{{ setting.key }}={{ setting.value | override }}"
{% endfor %}

    # Where the work runs.
    "trainer.nnodes=$NODES"
    "trainer.n_gpus_per_node=$GPUS"
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=$MICRO"
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=$MICRO"
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=$MICRO"
{% if not plan.leaves_one_out %}
    "critic.ppo_micro_batch_size_per_gpu=$MICRO"
{% endif %}
    "trainer.project_name=solon"
    "trainer.experiment_name=rl-cai"
    "trainer.logger=[console]"
    "trainer.default_local_dir=$HERE/trained"
)
exec python -m verl.trainer.main_ppo "${settings[@]}" "$@"
