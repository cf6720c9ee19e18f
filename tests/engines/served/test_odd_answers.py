"""Answers that servers really give and that follow the format loosely: what is kept of them, and what is said."""

from __future__ import annotations

from solon.engines.base import Completion, Finish
from tests.engines.served.test_served_engine import LETTER, SAMPLING, TEXT, chat, engine_at, tops, written
from tests.engines.tiny import question

HALF = "\ud83d"


def test_half_a_character_in_a_reply_or_a_thought_is_replaced() -> None:
    answer = chat(f"hi {HALF} and bye")
    answer["choices"][0]["message"]["reasoning_content"] = f"so {HALF}"
    found, tries = written(answer)
    assert tries == 1
    assert found == Completion("hi \ufffd and bye", Finish.END, thinking="so \ufffd", tokens_written=3)
    text = {"choices": [{"index": 0, "text": f"hi {HALF}", "finish_reason": "length"}]}
    with engine_at(text, TEXT) as (engine, _):
        assert engine.generate([question("How?")], [1], SAMPLING) == [Completion("hi \ufffd", Finish.LENGTH)]


def test_half_a_character_among_the_most_probable_tokens_is_one_more_token() -> None:
    with engine_at(tops(**{"A": -1.0, "B": -2.0, HALF: -3.0})) as (engine, _):
        assert engine.choose([LETTER], ["A", "B"]) == [(-1.0, -2.0)]
