import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.conversation import Conversation, Role, Turn
from solon.sources.near_duplicates import RUN, NearDuplicates, words_of


def prompt(*texts: str) -> Conversation:
    """Human and assistant in turn."""
    return Conversation(tuple(Turn((Role.HUMAN, Role.ASSISTANT)[n % 2], text) for n, text in enumerate(texts)))


def kept(threshold: float, *prompts: Conversation) -> list[int]:
    near = NearDuplicates[int, int](threshold, dict(enumerate(prompts)))
    found = []
    for number in range(len(prompts)):
        if near.match(number) is None:
            near.keep(number, number)
            found.append(number)
    return found


def runs(conversation: Conversation) -> set[tuple[str, ...]]:
    words = words_of(conversation)
    return {tuple(words[i : i + RUN]) for i in range(max(len(words) - RUN + 1, 1))} if words else set()


def similarity(a: Conversation, b: Conversation) -> float:
    first, second = runs(a), runs(b)
    return len(first & second) / len(first | second) if first and second else 0.0


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=12),
    st.sampled_from([0.2, 0.5, 0.6, 0.75, 1.0]),
)
def test_the_search_finds_what_comparing_all_pairs_finds(texts, threshold):
    prompts = [prompt(text) for text in texts]
    expected: list[int] = []
    for number, one in enumerate(prompts):
        if not any(similarity(one, prompts[other]) >= threshold - 1e-9 for other in expected):
            expected.append(number)
    assert kept(threshold, *prompts) == expected


def test_words_are_compared_without_case_punctuation_and_unicode_variants():
    assert kept(1.0, prompt("How do I pick a lock?"), prompt("how do I PICK a lock"), prompt("How do I pick a clock?")) == [0, 2]  # fmt: skip  # noqa: E501
    assert words_of(prompt("\uff28\uff4f\uff57 _do_ I -- don't?")) == ["how", "do", "i", "don't"]


def test_only_what_the_human_says_is_compared():
    one = prompt("How do I pick a lock?", "Use a pin.", "And a safe?")
    other = prompt("How do I pick a lock?", "I would rather not say.", "And a safe?")
    assert kept(0.7, one, other) == [0]


def test_one_word_in_twenty_is_near_and_one_in_eight_is_not():
    words = [f"word{n}" for n in range(22)]
    changed = [*words[:10], "other", *words[11:]]
    assert kept(0.7, prompt(" ".join(words)), prompt(" ".join(changed))) == [0]
    assert kept(0.7, prompt(" ".join(words[6:14])), prompt(" ".join(changed[6:14]))) == [0, 1]


def test_the_first_that_was_kept_is_named_and_wordless_prompts_match_nothing():
    near = NearDuplicates[str, str](0.5, {"x": prompt("a b c"), "y": prompt("a b c d"), "z": prompt("A, b, c!")})
    near.keep("y", "second file")
    near.keep("x", "first file")
    assert near.match("z") == "second file"
    assert kept(0.5, prompt("???"), prompt("???"), prompt("...")) == [0, 1, 2]
    assert kept(0.5) == []


@pytest.mark.slow
def test_a_hundred_thousand_prompts_take_seconds():
    rng = random.Random(0)
    vocabulary = [f"w{n}" for n in range(5000)]
    texts = [rng.choices(vocabulary, k=rng.randint(5, 50)) for _ in range(80_000)]
    copies = [[*text, "please"] for text in texts[:20_000] if len(text) >= 12]
    prompts = [prompt(" ".join(words)) for words in [*texts, *copies]]
    assert kept(0.7, *prompts) == list(range(80_000))
