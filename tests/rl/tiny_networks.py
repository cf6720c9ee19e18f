"""A tiny policy with what it learns with, for tests of PPO and RLOO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solon.config.recipe import (
    Algorithm,
    EngineSettings,
    LoraSettings,
    Precision,
    ReinforcementSettings,
    SamplingParams,
)
from solon.digest import seed_for
from solon.model_folders.mixed_precision import layers_in
from solon.rl.episodes import Networks, PolicyValueHead, ValueModel, measure
from solon.rl.policy_gradient import Environment, TrainState, reinforce
from solon.rl.rollout import Reply
from solon.training import models
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import EPSILON_RL, Learner
from solon.training.loop import TrainingSession
from solon.training.value_head import ValueHead

SETTINGS = ReinforcementSettings(
    steps=4,
    prompts_per_step=8,
    value_warmup_steps=1,
    checkpoint_every=2,
    learning_rate=1e-3,
    sampling=SamplingParams(max_tokens=6),
)
WANTED = 40


def load_networks(
    folder: Path,
    adapter: LoraSettings | None = None,
    algorithm: Algorithm = Algorithm.PPO,
    precision: Precision = Precision.FLOAT32,
    value_coef: float | None = None,
) -> Networks:
    """With `value_coef` PPO's value function is a head on the policy's backbone."""
    engine, stored = EngineSettings(), models.storage_precision(precision, adapter)
    policy = models.with_adapter(models.load_causal_lm(folder, engine, stored), adapter, 1)
    critic: ValueModel | PolicyValueHead | None = None
    head = None if value_coef is None else ValueHead(policy, value_coef)
    if head is not None:
        critic = PolicyValueHead(Learner(dict(head.named_parameters()), clip=1.0, epsilon=EPSILON_RL))
    elif algorithm is Algorithm.PPO:
        tokenizer = models.load_tokenizer(folder)
        grown = models.grow_preference_model(folder, tokenizer, engine, seed=1, stored=stored)
        value = models.with_adapter(grown, adapter, 2)
        critic = ValueModel(ScalarModel(value, precision=precision), learner_of(value))
    token_model = TokenModel(policy, precision, head)
    frozen = token_model if adapter else TokenModel(models.load_causal_lm(folder, engine, precision), precision)
    made = Networks(
        policy=token_model,
        reference=frozen,
        learner=learner_of(policy),
        critic=critic,
        centre=0.25,
    )
    return replace(made, as_reference=policy.disable_adapter) if adapter else made


def learner_of(model: models.Trainable) -> Learner:
    return Learner(models.trainable_parameters(model), clip=1.0, epsilon=EPSILON_RL)


def critic_of(networks: Networks) -> ValueModel:
    assert isinstance(networks.critic, ValueModel)
    return networks.critic


def trained(
    networks: Networks, settings: ReinforcementSettings, session: TrainingSession, seed: int = 0, **more: Any
) -> TrainState:
    environment = Environment(**{"sample": sampler(networks, settings), "score": planted, **more})
    return reinforce(networks, environment, settings, seed, session)


def sampler(networks: Networks, settings: ReinforcementSettings, seed: int = 0) -> Callable[[int], list[Reply]]:
    """Samples with plain forward passes; rows end at token 0 or at the limit."""

    def sample(step: int) -> list[Reply]:
        prompts = [[5 + n % 4, 9, 20 + n % 3] for n in range(settings.prompts_per_step)]
        rows = [row for row in prompts for _ in range(settings.samples_per_prompt)]
        generator = torch.Generator().manual_seed(seed_for(seed, step))
        tokens = [list(row) for row in rows]
        with torch.no_grad():
            for _ in range(settings.sampling.max_tokens):
                ids_BT = torch.tensor(tokens)
                with layers_in(networks.policy.precision, networks.policy.device):
                    logits_BV = networks.policy.model(input_ids=ids_BT).logits[:, -1].float()
                drawn = torch.multinomial(logits_BV.softmax(-1), 1, generator=generator).flatten().tolist()
                tokens = [[*row, token] for row, token in zip(tokens, drawn, strict=True)]
        return [
            _cut(n // settings.samples_per_prompt, row, whole[3:])
            for n, (row, whole) in enumerate(zip(rows, tokens, strict=True))
        ]

    return sample


def _cut(number: int, prompt: list[int], response: list[int]) -> Reply:
    finished = 0 in response
    kept = response[: response.index(0) + 1] if finished else response
    return Reply(f"row{number}", ("red_team", "helpful")[number % 2], tuple(prompt), tuple(kept), "text", finished)


def planted(replies: Sequence[Reply]) -> Tensor:
    """How many tokens of a reply are the wanted one."""
    return torch.tensor([reply.response.count(WANTED) for reply in replies]).float()


def rolled(networks: Networks) -> Any:
    replies = sampler(networks, SETTINGS)(0)
    return measure(networks, replies, planted(replies), SETTINGS)
