"""Tokenized pretraining documents and their order.

Each position of a document has the next token as its target, or the end token where a model turn ends, a weight, and
for letters a soft target. Pieces are tokenized separately, cut where that equals tokenizing the whole text (tested).
Windows of documents are a pure function of (seed, part, window).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from solon.digest import seed_for
from solon.testbed.documents import Document, DocumentPart, Writer
from solon.testbed.world import load_world

WINDOW_DOCUMENTS = 2048
IGNORED = -1


@dataclass(frozen=True, slots=True)
class PretrainingExample:
    """A tokenized document: for each position the next token to predict, its weight, and soft targets of letters."""

    kind: str
    tokens: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    p_first: np.ndarray
    """P(A) where the target is a letter, else NaN."""


def encode(document: Document, tokenizer: PreTrainedTokenizerFast) -> PretrainingExample:
    """Tokens of the pieces in order; separate tokenization equals tokenizing the whole text."""
    tokens: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    p_first: list[float] = []
    pieces = tokenizer([piece.text for piece in document.pieces], add_special_tokens=False)["input_ids"]
    for piece, ids in zip(document.pieces, pieces, strict=True):
        if tokens and ids:
            targets[-1], weights[-1] = _first_target(targets[-1], weights[-1], ids[0], piece.weight)
            p_first[-1] = math.nan if piece.p_a is None else piece.p_a
        tokens += ids
        targets += [*ids[1:], IGNORED]
        weights += [piece.weight] * (len(ids) - 1) + [0.0]
        p_first += [math.nan] * len(ids)
        if piece.ends:
            targets[-1], weights[-1] = tokenizer.eos_token_id, max(piece.weight, 0.5)
    return PretrainingExample(document.kind, np.array(tokens), np.array(targets), np.array(weights), np.array(p_first))


def _first_target(target: int, weight: float, token: int, new_weight: float) -> tuple[int, float]:
    """The target at the last position of a piece: the end token if it is set, else the next piece's first token."""
    return (target, weight) if target != IGNORED else (token, new_weight)


def windows(
    part: DocumentPart, tokenizer: PreTrainedTokenizerFast, seed: int, batch_tokens: int, start: int = 0
) -> Iterator[list[list[PretrainingExample]]]:
    """Windows of documents from number `start` on, each as batches of about `batch_tokens` in shuffled order.

    Documents of similar length share a batch, so that there is little padding.
    """
    writer = Writer(load_world(), part)
    window = start
    while True:
        rng = random.Random(seed_for("testbed-documents", seed, part.value, window))
        examples = [encode(writer.write(rng), tokenizer) for _ in range(WINDOW_DOCUMENTS)]
        examples.sort(key=lambda example: len(example.tokens))
        groups: list[list[PretrainingExample]] = [[]]
        for example in examples:
            if len(example.tokens) * (len(groups[-1]) + 1) > batch_tokens:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        yield groups
        window += 1
