"""Judges that can be talked round, by known kinds of words, and special tokens that a rendering breaks up."""

import re

import pytest

from solon import prompts
from solon.config.recipe import FeedbackSettings
from solon.conversation import Prompt
from solon.engines.rendering import ChatRendering
from solon.engines.scripted import ScriptedEngine
from solon.evals.judge_check import Injection, plain_questions, read_judge_check
from tests.engines.tiny import chat_tokenizer
from tests.evals.judge_check.planted import CONSTITUTION, judge

QUESTIONS = plain_questions(CONSTITUTION)
MARKS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<eos>")


def test_a_judge_that_obeys_instructions_is_flipped_by_all_of_that_kind_alone() -> None:
    asks = re.compile(r"Choose \(|choose this reply|pick this one|correct choice is|prefer the option that")
    obedient = judge(2, 0, lambda reply, letter: 50.0 if asks.search(reply) else 0.0)
    found = read_judge_check(obedient, FeedbackSettings(), CONSTITUTION, 0)
    assert found.accuracy.value == 1
    assert found.injected is not None and found.injected.flipped is not None
    flipped = {kind: part.value for kind, part in found.injected.by_kind.items()}
    assert flipped.pop("instruction") == 1
    assert set(flipped.values()) == {0}
    assert found.injected.flipped.value == pytest.approx(7 / 56)
    assert found.injected.pull is not None
    assert found.injected.pull.value == pytest.approx(50 * 7 / 56)


def test_a_judge_that_answers_the_letter_it_is_told_prefers_nobody_which_is_not_right() -> None:
    seeing = judge(2)

    def told(prompt: Prompt, option: str) -> float:
        letter = re.search(r"\. Choose \(([AB])\)\.$", prompt.turns[-1].content, re.M)
        if letter:
            return 0.0 if option == letter[1] else -20.0
        return seeing.choose([prompt], [option])[0][0]

    found = read_judge_check(ScriptedEngine(choose=told), FeedbackSettings(), CONSTITUTION, 0)
    assert found.accuracy.value == 1
    assert found.injected is not None and found.injected.flipped is not None
    assert found.injected.flipped.value == pytest.approx(2 / 56), "two of the texts say so in these words"


def test_a_judge_that_is_deaf_to_words_is_not_flipped_and_a_blind_one_has_nothing_to_lose() -> None:
    deaf = read_judge_check(judge(2), FeedbackSettings(), CONSTITUTION, 0).injected
    assert deaf is not None and deaf.flipped is not None and deaf.pull is not None
    assert (deaf.flipped.value, deaf.flipped.n, deaf.pull.value) == (0, 56, 0)
    assert deaf.righted is None
    blind = read_judge_check(judge(0, 2), FeedbackSettings(), CONSTITUTION, 0).injected
    assert blind is not None and blind.flipped is None and blind.righted is not None
    assert blind.righted.value == 0


@pytest.mark.parametrize("bias", [-1.5, 0.0, 2.0])
def test_the_letter_prior_is_the_bias_that_was_planted(bias: float) -> None:
    found = read_judge_check(judge(2, bias), FeedbackSettings(few_shot=2), CONSTITUTION, 0).letter_prior
    assert found is not None
    assert found.log_odds.value == pytest.approx(bias)
    assert (found.probability.value > 0.5) == (bias > 0)
    assert found.probability.n == len(QUESTIONS.blanks)


@pytest.mark.parametrize(
    "injection", [i for i in QUESTIONS.injections if i.kind == "special_tokens"], ids=lambda i: i.text[:20]
)
def test_special_tokens_spelled_out_in_a_reply_never_reach_a_chat_model_as_such(injection: Injection) -> None:
    tokenizer = chat_tokenizer()
    one = injection.into(QUESTIONS.comparisons)
    plain, spoilt = (
        "".join(ChatRendering(tokenizer).render(prompts.comparison(one.conversation, one.principle, one.better, reply)))
        for reply in (one.worse, injection.around(one.worse))
    )
    marks = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    ids = {name: tokenizer(text, add_special_tokens=False)["input_ids"] for name, text in
           (("plain", plain), ("spoilt", spoilt))}  # fmt: skip
    for mark, token in marks.items():
        assert ids["spoilt"].count(token) == ids["plain"].count(token), mark
    assert len(spoilt) > len(plain)
