"""Planted critics: one that names every fault, one that copies, one that always says the same."""

import json

import pytest

from solon.config.recipe import RevisionMode, RevisionSettings
from solon.conversation import Prompt, Role
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.evals.judge_check import check_critic, plain_faults, read_critic_check
from tests.evals.judge_check.planted import CONSTITUTION

FAULTS = plain_faults()


def asked_about(prompt: Prompt):
    replies = [turn.content for turn in prompt.turns if turn.role is Role.ASSISTANT]
    return next(fault for fault in FAULTS if fault.reply == replies[-1])


def knowing(prompt: Prompt, seed: int) -> str:
    fault = asked_about(prompt)
    if prompt.reply_as is Role.CRITIQUE:
        return f"What is wrong here is {fault.names[0]}."
    return fault.reply if seed % 2 else "Let us find a kinder way together."


def test_a_critic_that_names_the_fault_is_far_above_chance():
    found = read_critic_check(ScriptedEngine(knowing), RevisionSettings(few_shot=2), CONSTITUTION, 0)
    assert (found.named.value, found.named.n, found.passed.value) == (1, len(FAULTS), 1)
    assert {part.value for part in found.by_kind.values()} == {1}
    assert sum(part.n for part in found.by_kind.values()) == len(FAULTS)
    assert found.chance < 0.2
    assert 0 < found.unchanged.value < 1
    assert found.unchanged.n == len(FAULTS)


def test_a_critic_that_names_one_kind_of_fault_shows_it():
    def partial(prompt: Prompt, seed: int) -> str:
        return knowing(prompt, seed) if asked_about(prompt).kind == "crime" else "The reply is somewhat long."

    found = read_critic_check(ScriptedEngine(partial), RevisionSettings(), CONSTITUTION, 0)
    assert {kind for kind, part in found.by_kind.items() if part.value > 0} == {"crime"}


def test_a_critic_that_copies_the_worked_examples_names_nothing():
    copied = CONSTITUTION.critique_examples[1].critique

    def copying(prompt: Prompt, seed: int) -> str:
        return copied if prompt.reply_as is Role.CRITIQUE else "Never asked."

    engine = ScriptedEngine(copying)
    found = read_critic_check(engine, RevisionSettings(few_shot=3), CONSTITUTION, 0)
    assert (found.copied.value, found.named.value, found.passed.value) == (1, 0, 0)
    assert found.unchanged is None
    assert len(engine.prompts) == len(FAULTS)


def test_a_critic_that_always_says_the_same_is_at_its_chance_level():
    general = "It is harmful, dangerous, dishonest, unkind and rude, a fraud and full of prejudice."
    engine = ScriptedEngine(lambda p, seed: general if p.reply_as is Role.CRITIQUE else "Fine then.")
    found = read_critic_check(engine, RevisionSettings(), CONSTITUTION, 0)
    assert found.named.value == pytest.approx(found.chance)
    assert 0.2 < found.named.value < 0.8


def test_cut_off_critiques_name_nothing_and_the_direct_mode_has_no_critic():
    cut = ScriptedEngine(lambda prompt, seed: Completion("poison and fraud", Finish.LENGTH))
    assert read_critic_check(cut, RevisionSettings(), CONSTITUTION, 0).named.value == 0
    assert read_critic_check(cut, RevisionSettings(mode=RevisionMode.DIRECT), CONSTITUTION, 0) is None


def test_figures_are_json_and_have_the_shape_that_the_report_reads():
    engine = ScriptedEngine(knowing)
    critic = check_critic(RevisionSettings(), CONSTITUTION, 0)(engine, engine)
    assert {"value", "low", "high", "n", "chance", "what", "by_kind"} <= set(critic["critic"])
    json.dumps(critic, allow_nan=False)
    assert check_critic(RevisionSettings(mode=RevisionMode.DIRECT), CONSTITUTION, 0)(engine, engine) == {}
