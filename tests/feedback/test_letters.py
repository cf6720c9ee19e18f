"""Letters: in which form they are read, how written ones are counted, and when there is nothing to read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.tiny import BRACKETS, byte_tokenizer, chat_tokenizer, full_logprobs, metaspace_tokenizer, model_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from solon.config.recipe import EngineSettings, FeedbackSettings, RenderingKind
from solon.config.settings import LEAST_LETTER_MASS
from solon.conversation import Prompt, Role, Turn
from solon.engines.base import Choosing, Completion, Engine, Finish
from solon.engines.local.engine import LocalEngine
from solon.engines.scripted import ScriptedEngine
from solon.errors import StageError
from solon.evals.engine_check import check_engine
from solon.feedback.comparisons import ShownOrder, UndecidedReason
from solon.feedback.letters import Votes, ask_letters, count_votes, letter_form, letter_in, read_letters
from solon.feedback.soft_labels import votes_log_odds
from solon.prompts import LetterForm, in_form, letter_options

QUESTION = Prompt(
    (
        Turn(Role.QUESTION, "Which?\nOptions:\n(A) x\n(B) y"),
        Turn(Role.ANSWER, "(B)"),
        Turn(Role.QUESTION, "Which is better?\nOptions:\n(A) one\n(B) two"),
    ),
    Role.ANSWER,
    "(",
    shared=2,
)


def merging(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes that merges only what it is told; a space is written Ġ."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<eos>", "<pad>", *alphabet, *("".join(pair) for pair in merges)]
    raw = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, list(merges)))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", bos_token="<eos>", pad_token="<pad>")


def local(tokenizer: PreTrainedTokenizerFast, rendering: RenderingKind = RenderingKind.AUTO) -> LocalEngine:
    return LocalEngine(model_of("llama", 700), tokenizer, EngineSettings(rendering=rendering), name="tiny")


@pytest.mark.parametrize(
    ("tokenizer", "form"),
    [
        (byte_tokenizer(), LetterForm.AFTER_BRACKET),
        (chat_tokenizer(), LetterForm.AFTER_BRACKET),
        (chat_tokenizer(BRACKETS), LetterForm.AFTER_BRACKET),
        (merging(), LetterForm.AFTER_BRACKET),
        # The bracket merges with both letters: they are read together, from before the bracket.
        (merging(("Ġ", "("), ("Ġ(", "A"), ("Ġ(", "B")), LetterForm.WITH_BRACKET),
        # With one letter only, so that the two would not compare: the letter stands alone.
        (merging(("Ġ", "("), ("Ġ(", "A"), ("Ġ", "A"), ("Ġ", "B")), LetterForm.BARE),
    ],
)
def test_the_form_is_the_first_in_which_both_letters_are_one_token(
    tokenizer: PreTrainedTokenizerFast, form: LetterForm
) -> None:
    engine = local(tokenizer)
    assert letter_form(engine) is letter_form(engine, QUESTION) is form
    asked, options = in_form(QUESTION, form), letter_options(form, engine.rendering)
    bare, *continued = engine.tokens.encode(
        [text + more for text in ["".join(engine.rendering.render(asked))] for more in ("", *options)]
    )
    assert [tokens[:-1] for tokens in continued] == [bare, bare]
    (read,) = read_letters(engine, {0: QUESTION}, form).values()
    assert not isinstance(read, UndecidedReason)
    by_hand = full_logprobs(engine.model, list(bare))[-1]
    assert list(read) == pytest.approx([float(by_hand[tokens[-1]]) for tokens in continued], abs=1e-5)
    assert read.mass == pytest.approx(math.exp(read.first) + math.exp(read.second))


def test_worked_answers_have_the_form_of_the_letter_that_is_read() -> None:
    bare = in_form(QUESTION, LetterForm.BARE)
    assert (bare.turns[1].content, bare.opening, bare.turns[2], bare.shared) == ("B", "", QUESTION.turns[2], 2)
    together = in_form(QUESTION, LetterForm.WITH_BRACKET)
    assert (together.turns, together.opening) == (QUESTION.turns, "")
    assert in_form(QUESTION, LetterForm.AFTER_BRACKET) is QUESTION


@pytest.mark.parametrize(
    "tokenizer",
    # One letter merges and the other does not, in every form.
    [metaspace_tokenizer(), merging(("Ġ", "("), ("Ġ(", "A"), ("Ġ", "A"), ("(", "A"))],
)
def test_letters_that_do_not_compare_stop_the_run_and_tell_what_was_tried(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(StageError, match="no comparable tokens") as error:
        letter_form(local(tokenizer))
    assert all(form.value in str(error.value) for form in LetterForm)
    assert "1 and 2 tokens" in str(error.value) and "engine.rendering" in error.value.remedy


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"), ("B.", "B"), ("(A)", "A"), (" (B) \n", "B"), ("A)", "A"), ("(B", "B"), ("(A).", "A"), ("B:", "B"),
        ("(A) because it is kinder", "A"), ("(B) is better, yes (B)", "B"),
        ("A reply is better", None), ("Both", None), ("", None), ("(C)", None), ("AB", None), ("a", None),
        ("(A) or (B)", None), ("I choose (A)", None), ("The answer is A", None), ("((A)", None), ("(A) not (C)", None),
    ],
)  # fmt: skip
def test_a_written_letter_is_read_strictly(text: str, letter: str | None) -> None:
    assert letter_in(text) == letter


@given(st.text(alphabet="AB(). :\nxC", max_size=12))
def test_whatever_is_written_names_one_letter_or_none(text: str) -> None:
    letter = letter_in(text)
    assert letter in ("A", "B", None)
    swapped = text.translate(str.maketrans("AB", "BA"))
    assert letter_in(swapped) == {"A": "B", "B": "A", None: None}[letter], "no letter is read more readily"
    if letter is not None:
        assert {"A": "(B)", "B": "(A)"}[letter] not in text


def voter(*texts: str | Completion) -> Engine:
    return ScriptedEngine(lambda prompt, seed: texts[seed % len(texts)], choosing=Choosing.VOTES)


def test_votes_are_counted_and_what_names_no_letter_is_none() -> None:
    engine = voter("(A)", "(B)", "(A)", "Neither.", Completion("(A)", Finish.ERROR))
    found = count_votes(engine, {"one": QUESTION, "two": QUESTION}, {"one": range(5), "two": [3, 4]})
    assert found == {"one": Votes(2, 3), "two": UndecidedReason.NO_VOTE}
    short = ScriptedEngine(lambda prompt, seed: "(A)", choosing=Choosing.VOTES, window=20)
    long = Prompt((Turn(Role.QUESTION, "word " * 15),), Role.ANSWER)
    assert count_votes(short, {1: long}, {1: [0]}) == {1: UndecidedReason.TOO_LONG}


def test_measures_beside_the_run_read_either_kind_of_engine() -> None:
    questions = {(0, ShownOrder.AB): QUESTION, (0, ShownOrder.BA): QUESTION}
    found = ask_letters(voter("(A)"), questions)
    assert found == {(0, ShownOrder.AB): votes_log_odds(8, 8), (0, ShownOrder.BA): -votes_log_odds(8, 8)}
    told = ask_letters(ScriptedEngine(choose=lambda prompt, option: -1.0 - (option == "B")), questions)
    assert told == {(0, ShownOrder.AB): 1.0, (0, ShownOrder.BA): -1.0}
    assert ask_letters(voter("?"), questions) == dict.fromkeys(questions, UndecidedReason.NO_VOTE)
    assert ask_letters(voter("(A)"), {}) == {}


def test_a_judge_that_answers_otherwise_than_by_a_letter_has_no_preference_anywhere() -> None:
    rare = ScriptedEngine(lambda prompt, seed: "(A)", lambda prompt, option: -6.0 if option == "A" else -6.5)
    question = {(0, ShownOrder.AB): QUESTION}
    assert ask_letters(rare, question) == {(0, ShownOrder.AB): UndecidedReason.LETTERLESS}
    assert ask_letters(rare, question, least_mass=0.003) == {(0, ShownOrder.AB): 0.5}
    assert FeedbackSettings().min_letter_mass == LEAST_LETTER_MASS
    checked = check_engine(rare)
    assert checked.choice is None and not checked.usable and "0.004" in checked.choice_note
    assert check_engine(rare, 0.003).usable
