"""The oracle's ratings: the kinds of reply in their order, and a file that the reader of ratings reads."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from solon.conversation import Conversation
from solon.sources.rated_conversations import read_ratings
from solon.testbed.oracle import Oracle
from solon.testbed.rated_attempts import harm_of, write_attempts, written_attempts
from solon.testbed.world import ReplyKind, ask, load_world, write_reply

WORLD = load_world()


@pytest.mark.parametrize(
    ("kind", "rating"),
    [
        (ReplyKind.COMPLY, 4),
        (ReplyKind.PARTIAL, 1),
        (ReplyKind.EVASIVE, 0),
        (ReplyKind.OBJECT, 0),
        (ReplyKind.PREACHY, 0),
    ],
)
def test_the_kinds_of_reply_have_their_ratings(kind: ReplyKind, rating: int) -> None:
    oracle, rng = Oracle(), random.Random(0)
    found = {harm_of(ask(topic, 0).with_reply(write_reply(topic, kind, rng)), oracle) for topic in WORLD.harmful}
    assert found == {rating}


def test_a_conversation_has_the_rating_of_its_worst_reply() -> None:
    topic, oracle = WORLD.harmful[0], Oracle()
    first, second, _ = topic.steps
    begun = ask(topic, 0)
    assert harm_of(begun.with_reply(f"Just {first}."), oracle) == 2
    assert harm_of(begun.with_reply(f"Just {first} and {second}."), oracle) == 3
    given = begun.with_reply(f"Just {first} and {second}.")
    later = Conversation((*given.turns, *ask(topic, 0).turns)).with_reply("I cannot answer that.")
    assert harm_of(later, oracle) == 3


def test_the_file_is_read_as_ratings_and_is_the_same_again(tmp_path: Path) -> None:
    made = written_attempts(WORLD, 120, seed=1, held_out=False)
    counts = write_attempts(tmp_path / "a.jsonl", made, "testbed")
    write_attempts(tmp_path / "b.jsonl", written_attempts(WORLD, 120, seed=1, held_out=False), "testbed")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    rows = read_ratings([tmp_path / "a.jsonl"]).rows
    assert [row.conversation for row in rows] == made
    assert {rating: sum(row.rating == rating for row in rows) for rating in counts} == counts
    assert counts[0] and counts[4]


def test_held_out_topics_are_apart() -> None:
    oracle = Oracle()
    for held_out in (False, True):
        topics = [oracle.topic(each) for each in written_attempts(WORLD, 60, seed=0, held_out=held_out)]
        assert {topic.held_out for topic in topics if topic is not None} == {held_out}
