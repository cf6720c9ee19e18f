"""Batched generation: the loop over tokens, and when a row's text ends.

A row ends when the model writes an end token, when its decoded text holds a stop string (which may straddle tokens), or
when its limit is reached. Rows that ended stay in the batch until enough of them can be dropped at once, and rows that
wait take the free slots while others are decoded. Decoding at every step would cost more than a small model's forward
pass, so only tokens that can complete a stop string trigger it.

Axes: B rows in flight, N new rows, S steps, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solon.config.settings import SamplingParams
from solon.engines.base import Completion, Finish
from solon.engines.local.batch import Batch, Prefixes
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.common_heads import with_common_heads
from solon.engines.local.faults import refuse_undefined
from solon.engines.local.row_budget import RowBudget
from solon.engines.local.sampling import sampler_for, uniforms
from solon.engines.local.waiting import AdmittedRows, Waiting, WaitingRow
from solon.engines.token_rows import DecodingRow

_DROPPED = 16
"""Rows that ended are dropped once they are one in so many: their places are filled with rows from the end."""

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
    split = with_common_heads([each.row for each in requests], [1] * len(requests))
    limits = [each.limit for each in requests]
    waiting = Waiting([WaitingRow(*each) for each in zip(itertools.count(), split, limits, strict=False)], budget)
    draw = sampler_for(sampling.temperature, sampling.top_p)
    flight = _Flight(model, requests, ending)
    with torch.inference_mode(), model.many_passes():
        batch, logits_BV = Batch(model, prefixes), None
        while True:
            if admission := waiting.next(batch.count, flight.need):
                new_NV = batch.admit([each.row for each in admission.rows], admission.room)[:, -1]
                logits_BV = new_NV if logits_BV is None else torch.cat([logits_BV, new_NV])
                flight.admit(admission)
            if logits_BV is None:
                return [completion for completion in flight.completions if completion is not None]
            token_B, logprob_B = draw(logits_BV, flight.uniform())
            batch.retire(flight.add(token_B, logprob_B))
            if flight.crowded:
                kept = flight.compact()
                batch.keep(kept)
                token_B = token_B[torch.from_numpy(kept).to(model.device, non_blocking=True)]
            logits_BV = batch.step(token_B) if batch.count else None


class _Flight:
    """The tokens of the rows in flight by place, and the completions of those that ended."""

    def __init__(self, model: CausalModel, requests: Sequence[GenerationRequest], ending: Ending) -> None:
        self.completions: list[Completion | None] = [None] * len(requests)
        self._requests = requests
        self._ending = ending
        self._device = model.device
        self._steps = max((request.limit for request in requests), default=0)
        self._number_B = np.empty(0, dtype=np.int64)
        self._need_B = np.empty(0, dtype=np.int64)
        self._limit_B = np.empty(0, dtype=np.int64)
        self._written_B = np.empty(0, dtype=np.int64)
        self._open_B = np.empty(0, dtype=np.bool_)
        self._token_BS = np.empty((0, self._steps), dtype=np.int64)
        self._logprob_BS = np.empty((0, self._steps), dtype=np.float32)
        self._uniform_BS = torch.empty(0, self._steps).to(self._device, non_blocking=True)
        self._step_B1 = torch.empty(0, 1, dtype=torch.long).to(self._device, non_blocking=True)

    @property
    def need(self) -> int:
        """The columns that a row in flight takes at most."""
        return int(self._need_B.max(initial=0))

    @property
    def crowded(self) -> bool:
        """Whether rows that ended take so many places that they are dropped."""
        ended = len(self._open_B) - int(self._open_B.sum())
        return ended > 0 and (ended * _DROPPED >= len(self._open_B))

    def admit(self, admission: AdmittedRows) -> None:
        """Give the next places to new rows."""
        numbers = np.array([each.number for each in admission.rows])
        seeds = [self._requests[number].seed for number in numbers]
        count = len(numbers)
        self._number_B = np.concatenate([self._number_B, numbers])
        self._need_B = np.concatenate([self._need_B, admission.needs])
        self._limit_B = np.concatenate([self._limit_B, [each.limit for each in admission.rows]])
        self._written_B = np.concatenate([self._written_B, np.zeros(count, dtype=np.int64)])
        self._open_B = np.concatenate([self._open_B, np.ones(count, dtype=np.bool_)])
        self._token_BS = np.concatenate([self._token_BS, np.zeros((count, self._steps), dtype=np.int64)])
        self._logprob_BS = np.concatenate([self._logprob_BS, np.zeros((count, self._steps), dtype=np.float32)])
        uniform_NS = torch.from_numpy(uniforms(seeds, self._steps)).float().to(self._device, non_blocking=True)
        self._uniform_BS = torch.cat([self._uniform_BS, uniform_NS])
        self._step_B1 = torch.nn.functional.pad(self._step_B1, (0, 0, 0, count))

    def uniform(self) -> Tensor:
        """The uniform (B) of each row's next step."""
        uniform_B1 = self._uniform_BS.gather(1, self._step_B1)
        # A row that ended may not be dropped yet at the end of its numbers.
        self._step_B1 = (self._step_B1 + 1).clamp_(max=self._steps - 1)
        return uniform_B1.squeeze(-1)

    def add(self, token_B: Tensor, logprob_B: Tensor) -> list[int]:
        """Write a token to every open row; the places of the rows that end with it."""
        logprobs = logprob_B.cpu().numpy()
        refuse_undefined(logprobs)
        tokens = token_B.cpu().numpy()
        opened = np.flatnonzero(self._open_B)
        self._token_BS[opened, self._written_B[opened]] = tokens[opened]
        self._logprob_BS[opened, self._written_B[opened]] = logprobs[opened]
        self._written_B[opened] += 1
        full_B = self._written_B >= self._limit_B
        ended = []
        for place in np.flatnonzero(self._open_B & (full_B | self._ending.may_end(tokens))):
            text = self._token_BS[place, : self._written_B[place]].tolist()
            finish = self._ending.finish_of(text) or (Finish.LENGTH if full_B[place] else None)
            if finish is not None:
                logprobs_of = self._logprob_BS[place, : len(text)].tolist()
                self.completions[self._number_B[place]] = self._ending.completion(text, logprobs_of, finish)
                self._open_B[place] = False
                self._need_B[place] = 0
                ended.append(int(place))
        return ended

    def compact(self) -> NDArray[np.int64]:
        """Drop the rows that ended; the places of the others, the last ones of which fill the gaps."""
        opened = np.flatnonzero(self._open_B)
        places = np.arange(len(opened))
        places[~self._open_B[: len(opened)]] = opened[opened >= len(opened)]
        self._number_B, self._need_B, self._limit_B = (
            each[places] for each in (self._number_B, self._need_B, self._limit_B)
        )
        self._written_B, self._open_B = self._written_B[places], self._open_B[places]
        self._token_BS, self._logprob_BS = self._token_BS[places], self._logprob_BS[places]
        kept_B = torch.from_numpy(places).to(self._device, non_blocking=True)
        self._uniform_BS, self._step_B1 = self._uniform_BS[kept_B], self._step_B1[kept_B]
        return places
