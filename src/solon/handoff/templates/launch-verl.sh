#!/usr/bin/env bash
# PPO with {{ trainer.title }} {{ trainer.version }} from here. Needs a Ray cluster of NODES machines that see this folder under one path, which
# holds no space. What is given after `launch.sh` comes last and so wins: ./launch.sh trainer.test_freq=10
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
NODES="${NODES:-1}"
GPUS="${GPUS:-8}"  # on each node

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
    "trainer.project_name=solon"
    "trainer.experiment_name=rl-cai"
    "trainer.logger=[console]"
    "trainer.default_local_dir=$HERE/trained"
)
exec python -m verl.trainer.main_ppo "${settings[@]}" "$@"
