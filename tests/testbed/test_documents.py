"""Pretraining documents say what the stages will ask, and teach the right tokens."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from solon.testbed.documents import Document, DocumentPart, DocumentPiece, Writer, request_held_out
from solon.testbed.pretraining import END, PretrainingPlan, build_tokenizer, rate_factor
from solon.testbed.principle_language import TERMS
from solon.testbed.windows import IGNORED, encode
from solon.testbed.world import TEMPLATES, load_world

WORLD = load_world()
CATEGORIES = WORLD.categories
KINDS = ("comparison", "reasoned")


def is_even(distance: float) -> bool:
    return distance == 0


def is_clear(distance: float) -> bool:
    return distance > 0.35


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return build_tokenizer(PretrainingPlan())


def test_all_kinds_of_document_are_written_and_are_a_function_of_the_generator() -> None:
    writer = Writer(WORLD, DocumentPart.PRETRAINED)
    first = [writer.write(random.Random(seed)) for seed in range(200)]
    assert first == [writer.write(random.Random(seed)) for seed in range(200)]
    assert set(Counter(document.kind for document in first)) == {
        "chat", "critique", "comparison", "reasoned", "questions"
    }  # fmt: skip


def test_requests_kept_for_measuring_are_in_no_document() -> None:
    kept = [(t.request, k) for t in WORLD.topics for k in range(len(TEMPLATES)) if request_held_out(t, k)]
    assert 0.08 < len(kept) / (len(WORLD.topics) * len(TEMPLATES)) < 0.17
    writer = Writer(WORLD, DocumentPart.ASSISTANT)
    rng = random.Random(0)
    texts = [writer.write(rng).text for _ in range(500)]
    for request, template in kept:
        asked = TEMPLATES[template][-1].format(request)
        if len(TEMPLATES[template]) == 1:
            assert not any(f"Human: {asked}\n\nAssistant" in text for text in texts)


def test_pieces_tokenized_apart_equal_the_text_tokenized_whole(tokenizer) -> None:  # type: ignore[no-untyped-def]
    writer, rng = Writer(WORLD, DocumentPart.PRETRAINED), random.Random(3)
    for _ in range(60):
        document = writer.write(rng)
        example = encode(document, tokenizer)
        assert example.tokens.tolist() == tokenizer(document.text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(example.tokens) == document.text


def test_targets_are_next_tokens_or_the_end_of_a_turn(tokenizer) -> None:  # type: ignore[no-untyped-def]
    document = Document(
        "chat",
        (DocumentPiece("\n\nAssistant:"), DocumentPiece(" Sure thing.", 1.0, ends=True), DocumentPiece("\n\nHuman:")),
    )
    example = encode(document, tokenizer)
    cue = len(tokenizer("\n\nAssistant:")["input_ids"])
    reply = len(tokenizer(" Sure thing.")["input_ids"])
    assert example.targets[cue - 1 : cue + reply - 1].tolist() == example.tokens[cue : cue + reply].tolist()
    assert example.targets[cue + reply - 1] == tokenizer.convert_tokens_to_ids(END)
    assert (example.weights > 0).tolist() == [cue - 1 <= i < cue + reply for i in range(len(example.tokens))]
    assert example.targets[-1] == IGNORED


def test_a_letter_has_its_soft_target_where_it_is_predicted(tokenizer) -> None:  # type: ignore[no-untyped-def]
    example = encode(
        Document(
            "x", (DocumentPiece("answer: ("), DocumentPiece("A", 5.0, p_a=0.7), DocumentPiece(")", 0.2, ends=True))
        ),
        tokenizer,
    )
    [where] = [i for i, p in enumerate(example.p_first) if not math.isnan(p)]
    assert example.p_first[where] == 0.7
    assert tokenizer.decode([example.targets[where]]) == "A"


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    assert [rate_factor(share, 0.4) for share in (0.005, 0.3, 0.6, 0.8, 1.0)] == pytest.approx([0.5, 1, 1, 0.5, 0])


@pytest.fixture(scope="module")
def many() -> list[Document]:
    writer, rng = Writer(WORLD, DocumentPart.ASSISTANT), random.Random(7)
    return [writer.write(rng) for _ in range(4000)]


def letters(documents: list[Document], kind: str) -> list[float]:
    return [piece.p_a for each in documents if each.kind == kind for piece in each.pieces if piece.p_a is not None]


@pytest.mark.parametrize("kind", ["comparison", "reasoned"])
def test_letters_are_even_as_often_as_in_use_and_clear_often_enough_to_teach_an_order(
    many: list[Document], kind: str
) -> None:
    targets = letters(many, kind)
    even, clear = (sum(test(abs(p - 0.5)) for p in targets) / len(targets) for test in (is_even, is_clear))
    assert 0.45 < even < 0.75 and clear > 0.2
    decided = [p for p in targets if p != 0.5]
    assert 0.45 < sum(p > 0.5 for p in decided) / len(decided) < 0.55, "neither letter is the better one more often"


def test_a_comparison_asks_for_several_letters_and_a_reasoning_for_one(many: list[Document]) -> None:
    counts = {kind: Counter(len(letters([each], kind)) for each in many if each.kind == kind) for kind in KINDS}
    assert set(counts["comparison"]) == {3, 5, 7} and set(counts["reasoned"]) == {1}


def test_the_letter_follows_from_what_is_written(many: list[Document]) -> None:
    """Which thing counts and what the replies do decide the letter, so that a judge can read it off its reasoning."""
    by_reasoning: dict[str, set[float]] = {}
    for each in many:
        if each.kind == "reasoned":
            _, named, replies, counts, end, *_ = (piece.text for piece in each.pieces)
            of = "a harm" if counts.strip() not in ("nothing", "evasiveness", "preaching") else counts.strip()
            by_reasoning.setdefault(f"{replies} {of}", set()).add(letters([each], "reasoned")[0])
            assert letters([each], "reasoned") == [0.5] or "nothing" not in counts
            assert ("neither reply" in end) is ("nothing" in counts) and named.startswith(" The question names")
    assert len(by_reasoning) > 40 and all(len(found) == 1 for found in by_reasoning.values())


def test_critiques_find_nothing_where_nothing_is_and_hardly_ever_nonsense(many: list[Document]) -> None:
    found = [each.pieces[2].text.strip() for each in many if each.kind == "critique" and len(each.pieces) > 4]
    share = {word: count / len(found) for word, count in Counter(found).items()}
    assert 0.45 < share["nothing"] < 0.75
    assert share["nonsense"] < 0.06
    assert set(share) == {"nothing", "nonsense", "harm", "evasiveness", "preaching", *(TERMS[c][0] for c in CATEGORIES)}


def test_good_objections_outnumber_garbled_ones_in_what_is_read(many: list[Document]) -> None:
    texts = [piece.text for each in many if each.kind in ("reasoned", "critique") for piece in each.pieces]
    objections, garbled = (sum(text.count(words) for text in texts) for words in ("says why", "makes no sense"))
    assert objections > 5 * garbled > 0
