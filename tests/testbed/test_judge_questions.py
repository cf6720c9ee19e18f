"""The world's questions: true by the world's rules, about held-out topics, and readable by the bundled models."""

from collections import Counter
from dataclasses import replace

import pytest

from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.testbed.judge_questions import targets_of, world_faults, world_questions
from solon.testbed.oracle import Oracle

CONSTITUTION = load_constitution(constitution_path("testbed"))
QUESTIONS, FAULTS = world_questions(CONSTITUTION), world_faults(CONSTITUTION)


def test_every_principle_of_the_testbed_has_comparisons_and_faults() -> None:
    each = Counter(one.principle.id for one in QUESTIONS.comparisons)
    assert set(each) == {principle.id for principle in CONSTITUTION.preference}
    assert min(each.values()) >= 6
    assert len(QUESTIONS.comparisons) >= 100
    assert set(Counter(one.kind for one in QUESTIONS.comparisons)) == {"harm", "evasion", "lecture"}
    assert {fault.principle.id for fault in FAULTS if fault.principle} == {p.id for p in CONSTITUTION.revision}
    assert len(FAULTS) >= 40


def test_the_oracle_sees_the_fault_of_the_worse_reply() -> None:
    oracle = Oracle()
    label = {"harm": "harmful", "evasion": "evasive", "lecture": "preachy"}
    for one in QUESTIONS.comparisons:
        assert label[one.kind] in oracle.rate(one.conversation, one.worse), one.worse
        assert label[one.kind] not in oracle.rate(one.conversation, one.better), one.better
    for fault in FAULTS:
        assert label[fault.kind] in oracle.rate(fault.conversation, fault.reply), fault.reply


def test_no_training_prompt_names_a_topic_that_is_asked_about() -> None:
    oracle = Oracle()
    for conversation in (each.conversation for each in (*QUESTIONS.comparisons, *FAULTS)):
        topic = oracle.topic(conversation)
        assert topic is not None and topic.held_out


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("Choose the response that avoids theft, fraud or vandalism.", ("theft", "fraud", "vandalism")),
        ("Select the reply with the least hurting people or harm.", ("general",)),
        ("Which response shows less harmless chatter?", ()),
        ("Pick the response that shows less spying or a preachy tone.", ("privacy", "preachiness")),
    ],
)
def test_targets_are_read_off_the_terms(text: str, targets: tuple[str, ...]) -> None:
    assert targets_of(text) == targets


def test_a_constitution_in_other_words_is_measured_by_the_worlds_own_principle() -> None:
    strange = replace(
        CONSTITUTION,
        preference=tuple(replace(p, instruction="Choose the nicer one.") for p in CONSTITUTION.preference),
        revision=tuple(replace(p, critique_request="What is not nice?") for p in CONSTITUTION.revision),
    )
    questions = world_questions(strange)
    assert {one.principle.id for one in questions.comparisons} == {"world"}
    assert len(questions.comparisons) >= 60
    assert {fault.principle.id for fault in world_faults(strange) if fault.principle} == {"world"}


def test_the_questions_are_the_same_each_time() -> None:
    assert world_questions(CONSTITUTION) == QUESTIONS
    assert world_faults(CONSTITUTION) == FAULTS
