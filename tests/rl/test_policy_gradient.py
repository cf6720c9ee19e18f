"""PPO and RLOO on a tiny model: what must hold before the first update, resume, and control."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rl.tiny_networks import (
    SETTINGS,
    critic_of,
    load_networks,
    planted,
    rolled,
    sampler,
    trained,
)
from torch import Tensor

from solon.config.recipe import (
    Aggregation,
    Algorithm,
    Kept,
    KlControl,
    LoraSettings,
    StopSettings,
)
from solon.errors import DivergedError, StageError
from solon.rl import rollout as rollout_module
from solon.rl.episodes import Networks, describe, episodes_of, measure
from solon.rl.policy_gradient import TrainState
from solon.rl.policy_update import update
from solon.rl.rollout import Reply
from solon.rl.update_objectives import PolicyObjective, ValueObjective
from solon.training.checkpoint import Checkpoints
from solon.training.loop import TrainingSession, accumulate
from solon.training.metrics import JsonLines


class Killed(BaseException):
    """Stands for `kill -9`."""


@pytest.mark.parametrize("adapter", [None, LoraSettings(rank=4)])
def test_before_the_first_update_the_ratio_is_one_and_the_kl_nothing(tiny: Path, adapter: LoraSettings | None) -> None:
    networks = load_networks(tiny, adapter)
    rollout = rolled(networks)
    said = describe(rollout)
    assert said["kl"] == pytest.approx(0.0, abs=1e-5) and said["kl_k3"] == pytest.approx(0.0, abs=1e-5)
    found = update(networks, rollout, SETTINGS, step=1, seed=0)
    assert found["first_ratio_error"] == pytest.approx(0.0, abs=1e-5)
    assert found["policy_updates"] == SETTINGS.epochs * SETTINGS.minibatches
    assert describe(rolled(networks))["kl_k3"] > 1e-4  # and then the policy moves, its reference does not


def test_rewards_are_scores_minus_the_penalty_for_unfinished_replies(tiny: Path) -> None:
    networks = load_networks(tiny)
    finished = Reply("a", "red_team", (5, 9), (7, 0), "x", finished=True)
    cut = Reply("b", "red_team", (5, 9), (7, 8, 6), "x", finished=False)
    rollout = measure(networks, [finished, cut], torch.tensor([2.0, 2.0]), SETTINGS)
    assert rollout.reward_B.tolist() == [2.0, 1.0]
    assert describe(rollout)["unfinished"] == 0.5
    # gamma is 1 and nothing differs from the reference: what is to come is the reward, wherever one stands
    full = measure(networks, [finished, cut], torch.tensor([2.0, 2.0]), SETTINGS.model_copy(update={"gae_lambda": 1.0}))
    assert full.return_BT[0, :2].tolist() == pytest.approx([2.0, 2.0], abs=1e-4)
    assert full.return_BT[1].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)


def test_values_before_updates_are_the_preference_models_minus_the_centre(tiny: Path) -> None:
    networks = load_networks(tiny)
    rollout = rolled(networks)
    reply = rollout.replies[0]
    with torch.no_grad():
        tokens = torch.tensor([reply.prompt])
        score = float(critic_of(networks).model.scores(tokens, torch.tensor([3])))
    assert float(rollout.value_BT[0, 0]) == pytest.approx(score - networks.centre, abs=1e-5)


@pytest.mark.parametrize("algorithm", [Algorithm.PPO, Algorithm.RLOO])
def test_one_pass_that_measures_and_learns_is_the_same_as_two(tiny: Path, algorithm: Algorithm) -> None:
    found = []
    for micro_tokens in (16384, 40):  # the second is too small for the graphs of the whole rollout
        settings = SETTINGS.model_copy(
            update={
                "algorithm": algorithm,
                "minibatches": 1,
                "micro_batch_tokens": micro_tokens,
                "samples_per_prompt": 2,
            }
        )
        networks = load_networks(tiny, algorithm=algorithm)
        replies = sampler(networks, SETTINGS)(0)
        rollout = measure(networks, replies, planted(replies), settings)
        assert (rollout.logprob_with_grad is not None) == (micro_tokens == 16384)
        said = update(networks, rollout, settings, step=1, seed=0)
        assert said["policy_updates"] == settings.epochs
        learners = [networks.learner] if networks.critic is None else [networks.learner, networks.critic.learner]
        found.append((said, [learner.weights() for learner in learners]))
    (once, weights_once), (twice, weights_twice) = found
    assert once == pytest.approx(twice, abs=1e-4)
    torch.testing.assert_close(weights_once, weights_twice, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("micro_tokens", [1, 25])
def test_gradients_are_equal_for_any_micro_batch_size(tiny: Path, micro_tokens: int) -> None:
    networks = load_networks(tiny)
    episodes = episodes_of(rolled(networks))
    for learner, objective in (
        (networks.learner, PolicyObjective(networks.policy, 0.2, 1.0)),
        (networks.learner, PolicyObjective(networks.policy, 0.2, 1.0, 3.0, Aggregation.REPLIES)),
        (critic_of(networks).learner, ValueObjective(critic_of(networks).model, 0.2, networks.centre)),
    ):
        found = []
        for tokens in (10**9, micro_tokens):
            accumulate(learner, objective, episodes, tokens, "here")
            found.append(torch.cat([p.grad.flatten() for p in learner.parameters.values() if p.grad is not None]))
            learner.discard()
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_while_the_value_function_warms_up_the_policy_rests(tiny: Path) -> None:
    networks = load_networks(tiny)
    policy, value = ({n: w.clone() for n, w in learner.weights().items()} for learner in
                     (networks.learner, critic_of(networks).learner))  # fmt: skip
    found = update(networks, rolled(networks), SETTINGS, step=0, seed=0)
    assert found["policy_updates"] == 0 and found["policy_loss"] is None
    assert all(torch.equal(weight, policy[name]) for name, weight in networks.learner.weights().items())
    assert any(not torch.equal(weight, value[name]) for name, weight in critic_of(networks).learner.weights().items())


def test_a_policy_that_moved_too_far_stops_learning_from_the_rollout(tiny: Path) -> None:
    networks = load_networks(tiny)
    found = update(networks, rolled(networks), SETTINGS.model_copy(update={"learning_rate": 0.05}), step=1, seed=0)
    assert 0 < found["policy_updates"] < SETTINGS.epochs * SETTINGS.minibatches  # type: ignore[operator]


def test_log_probabilities_that_training_does_not_find_again_are_a_fault(tiny: Path) -> None:
    networks = load_networks(tiny)
    rollout = rolled(networks)
    with pytest.raises(StageError, match="ratio"):
        update(networks, replace(rollout, behaviour_BT=rollout.behaviour_BT - 0.5), SETTINGS, step=1, seed=0)


def test_a_reward_that_is_not_finite_stops_before_the_step(tiny: Path) -> None:
    networks = load_networks(tiny)
    rollout = rolled(networks)
    before = {name: weight.clone() for name, weight in critic_of(networks).learner.weights().items()}
    with pytest.raises(StageError, match=r"PPO step 2, pass 1, value: the loss is nan.*row"):
        update(networks, replace(rollout, return_BT=rollout.return_BT * float("nan")), SETTINGS, step=1, seed=0)
    assert all(torch.equal(weight, before[name]) for name, weight in critic_of(networks).learner.weights().items())


def test_a_step_without_replies_is_an_error(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="empty"):
        trained(load_networks(tiny), SETTINGS, TrainingSession(Checkpoints(tmp_path)), sample=lambda step: [])


EVERYTHING = {
    "kl_control": KlControl.ADAPTIVE,
    "adaptive_kl_target": 0.01,
    "adaptive_kl_horizon": 20,
    "keep": Kept.BEST,
    "warmup_steps": 2,
}
"""Whatever goes from one step to the next."""
RESUMED = [
    (Algorithm.PPO, None, {}),
    (Algorithm.PPO, LoraSettings(rank=4), EVERYTHING),
    (Algorithm.RLOO, None, {"samples_per_prompt": 2, **EVERYTHING}),
]


@pytest.mark.parametrize(("algorithm", "adapter", "more"), RESUMED)
def test_a_run_killed_at_any_checkpoint_goes_on_to_the_same_bytes(
    tiny: Path, tmp_path: Path, algorithm: Algorithm, adapter: LoraSettings | None, more: dict[str, Any]
) -> None:
    settings = SETTINGS.model_copy(
        update={"algorithm": algorithm, "checkpoint_every": 1, "prompts_per_step": 4, "epochs": 1, **more}
    )

    def run(folder: Path, kill: int | None) -> tuple[Networks, TrainState]:
        def progress(done: int, total: int, note: str) -> None:
            if done == kill:
                raise Killed

        networks = load_networks(tiny, adapter, algorithm)
        session = TrainingSession(Checkpoints(folder), progress, metrics=JsonLines(folder / "metrics.jsonl"))
        return networks, trained(networks, settings, session, seed=3)

    whole, course = run(tmp_path / "whole", None)
    for kill in range(1, settings.steps):
        with pytest.raises(Killed):
            run(tmp_path / "killed", kill)
    resumed, again = run(tmp_path / "killed", None)
    assert json.dumps(course.log.rows) == json.dumps(again.log.rows) and again.step == settings.steps
    assert (course.kl_coefficient, course.kept_step) == (again.kl_coefficient, again.kept_step)
    assert [(folder / "metrics.jsonl").read_text() for folder in (tmp_path / "whole", tmp_path / "killed")] == [
        "".join(f"{json.dumps(row)}\n" for row in course.log.rows)
    ] * 2
    pairs = [(whole.learner, resumed.learner)]
    if whole.critic and resumed.critic:
        pairs.append((whole.critic.learner, resumed.critic.learner))
    for one, other in pairs:
        assert all(torch.equal(weight, other.weights()[name]) for name, weight in one.weights().items())
        assert all(torch.equal(moment, other.moments()[name]) for name, moment in one.moments().items())


def test_logits_in_pieces_measure_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = load_networks(tiny)
    replies = sampler(networks, SETTINGS)(0)
    whole, entropy_BT = rollout_module.measure_behaviour(networks.policy, replies, 0.7, 1000)
    monkeypatch.setattr(rollout_module, "PIECE", 3)
    again, entropy_again_BT = rollout_module.measure_behaviour(networks.policy, replies, 0.7, 50)
    torch.testing.assert_close(whole.figure_BT, again.figure_BT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy_BT, entropy_again_BT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rollout_module.measure_logprobs(networks.policy, replies, 0.7, 50), whole.figure_BT)


def test_log_probabilities_do_not_depend_on_padding_or_company(tiny: Path) -> None:
    networks = load_networks(tiny)
    replies = sampler(networks, SETTINGS)(0)
    together_BT = rollout_module.measure_logprobs(networks.policy, replies, 1.0, 10**6)
    for row, reply in enumerate(replies):
        alone_T = rollout_module.measure_logprobs(networks.policy, [reply], 1.0, 10**6)[0]
        torch.testing.assert_close(together_BT[row, : len(reply.response)], alone_T, rtol=1e-5, atol=1e-5)
        assert together_BT[row, len(reply.response) :].abs().sum() == 0


def test_rloo_compares_replies_to_one_prompt_and_has_no_critic(tiny: Path) -> None:
    settings = SETTINGS.model_copy(update={"algorithm": Algorithm.RLOO, "samples_per_prompt": 2, "kl_coef": 0.0})
    networks = load_networks(tiny, algorithm=Algorithm.RLOO)
    replies = [Reply(row, "helpful", (5, 9), (7, 8, 0)[:length], "x", True) for row, length in
               (("a", 2), ("b", 3), ("a", 3), ("alone", 2))]  # fmt: skip
    rollout = measure(networks, replies, torch.tensor([3.0, 1.0, -1.0, 5.0]), settings)
    assert rollout.advantage_BT.tolist() == [[4.0, 4.0, 0.0], [0.0] * 3, [-4.0] * 3, [0.0] * 3]
    assert rollout.value_BT is None and describe(rollout)["explained_variance"] is None
    found = update(networks, rollout, settings, step=0, seed=0)
    assert found["value_loss"] is None and found["policy_updates"] == 8, "it learns from the first step on"


def test_a_prompt_drawn_twice_in_a_step_is_two_groups(tiny: Path) -> None:
    settings = SETTINGS.model_copy(update={"algorithm": Algorithm.RLOO, "samples_per_prompt": 2, "kl_coef": 0.0})
    replies = [Reply("a", "helpful", (5, 9), (7, 0), "x", True, again) for again in (0, 0, 1, 1)]
    rollout = measure(
        load_networks(tiny, algorithm=Algorithm.RLOO), replies, torch.tensor([3.0, 1.0, -1.0, 5.0]), settings
    )
    assert rollout.advantage_BT[:, 0].tolist() == [2.0, -2.0, -6.0, 6.0]


def silenced(replies: Sequence[Reply], numbers: Sequence[int]) -> list[Reply]:
    """The replies, some of them replaced by an end token without text, by nothing, or by white space."""
    blank = itertools.cycle([((0,), ""), ((), ""), ((7, 0), " \n")])
    return [
        replace(reply, response=given[0], text=given[1]) if number in numbers and (given := next(blank)) else reply
        for number, reply in enumerate(replies)
    ]


@pytest.mark.parametrize("algorithm", [Algorithm.PPO, Algorithm.RLOO])
def test_an_empty_reply_gets_no_score_and_teaches_nothing(tiny: Path, tmp_path: Path, algorithm: Algorithm) -> None:
    settings = SETTINGS.model_copy(
        update={"algorithm": algorithm, "samples_per_prompt": 3, "steps": 3, "kl_control": KlControl.ADAPTIVE}
    )
    empty = (1, 4, 7, 8, 20)
    scored: list[Reply] = []

    def run(name: str, choose: Callable[[list[Reply]], list[Reply]]) -> tuple[Networks, TrainState]:
        networks = load_networks(tiny, algorithm=algorithm)
        drawn = sampler(networks, settings)

        def score(replies: Sequence[Reply]) -> Tensor:
            scored.extend(replies)
            return planted(replies)

        more = {"sample": lambda step: choose(drawn(step)), "score": score, "held_out": score}
        return networks, trained(networks, settings, TrainingSession(Checkpoints(tmp_path / name)), **more)

    masked, course = run("masked", lambda replies: silenced(replies, empty))
    assert all(reply.text.strip() and reply.response for reply in scored)
    left_out, other = run("absent", lambda replies: [each for n, each in enumerate(replies) if n not in empty])
    assert all(
        torch.equal(weight, left_out.learner.weights()[name]) for name, weight in masked.learner.weights().items()
    )
    for row, without in zip(course.log.rows, other.log.rows, strict=True):
        assert (row["replies"], row["empty"]) == (24 - len(empty), len(empty) / 24)
        assert {**row, "empty": 0.0} == without


def test_replies_that_are_all_empty_end_a_run_that_has_learned_and_refuse_one_that_has_not(
    tiny: Path, tmp_path: Path
) -> None:
    networks = load_networks(tiny)
    drawn = sampler(networks, SETTINGS)

    def sample(from_step: int) -> Callable[[int], list[Reply]]:
        return lambda step: silenced(drawn(step), range(8 if step >= from_step else 0))

    with pytest.raises(StageError, match=r"PPO step 1: no reply of this step can be scored: all are empty. Look at"):
        trained(networks, SETTINGS, TrainingSession(Checkpoints(tmp_path / "first")), sample=sample(0))
    course = trained(networks, SETTINGS, TrainingSession(Checkpoints(tmp_path / "later")), sample=sample(2))
    assert course.step == 2
    assert course.stopped_because == "PPO step 3: no reply of this step can be scored: all are empty"


def test_a_loss_over_replies_weighs_long_and_short_ones_alike(tiny: Path) -> None:
    networks = load_networks(tiny)
    episodes = episodes_of(rolled(networks))
    objective = PolicyObjective(networks.policy, 0.2, 1.0, aggregation=Aggregation.REPLIES)
    loss, _ = objective.loss(episodes)
    # before any update a token's loss is minus its advantage
    expected = sum(-float(each.advantage_T.mean()) for each in episodes)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-4)
    assert objective.size(episodes) == len(episodes)


def test_lambda_of_the_values_leaves_the_advantages_alone(tiny: Path) -> None:
    networks = load_networks(tiny)
    replies = sampler(networks, SETTINGS)(0)
    one, other = (
        measure(networks, replies, planted(replies), SETTINGS.model_copy(update={"gae_lambda_value": trace}))
        for trace in (None, 1.0)
    )
    assert torch.equal(one.advantage_BT, other.advantage_BT)
    assert one.return_BT is not None and other.return_BT is not None
    # without a discount and with lambda 1 a return is what is still to come: the reward, wherever one stands
    assert other.return_BT[0, : len(replies[0].response)].tolist() == pytest.approx(
        [float(other.reward_B[0])] * len(replies[0].response), abs=1e-4
    )
    assert not torch.allclose(one.return_BT, other.return_BT, atol=1e-3)


def test_learning_rates_rise_from_each_networks_first_step(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS.model_copy(update={"warmup_steps": 4, "epochs": 1, "minibatches": 1, "value_warmup_steps": 2})
    networks = load_networks(tiny)
    rates: dict[str, list[float]] = {"policy": [], "value": []}
    for name, learner in (("policy", networks.learner), ("value", critic_of(networks).learner)):

        def step(rate: float, place: str, row_ids: Any, name: str = name) -> float:
            rates[name].append(rate)
            return 0.0

        monkeypatch.setattr(learner, "step", step)
    rollout = rolled(networks)
    for number in range(7):
        update(networks, rollout, settings, step=number, seed=0)
    shares = [0.25, 0.5, 0.75, 1.0]
    assert rates["policy"] == pytest.approx([settings.learning_rate * share for share in [*shares, 1.0]])
    assert rates["value"] == pytest.approx([settings.value_learning_rate * share for share in [*shares, 1, 1, 1]])


def test_an_adaptive_coefficient_rises_above_the_target_and_rests_until_the_policy_learns(
    tiny: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(
        update={
            "kl_control": KlControl.ADAPTIVE,
            "adaptive_kl_target": 1e-6,
            "adaptive_kl_horizon": 16,
            "value_warmup_steps": 2,
        }
    )
    course = trained(load_networks(tiny), settings, TrainingSession(Checkpoints(tmp_path)))
    coefficients = [row["kl_coefficient"] for row in course.log.rows]
    assert coefficients[:3] == [settings.kl_coef] * 3, "two steps of the critic only, and the first of the policy"
    # 8 replies of a horizon of 16, and an error of at most 0.2 either way; the estimate of a small KL may be negative
    assert abs(coefficients[3] / settings.kl_coef - 1) == pytest.approx(0.1, abs=1e-6)


STOPPING = SETTINGS.model_copy(update={"value_warmup_steps": 0, "learning_rate": 3e-2, "target_kl": None})


def test_a_run_ends_with_a_reason_and_goes_on_to_the_same_end(tiny: Path, tmp_path: Path) -> None:
    settings = STOPPING.model_copy(update={"stop": StopSettings(kl=0.5, patience=1), "checkpoint_every": 1})
    course = trained(load_networks(tiny), settings, TrainingSession(Checkpoints(tmp_path)))
    assert course.stopped_because is not None and "(rl.stop.kl)" in course.stopped_because
    assert 1 < course.step < settings.steps and course.log.rows[-1]["kl"] > 0.5
    again = trained(load_networks(tiny), settings, TrainingSession(Checkpoints(tmp_path)))
    assert (again.step, again.stopped_because) == (course.step, course.stopped_because)


@pytest.mark.parametrize(("stop", "steps"), [(StopSettings(), 3), (StopSettings(kl=0.5, patience=1), 50)])
def test_the_last_step_has_a_checkpoint(tiny: Path, tmp_path: Path, stop: StopSettings, steps: int) -> None:
    settings = STOPPING.model_copy(update={"stop": stop, "steps": steps, "checkpoint_every": 100})
    course = trained(load_networks(tiny), settings, TrainingSession(Checkpoints(tmp_path)))
    found = Checkpoints(tmp_path).newest()
    assert found is not None and found.step == course.step
    assert (course.stopped_because is None) is (steps == 3) and (course.step == 3 or steps == 50)
    assert set(course.stopwatch.seconds) == {"sample", "score", "measure", "update", "save"}


def test_a_number_that_is_not_finite_is_a_reason_to_stop_and_in_the_first_step_an_error(
    tiny: Path, tmp_path: Path
) -> None:
    def broken_at(step: int) -> Any:
        asked: list[int] = []

        def score(replies: Sequence[Reply]) -> Tensor:
            asked.append(len(asked))
            return planted(replies) * (float("nan") if asked[-1] == step else 1.0)

        return score

    course = trained(
        load_networks(tiny), SETTINGS, TrainingSession(Checkpoints(tmp_path / "later")), score=broken_at(2)
    )
    assert course.step == 2
    assert course.stopped_because is not None and "PPO step 3" in course.stopped_because
    assert "the loss is nan" in course.stopped_because
    with pytest.raises(DivergedError, match="PPO step 1"):
        trained(load_networks(tiny), SETTINGS, TrainingSession(Checkpoints(tmp_path / "first")), score=broken_at(0))


@pytest.mark.parametrize("value_coef", [None, 0.5])
def test_an_update_that_fails_in_a_later_minibatch_leaves_the_policy_of_the_step_before(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value_coef: float | None
) -> None:
    settings = SETTINGS.model_copy(update={"minibatches": 4, "target_kl": None, "value_warmup_steps": 0})
    networks = load_networks(tiny, value_coef=value_coef)
    before = {name: weight.clone() for name, weight in networks.learner.weights().items()}
    seen: list[dict[str, Tensor]] = []
    taken: list[str] = []
    step = networks.learner.step

    def failing(rate: float, place: str, row_ids: Any) -> float:
        taken.append(place)
        if len(taken) == 8 + 3:  # in the second step, after two minibatches
            raise DivergedError("the gradient norm is nan", place=place)
        return step(rate, place, row_ids)

    def on_rollout(step: int, rollout: Any) -> None:
        seen.append({name: weight.clone() for name, weight in networks.learner.weights().items()})

    monkeypatch.setattr(networks.learner, "step", failing)
    course = trained(networks, settings, TrainingSession(Checkpoints(tmp_path)), on_rollout=on_rollout)
    assert course.step == 1 and len(taken) == 11
    assert course.stopped_because is not None and course.stopped_because.startswith("PPO step 2, pass 1, policy")
    assert len(seen) == 1, "the replies of a step that is not one of the run are not kept"
    assert any(not torch.equal(weight, before[name]) for name, weight in networks.learner.weights().items())
    assert all(torch.equal(weight, seen[0][name]) for name, weight in networks.learner.weights().items())


def test_the_best_policy_is_the_one_that_replied_best(tiny: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"keep": Kept.BEST, "steps": 5, "value_warmup_steps": 1, "kl_coef": 0.0})
    held_out = iter([9.0, 9.0, 1.0, 3.0, 2.0])  # of no account is who has not learned yet
    networks = load_networks(tiny)
    seen: list[dict[str, Tensor]] = []

    def on_rollout(step: int, rollout: Any) -> None:
        seen.append({name: weight.clone() for name, weight in networks.learner.weights().items()})

    course = trained(
        networks, settings, TrainingSession(Checkpoints(tmp_path)), on_rollout=on_rollout,
        held_out=lambda replies: torch.full((len(replies),), next(held_out)),
    )  # fmt: skip
    assert [row["held_out_score"] for row in course.log.rows] == [9.0, 9.0, 1.0, 3.0, 2.0]
    assert course.step == 5 and course.kept_step == 3, "the policy of step 4, as it was after 3 steps"
    assert all(torch.equal(weight, seen[2][name]) for name, weight in networks.learner.weights().items())
