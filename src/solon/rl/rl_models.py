"""Loads the models of reinforcement learning: policy, reference, value function and preference model.

With `rl.networks=separate` each is loaded by itself; with LoRA the reference is the policy with its adapter switched
off. With `shared` all four are adapters of one backbone (`solon.rl.shared_backbone`), so that the large weights are in
memory once. With `rl.value_function=policy_backbone` the value function is a head on the policy in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from torch import nn

from solon.config.builtin import model_path
from solon.config.recipe import (
    Algorithm,
    EngineSettings,
    NetworkSharing,
    Recipe,
    ReinforcementSettings,
    ValueFunction,
)
from solon.engines.tokens import PromptTokenizer
from solon.errors import RecipeError
from solon.model_folders.load import load_config
from solon.reward.conversation_scorer import CENTRE, ConversationScorer
from solon.reward.scorer import open_scorer
from solon.rl.episodes import Networks, PolicyValueHead, ValueModel
from solon.rl.shared_backbone import POLICY, REFERENCE, VALUE, SharedBackbone
from solon.runs.processes import SINGLE_PROCESS, Processes, Sharding
from solon.training.distributed.sharded import UnshardedModel, scalar_model, token_model
from solon.training.encoding import Encoding
from solon.training.learner import EPSILON_RL, Learner
from solon.training.models import (
    Trainable,
    load_causal_lm,
    load_preference_model,
    load_tokenizer,
    storage_precision,
    trainable_parameters,
    window_of,
    with_adapter,
)
from solon.training.value_head import ValueHead


@dataclass(frozen=True, slots=True)
class Folders:
    """The models to start from: SL-CAI, the preference model, and the backbone if they share one.

    `start` has the policy's first weights where they are not SL-CAI's.
    """

    sl_cai: Path
    preference_model: Path
    backbone: Path | None = None
    start: Path | None = None


@dataclass(frozen=True, slots=True)
class RlModels:
    """The networks in training, and the preference model that scores."""

    networks: Networks
    scorer: ConversationScorer
    policy: UnshardedModel
    """The policy for sampling and saving."""


def refuse_unshareable(recipe: Recipe) -> None:
    """Raise RecipeError when the networks share a backbone that SL-CAI and the preference model do not."""
    if recipe.rl.networks is not NetworkSharing.SHARED or recipe.rl.algorithm is Algorithm.DPO:
        return
    for name, training in (("finetune", recipe.finetune.training), ("preference", recipe.preference.training)):
        if training.lora is None:
            raise RecipeError(
                f"a shared backbone is frozen, and {name}.training without an adapter changes it",
                place="rl.networks",
                remedy=f"Use --set {name}.training.lora.rank=16, or --set rl.networks=separate",
            )
    other = recipe.models.preference
    if other is not None and model_path(other).resolve() != model_path(recipe.models.pretrained).resolve():
        raise RecipeError(
            f"the preference model starts from '{other}', SL-CAI from another model: they share no backbone",
            place="rl.networks",
            remedy="Use --set models.preference=null, or --set rl.networks=separate",
        )


def load_rl_models(
    settings: ReinforcementSettings,
    folders: Folders,
    engine: EngineSettings,
    seed: int,
    processes: Processes = SINGLE_PROCESS,
) -> RlModels:
    """Policy and reference from SL-CAI, the scorer, and for PPO the value function.

    The value function starts from the preference model, or is a fresh head on the policy's backbone. A policy that
    begins with the weights of `folders.start` has a reference that is loaded by itself.
    """
    if folders.backbone is not None:
        return _shared(settings, folders, folders.backbone, engine, processes)
    precision, stored = settings.precision, storage_precision(settings.precision, settings.lora)
    scorer = open_scorer(folders.preference_model, engine, precision).model

    def fresh() -> Trainable:
        return with_adapter(load_causal_lm(folders.start or folders.sl_cai, engine, stored), settings.lora, seed)

    policy = fresh()
    head = _value_head(policy, settings)
    reads = token_model(policy, processes, precision, settings.activations, head)
    as_reference: Callable[[], AbstractContextManager[None]] = nullcontext
    if isinstance(policy, PeftModel) and folders.start is None:
        reference, as_reference = reads, policy.disable_adapter
    else:
        reference = token_model(load_causal_lm(folders.sl_cai, engine, precision), processes, precision)
    critic: ValueModel | PolicyValueHead | None = None
    if head is not None:
        critic = _of_policy(head, settings, processes)
    elif settings.algorithm is Algorithm.PPO:
        read = load_preference_model(folders.preference_model, engine, stored)
        value = with_adapter(read, settings.lora, seed + 1)
        values = scalar_model(
            value, processes, precision, settings.activations
        )  # before its parameters are named: they may come to lie in shards
        critic = ValueModel(values, _learner(trainable_parameters(value), settings, processes))
    learner = _learner(trainable_parameters(policy), settings, processes)
    networks = Networks(
        policy=reads,
        reference=reference,
        learner=learner,
        critic=critic,
        centre=scorer.centre,
        as_reference=as_reference,
    )
    replicated = processes.sharding is Sharding.REPLICATED
    sampled = UnshardedModel(policy) if replicated else UnshardedModel(fresh(), learner.weights)
    return RlModels(networks, scorer, sampled)


def _shared(
    settings: ReinforcementSettings, folders: Folders, backbone: Path, engine: EngineSettings, processes: Processes
) -> RlModels:
    shared = SharedBackbone(
        backbone,
        folders.sl_cai,
        folders.preference_model,
        engine,
        settings.precision,
        settings.activations,
        settings.value_function,
    )
    tokenizer = load_tokenizer(folders.preference_model)
    texts = PromptTokenizer.of(tokenizer, engine)
    encoding = Encoding(texts, window_of(shared.backbone, engine))
    config = load_config(folders.preference_model)
    scorer = ConversationScorer(shared.preference, encoding, centre=float(getattr(config, CENTRE, 0.0)))
    critic: ValueModel | PolicyValueHead | None = None
    if (head := _value_head(shared.model, settings)) is not None:
        shared.policy.value_head = head
        critic = _of_policy(head, settings, processes)
    elif settings.algorithm is Algorithm.PPO:
        critic = ValueModel(shared.value, _learner(shared.parameters(VALUE), settings, processes))
    networks = Networks(
        policy=shared.policy,
        reference=shared.policy,
        learner=_learner(shared.parameters(POLICY), settings, processes),
        critic=critic,
        centre=scorer.centre,
        as_reference=lambda: shared.using(REFERENCE),
    )
    return RlModels(networks, scorer, UnshardedModel(shared.policy.model))


def _value_head(policy: Trainable, settings: ReinforcementSettings) -> ValueHead | None:
    """A fresh head where the value function is one on the policy's backbone."""
    if settings.algorithm is not Algorithm.PPO or settings.value_function is not ValueFunction.POLICY_BACKBONE:
        return None
    return ValueHead(policy, settings.value_coef)


def _of_policy(head: ValueHead, settings: ReinforcementSettings, processes: Processes) -> PolicyValueHead:
    return PolicyValueHead(_learner(dict(head.named_parameters()), settings, processes))


def _learner(parameters: dict[str, nn.Parameter], settings: ReinforcementSettings, processes: Processes) -> Learner:
    return Learner(parameters, clip=settings.max_grad_norm, epsilon=EPSILON_RL, processes=processes)
