"""A value head on the policy's backbone: its gradients, what rests while it warms up, how many operations it saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rl.tiny_networks import SETTINGS, load_networks, planted, rolled, sampler, trained
from tests.training.tiny import save_tiny_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from solon.config.recipe import Aggregation, Algorithm, LoraSettings, Precision, StopSettings
from solon.rl.episodes import Networks, PolicyValueHead, describe, episodes_of, measure
from solon.rl.policy_update import update
from solon.rl.update_objectives import JointObjective, PolicyObjective, ValueObjective
from solon.training.checkpoint import Checkpoints
from solon.training.learner import Learner
from solon.training.loop import TrainingSession, accumulate

ADAPTERS = pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)], ids=["all", "lora"])


class Killed(BaseException):
    """Stands for `kill -9`."""


def head_of(networks: Networks) -> PolicyValueHead:
    assert isinstance(networks.critic, PolicyValueHead)
    return networks.critic


def gradient(learner: Learner) -> Tensor:
    found = [torch.zeros_like(each) if each.grad is None else each.grad for each in learner.parameters.values()]
    learner.discard()
    return torch.cat([each.flatten() for each in found])


def moved_head(networks: Networks) -> None:
    """A head that is not zero, so that its values have a gradient in the backbone."""
    head = networks.policy.value_head
    assert head is not None
    with torch.no_grad():
        head.weight.copy_(torch.linspace(-1, 1, head.weight.numel()).view_as(head.weight))
        head.bias.fill_(0.3)


@ADAPTERS
def test_it_begins_at_zero_and_the_policy_as_it_was(tiny: Path, adapter: LoraSettings | None) -> None:
    networks, apart = load_networks(tiny, adapter, value_coef=0.1), load_networks(tiny, adapter)
    rollout, other = rolled(networks), rolled(apart)
    assert rollout.value_BT is not None and not rollout.value_BT.any()
    assert torch.equal(rollout.behaviour_BT, other.behaviour_BT) and torch.equal(rollout.entropy_BT, other.entropy_BT)
    found = update(networks, rollout, SETTINGS, step=1, seed=0)
    assert found["first_ratio_error"] == pytest.approx(0.0, abs=1e-5) and found["policy_updates"] == 8
    again = rolled(networks)
    assert describe(again)["kl_k3"] > 1e-4 and again.value_BT is not None and again.value_BT.any()  # type: ignore[operator]


@ADAPTERS
@pytest.mark.parametrize("aggregation", list(Aggregation))
@pytest.mark.parametrize("coefficient", [0.0, 0.1, 1.5])
def test_one_pass_gives_the_gradients_of_two(
    tiny: Path, adapter: LoraSettings | None, aggregation: Aggregation, coefficient: float
) -> None:
    networks = load_networks(tiny, adapter, value_coef=coefficient)
    moved_head(networks)
    of_values, episodes = head_of(networks).learner, episodes_of(rolled(networks))
    policy = PolicyObjective(networks.policy, 0.2, 1.0, aggregation=aggregation)
    share = policy.size(episodes) / sum(each.length - len(each.reply.prompt) for each in episodes)
    joint = JointObjective(policy, 0.2, share)

    for micro_tokens in (10**9, 25):
        accumulate(networks.learner, joint, episodes, micro_tokens, "here")
        together, head_together = gradient(networks.learner), gradient(of_values)
        alone_losses = accumulate(networks.learner, policy, episodes, micro_tokens, "here")[0]
        alone = gradient(networks.learner)
        # the plain loss of the values, with gradient through the whole policy
        networks.policy.value_head.coefficient = 1.0  # type: ignore[union-attr]
        only = JointObjective(PolicyObjective(networks.policy, 0.2, 1.0), 0.2, 1.0)
        totals, size = accumulate(networks.learner, only, episodes, micro_tokens, "here")
        both = gradient(networks.learner)
        head_alone = gradient(of_values)
        accumulate(networks.learner, PolicyObjective(networks.policy, 0.2, 1.0), episodes, micro_tokens, "here")
        value_gradient = both - gradient(networks.learner)
        networks.policy.value_head.coefficient = coefficient  # type: ignore[union-attr]
        expected = alone + coefficient * value_gradient
        torch.testing.assert_close(together, expected, rtol=1e-3, atol=2e-6)
        torch.testing.assert_close(head_together, head_alone, rtol=1e-4, atol=1e-6)
        # and the head by itself, on states without gradient
        resting = ValueObjective(networks.policy, 0.2, 0.0)
        found = accumulate(of_values, resting, episodes, micro_tokens, "here")[0]
        torch.testing.assert_close(gradient(of_values), head_alone, rtol=1e-4, atol=1e-6)
        assert not gradient(networks.learner).any()
        assert found.loss == pytest.approx(totals.counts["value_loss"] / size, rel=1e-5)
        assert alone_losses.loss == pytest.approx(totals.counts["policy_loss"] / size, abs=0.2)
        if coefficient:
            assert (together - alone).abs().max() > 1e-4, "or nothing would have been shown"
        else:
            torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("minibatches", [1, 4])
def test_while_it_warms_up_the_policy_rests(tiny: Path, minibatches: int) -> None:
    settings = SETTINGS.model_copy(update={"minibatches": minibatches})
    networks = load_networks(tiny, value_coef=0.5)
    moved_head(networks)
    before = {name: weight.clone() for name, weight in networks.learner.weights().items()}
    replies = sampler(networks, settings)(0)
    rollout = measure(networks, replies, planted(replies), settings)
    found = update(networks, rollout, settings, step=0, seed=0)
    assert found["policy_updates"] == 0 and found["policy_loss"] is None and found["value_loss"] is not None
    assert all(torch.equal(weight, before[name]) for name, weight in networks.learner.weights().items())
    assert all(parameter.grad is None for parameter in networks.learner.parameters.values())
    head = networks.policy.value_head
    assert head is not None and not torch.allclose(head.bias, torch.tensor(0.3), atol=1e-6)


def test_a_policy_that_moved_too_far_rests_and_its_head_learns_on(tiny: Path) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 0.05})
    networks = load_networks(tiny, value_coef=0.1)
    steps = []
    learner = head_of(networks).learner
    step = learner.step
    learner.step = lambda *given: steps.append(given) or step(*given)  # type: ignore[method-assign, func-returns-value]
    found = update(networks, rolled(networks), settings, step=1, seed=0)
    every = settings.epochs * settings.minibatches
    assert 0 < found["policy_updates"] < every == len(steps)  # type: ignore[operator]
    assert all(parameter.grad is None for parameter in networks.learner.parameters.values())


def test_a_pass_that_measures_and_learns_is_the_same_as_two(tiny: Path) -> None:
    found = []
    for micro_tokens in (16384, 40):
        settings = SETTINGS.model_copy(update={"minibatches": 1, "micro_batch_tokens": micro_tokens})
        networks = load_networks(tiny, value_coef=0.5)
        moved_head(networks)
        replies = sampler(networks, SETTINGS)(0)
        rollout = measure(networks, replies, planted(replies), settings)
        assert (
            (rollout.value_with_grad is not None) == (rollout.logprob_with_grad is not None) == (micro_tokens == 16384)
        )
        said = update(networks, rollout, settings, step=1, seed=0)
        found.append((said, networks.learner.weights(), head_of(networks).learner.weights()))
    (once, *weights_once), (twice, *weights_twice) = found
    assert once == pytest.approx(twice, abs=1e-4)
    torch.testing.assert_close(weights_once, weights_twice, rtol=1e-4, atol=2e-5)


def counted(networks: Networks, settings: Any) -> tuple[int, int]:
    """Operations of measuring a rollout, and of updating on it."""
    replies = sampler(networks, settings)(0)
    with FlopCounterMode(display=False) as measuring:
        rollout = measure(networks, replies, planted(replies), settings)
    with FlopCounterMode(display=False) as updating:
        update(networks, rollout, settings, step=1, seed=0)
    return measuring.get_total_flops(), updating.get_total_flops()


@pytest.mark.parametrize("minibatches", [1, 4])
def test_the_value_functions_passes_are_saved(tmp_path: Path, minibatches: int) -> None:
    """By count: an update costs what it costs RLOO, which has no value function, and a head's product."""
    folder = save_tiny_model(tmp_path / "deep", layers=4)
    found = {}
    for name, algorithm, value_coef in (
        ("separate", Algorithm.PPO, None),
        ("head", Algorithm.PPO, 0.1),
        ("none", Algorithm.RLOO, None),
    ):
        settings = SETTINGS.model_copy(update={"algorithm": algorithm, "minibatches": minibatches, "target_kl": None})
        settings = settings.model_copy(update={"prompts_per_step": 4, "epochs": 1})
        found[name] = counted(load_networks(folder, None, algorithm, value_coef=value_coef), settings)
    for part in (0, 1):
        assert found["none"][part] < found["head"][part] < 1.01 * found["none"][part]
    # policy, reference and value function are read; one pass fewer of three
    assert 0.6 < found["head"][0] / found["separate"][0] < 0.75
    assert 0.5 < found["head"][1] / found["separate"][1] < 0.6
    whole = sum(found["head"]) / sum(found["separate"])
    assert whole < 2 / 3, "a third less at least"


@pytest.mark.parametrize("precision", list(Precision))
@ADAPTERS
def test_a_run_killed_at_any_checkpoint_goes_on_to_the_same_bytes(
    tiny: Path, tmp_path: Path, adapter: LoraSettings | None, precision: Precision
) -> None:
    settings = SETTINGS.model_copy(
        update={"checkpoint_every": 1, "prompts_per_step": 4, "epochs": 1, "precision": precision}
    )

    def run(folder: Path, kill: int | None) -> tuple[Networks, Any]:
        def progress(done: int, total: int, note: str) -> None:
            if done == kill:
                raise Killed

        networks = load_networks(tiny, adapter, Algorithm.PPO, precision, value_coef=0.1)
        return networks, trained(networks, settings, TrainingSession(Checkpoints(folder), progress), seed=3)

    whole, course = run(tmp_path / "whole", None)
    for kill in range(1, settings.steps):
        with pytest.raises(Killed):
            run(tmp_path / "killed", kill)
    resumed, again = run(tmp_path / "killed", None)
    assert json.dumps(course.log.rows) == json.dumps(again.log.rows) and again.step == settings.steps
    for one, other in ((whole.learner, resumed.learner), (head_of(whole).learner, head_of(resumed).learner)):
        assert all(torch.equal(weight, other.weights()[name]) for name, weight in one.weights().items())
        assert all(torch.equal(moment, other.moments()[name]) for name, moment in one.moments().items())
    assert any(weight.any() for weight in head_of(whole).learner.weights().values())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_a_planted_reward_is_learned_to_near_its_maximum(tmp_path: Path, seed: int) -> None:
    settings = SETTINGS.model_copy(
        update={
            # A head that begins at zero wants a larger rate than a network that begins as a preference model.
            "steps": 40, "learning_rate": 7e-3, "value_learning_rate": 3e-2, "minibatches": 2, "kl_coef": 0.0,
            "target_kl": None, "missing_eos_penalty": 0.0, "stop": StopSettings(kl=None, entropy=None),
            "prompts_per_step": 32,
        }
    )  # fmt: skip
    networks = load_networks(save_tiny_model(tmp_path / "tiny", seed=seed), value_coef=0.1)
    session = TrainingSession(Checkpoints(tmp_path / "checkpoints"))
    course = trained(networks, settings, session, seed, sample=sampler(networks, settings, seed))
    scores = [row["score"] for row in course.log.rows]
    assert scores[0] < 0.3
    assert sum(scores[-3:]) / 3 > 0.9 * settings.sampling.max_tokens
