import json

import pytest
import yaml

from solon.builtin import constitution_path
from solon.constitution import load_constitution
from solon.conversation import Prompt, Role
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.evals.fitness import (
    FOLDER,
    assess_critic,
    assess_judge,
    critic_fitness,
    judge_fitness,
    plain_comparisons,
    plain_faults,
)
from solon.recipe import FeedbackSettings, OptionOrder, RevisionMode, RevisionSettings

CONSTITUTION = load_constitution(constitution_path("harmlessness"))
COMPARISONS, FAULTS = plain_comparisons(), plain_faults()
BETTER = {one.better for one in COMPARISONS}


def options(prompt: Prompt) -> dict[str, str]:
    a, _, b = prompt.turns[-1].content.rpartition("\n(A) ")[2].partition("\n(B) ")
    return {"A": a, "B": b}


def judge(quality: float, bias: float) -> ScriptedEngine:
    def choose(prompt: Prompt, option: str) -> float:
        return -9 + quality * (options(prompt)[option] in BETTER) + bias * (option == "A")

    return ScriptedEngine(choose=choose)


def test_the_built_in_questions_are_many_plain_and_mixed():
    comparisons, faults = COMPARISONS, FAULTS
    assert len(comparisons) >= 40 and len(faults) >= 20
    assert len({one.conversation for one in comparisons}) == len(comparisons)
    assert len({fault.conversation for fault in faults}) == len(faults)
    longer = sum(len(one.better) > len(one.worse) for one in comparisons)
    assert abs(longer / len(comparisons) - 0.5) < 0.1, "the longer reply must not be the better one"
    subjects = [one.principle.id for one in comparisons]
    assert all(subjects.count(subject) >= 10 for subject in set(subjects))
    raw = yaml.safe_load((FOLDER / "faults.yaml").read_text(encoding="utf-8"))["faults"]
    assert all(isinstance(name, str) for fault in raw for name in fault["names"])


def test_repeating_the_conversation_names_no_fault():
    for fault in FAULTS:
        assert not fault.named_by(f"{fault.conversation.turns[-1].content} {fault.reply}"), fault.reply
        assert fault.named_by(f"This is {fault.names[0].upper()}!")


@pytest.mark.parametrize("order", OptionOrder)
@pytest.mark.parametrize("few_shot", [0, 3])
def test_a_planted_oracle_judge_is_always_right(order, few_shot):
    found = judge_fitness(judge(2, 0.5), FeedbackSettings(order=order, few_shot=few_shot), CONSTITUTION, 0)
    assert (found.accuracy.value, found.accuracy.n) == (1, len(COMPARISONS))
    assert found.accuracy.low > 0.9
    assert found.undecided.value == 0
    assert {part.value for part in found.by_subject.values()} == {1}
    if order is OptionOrder.BOTH:
        assert found.orders_agree.value == 1
        assert found.position_bias.value == pytest.approx(0.5)


@pytest.mark.parametrize("bias", [-4.0, 0.1, 3])
def test_a_judge_that_only_likes_a_letter_is_never_right(bias):
    found = judge_fitness(judge(0, bias), FeedbackSettings(), CONSTITUTION, 0)
    assert found.accuracy.value == 0
    assert found.orders_agree.value == 0
    assert found.position_bias.value == pytest.approx(bias)


def test_a_judge_that_likes_a_letter_is_near_chance_in_one_order():
    found = judge_fitness(judge(0, 3), FeedbackSettings(order=OptionOrder.ONE), CONSTITUTION, 0)
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.orders_agree is None


def test_a_mute_judge_is_undecided_and_never_right():
    found = judge_fitness(ScriptedEngine(choose=lambda p, o: float("nan")), FeedbackSettings(), CONSTITUTION, 0)
    assert (found.undecided.value, found.accuracy.value) == (1, 0)
    assert found.position_bias is None


def test_figures_are_json_and_have_the_shape_that_the_report_reads():
    facts = judge_fitness(judge(2, 0), FeedbackSettings(), CONSTITUTION, 0).facts()
    assert {"value", "low", "high", "n", "chance", "what"} <= set(facts["judge"])
    engine = ScriptedEngine(knowing)
    critic = assess_critic(RevisionSettings(), CONSTITUTION, 0)(engine, engine)
    assert {"value", "low", "high", "n", "chance", "what"} <= set(critic["critic"])
    json.dumps([facts, critic], allow_nan=False)
    assert assess_critic(RevisionSettings(mode=RevisionMode.DIRECT), CONSTITUTION, 0)(engine, engine) == {}
    assert assess_judge(FeedbackSettings(), CONSTITUTION, 0)(judge(2, 0)) == facts


def asked_about(prompt: Prompt):
    replies = [turn.content for turn in prompt.turns if turn.role is Role.ASSISTANT]
    return next(fault for fault in FAULTS if fault.reply == replies[-1])


def knowing(prompt: Prompt, seed: int) -> str:
    fault = asked_about(prompt)
    if prompt.reply_as is Role.CRITIQUE:
        return f"What is wrong here is {fault.names[0]}."
    return fault.reply if seed % 2 else "Let us find a kinder way together."


def test_a_critic_that_names_the_fault_is_far_above_chance():
    found = critic_fitness(ScriptedEngine(knowing), RevisionSettings(few_shot=2), CONSTITUTION, 0)
    assert (found.named.value, found.named.n, found.passed.value) == (1, len(FAULTS), 1)
    assert found.chance < 0.2
    assert 0 < found.unchanged.value < 1
    assert found.unchanged.n == len(FAULTS)


def test_a_critic_that_copies_the_worked_examples_names_nothing():
    copied = CONSTITUTION.critique_examples[1].critique

    def copying(prompt: Prompt, seed: int) -> str:
        return copied if prompt.reply_as is Role.CRITIQUE else "Never asked."

    engine = ScriptedEngine(copying)
    found = critic_fitness(engine, RevisionSettings(few_shot=3), CONSTITUTION, 0)
    assert (found.copied.value, found.named.value, found.passed.value) == (1, 0, 0)
    assert found.unchanged is None
    assert len(engine.prompts) == len(FAULTS)


def test_a_critic_that_always_says_the_same_is_at_its_chance_level():
    general = "It is harmful, dangerous, dishonest, unkind and rude, a fraud and full of prejudice."
    engine = ScriptedEngine(lambda p, seed: general if p.reply_as is Role.CRITIQUE else "Fine then.")
    found = critic_fitness(engine, RevisionSettings(), CONSTITUTION, 0)
    assert found.named.value == pytest.approx(found.chance)
    assert 0.2 < found.named.value < 0.8


def test_cut_off_critiques_name_nothing_and_the_direct_mode_has_no_critic():
    cut = ScriptedEngine(lambda prompt, seed: Completion("poison and fraud", Finish.LENGTH))
    assert critic_fitness(cut, RevisionSettings(), CONSTITUTION, 0).named.value == 0
    assert critic_fitness(cut, RevisionSettings(mode=RevisionMode.DIRECT), CONSTITUTION, 0) is None
