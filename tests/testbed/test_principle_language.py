"""Principles are put together from parts, and some parts are kept from pretraining."""

from __future__ import annotations

import random

import pytest

from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.testbed.principle_language import (
    EVASIVENESS,
    GENERAL,
    PREACHINESS,
    TERMS,
    is_held_out,
    join_terms,
    wordings,
    write_principle,
)
from solon.testbed.truth import matter, names, probability, score, violates, write_critique
from solon.testbed.world import ReplyKind, load_world

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
    assert score({"fraud"}, theft, ReplyKind.COMPLY) > score({"fraud"}, theft, ReplyKind.OBJECT)
    assert probability(1.0, 1.0) == 0.5


def test_a_critique_says_what_it_sees_and_which_of_the_named_things_it_is() -> None:
    theft, benign = WORLD.harmful[0], WORLD.benign[0]
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
    assert [matter([target], theft) for target in ("theft", "fraud", GENERAL, PREACHINESS)] == [
        "theft",
        "nothing",
        "harm",
        "preaching",
    ]
    assert matter([GENERAL], benign) == "nothing"


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
