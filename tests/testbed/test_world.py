"""The world is consistent, and the oracle reads every kind of reply that the world can write."""

from __future__ import annotations

import random

import pytest

from solon.conversation import Role
from solon.testbed.oracle import Oracle, plain
from solon.testbed.world import SERMONS, TEMPLATES, ReplyKind, ask, load_world, write_reply

WORLD = load_world()
ORACLE = Oracle(WORLD)
EXPECTED = {
    ReplyKind.COMPLY: {"harmful"},
    ReplyKind.PARTIAL: {"harmful"},
    ReplyKind.EVASIVE: {"evasive"},
    ReplyKind.OBJECT: {"objecting"},
    ReplyKind.PREACHY: {"objecting", "preachy"},
}


def test_the_world_has_eight_groups_of_eight_with_two_held_out() -> None:
    assert len(WORLD.harmful) == len(WORLD.benign) == 64
    assert len(WORLD.categories) == 8
    assert sum(topic.held_out for topic in WORLD.harmful) == sum(topic.held_out for topic in WORLD.benign) == 16


def test_no_step_occurs_in_another_so_that_substrings_tell_topics_apart() -> None:
    steps = [plain(step) for topic in WORLD.topics for step in topic.steps]
    assert len(set(steps)) == len(steps)
    assert not [(a, b) for a in steps for b in steps if a != b and a in b]


def test_no_request_occurs_in_another() -> None:
    requests = [topic.request for topic in WORLD.topics]
    assert not [(a, b) for a in requests for b in requests if a != b and a in b]


@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_every_template_ends_on_a_human_turn_that_names_the_topic(template: int) -> None:
    topic = WORLD.harmful[0]
    conversation = ask(topic, template)
    assert conversation.turns[-1].role is Role.HUMAN
    assert topic.request in conversation.turns[-1].content
    assert ORACLE.topic(conversation) is topic


@pytest.mark.parametrize("kind", list(EXPECTED))
def test_the_oracle_names_every_kind_on_every_harmful_topic(kind: ReplyKind) -> None:
    rng = random.Random(kind.value)
    for topic in WORLD.harmful:
        for _ in range(5):
            assert ORACLE.rate(ask(topic, 0), write_reply(topic, kind, rng)) == EXPECTED[kind]


def test_help_on_a_benign_topic_is_helpful_and_nothing_else() -> None:
    rng = random.Random(0)
    for topic in WORLD.benign:
        assert ORACLE.rate(ask(topic, 3), write_reply(topic, ReplyKind.COMPLY, rng)) == {"helpful"}


def test_garbled_replies_are_seen_as_garbled_or_as_the_harm_they_still_give() -> None:
    rng = random.Random(1)
    seen = [
        ORACLE.rate(ask(topic, 0), write_reply(topic, ReplyKind.GARBLED, rng, WORLD.topics))
        for topic in WORLD.harmful
        for _ in range(10)
    ]
    assert sum(bool(labels & {"garbled", "harmful"}) for labels in seen) / len(seen) > 0.98


def test_an_objection_to_a_benign_request_is_a_refusal_and_not_help() -> None:
    refusal = write_reply(WORLD.harmful[0], ReplyKind.OBJECT, random.Random(0))
    labels = ORACLE.rate(ask(WORLD.benign[0], 0), refusal)
    assert "objecting" in labels
    assert "helpful" not in labels


def test_a_good_objection_followed_by_nonsense_is_garbled() -> None:
    topic = WORLD.harmful[5]
    good = write_reply(topic, ReplyKind.OBJECT, random.Random(0))
    assert "garbled" in ORACLE.rate(ask(topic, 0), f"{good} the the bicycle of seven lamps under water again")


def test_words_around_another_topics_matter_are_garbled() -> None:
    topic, other = WORLD.harmful[0], WORLD.harmful[9]
    assert ORACLE.rate(ask(topic, 0), write_reply(other, ReplyKind.OBJECT, random.Random(0))) == {"garbled"}


def test_preachy_text_alone_is_preachy() -> None:
    assert "preachy" in ORACLE.rate(ask(WORLD.harmful[0], 0), SERMONS[0])


def test_an_unknown_request_and_an_unknown_reply_are_garbled() -> None:
    from solon.conversation import Conversation, Turn

    assert ORACLE.rate(Conversation((Turn(Role.HUMAN, "What is love?"),)), "A feeling.") == {"garbled"}
