import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.conversation import Role
from solon.errors import InputError
from solon.evals.benchmarks.question_files import TaskType, question_of, read_questions
from tests.evals.benchmarks.rows import (
    BEHAVIOUR,
    TYPES,
    classification,
    classifications,
    comparison,
    comparisons,
    write,
)

PLACES = [parent / "shared" / "paper" / "format-samples" for parent in Path(__file__).parents[4:]]
"""Beside the checkout, or further up."""


def read(row):
    return question_of(json.dumps(row).encode(), 1, "here:1")


def test_a_comparison_comes_apart():
    found = read(comparison(1, "yes [of course]", "no", "Human: Hi\n\nAssistant: Hello\n\nHuman: May I?"))
    assert found.kind is TaskType.COMPARISON
    assert [(turn.role, turn.content) for turn in found.conversation.turns] == [
        (Role.HUMAN, "Hi"), (Role.ASSISTANT, "Hello"), (Role.HUMAN, "May I?")
    ]  # fmt: skip
    assert found.instruction == "Please choose the best."
    assert (found.options, found.correct) == (("no", "yes [of course]"), 1)


@pytest.mark.parametrize(
    "reply",
    [
        "ends [like this]",
        "]",
        "]]]",
        "a]]]\n (B) [[[b",
        "\n (A) [[[x]]]\n (B) [[[y",
        "Options:\n (A) [[[",
        "x\n\nHuman: z",
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_replies_that_hold_the_frame_s_own_words(reply, number):
    other = "plain"
    found = read(comparison(number, reply, other))
    assert found.options[found.correct] == reply.strip()
    assert found.options[1 - found.correct] == other
    found = read(comparison(number, other, reply))
    assert found.options[1 - found.correct] == reply.strip()


@given(st.text(alphabet="ab][()AB \n", max_size=30), st.text(alphabet="ab][()AB \n", max_size=30), st.integers(0, 1))
def test_any_two_replies_come_back_or_are_refused(right, wrong, number):
    row = comparison(number, right, wrong)
    try:
        found = read(row)
    except InputError as error:
        # Only a text that can truly be read in two ways may be refused.
        assert "in more than one way" in str(error)
        return
    assert found.options[found.correct] == right.strip()
    assert found.options[1 - found.correct] == wrong.strip()


def test_a_cut_that_is_not_unique_is_refused_and_not_guessed():
    row = comparison(0, "a]]]\n (B) [[[b", "c")
    del row["text_correct"], row["text_incorrect"]
    with pytest.raises(InputError, match="more than one way"):
        read(row)
    del (plain := comparison(0, "a", "c"))["text_correct"]
    assert read(plain).options == ("a", "c")


@pytest.mark.parametrize("correct", range(9))
def test_a_classification_comes_apart(correct):
    found = read(classification(3, TYPES, correct))
    assert (found.kind, found.options, found.correct) == (TaskType.CLASSIFICATION, TYPES, correct)
    assert found.instruction == "Which describes it?"
    assert [turn.role for turn in found.conversation.turns] == [Role.HUMAN, Role.ASSISTANT]


def test_a_list_of_letters_in_the_dialogue_is_no_option():
    row = classification(0, BEHAVIOUR, 0)
    row["prompt"] = row["prompt"].replace("This is about", "Choose\n (A) one\n (B) two\n\nThis is about")
    assert read(row).options == BEHAVIOUR


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"prompt": 3}, "must be the text"),
        ({"prompt": "Human: hi"}, "does not end on 'The answer is:'"),
        ({"prompt": "Human: hi\n\nAssistant: x\n\nWhich?\n (A) a\n (C) b\nThe answer is:"}, "no options at its end"),
        ({"prompt": "Human: hi\n\nWhich?\n (A) a\n (B) a\nThe answer is:"}, "two options are the same"),
        ({"prompt": "Which?\n (A) a\n (B) b\nThe answer is:"}, "no conversation"),
        ({"corrects": [" (C)"]}, "must name one and all others"),
        ({"corrects": [" (A)", " (B)"]}, "must name one and all others"),
        ({"incorrects": "B"}, "'incorrects' must be a list"),
        ({"incorrects": []}, "must name one and all others"),
        ({"prompt": "Human: \ud800\n\nWhich?\n (A) a\n (B) b\nThe answer is:"}, "half a character"),
    ],
)
def test_a_bad_row_is_named_with_cause_and_place(change, cause):
    with pytest.raises(InputError, match=cause) as found:
        read({**classification(0, BEHAVIOUR, 0), **change})
    assert str(found.value).startswith("here:1: ")
    assert found.value.remedy


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b'"x"'])
def test_a_line_that_is_no_object_is_named(raw):
    with pytest.raises(InputError, match="here:1"):
        question_of(raw, 1, "here:1")


def test_a_dialogue_that_disagrees_with_the_question_is_refused():
    row = {**comparison(0, "a", "b"), "text_correct": "\n\nHuman: Other\n\nAssistant: a"}
    with pytest.raises(InputError, match="in no way that agrees"):
        read(row)


def test_bad_rows_are_counted_named_and_skipped_when_allowed(tmp_path):
    rows = comparisons(4)
    rows[1]["prompt"] = "nonsense"
    rows[2] = classification(0, BEHAVIOUR, 0)
    path = write(tmp_path / "HHH.jsonl", rows)
    with pytest.raises(InputError) as error:
        read_questions(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert "2 of 4 rows are bad, 0 allowed" in str(error.value)
    assert "--bad-rows 2" in str(error.value)
    found = read_questions(path, bad_rows=2)
    assert [question.line for question in found.questions] == [1, 4]
    assert [error.place for error in found.bad] == [f"{path}:2", f"{path}:3"]
    assert "another kind" in str(found.bad[1])


def test_a_file_without_questions_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no question"):
        read_questions(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(InputError, match="no such evaluation file"):
        read_questions(tmp_path / "none.jsonl")
    assert read_questions(write(tmp_path / "a.b.jsonl", classifications())).name == "a.b"


@pytest.mark.skipif(not any(path.is_dir() for path in PLACES), reason="the paper's files are not here")
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("438HHHEvaluations", TaskType.COMPARISON, 2),
        ("HarmfulVsEthical", TaskType.CLASSIFICATION, 2),
        ("HarmfulnessClassification", TaskType.CLASSIFICATION, 9),
    ],
)
def test_the_paper_s_own_rows_come_apart(name, kind, options):
    folder = next(path for path in PLACES if path.is_dir())
    found = read_questions(folder / f"{name}.jsonl")
    assert (len(found.questions), found.kind, found.bad) == (12, kind, ())
    assert {len(question.options) for question in found.questions} == {options}
