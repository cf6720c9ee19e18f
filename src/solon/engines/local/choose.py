"""Log-probabilities of given options as the next words after a prompt.

An option is not a fixed token: "A" after "(" may be a token of its own or merge with the bracket into "(A". So prompt
and option are tokenized together, and an option's tokens are those from the first place where any option differs from
the bare prompt. When every option is one token, as letters are, one row per prompt is enough; otherwise each option is
a row of its own and its tokens' log-probabilities are summed.

A log-probability is a float32 logit less a float32 log-sum-exp, subtracted in float64: the difference of two options is
that of their logits to the last bit.

Axes: B rows, N positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.engines.local.batch import Batch, Prefixes
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.common_heads import longest, place_of, with_common_heads
from solon.engines.local.head import HALVES
from solon.engines.local.kv_cache import CacheSize
from solon.engines.local.row_budget import RowBudget
from solon.engines.local.split_rows import SplitRow, Zones
from solon.engines.token_rows import DecodingRow, Tokens, common_length
from solon.errors import ModelError

_FEW_ROWS = 8
"""Rows up to which preparing a model for many passes takes longer than it saves."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A tokenized question: the context of every option, and each option's tokens."""

    context: Tokens
    options: tuple[Tokens, ...]

    @property
    def single(self) -> bool:
        """Whether every option is one token."""
        return all(len(option) == 1 for option in self.options)


def choice_of(bare: Tokens, continued: Sequence[Tokens], options: Sequence[str]) -> Choice:
    """Cut prompts with their options into context and option tokens.

    `bare` are the prompt's tokens, `continued` those of the prompt followed by each of `options`. Raises ModelError
    when two options have the same tokens, or when one has none.
    """
    start = min(common_length(bare, tokens) for tokens in continued)
    cut = tuple(tokens[start:] for tokens in continued)
    for number, tokens in enumerate(cut):
        if not tokens or tokens in cut[:number]:
            raise ModelError(
                f"the tokenizer gives the option {options[number]!r} no tokens of its own after this prompt",
                remedy="Use options that differ in the tokenizer's vocabulary, or another feedback model",
            )
    if start == 0:
        raise ModelError("a question needs some text before its options", remedy="Give the prompt a turn or an opening")
    return Choice(bare[:start], cut)


def choose(
    model: CausalModel, choices: Sequence[Choice], shared: Sequence[int], prefixes: Prefixes, budget: RowBudget
) -> list[tuple[float, ...]]:
    """Per choice the natural log-probability of each option.

    `shared[i]` counts the leading tokens of choice i's context that other rows share. Raises ModelError for a model
    with logits in half precision.
    """
    asked = _asked(choices, shared)
    found = []
    # Every pass and every new prefix takes one; few rows are not worth the preparation.
    prepared = model.many_passes() if len(asked) > _FEW_ROWS else nullcontext()
    with torch.inference_mode(), prepared:
        batch = Batch(model, prefixes)
        for part, room in _passes(asked, model.prefill_tokens, budget):
            batch.clear()
            logits_NKV = batch.admit([each.row for each in part], room, max(len(each.scored) for each in part))
            _refuse_halves(logits_NKV, model)
            found.append(_logprobs(logits_NKV, [each.scored for each in part]))
        # One transfer, since each waits for a GPU.
        read = iter(torch.cat(found).cpu().tolist())
    scores = [[0.0] * len(item.options) for item in choices]
    for each in asked:
        values = [[next(read) for _ in ids] for ids in each.scored]
        scores[each.number][each.options] = values[0] if len(values) == 1 else [sum(value for (value,) in values)]
    return [tuple(each) for each in scores]


@dataclass(frozen=True, slots=True)
class _AskedRow:
    """A row of question `number` that gives the scores of these of its options.

    `scored` are the tokens to score: of one option, each at one of the last positions; or of several options of one
    token, all at the last position.
    """

    number: int
    options: slice
    row: SplitRow
    scored: tuple[Tokens, ...]


def _asked(choices: Sequence[Choice], shared: Sequence[int]) -> list[_AskedRow]:
    """The rows of all questions: those of a prefix and of a head side by side, and the longest first."""
    rows: list[DecodingRow] = []
    about: list[tuple[int, slice, tuple[Tokens, ...]]] = []
    for number, (item, cut) in enumerate(zip(choices, shared, strict=True)):
        # The context's last token must stay in the own part; an option's last token is only scored, never read.
        prefix = min(cut, len(item.context) - 1)
        if item.single:
            rows.append(DecodingRow(item.context[:prefix], item.context[prefix:]))
            about.append((number, slice(0, len(item.options)), (tuple(option[0] for option in item.options),)))
            continue
        for which, option in enumerate(item.options):
            rows.append(DecodingRow(item.context[:prefix], item.context[prefix:] + option[:-1]))
            about.append((number, slice(which, which + 1), tuple((token,) for token in option)))
    split = with_common_heads(rows, [len(scored) for _, _, scored in about])
    asked = [_AskedRow(number, part, row, scored) for row, (number, part, scored) in zip(split, about, strict=True)]
    tails = longest([(each.row, len(each.row.tail)) for each in asked])
    return sorted(asked, key=lambda each: (-len(each.row.prefix), each.row.prefix, *place_of(each.row, tails)))


def _passes(
    asked: Sequence[_AskedRow], tokens: int, budget: RowBudget
) -> Sequence[tuple[Sequence[_AskedRow], CacheSize]]:
    """Rows to read together, at most so many padded tokens of them, and the room for their cache.

    One cache is used for all passes, so it is made for as many rows as any of them will have, where they fit.
    """
    passes = []
    start = 0
    while start < len(asked):
        zones, keep, most, end = Zones(0, 0, 0), 0, 1, start
        while end < len(asked):
            wider, longer = zones.widened(asked[end].row), max(keep, len(asked[end].scored))
            fitting = budget.most(wider.width, longer)
            if end > start and (end - start >= fitting or wider.tail * (end + 1 - start) > tokens):
                break
            zones, keep, most, end = wider, longer, fitting, end + 1
        passes.append((asked[start:end], CacheSize(most, zones.width)))
        start = end
    widest = max(len(part) for part, _ in passes)
    return [(part, CacheSize(min(room.rows, widest), room.columns)) for part, room in passes]


def _logprobs(logits_NKV: Tensor, scored: Sequence[tuple[Tokens, ...]]) -> Tensor:
    """Natural log-probabilities in float64 of each row's tokens, at its last positions, one after the other."""
    kept = logits_NKV.shape[1]
    index = torch.tensor(
        [
            (row, kept - len(positions) + place, token)
            for row, positions in enumerate(scored)
            for place, ids in enumerate(positions)
            for token in ids
        ]
    )
    row, place, token = index.to(logits_NKV.device, non_blocking=True).unbind(-1)
    return logits_NKV[row, place, token].double() - logits_NKV.logsumexp(-1)[row, place].double()


def _refuse_halves(logits: Tensor, model: CausalModel) -> None:
    if logits.dtype in HALVES:
        raise ModelError(
            f"a {type(model.model).__name__} rounds its logits to {str(logits.dtype).removeprefix('torch.')}, "
            "in which nearly equal options tie",
            remedy="Use --set engine.dtype=float32, or another feedback model",
        )
