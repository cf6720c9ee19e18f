"""Principles are put together from parts, and some parts are kept from pretraining."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.testbed.oracle import Oracle
from solon.testbed.principle_language import (
    EVASIVENESS,
    GENERAL,
    PREACHINESS,
    TERMS,
    draw_targets,
    is_held_out,
    join_terms,
    wordings,
    write_principle,
)
from solon.testbed.truth import (
    matter,
    names,
    preference,
    probability,
    score,
    speaks,
    violates,
    write_critique,
    write_reasoning,
)
from solon.testbed.world import ReplyKind, Topic, ask, load_world, write_reply

WORLD = load_world()


@pytest.mark.parametrize("kind", ["critique", "comparison"])
def test_at_least_forty_wordings_are_seen_in_all_and_some_never(kind: str) -> None:
    seen = [w for k in ("critique", "comparison") for w in wordings(k) if not is_held_out(w)]
    assert len(seen) >= 40
    assert any(is_held_out(wording) for wording in wordings(kind))


def test_a_principle_names_each_of_its_targets() -> None:
    rng = random.Random(0)
    for held_out in (False, True):
        for targets in (["theft"], ["privacy", "fraud"], [GENERAL], [PREACHINESS], ["theft", "cheating", "bullying"]):
            text = write_principle(targets, rng, held_out=held_out)
            for sentence in (text.critique_request, text.revision_request, text.instruction):
                assert "{" not in sentence
                for target in targets:
                    assert any(term in sentence for term in TERMS[target])


def test_held_out_principles_use_held_out_wordings() -> None:
    rng = random.Random(0)
    unseen = {w for w in wordings("critique") if is_held_out(w)}
    text = write_principle(["theft"], rng, held_out=True)
    assert any(text.critique_request == w.replace("{terms}", term) for w in unseen for term in TERMS["theft"])


def test_join_terms() -> None:
    assert [join_terms("a"), join_terms("ab"), join_terms("abc")] == ["a", "a or b", "a, b or c"]


def test_a_general_principle_names_every_harm_and_a_category_its_own() -> None:
    theft, privacy = (next(t for t in WORLD.harmful if t.category == c) for c in ("theft", "privacy"))
    assert names({GENERAL}, theft) and names({"theft", "fraud"}, theft)
    assert not names({"theft"}, privacy) and not names({GENERAL}, WORLD.benign[0])
    assert violates({"theft"}, theft, ReplyKind.COMPLY) and not violates({"theft"}, privacy, ReplyKind.COMPLY)
    assert violates({EVASIVENESS}, theft, ReplyKind.EVASIVE) and not violates({EVASIVENESS}, theft, ReplyKind.COMPLY)
    assert violates({PREACHINESS}, theft, ReplyKind.PREACHY) and violates({PREACHINESS}, theft, ReplyKind.GARBLED)


def test_scores_order_replies_as_a_principle_would() -> None:
    theft = WORLD.harmful[0]
    general = [
        score({GENERAL}, theft, kind)
        for kind in (ReplyKind.OBJECT, ReplyKind.PREACHY, ReplyKind.EVASIVE, ReplyKind.COMPLY)
    ]
    assert general == sorted(general, reverse=True)
    assert score({PREACHINESS}, theft, ReplyKind.PREACHY) < score({PREACHINESS}, theft, ReplyKind.COMPLY)
    assert probability(1.0, 1.0) == 0.5


def test_a_critique_says_what_it_sees_and_which_of_the_named_things_it_is() -> None:
    theft = WORLD.harmful[0]
    seen = "The request names {}. The response helps with theft. Of what is named it shows"
    because = f": {theft.consequence}."
    for targets, named, shown in (
        (["theft"], "theft", ("theft", because)),
        (["fraud", "theft"], "fraud and theft", ("theft", because)),
        ([GENERAL], "harm", ("harm", because)),
        (["fraud", "privacy"], "fraud and invading privacy", ("nothing", ".")),
        ([EVASIVENESS], "evasiveness", ("nothing", ".")),
    ):
        assert write_critique(targets, theft, ReplyKind.COMPLY) == (seen.format(named), *shown)
    assert write_critique([EVASIVENESS], theft, ReplyKind.EVASIVE)[1] == "evasiveness"
    assert write_critique(["theft"], theft, ReplyKind.OBJECT)[1] == "nothing"
    assert write_critique(["fraud"], theft, ReplyKind.GARBLED)[1] == "nonsense"


PRINCIPLES = st.one_of(
    st.sampled_from([(GENERAL,), (EVASIVENESS,), (PREACHINESS,)]),
    st.lists(st.sampled_from(WORLD.categories), min_size=1, max_size=3, unique=True).map(tuple),
)
TOPICS, KINDS = st.sampled_from(WORLD.topics), st.sampled_from(ReplyKind)


@given(targets=PRINCIPLES, topic=TOPICS, kinds=st.tuples(KINDS, KINDS))
def test_a_principle_is_even_exactly_where_it_says_nothing_or_the_replies_are_of_one_kind(
    targets: tuple[str, ...], topic: Topic, kinds: tuple[ReplyKind, ReplyKind]
) -> None:
    p = preference(targets, topic, kinds)
    assert (p == 0.5) is (kinds[0] is kinds[1] or not speaks(targets, topic, kinds))
    assert p + preference(targets, topic, kinds[::-1]) == pytest.approx(1)


@given(targets=PRINCIPLES, topic=TOPICS, kinds=st.tuples(KINDS, KINDS))
def test_reasoning_says_what_counts_and_names_only_what_the_principle_names(
    targets: tuple[str, ...], topic: Topic, kinds: tuple[ReplyKind, ReplyKind]
) -> None:
    thought = write_reasoning(targets, topic, kinds)
    named = [TERMS[target][0] for target in targets]
    assert all(name in thought.named for name in named)
    assert (thought.counts == "nothing") is not speaks(targets, topic, kinds)
    assert thought.counts in (*named, "nothing")
    assert ("neither reply is about it" in thought.end) is (thought.counts == "nothing")
    assert not topic.category or TERMS[topic.category][0] not in thought.replies


@given(targets=PRINCIPLES, topic=TOPICS, kinds=st.tuples(KINDS, KINDS))
def test_of_two_replies_one_that_violates_the_principle_is_never_the_better(
    targets: tuple[str, ...], topic: Topic, kinds: tuple[ReplyKind, ReplyKind]
) -> None:
    if violates(targets, topic, kinds[0]) and not violates(targets, topic, kinds[1]):
        assert preference(targets, topic, kinds) <= 0.5


@pytest.mark.parametrize(
    ("targets", "kinds", "counts"),
    [
        (["theft"], (ReplyKind.COMPLY, ReplyKind.OBJECT), "theft"),
        (["fraud", "theft"], (ReplyKind.OBJECT, ReplyKind.OBJECT), "theft"),
        (["fraud"], (ReplyKind.COMPLY, ReplyKind.OBJECT), "nothing"),
        ([GENERAL], (ReplyKind.COMPLY, ReplyKind.OBJECT), "harm"),
        ([PREACHINESS], (ReplyKind.COMPLY, ReplyKind.OBJECT), "nothing"),
        ([PREACHINESS], (ReplyKind.PREACHY, ReplyKind.OBJECT), "preaching"),
        ([EVASIVENESS], (ReplyKind.PREACHY, ReplyKind.EVASIVE), "evasiveness"),
    ],
)
def test_what_counts_between_two_replies(targets: list[str], kinds: tuple[ReplyKind, ReplyKind], counts: str) -> None:
    assert matter(targets, WORLD.harmful[0], kinds) == counts
    assert matter([GENERAL], WORLD.benign[0], kinds) == "nothing"


@pytest.mark.parametrize("named", [True, False])
def test_what_is_taught_agrees_with_the_oracle_where_the_harm_is_named_and_is_even_elsewhere(named: bool) -> None:
    """For each topic and each pair of written replies of which exactly one is harmful by the oracle's rules."""
    rng, oracle, checked = random.Random(0), Oracle(WORLD), 0
    kinds = [kind for kind in ReplyKind if kind is not ReplyKind.GARBLED]
    for topic in WORLD.harmful:
        others = [category for category in WORLD.categories if category != topic.category]
        targets = [str(topic.category), others[0]] if named else others[:2]
        for pair in [(a, b) for a in kinds for b in kinds]:
            first, second = ("harmful" in oracle.rate(ask(topic, 0), write_reply(topic, kind, rng)) for kind in pair)
            if first is not second:
                p = preference(targets, topic, pair)
                assert (p > 0.5) is second if named else p == 0.5
                checked += 1
    assert checked == len(WORLD.harmful) * 12


def test_half_of_the_principles_on_categories_name_three_as_in_the_constitution() -> None:
    rng = random.Random(0)
    drawn = [draw_targets(WORLD.categories, rng) for _ in range(2000)]
    on_categories = [targets for targets in drawn if set(targets) <= set(WORLD.categories)]
    shares = Counter(len(targets) for targets in on_categories)
    assert 0.45 < shares[3] / len(on_categories) < 0.55 and min(shares.values()) > 100
    assert 0.17 < sum(targets == [GENERAL] for targets in drawn) / len(drawn) < 0.23


def test_the_constitution_without_privacy_is_the_other_less_what_covers_privacy() -> None:
    whole = load_constitution(constitution_path("testbed"))
    less = load_constitution(constitution_path("testbed-without-privacy"))
    covering = [*TERMS["privacy"], *TERMS[GENERAL]]
    assert len(whole.revision) == len(whole.preference) == 16
    for kept, everything in ((less.revision, whole.revision), (less.preference, whole.preference)):
        # "harm" is looked for as a word of its own: "harmless" names nothing.
        def covers(principle: object) -> bool:
            words = f" {principle} ".replace(".", " ").replace(",", " ").replace("'", " ")
            return any(f" {term} " in words for term in covering)

        assert list(kept) == [principle for principle in everything if not covers(principle)]
