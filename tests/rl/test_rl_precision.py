"""PPO and RLOO in bfloat16: the ratio before an update, how near the updates are to float32, resume, what samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rl.test_shared_backbone import IDS_BT, MASK_BT, Folders, folders  # noqa: F401
from tests.rl.tiny_networks import SETTINGS, critic_of, load_networks, planted, sampler, trained
from torch import Tensor, nn

from solon.config.recipe import Activations, Algorithm, EngineSettings, LoraSettings, Precision, SamplingParams
from solon.conversation import Prompt, Role, Turn
from solon.engines.registry import engine_of
from solon.rl.episodes import Rollout, describe, episodes_of, measure
from solon.rl.policy_update import update
from solon.rl.shared_backbone import SharedBackbone
from solon.rl.update_objectives import PolicyObjective, ValueObjective
from solon.training import models
from solon.training.checkpoint import Checkpoints
from solon.training.learner import Learner
from solon.training.loop import TrainingSession, accumulate

LORA = LoraSettings(rank=4)
RATIO = 1e-2
"""How far the mean ratio may be from 1 before the first update."""
LEAST_COSINE, LOSS_TOLERANCE = 0.99, 0.02
ALGORITHMS = pytest.mark.parametrize("algorithm", [Algorithm.PPO, Algorithm.RLOO])
ADAPTERS = pytest.mark.parametrize("adapter", [None, LORA], ids=["all", "lora"])


def settings_for(algorithm: Algorithm, precision: Precision, **more: Any) -> Any:
    of_a_prompt = 2 if algorithm is Algorithm.RLOO else 1
    given = {"algorithm": algorithm, "precision": precision, "samples_per_prompt": of_a_prompt, **more}
    return SETTINGS.model_copy(update=given)


def gradient(learner: Learner) -> Tensor:
    found = torch.cat([each.grad.flatten() for each in learner.parameters.values() if each.grad is not None])
    learner.discard()
    return found


@ALGORITHMS
@ADAPTERS
@pytest.mark.parametrize("micro_tokens", [16384, 40])
def test_before_the_first_update_the_ratio_is_one_and_the_kl_nothing(
    tiny: Path, algorithm: Algorithm, adapter: LoraSettings | None, micro_tokens: int
) -> None:
    """However the update packs its rows: into other micro-batches than the measurement."""
    settings = settings_for(algorithm, Precision.BFLOAT16, micro_batch_tokens=micro_tokens)
    networks = load_networks(tiny, adapter, algorithm, Precision.BFLOAT16)
    replies = sampler(networks, settings)(0)
    rollout = measure(networks, replies, planted(replies), settings)
    assert describe(rollout)["kl_k3"] == describe(rollout)["kl"] == 0.0
    found = update(networks, rollout, settings, step=1, seed=0)
    assert found["first_ratio_error"] < RATIO  # type: ignore[operator]
    assert found["policy_updates"] == settings.epochs * settings.minibatches


@ALGORITHMS
@ADAPTERS
def test_gradients_and_losses_are_those_of_float32_up_to_rounding(
    tiny: Path, algorithm: Algorithm, adapter: LoraSettings | None
) -> None:
    """The same replies in both; after one update, so that policy and reference differ."""
    drawn = sampler(load_networks(tiny), settings_for(algorithm, Precision.FLOAT32))(0)
    score_B = torch.tensor([sum(reply.response) % 101 / 50 - 1 for reply in drawn])
    found: dict[Precision, tuple[Rollout, list[Tensor], list[float]]] = {}
    for precision in Precision:
        settings = settings_for(algorithm, precision)
        networks = load_networks(tiny, adapter, algorithm, precision)
        update(networks, measure(networks, drawn, score_B, settings), settings, 1, 0)
        rollout = measure(networks, drawn, score_B, settings)
        episodes, losses = episodes_of(rollout), []
        of_policy = PolicyObjective(networks.policy, 0.2, 1.0)
        losses.append(accumulate(networks.learner, of_policy, episodes, 64, "here")[0].loss)
        gradients = [gradient(networks.learner)]
        if networks.critic is not None:
            of_value = ValueObjective(networks.critic.model, 0.2, networks.centre)
            losses.append(accumulate(networks.critic.learner, of_value, episodes, 64, "here")[0].loss)
            gradients.append(gradient(networks.critic.learner))
        for learner in (networks.learner, *([networks.critic.learner] if networks.critic else [])):
            assert {each.dtype for each in learner.parameters.values()} == {torch.float32}
            assert {each.dtype for each in learner.moments().values()} == {torch.float32}
        found[precision] = rollout, gradients, losses
    (exact, exact_G, exact_losses), (near, near_G, near_losses) = found.values()
    for one, other in zip(exact_G, near_G, strict=True):
        assert float(nn.functional.cosine_similarity(one, other, dim=0)) > LEAST_COSINE
    assert near_losses == pytest.approx(exact_losses, rel=LOSS_TOLERANCE, abs=LOSS_TOLERANCE)
    torch.testing.assert_close(near.behaviour_BT, exact.behaviour_BT, rtol=0.0, atol=0.05)
    assert not torch.equal(near.behaviour_BT, exact.behaviour_BT)


@ALGORITHMS
@ADAPTERS
def test_a_run_in_two_sessions_ends_with_the_bits_of_one(
    tiny: Path, tmp_path: Path, algorithm: Algorithm, adapter: LoraSettings | None
) -> None:
    def after(*steps: int, folder: str) -> dict[str, Tensor]:
        for count in steps:
            settings = settings_for(algorithm, Precision.BFLOAT16, steps=count)
            networks = load_networks(tiny, adapter, algorithm, Precision.BFLOAT16)
            trained(networks, settings, TrainingSession(Checkpoints(tmp_path / folder)))
        critic = critic_of(networks).learner.weights() if networks.critic else {}
        return {**networks.learner.weights(), **{f"value {name}": each for name, each in critic.items()}}

    whole, resumed = after(4, folder="whole"), after(2, 4, folder="parts")
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


@ADAPTERS
def test_what_samples_is_what_learns(tiny: Path, adapter: LoraSettings | None) -> None:
    """The engine's log-probabilities are those of the training forward, although it has a cache and other shapes."""
    precision, tokenizer = Precision.BFLOAT16, models.load_tokenizer(tiny)
    networks = load_networks(tiny, adapter, Algorithm.RLOO, precision)
    policy = models.unwrap_adapter(networks.policy.model)
    engine = engine_of(policy, tokenizer, EngineSettings(), name="policy", precision=precision)
    asked = [Prompt((Turn(Role.HUMAN, f"How do I bake bread {n} ?"),)) for n in range(6)]
    completions = engine.generate(asked, list(range(6)), SamplingParams(max_tokens=12), ())
    prompts = engine.tokens.encode(["".join(engine.rendering.render(each)) for each in asked])  # type: ignore[attr-defined]
    gaps = []
    for tokens, completion in zip(prompts, completions, strict=True):
        ids_BT = torch.tensor([[*tokens, *completion.token_ids]])
        mask_BT = torch.arange(ids_BT.shape[1]).unsqueeze(0) >= len(tokens)
        with torch.no_grad():
            logits_NV = networks.policy.logits(ids_BT, mask_BT)
        own_N = logits_NV.log_softmax(-1).gather(1, ids_BT[mask_BT].unsqueeze(1)).squeeze(1)
        gaps.append((own_N - torch.tensor(completion.logprobs)).abs())
    assert 0.0 <= float(torch.cat(gaps).mean()) < RATIO
    assert torch.is_autocast_enabled("cpu") is False


def test_networks_on_one_backbone_recompute_under_their_own_adapter(folders: Folders) -> None:  # noqa: F811
    """The value's gradient comes after the policy's adapter was activated again."""
    found = []
    for precision in Precision:
        for kept in Activations:
            shared = SharedBackbone(folders.base, folders.sl_cai, folders.preference, EngineSettings(), precision, kept)
            shared.value.values(IDS_BT, MASK_BT).square().sum().backward()
            shared.policy.logits(IDS_BT, MASK_BT).square().mean().backward()
            both = {**shared.parameters("value"), **shared.parameters("default")}
            found.append(torch.cat([each.grad.flatten() for each in both.values() if each.grad is not None]))
    exact, exact_again, near, near_again = found
    assert torch.equal(exact, exact_again) and torch.equal(near, near_again)
    assert float(nn.functional.cosine_similarity(exact, near, dim=0)) > LEAST_COSINE
    assert {each.dtype for name, each in shared.model.named_parameters() if "base_layer" in name} == {torch.bfloat16}
