"""Batched generation: the loop over tokens, and when a row's text ends.

A row ends when the model writes an end token, when its decoded text holds a stop string (which may straddle tokens), or
when its limit is reached. Rows that ended stay in the batch until enough of them can be dropped at once. Decoding
at every step would cost more than a small model's forward pass, so only tokens that can complete a stop string trigger
it.

Axes: B rows in flight, S steps, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solon.config.settings import SamplingParams
from solon.engines.base import Completion, Finish
from solon.engines.local.batch import Batch, Prefixes, sub_batches
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.faults import refuse_undefined
from solon.engines.local.row_budget import RowBudget
from solon.engines.local.sampling import sampler_for, uniforms
from solon.engines.token_rows import DecodingRow

KEEP_SHARE = 0.8
"""Rows are dropped once no more than this share of the batch is unfinished: moving the cache costs about one step."""

Decode = Callable[[Sequence[int]], str]


class Ending:
    """Decides when a row's text ends, and turns its tokens into a completion."""

    def __init__(
        self, decode: Decode, end_tokens: Iterable[int], stops: Sequence[str], token_texts: Callable[[], Sequence[str]]
    ) -> None:
        """`token_texts` decodes each token by itself; it is called only when there are stop strings."""
        self._decode = decode
        self.stops = tuple(stop for stop in stops if stop)
        self.end_tokens = frozenset(end_tokens)
        self._suspect: NDArray[np.bool_] | None = None
        lasts = {stop[-1] for stop in self.stops}
        # A printable ASCII character is one byte and in no tokenizer depends on its neighbours, so the token that
        # completes the stop string shows it when decoded by itself. For anything else every token is suspect.
        if self.stops and all(last.isascii() and last.isprintable() and last != " " for last in lasts):
            self._suspect = np.array([not lasts.isdisjoint(text) for text in token_texts()], dtype=np.bool_)

    def may_end(self, token_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that may end with their newest token; the others certainly continue."""
        ends_B = np.isin(token_B, list(self.end_tokens))
        if not self.stops:
            return ends_B
        if self._suspect is None:
            return np.ones(len(token_B), dtype=np.bool_)
        known_B = token_B < len(self._suspect)
        return ends_B | (self._suspect[np.where(known_B, token_B, 0)] & known_B)

    def finish_of(self, tokens: Sequence[int]) -> Finish | None:
        """Why these tokens end a row, or None when they do not."""
        if tokens[-1] in self.end_tokens:
            return Finish.END
        if self.stops and self._cut(self._decode(tokens)) is not None:
            return Finish.STOP
        return None

    def completion(self, tokens: Sequence[int], logprobs: Sequence[float], finish: Finish) -> Completion:
        """The row's text and tokens; a stop string is cut off with its tokens."""
        count = len(tokens)
        if finish is Finish.END:
            text = self._decode(tokens[:-1])
        else:
            text = self._decode(tokens)
            cut = self._cut(text) if finish is Finish.STOP else None
            if cut is not None:
                text = text[:cut]
                while count and len(self._decode(tokens[: count - 1])) >= cut:
                    count -= 1
        return Completion(text.strip(), finish, tuple(tokens[:count]), tuple(logprobs[:count]))

    def _cut(self, text: str) -> int | None:
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        return min(found, default=None)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One row to complete: its tokens, its seed, and the most tokens to generate."""

    row: DecodingRow
    seed: int
    limit: int


def generate(
    model: CausalModel,
    requests: Sequence[GenerationRequest],
    sampling: SamplingParams,
    ending: Ending,
    prefixes: Prefixes,
    budget: RowBudget,
) -> list[Completion]:
    """One completion per request, in order; no more rows go through the model together than `budget` allows.

    Raises ModelError when the model's probabilities are not finite.
    """
    completions: list[Completion | None] = [None] * len(requests)

    def share(numbers: Sequence[int]) -> float:
        part = [requests[number] for number in numbers]
        return budget.share([request.row for request in part], max(request.limit for request in part), 1)

    for numbers in sub_batches([request.row for request in requests], budget.rows, share):
        part = [requests[number] for number in numbers]
        for number, completion in zip(numbers, _complete(model, part, sampling, ending, prefixes), strict=True):
            completions[number] = completion
    return [completion for completion in completions if completion is not None]


def _complete(
    model: CausalModel,
    requests: Sequence[GenerationRequest],
    sampling: SamplingParams,
    ending: Ending,
    prefixes: Prefixes,
) -> list[Completion]:
    draw = sampler_for(sampling.temperature, sampling.top_p)
    limits = np.array([request.limit for request in requests])
    steps = int(limits.max())
    drawn_BS = torch.from_numpy(uniforms([request.seed for request in requests], steps)).float()
    uniform_BS = drawn_BS.to(model.device, non_blocking=True)
    record = _Record(len(requests), steps)
    with torch.inference_mode(), model.many_passes():
        batch, logits_BV = _start(model, [request.row for request in requests], steps, prefixes)
        for step in range(steps):
            token_B, logprob_B = draw(logits_BV, uniform_BS[:, step])
            record.add(step, token_B, logprob_B)
            record.close(step, limits, ending)
            if not record.open.any():
                break
            if record.open.mean() <= KEEP_SHARE:
                kept_B = torch.from_numpy(record.compact()).to(model.device, non_blocking=True)
                batch.select(kept_B)
                token_B, uniform_BS = token_B[kept_B], uniform_BS[kept_B]
            logits_BV = batch.step(token_B)
    return record.completions(ending)


def _start(model: CausalModel, rows: Sequence[DecodingRow], steps: int, prefixes: Prefixes) -> tuple[Batch, Tensor]:
    """A prefilled batch and the logits (B, V) of its first tokens; equal rows are prefilled once."""
    numbers: dict[DecodingRow, int] = {}
    for row in rows:
        numbers.setdefault(row, len(numbers))
    batch = Batch(model, list(numbers), steps)
    logits_BV = batch.prefill(prefixes)[:, -1]
    if len(numbers) < len(rows):
        source_B = torch.tensor([numbers[row] for row in rows]).to(model.device, non_blocking=True)
        batch.select(source_B)
        logits_BV = logits_BV[source_B]
    return batch, logits_BV


class _Record:
    """The tokens sampled for each row, and which rows are in flight and open."""

    def __init__(self, rows: int, steps: int) -> None:
        self.token_BS = np.zeros((rows, steps), dtype=np.int64)
        self.logprob_BS = np.zeros((rows, steps), dtype=np.float32)
        self.lengths = np.zeros(rows, dtype=np.int64)
        self.finishes = [Finish.LENGTH] * rows
        self.flying = np.arange(rows)
        """The number of each row in flight, by its place in the batch."""
        self.open = np.ones(rows, dtype=np.bool_)
        """By place in the batch: whether the row's text continues."""

    def add(self, step: int, token_B: Tensor, logprob_B: Tensor) -> None:
        sampled_B = logprob_B.cpu().numpy()
        refuse_undefined(sampled_B)
        self.newest = token_B.cpu().numpy()
        self.token_BS[self.flying, step] = self.newest
        self.logprob_BS[self.flying, step] = sampled_B

    def close(self, step: int, limits: NDArray[np.int64], ending: Ending) -> None:
        """Close the rows that end with the token of this step."""
        full = limits[self.flying] <= step + 1
        for place in np.flatnonzero(self.open & (full | ending.may_end(self.newest))):
            number = self.flying[place]
            finish = ending.finish_of(self.token_BS[number, : step + 1].tolist())
            if finish is None and not full[place]:
                continue
            self.finishes[number] = finish or Finish.LENGTH
            self.lengths[number] = step + 1
            self.open[place] = False

    def compact(self) -> NDArray[np.int64]:
        """Drop closed rows; returns the places of the open ones."""
        kept = np.flatnonzero(self.open)
        self.flying = self.flying[kept]
        self.open = self.open[kept]
        return kept

    def completions(self, ending: Ending) -> list[Completion]:
        return [
            ending.completion(tokens[:length].tolist(), logprobs[:length].tolist(), finish)
            for tokens, logprobs, length, finish in zip(
                self.token_BS, self.logprob_BS, self.lengths, self.finishes, strict=True
            )
        ]
