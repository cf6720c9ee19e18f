"""Measurements on the sampled replies of one step of reinforcement learning.

An engine samples the replies. This module measures them by the forward passes of training: behaviour and reference
log-probabilities and values, in large micro-batches sorted by length. Measurements are laid out by response token,
shape (B, T), so that rewards and advantages are plain tensor arithmetic. When the first update uses the whole rollout,
its forward pass is the measurement: it runs once and keeps its gradient.

With several processes each measures some of the replies. Each writes its rows into a tensor of zeros, and the tensors
are summed: adding zeros changes no bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from solon.digest import seed_for
from solon.runs.processes import SINGLE_PROCESS, Processes
from solon.training.batches import PAD_ID, Orders, gather_masked, micro_batches, pad_right, span_mask
from solon.training.distributed.sharded import pad_passes
from solon.training.encoding import Tokens
from solon.training.forward import ScalarModel, TokenModel
from solon.training.losses import at_temperature, token_entropies, token_logprobs

PIECE = 1024
"""Tokens with logits in memory at the same time: with a large vocabulary, all would need more than the model."""


class AutogradGraph(Enum):
    """Whether a measurement keeps the graph that its gradient needs."""

    DISCARDED = "discarded"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Reply:
    """A sampled reply: its row and kind of prompt, tokens, text, and whether it ended before its token limit.

    `response` holds the sampled ids up to the cut, the end token included when the policy wrote one. `occurrence` is
    how often the step had drawn the same prompt before.
    """

    row_id: str
    kind: str
    prompt: Tokens
    response: Tokens
    text: str
    finished: bool
    occurrence: int = 0

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt) + len(self.response)

    @property
    def group(self) -> str:
        """Identifies the draw of the prompt that the reply answers, within its step."""
        return f"{self.row_id}/{self.occurrence}"


class PromptDraws:
    """Which prompts each step uses; a function of (seed, step) only, so that a resumed run draws the same.

    Kind k has `sizes[k]` prompts and gets its share of every step, rounded; the share of a kind without prompts goes to
    the others. Each kind's prompts are used in shuffled order, and shuffled again when all were used. The order is
    cached, so that a step costs only what it draws.
    """

    def __init__(self, sizes: Sequence[int], shares: Sequence[float], count: int, seed: int) -> None:
        self._sizes = sizes
        self._counts = _counts(sizes, shares, count)
        self._seed = seed
        self._orders = [Orders(kept=2) for _ in sizes]

    def at(self, step: int) -> list[tuple[int, int]]:
        """The pairs (kind, index) of step `step` (from 0)."""
        drawn = []
        for kind, (size, wanted) in enumerate(zip(self._sizes, self._counts, strict=True)):
            for place in range(step * wanted, (step + 1) * wanted):
                lap, position = divmod(place, size)
                drawn.append((kind, self._orders[kind].of(size, self._seed, "prompts", kind, lap)[position]))
        return drawn


def _counts(sizes: Sequence[int], shares: Sequence[float], count: int) -> list[int]:
    held = [share if size else 0.0 for size, share in zip(sizes, shares, strict=True)]
    total = sum(held)
    if not total:  # the wanted kinds have no prompts: take those that are there
        held = [float(size > 0) for size in sizes]
        total = sum(held)
    if not total:
        return [0] * len(held)
    edges = [round(count * sum(held[: end + 1]) / total) for end in range(len(held))]
    return [end - start for start, end in zip([0, *edges], edges, strict=False)]


def occurrences(row_ids: Iterable[str]) -> list[int]:
    """How often each row occurs earlier in the sequence."""
    met: Counter[str] = Counter()
    found = []
    for row_id in row_ids:
        found.append(met[row_id])
        met[row_id] += 1
    return found


def sample_seed(seed: int, step: int, row_id: str, sample: int, occurrence: int = 0) -> int:
    """The seed of one reply; a prompt drawn twice in a step gets different replies."""
    return seed_for(seed, "rollout", step, row_id, sample, *((occurrence,) if occurrence else ()))


def response_mask(replies: Sequence[Reply]) -> Tensor:
    """True at each reply's response tokens, shape (B, T) with T the longest response."""
    lengths = [len(reply.response) for reply in replies]
    return span_mask([0] * len(replies), lengths, max(lengths))


def batch_of(replies: Sequence[Reply], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts with responses on `device`, padded on the right, and the mask of the responses; both (B, T).

    The mask is on the CPU, which thereby knows how many tokens it marks without waiting for a GPU.
    """
    ids_BT = pad_right([reply.prompt + reply.response for reply in replies], PAD_ID, device)
    starts, ends = [len(reply.prompt) for reply in replies], [reply.length for reply in replies]
    return ids_BT, span_mask(starts, ends, ids_BT.shape[1])


@dataclass(frozen=True, slots=True)
class MeasuredReplies:
    """One figure by response token: as plain numbers (B, T), 0 elsewhere, and per reply with gradient."""

    figure_BT: Tensor
    with_grad: tuple[Tensor, ...] | None = None
    """(T) over each reply's own tokens; replies of one micro-batch share a graph."""


def measure_logprobs(
    model: TokenModel,
    replies: Sequence[Reply],
    temperature: float,
    micro_tokens: int,
    processes: Processes = SINGLE_PROCESS,
) -> Tensor:
    """Log-probabilities of all response tokens under `model` at the sampling temperature, shape (B, T)."""

    def logprobs(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
        pieces = pieces_of(model, ids_BT, mask_BT, temperature)
        return [torch.cat([token_logprobs(logits_NV, ids_N) for logits_NV, ids_N in pieces])]

    return _by_response(replies, logprobs, 1, model, micro_tokens, processes)[0].figure_BT


def measure_behaviour(
    model: TokenModel,
    replies: Sequence[Reply],
    temperature: float,
    micro_tokens: int,
    processes: Processes = SINGLE_PROCESS,
    graph: AutogradGraph = AutogradGraph.DISCARDED,
) -> tuple[MeasuredReplies, Tensor]:
    """Log-probabilities as above, and the entropies of the distributions that were sampled from, (B, T).

    With the graph kept the log-probabilities have their gradient, so that the first update need not compute them again.
    """

    def both(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
        return _behaviour(pieces_of(model, ids_BT, mask_BT, temperature))

    logprobs, entropies = _by_response(replies, both, 2, model, micro_tokens, processes, graph)
    return logprobs, entropies.figure_BT


def measure_behaviour_and_values(
    model: TokenModel,
    replies: Sequence[Reply],
    temperature: float,
    micro_tokens: int,
    processes: Processes = SINGLE_PROCESS,
    graph: AutogradGraph = AutogradGraph.DISCARDED,
) -> tuple[MeasuredReplies, Tensor, MeasuredReplies]:
    """The same, and the values (B, T) of a policy with a value head, in one pass; they keep their gradient as well."""

    def all_three(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
        pieces, value_N = pieces_and_values(model, ids_BT, mask_BT, temperature)
        return [*_behaviour(pieces), value_N]

    logprobs, entropies, values = _by_response(replies, all_three, 3, model, micro_tokens, processes, graph)
    return logprobs, entropies.figure_BT, values


def _behaviour(pieces: Iterator[Piece]) -> list[Tensor]:
    """Log-probabilities and entropies (N)."""
    figures = [(token_logprobs(logits_NV, ids_N), token_entropies(logits_NV.detach())) for logits_NV, ids_N in pieces]
    return [torch.cat(parts) for parts in zip(*figures, strict=True)]


Piece = tuple[Tensor, Tensor]
"""Logits at the sampling temperature (N, V), with the tokens that were sampled (N)."""


def pieces_of(model: TokenModel, ids_BT: Tensor, mask_BT: Tensor, temperature: float) -> Iterator[Piece]:
    """The logits of the masked tokens, a few tokens at a time."""
    return _targeted(model.logits_in_pieces(ids_BT, mask_BT, PIECE), ids_BT, mask_BT, temperature)


def pieces_and_values(
    model: TokenModel, ids_BT: Tensor, mask_BT: Tensor, temperature: float
) -> tuple[Iterator[Piece], Tensor]:
    """The same, and the values (N) of a policy with a value head, in one pass."""
    pieces, value_N = model.logits_and_values(ids_BT, mask_BT, PIECE)
    return _targeted(pieces, ids_BT, mask_BT, temperature), value_N


def _targeted(pieces: Iterator[Tensor], ids_BT: Tensor, mask_BT: Tensor, temperature: float) -> Iterator[Piece]:
    ids = torch.split(gather_masked(ids_BT, mask_BT), PIECE)
    for logits_NV, ids_N in zip(pieces, ids, strict=True):
        yield at_temperature(logits_NV, temperature), ids_N


def measure_values(
    model: ScalarModel,
    replies: Sequence[Reply],
    centre: float,
    micro_tokens: int,
    processes: Processes = SINGLE_PROCESS,
    graph: AutogradGraph = AutogradGraph.DISCARDED,
) -> MeasuredReplies:
    """Values of the states before all response tokens, minus `centre`; `graph` as above."""

    def values(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
        return [model.values(ids_BT, mask_BT) - centre]

    return _by_response(replies, values, 1, model, micro_tokens, processes, graph)[0]


def _by_response(
    replies: Sequence[Reply],
    measure: Callable[[Tensor, Tensor], Sequence[Tensor]],
    figures: int,
    model: TokenModel | ScalarModel,
    micro_tokens: int,
    processes: Processes,
    graph: AutogradGraph = AutogradGraph.DISCARDED,
) -> list[MeasuredReplies]:
    """Figures of shape (N) per micro-batch, laid out by response token."""
    mask_BT = response_mask(replies)
    laid_FBT = torch.zeros(figures, *mask_BT.shape)
    with_grad: list[dict[int, Tensor]] = [{} for _ in range(figures)]
    with torch.set_grad_enabled(graph is AutogradGraph.KEPT):
        rows, cost = range(len(replies)), model.pass_cost
        parts = list(micro_batches(rows, lambda row: replies[row].length, micro_tokens, cost=cost))
        found = [
            (part, measure(*batch_of([replies[row] for row in part], model.device)), counted)
            for part, counted in pad_passes(processes, parts, parts[-1])
        ]
    for part, measured, counted in found:  # after all passes, since reading waits for a GPU
        for number, measured_N in enumerate(measured if counted else ()):
            part_BT = torch.zeros(len(part), mask_BT.shape[1])
            part_BT[mask_BT[part]] = measured_N.detach().cpu()
            laid_FBT[number, part] = part_BT
            own = torch.split(measured_N, [len(replies[row].response) for row in part])
            with_grad[number] |= dict(zip(part, own, strict=True))
    if graph is AutogradGraph.DISCARDED:
        return [MeasuredReplies(laid_BT) for laid_BT in laid_FBT]
    return [
        MeasuredReplies(laid_BT, tuple(rows[row] for row in range(len(replies))))
        for laid_BT, rows in zip(laid_FBT, with_grad, strict=True)
    ]


def by_share(
    processes: Processes, replies: Sequence[Reply], measure: Callable[[Sequence[Reply]], Sequence[Tensor]]
) -> Sequence[Tensor]:
    """Figures by response token, each (B, T) with T the longest response; processes share the calls of `measure`."""
    if processes.count == 1:
        return measure(replies)
    rows = _dealt(processes, replies)
    # A process without a reply measures one too, in step with the others, and discards the result.
    measured = measure([replies[row] for row in rows] or replies[:1])
    longest = max(len(reply.response) for reply in replies)
    laid_FBT = torch.zeros(len(measured), len(replies), longest)
    for laid_BT, part_BT in zip(laid_FBT, measured, strict=True):
        laid_BT[rows, : part_BT.shape[1]] = part_BT[: len(rows)]
    processes.add([laid_FBT])
    return list(laid_FBT)


def scores_by_share(
    processes: Processes, replies: Sequence[Reply], score: Callable[[Sequence[Reply]], Tensor]
) -> Tensor:
    """One figure for each reply, shape (B); processes share the calls of `score`."""
    if processes.count == 1:
        return score(replies)
    rows = _dealt(processes, replies)
    scores_B = torch.zeros(len(replies))
    if rows:
        scores_B[rows] = score([replies[row] for row in rows])
    processes.add([scores_B])
    return scores_B


def _dealt(processes: Processes, replies: Sequence[Reply]) -> list[int]:
    """The rows of this process: a mix of long and short ones."""
    return list(processes.share(sorted(range(len(replies)), key=lambda row: replies[row].length, reverse=True)))
