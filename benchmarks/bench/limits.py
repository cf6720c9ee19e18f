"""The least time that this machine needs for a work: the operations that nobody can leave out, or the bytes.

Operations are those of the layers' products, of causal attention, and of the head where logits are needed; a prefix is
read once. Training counts two operations for each weight and token forward, two for the gradient of the activations,
and two for that of the weights, which frozen ones do not have. Recomputation, padding and sampling do not count. While
texts are written, each step reads all weights, and each row its keys and values. The limit is the greater of operations
by the rate of large products and bytes by the memory's bandwidth, both measured on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.tasks import AskingTask, LearningTask, Phase, ReinforcementTask
from solon.engines.token_rows import common_length
from solon.model_folders.model_shape import ModelShape

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Machine:
    """What the machine does at best, in one dtype."""

    operations: float
    """Operations a second in large products."""
    bandwidth: float
    """Bytes a second that are read from memory."""


@dataclass(frozen=True)
class Demand:
    """What a work needs at least."""

    operations: float
    bytes: float = 0.0

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.operations + other.operations, self.bytes + other.bytes)

    def seconds(self, machine: Machine) -> float:
        """The least time."""
        return max(self.operations / machine.operations, self.bytes / machine.bandwidth)

    def bound(self, machine: Machine) -> str:
        """Which of the two the machine is short of."""
        by_products = self.operations / machine.operations >= self.bytes / machine.bandwidth
        return "operations" if by_products else "bytes"


def forward(shape: ModelShape, tokens: float, before: float, logits: float = 0) -> float:
    """Operations of reading `tokens` after `before` others, with logits at so many positions."""
    attention = 4 * shape.layers * shape.hidden * tokens * (before + tokens / 2)
    return 2 * shape.matrices * tokens + attention + 2 * shape.hidden * shape.vocabulary * logits


def labelling(shape: ModelShape, task: AskingTask, dtype: str) -> Demand:
    """Of reading letters: the beginning once, then each own part."""
    (phase,) = task.phases
    own = sum(forward(shape, len(each), len(phase.shared), 1) for each in phase.own)
    return Demand(forward(shape, len(phase.shared), 0) + own, _weights(shape, dtype))


def writing(shape: ModelShape, task: AskingTask, dtype: str) -> Demand:
    """Of writing the texts of all phases; what a row has read in the phase before it need not read again."""
    demand, before = Demand(0.0), [Phase((), [()] * len(phase.own), (), (), (), "") for phase in task.phases[:1]]
    for earlier, phase in zip([*before, *task.phases], task.phases, strict=False):
        demand += _phase(shape, phase, earlier, dtype)
    return demand


def _phase(shape: ModelShape, phase: Phase, earlier: Phase, dtype: str) -> Demand:
    shared, size = len(phase.shared), BYTES[dtype]
    known = [common_length(*rows) for rows in zip(earlier.whole, phase.whole, strict=True)]
    operations = 0.0 if min(known) >= shared else forward(shape, shared, 0)
    cache = 2.0 * shape.layers * shape.keys * size * shared * max(phase.limits)
    for read, own, limit in zip(known, phase.own, phase.limits, strict=True):
        begin = max(read, shared)
        operations += forward(shape, shared + len(own) - begin, begin, 1)
        operations += forward(shape, limit, shared + len(own), limit)
        cache += 2 * shape.layers * shape.keys * size * limit * (len(own) + limit / 2)
    return Demand(operations, max(phase.limits) * _weights(shape, dtype) + cache)


def learning(shape: ModelShape, task: LearningTask) -> Demand:
    """Of one step of finetuning or of the preference model; what the two sides of a pair share is read once."""
    logits = [len(row) - start for row, start in zip(task.rows, task.starts, strict=True)]
    finetuned = (_trained(shape, len(row), count, task.lora_rank) for row, count in zip(task.rows, logits, strict=True))
    sides = (_trained(shape, len(row), 0, task.lora_rank) for row in (*task.chosen, *task.rejected))
    pairs = zip(task.chosen, task.rejected, strict=True)
    twice = (_trained(shape, common_length(*pair), 0, task.lora_rank) for pair in pairs)
    return Demand(sum(finetuned) + sum(sides) - sum(twice))


def _trained(shape: ModelShape, tokens: float, logits: float, lora_rank: int) -> float:
    """Forward and backward over a row."""
    times = 2 if lora_rank else 3
    products = times * (forward(shape, tokens, 0, logits) - forward_attention(shape, tokens))
    return products + 3 * forward_attention(shape, tokens)


def forward_attention(shape: ModelShape, tokens: float) -> float:
    """Operations of causal attention over a row."""
    return 2 * shape.layers * shape.hidden * tokens * tokens


def reinforcement(shape: ModelShape, task: ReinforcementTask, way: str, dtype: str) -> Demand:
    """Of one step: the rollout, the scores, the reference, and the updates; PPO has a value function as well."""
    copies = 1 if way == "ppo" else 2  # replies to one prompt, which is read once
    prompt = sum(map(len, task.prompts)) / len(task.prompts) / copies
    new, rows = task.new_tokens, task.episodes
    whole = prompt + new
    read = [[0] * round(prompt)] * rows
    rollout = _phase(shape, Phase((), read, [new] * rows, (), (), ""), Phase((), [()] * rows, (), (), (), ""), dtype)
    networks = 2 if way == "ppo" else 1
    measured = networks * forward(shape, whole, 0) + forward(shape, whole, 0, new)
    learned = _trained(shape, whole, new, task.lora_rank)
    learned += _trained(shape, whole, 0, task.lora_rank) if way == "ppo" else 0
    return Demand(rollout.operations + rows * (measured + task.passes * learned), rollout.bytes)


def _weights(shape: ModelShape, dtype: str) -> float:
    """Bytes of the layers and the head."""
    return BYTES[dtype] * (shape.matrices + shape.hidden * shape.vocabulary)
