"""Thoughts of reasoning models are separated from the reply, whoever opened them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.engines.base import Completion, Finish
from solon.engines.thinking import THINK, Tags, opened_in, split_thoughts, tags_known, without_thoughts

PLAIN = st.text(st.characters(exclude_characters="<>"), max_size=30)


@pytest.mark.parametrize(
    ("text", "thoughts", "reply", "closed"),
    [
        ("Yes.", "", "Yes.", True),
        ("<think>hm</think>\n\nYes.", "hm", "Yes.", True),
        ("<think>\n\n</think>\n\nYes.\n\n  No.", "", "Yes.\n\n  No.", True),
        ("hm\n</think>\n\nYes.", "hm", "Yes.", True),
        ("<think>a</think>Yes. <think>b</think>No.", "a\nb", "Yes. No.", True),
        ("<think>a <think>b</think>Yes.", "a \nb", "Yes.", True),
        ("<think>I wonder", "I wonder", "", False),
        ("Yes. <think>I wonder", "I wonder", "Yes.", False),
        ("", "", "", True),
    ],
)
def test_a_text_is_taken_apart(text: str, thoughts: str, reply: str, closed: bool) -> None:
    found = split_thoughts(text)
    assert (found.thoughts.replace(" \n", "\n"), found.reply, found.closed) == (
        thoughts.replace(" \n", "\n"), reply, closed,
    )  # fmt: skip


@given(PLAIN, PLAIN)
def test_what_the_cue_opened_ends_at_the_first_closing_tag(thoughts: str, reply: str) -> None:
    found = split_thoughts(f"{thoughts}</think>{reply}", opened=THINK)
    assert (found.thoughts, found.reply, found.closed) == (thoughts.strip(), reply.strip(), True)
    assert split_thoughts(thoughts, opened=THINK) == (thoughts.strip(), "", False)


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n"])).map("".join))
def test_no_tag_is_left_in_a_reply(text: str) -> None:
    found = split_thoughts(text)
    assert "<think>" not in found.reply and "</think>" not in found.reply


def test_only_tags_that_a_model_knows_are_cut() -> None:
    assert tags_known("{{ messages }}") == (THINK,)
    known = tags_known("{{ '[THINK]' }}", ["<thought>"])
    assert known == (THINK, Tags("<thought>", "</thought>"), Tags("[THINK]", "[/THINK]"))
    assert split_thoughts("<thought>a</thought>b").reply == "<thought>a</thought>b"
    assert split_thoughts("<thought>a</thought>b", known) == ("a", "b", True)


def test_a_cue_is_open_where_it_ends_on_the_tag() -> None:
    assert opened_in("assistant\n<think>\n", (THINK,)) == THINK
    assert opened_in("assistant\n<think>\n\n</think>\n\n", (THINK,)) is None


def test_a_completion_keeps_its_thoughts_beside_the_text() -> None:
    written = Completion("<think>hm</think>Yes.", Finish.END, (1, 2), (-1.0, -2.0))
    found = without_thoughts(written, (THINK,))
    assert (found.text, found.thinking, found.finish, found.token_ids) == ("Yes.", "hm", Finish.END, (1, 2))
    assert without_thoughts(Completion("Yes.", Finish.STOP), (THINK,)) == Completion("Yes.", Finish.STOP)


@pytest.mark.parametrize("finish", [Finish.END, Finish.STOP, Finish.LENGTH])
def test_thoughts_that_never_end_leave_no_text_and_are_cut_off(finish: Finish) -> None:
    found = without_thoughts(Completion("Yes? <think>hm", finish), (THINK,))
    assert (found.text, found.thinking, found.finish) == ("", "hm", Finish.LENGTH)
