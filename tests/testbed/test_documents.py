"""Pretraining documents say what the stages will ask, and teach the right tokens."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from solon.testbed.documents import Document, DocumentPart, DocumentPiece, Writer, request_held_out
from solon.testbed.pretraining import END, PretrainingPlan, build_tokenizer, rate_factor
from solon.testbed.windows import IGNORED, encode
from solon.testbed.world import TEMPLATES, load_world

WORLD = load_world()


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
