"""Letters of questions: read where the tokenizer of a model puts them, for as many options as a question has."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from solon.conversation import Conversation, Role, Turn
from solon.errors import StageError
from solon.evals.benchmarks.multiple_choice import Form, QuestionSetup, ask_choices, prompt_for
from solon.evals.benchmarks.question_files import Question, TaskType
from solon.evals.benchmarks.worked_examples import Worked
from solon.feedback.letters import letter_form
from solon.prompts import LetterForm, in_form
from tests.engines.tiny import byte_tokenizer, chat_tokenizer, full_logprobs, metaspace_tokenizer
from tests.feedback.test_letters import local, merging

TOGETHER = merging(("Ġ", "("), ("Ġ(", "A"), ("Ġ(", "B"), ("Ġ(", "C"))
"""The bracket merges with every letter."""
PLAIN = Conversation((Turn(Role.HUMAN, "Hello"),))


def question(*options: str) -> Question:
    return Question(1, TaskType.CLASSIFICATION, PLAIN, "Which?", options, 0)


@pytest.mark.parametrize(
    ("tokenizer", "form"),
    [
        (byte_tokenizer(), LetterForm.AFTER_BRACKET),
        (chat_tokenizer(), LetterForm.AFTER_BRACKET),
        (TOGETHER, LetterForm.WITH_BRACKET),
    ],
)
@pytest.mark.parametrize("options", [("x", "y"), ("x", "y", "z")])
def test_letters_are_read_in_the_form_in_which_they_compare(
    tokenizer: PreTrainedTokenizerFast, form: LetterForm, options: tuple[str, ...]
) -> None:
    engine, asked, among = local(tokenizer), question(*options), "ABC"[: len(options)]
    (answer,) = ask_choices(engine, [asked], QuestionSetup(), Worked())
    opened = "(" if form is LetterForm.WITH_BRACKET else ""
    for rotation, samples in zip(answer.rotations, answer.log_probs, strict=True):
        prompt = prompt_for(asked, rotation, Form.LETTER, Worked())
        assert letter_form(engine, prompt, among) is form
        text = "".join(engine.rendering.render(in_form(prompt, form)))
        written = [engine.rendering.completion(opened + letter, Role.ANSWER) if opened else letter for letter in among]
        bare, *continued = engine.tokens.encode([text, *(text + more for more in written)])
        assert [tokens[:-1] for tokens in continued] == [bare] * len(options)
        by_hand = full_logprobs(engine.model, list(bare))[-1]
        (found,) = samples
        assert found is not None
        assert list(found) == pytest.approx([float(by_hand[tokens[-1]]) for tokens in continued], abs=1e-5)


def test_letters_that_do_not_compare_stop_the_evaluation_with_a_remedy() -> None:
    with pytest.raises(StageError, match="A and B and C no comparable tokens"):
        ask_choices(local(metaspace_tokenizer()), [question("x", "y", "z")], QuestionSetup(), Worked())
