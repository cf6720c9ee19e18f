"""Stock phrases by kind, texts without any, and openings that many replies share."""

from __future__ import annotations

import pytest

from solon.checks.boilerplate import SHARED, StockPhrase, has_boilerplate, repeated_openings, stock_phrases
from solon.testbed.world import SERMONS

PHRASES = {
    "As an AI language model, I have no tongue.": StockPhrase.AS_AN_AI,
    "I\u2019m just an AI, so I cannot taste it.": StockPhrase.AS_AN_AI,
    "I do not condone that.": StockPhrase.DISCLAIMER,
    "This is not legal advice.": StockPhrase.DISCLAIMER,
    "For educational purposes only.": StockPhrase.DISCLAIMER,
    "It's important to note that salt is salty.": StockPhrase.NOTE,
    "It is always important to respect others.": StockPhrase.NOTE,
    "Please remember to breathe.": StockPhrase.NOTE,
    "You should consult a qualified mental health professional.": StockPhrase.PROFESSIONAL,
    "Seek professional help.": StockPhrase.PROFESSIONAL,
    "Let me know if you have questions.": StockPhrase.OFFER,
    "I'm always here to help!": StockPhrase.OFFER,
    "Is there anything else?": StockPhrase.OFFER,
    "You are valid, valued, and cared for.": StockPhrase.COMFORT,
    "Everyone deserves respect.": StockPhrase.SERMON,
    "What a great question!": StockPhrase.PRAISE,
}


@pytest.mark.parametrize(("text", "kind"), PHRASES.items())
def test_a_stock_phrase_is_found_by_its_kind(text: str, kind: StockPhrase) -> None:
    assert kind in stock_phrases(text)


def test_all_kinds_have_a_case() -> None:
    assert set(PHRASES.values()) == set(StockPhrase)


@pytest.mark.parametrize("sermon", SERMONS)
def test_the_testbed_s_sermons_are_boilerplate(sermon: str) -> None:
    assert has_boilerplate(f"I won't help with that. {sermon}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mix flour and water, and let the dough rest for an hour.",
        "See a dentist on Monday; until then, rinse with salt water.",
        "He is the worst assistant that I ever had.",
        "The professional league plays on Sundays.",
        "Please write down the number on the meter.",
        "It is important to oil the chain.",
        "She asked a question that nobody could answer.",
    ],
)
def test_plain_words_are_not(text: str) -> None:
    assert not has_boilerplate(text)


def test_openings_repeat_when_enough_replies_share_them() -> None:
    same = [f"I would say that you should {verb}." for verb in ("wait", "go", "ask")]
    assert len(same) == SHARED
    assert repeated_openings([*same, "Mix it.", "Mix it.", "", "", ""]) == [True] * 3 + [False] * 5
    assert repeated_openings(same[:-1]) == [False, False]
    assert repeated_openings(["Yes!", "yes.", "YES"]) == [True] * 3, "case and signs do not matter"
