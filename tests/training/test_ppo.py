"""PPO on a tiny model: what must hold before the first update, resume, and that it finds a planted reward."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from solon.digest import seed_for
from solon.errors import StageError
from solon.recipe import Adapter, Drawing, EngineSettings, ReinforcementSettings
from solon.training import models
from solon.training import rollout as rollout_module
from solon.training.checkpoint import Checkpoints
from solon.training.core import Session, accumulate
from solon.training.forward import ScalarModel, TokenModel
from solon.training.learner import EPSILON_RL, Learner
from solon.training.ppo import Actors, PolicyObjective, ValueObjective, _episodes, describe, measure, reinforce, update
from solon.training.rollout import Reply

SETTINGS = ReinforcementSettings(
    steps=4, prompts_per_step=8, value_warmup=1, checkpoint_every=2, learning_rate=1e-3, drawing=Drawing(max_tokens=6)
)
WANTED = 40


class Killed(BaseException):
    """Stands for `kill -9`."""


def actors(folder: Path, adapter: Adapter | None = None) -> Actors:
    policy = models.with_adapter(models.load_causal_lm(folder, EngineSettings()), adapter, 1)
    grown = models.grow_preference_model(folder, models.load_tokenizer(folder), EngineSettings(), seed=1)
    value = models.with_adapter(grown, adapter, 2)
    token_model = TokenModel(policy)
    made = Actors(
        policy=token_model,
        reference=token_model if adapter else TokenModel(models.load_causal_lm(folder, EngineSettings())),
        value=ScalarModel(value),
        policy_learner=Learner(models.trainable_parameters(policy), clip=1.0, epsilon=EPSILON_RL),
        value_learner=Learner(models.trainable_parameters(value), clip=1.0, epsilon=EPSILON_RL),
        centre=0.25,
    )
    return replace(made, as_reference=policy.disable_adapter) if adapter else made


def sampler(acting: Actors, settings: ReinforcementSettings) -> Callable[[int], list[Reply]]:
    """Samples with plain forward passes; rows end at token 0 or at the limit."""

    def sample(step: int) -> list[Reply]:
        rows = [[5 + n % 4, 9, 20 + n % 3] for n in range(settings.prompts_per_step)]
        generator = torch.Generator().manual_seed(seed_for(step))
        tokens = [list(row) for row in rows]
        with torch.no_grad():
            for _ in range(settings.drawing.max_tokens):
                ids_BT = torch.tensor(tokens)
                logits_BV = acting.policy.model(input_ids=ids_BT).logits[:, -1]
                drawn = torch.multinomial(logits_BV.softmax(-1), 1, generator=generator).flatten().tolist()
                tokens = [[*row, token] for row, token in zip(tokens, drawn, strict=True)]
        return [_cut(n, row, whole[3:]) for n, (row, whole) in enumerate(zip(rows, tokens, strict=True))]

    return sample


def _cut(number: int, prompt: list[int], response: list[int]) -> Reply:
    finished = 0 in response
    kept = response[: response.index(0) + 1] if finished else response
    return Reply(f"row{number}", ("red_team", "helpful")[number % 2], tuple(prompt), tuple(kept), "text", finished)


def planted(replies: Sequence[Reply]) -> Tensor:
    """How many tokens of a reply are the wanted one, plus the centre that is taken off again."""
    return torch.tensor([reply.response.count(WANTED) for reply in replies]) + 0.25


def rolled(acting: Actors) -> Any:
    replies = sampler(acting, SETTINGS)(0)
    return measure(acting, replies, planted(replies) - acting.centre, SETTINGS)


@pytest.mark.parametrize("adapter", [None, Adapter(rank=4)])
def test_before_the_first_update_the_ratio_is_one_and_the_kl_nothing(tiny: Path, adapter: Adapter | None) -> None:
    acting = actors(tiny, adapter)
    rollout = rolled(acting)
    said = describe(rollout)
    assert said["kl"] == pytest.approx(0.0, abs=1e-5) and said["kl_k3"] == pytest.approx(0.0, abs=1e-5)
    found = update(acting, rollout, SETTINGS, step=1, seed=0)
    assert found["first_ratio_error"] == pytest.approx(0.0, abs=1e-5)
    assert found["policy_updates"] == SETTINGS.epochs * SETTINGS.minibatches
    assert describe(rolled(acting))["kl_k3"] > 1e-4  # and then the policy moves, its reference does not


def test_rewards_are_scores_minus_the_penalty_for_unfinished_replies(tiny: Path) -> None:
    acting = actors(tiny)
    finished = Reply("a", "red_team", (5, 9), (7, 0), "x", finished=True)
    cut = Reply("b", "red_team", (5, 9), (7, 8, 6), "x", finished=False)
    rollout = measure(acting, [finished, cut], torch.tensor([2.0, 2.0]), SETTINGS)
    assert rollout.reward_B.tolist() == [2.0, 1.0]
    assert describe(rollout)["unfinished"] == 0.5
    # gamma is 1 and nothing differs from the reference: what is to come is the reward, wherever one stands
    full = measure(acting, [finished, cut], torch.tensor([2.0, 2.0]), SETTINGS.model_copy(update={"trace": 1.0}))
    assert full.return_BT[0, :2].tolist() == pytest.approx([2.0, 2.0], abs=1e-4)
    assert full.return_BT[1].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)


def test_values_before_updates_are_the_preference_models_minus_the_centre(tiny: Path) -> None:
    acting = actors(tiny)
    rollout = rolled(acting)
    reply = rollout.replies[0]
    with torch.no_grad():
        tokens = torch.tensor([reply.prompt])
        score = float(acting.value.scores(tokens, torch.tensor([3])))
    assert float(rollout.value_BT[0, 0]) == pytest.approx(score - acting.centre, abs=1e-5)


@pytest.mark.parametrize("micro_tokens", [1, 25])
def test_gradients_are_equal_for_any_micro_batch_size(tiny: Path, micro_tokens: int) -> None:
    acting = actors(tiny)
    episodes = _episodes(rolled(acting))
    for learner, objective in (
        (acting.policy_learner, PolicyObjective(acting.policy, 0.2, 1.0)),
        (acting.value_learner, ValueObjective(acting.value, 0.2, acting.centre)),
    ):
        found = []
        for tokens in (10**9, micro_tokens):
            accumulate(learner, objective, episodes, tokens, "here")
            found.append(torch.cat([p.grad.flatten() for p in learner.parameters.values() if p.grad is not None]))
            learner.discard()
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_while_the_value_function_warms_up_the_policy_rests(tiny: Path) -> None:
    acting = actors(tiny)
    policy, value = ({n: w.clone() for n, w in learner.weights().items()} for learner in
                     (acting.policy_learner, acting.value_learner))  # fmt: skip
    found = update(acting, rolled(acting), SETTINGS, step=0, seed=0)
    assert found["policy_updates"] == 0 and found["policy_loss"] is None
    assert all(torch.equal(weight, policy[name]) for name, weight in acting.policy_learner.weights().items())
    assert any(not torch.equal(weight, value[name]) for name, weight in acting.value_learner.weights().items())


def test_a_policy_that_moved_too_far_stops_learning_from_the_rollout(tiny: Path) -> None:
    acting = actors(tiny)
    found = update(acting, rolled(acting), SETTINGS.model_copy(update={"learning_rate": 0.05}), step=1, seed=0)
    assert 0 < found["policy_updates"] < SETTINGS.epochs * SETTINGS.minibatches  # type: ignore[operator]


def test_log_probabilities_that_training_does_not_find_again_are_a_fault(tiny: Path) -> None:
    acting = actors(tiny)
    rollout = rolled(acting)
    with pytest.raises(StageError, match="ratio"):
        update(acting, replace(rollout, behaviour_BT=rollout.behaviour_BT - 0.5), SETTINGS, step=1, seed=0)


def test_a_reward_that_is_not_finite_stops_before_the_step(tiny: Path) -> None:
    acting = actors(tiny)
    rollout = rolled(acting)
    before = {name: weight.clone() for name, weight in acting.value_learner.weights().items()}
    with pytest.raises(StageError, match=r"PPO step 2, pass 1, value: the loss is nan.*row"):
        update(acting, replace(rollout, return_BT=rollout.return_BT * float("nan")), SETTINGS, step=1, seed=0)
    assert all(torch.equal(weight, before[name]) for name, weight in acting.value_learner.weights().items())


def test_a_step_without_replies_is_told(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="empty"):
        reinforce(actors(tiny), lambda step: [], planted, SETTINGS, 0, Session(Checkpoints(tmp_path)))


@pytest.mark.parametrize("adapter", [None, Adapter(rank=4)])
def test_a_killed_run_goes_on_to_the_same_bytes(tiny: Path, tmp_path: Path, adapter: Adapter | None) -> None:
    def run(folder: Path, kill: int | None) -> tuple[Actors, str]:
        def progress(done: int, total: int, note: str) -> None:
            if done == kill:
                raise Killed

        acting = actors(tiny, adapter)
        session = Session(Checkpoints(folder), progress)
        log, _ = reinforce(acting, sampler(acting, SETTINGS), planted, SETTINGS, 3, session)
        return acting, json.dumps(log.rows)

    whole, rows = run(tmp_path / "whole", None)
    for kill in (1, 3):
        with pytest.raises(Killed):
            run(tmp_path / "killed", kill)
    resumed, rows_again = run(tmp_path / "killed", None)
    assert rows == rows_again and len(json.loads(rows)) == SETTINGS.steps
    for one, other in (
        (whole.policy_learner, resumed.policy_learner),
        (whole.value_learner, resumed.value_learner),
    ):
        assert all(torch.equal(weight, other.weights()[name]) for name, weight in one.weights().items())
        assert all(torch.equal(moment, other.moments()[name]) for name, moment in one.moments().items())


def test_it_finds_a_planted_reward(tiny: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={"steps": 20, "prompts_per_step": 32, "learning_rate": 6e-3, "value_learning_rate": 6e-3, "kl": 0.02}
    )
    acting = actors(tiny)
    log, _ = reinforce(acting, sampler(acting, settings), planted, settings, 0, Session(Checkpoints(tmp_path)))
    assert log.rows[0]["score"] < 0.2
    assert log.rows[-1]["score"] > 3
    assert log.rows[-1]["kl"] > 1


def test_logits_in_pieces_measure_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting = actors(tiny)
    replies = sampler(acting, SETTINGS)(0)
    whole_BT, entropy_BT = rollout_module.measure_behaviour(acting.policy, replies, 0.7, 1000)
    monkeypatch.setattr(rollout_module, "PIECE", 3)
    again_BT, entropy_again_BT = rollout_module.measure_behaviour(acting.policy, replies, 0.7, 50)
    torch.testing.assert_close(whole_BT, again_BT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy_BT, entropy_again_BT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rollout_module.measure_logprobs(acting.policy, replies, 0.7, 50), whole_BT)
