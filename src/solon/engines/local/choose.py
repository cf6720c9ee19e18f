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

from solon.engines.local.batch import Batch, Prefixes, sub_batches
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.head import HALVES
from solon.engines.local.row_budget import RowBudget
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
    rows: list[DecodingRow] = []
    counts: list[int] = []
    places: list[tuple[int, int | None]] = []
    for number, (item, cut) in enumerate(zip(choices, shared, strict=True)):
        # The context's last token must stay in the own part; an option's last token is only scored, never read.
        prefix = min(cut, len(item.context) - 1)
        tails: list[Tokens] = [()] if item.single else [option[:-1] for option in item.options]
        for which, tail in enumerate(tails):
            rows.append(DecodingRow(item.context[:prefix], item.context[prefix:] + tail))
            counts.append(len(tail) + 1)
            places.append((number, None if item.single else which))
    scores = [[0.0] * len(item.options) for item in choices]
    read: list[tuple[int, int | None]] = []
    found: list[Tensor] = []

    def share(numbers: Sequence[int]) -> float:
        return budget.share([rows[number] for number in numbers], 0, max(counts[number] for number in numbers))

    # Every batch and every new prefix is a pass; few rows are not worth the preparation.
    prepared = model.many_passes() if len(rows) > _FEW_ROWS else nullcontext()
    with torch.inference_mode(), prepared:
        for numbers in sub_batches(rows, budget.rows, share):
            keep = max(counts[number] for number in numbers)
            logits_BNV = Batch(model, [rows[number] for number in numbers], 0).prefill(prefixes, keep)
            _refuse_halves(logits_BNV, model)
            for place, number in enumerate(numbers):
                choice, option = places[number]
                logits_NV = logits_BNV[place, -counts[number] :]
                options = choices[choice].options
                if option is None:
                    found.append(_logprobs(logits_NV, [tokens[0] for tokens in options]))
                else:
                    found.append(_logprobs(logits_NV, options[option]).sum().unsqueeze(0))
                read.append(places[number])
        # One transfer, since each waits for a GPU.
        numbers_of = torch.split(torch.cat(found).cpu(), [len(each) for each in found])
    for (choice, option), values in zip(read, numbers_of, strict=True):
        if option is None:
            scores[choice] = values.tolist()
        else:
            scores[choice][option] = float(values)
    return [tuple(each) for each in scores]


def _logprobs(logits_NV: Tensor, ids: Sequence[int]) -> Tensor:
    """Natural log-probabilities in float64: of one token at each position, or of several at the only one."""
    places_N = torch.arange(len(logits_NV), device=logits_NV.device)
    return logits_NV[places_N, list(ids)].double() - logits_NV.logsumexp(-1).double()


def _refuse_halves(logits: Tensor, model: CausalModel) -> None:
    if logits.dtype in HALVES:
        raise ModelError(
            f"a {type(model.model).__name__} rounds its logits to {str(logits.dtype).removeprefix('torch.')}, "
            "in which nearly equal options tie",
            remedy="Use --set engine.dtype=float32, or another feedback model",
        )
