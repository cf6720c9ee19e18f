"""What a stage will ask and learn from, as numbers: the dry run and the token budgets are sums over these.

A stage names each kind of question that it puts to a model: how many there are, about which prompts, and how many
tokens a question holds on top of the prompt that it is about. A stage that trains a model says from how many tokens.
Nothing here knows a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from solon.constitution.constitution import Constitution
from solon.conversation import Role
from solon.engines.base import TokenBudget
from solon.runs.rows import PromptKind

Overhead = Callable[[Constitution, TokenBudget], int]
"""The most tokens that a question holds on top of its prompt: worked examples, the longest principle, and the texts of
models at their limits, but not the answer. Raises RecipeError when the constitution is missing something."""


@dataclass(frozen=True, slots=True)
class Size:
    """The prompts of one kind: how many, their tokens together, and the tokens of the longest."""

    count: int
    tokens: int
    longest: int

    @property
    def mean(self) -> float:
        """Tokens of a prompt."""
        return self.tokens / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """How many questions of a kind there are, and the tokens of the prompts that they are about."""

    questions: int
    tokens: int
    bound: int
    """The tokens at most."""


@dataclass(frozen=True, slots=True)
class DrawnPrompts:
    """Questions about prompts that are drawn: how many in all, and the share of each kind of prompt."""

    number: int
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class QuestionKind:
    """One kind of question of one stage."""

    name: str
    """In the singular, such as `critique`; lengths are measured and examples shown by it."""
    what: str
    """In the plural and in full, such as `replies to held-out benign prompts`."""
    role: Role
    """The role in which it is answered."""
    model: str
    """The model that answers, as the recipe names it; where the run trains who answers, the model that stands in."""
    about: tuple[PromptKind, ...]
    per_prompt: int
    """Questions about each prompt, at most; not used with `drawn`."""
    max_tokens: int
    """Tokens of an answer."""
    overhead: Overhead | None = None
    """None where the prompt by itself is the question."""
    options: Callable[[TokenBudget], int] | None = None
    """Tokens of the options that are read after the question, where the model chooses and writes nothing."""
    drawn: DrawnPrompts | None = None
    own_share: float = 1.0
    """The share that `model` itself answers, from 0 to 1. Models that the run trains, or has in a folder, answer the
    rest: `model` stands in for their lengths and their speed, but nobody is paid for them."""

    def asked(self, sizes: Mapping[PromptKind, Size]) -> Asked:
        """How many questions there are, when the prompts are so many."""
        of_kinds = [sizes[kind] for kind in self.about]
        if self.drawn is not None:
            number = self.drawn.number
            mean = sum(share * size.mean for share, size in zip(self.drawn.shares, of_kinds, strict=True))
            return Asked(number, round(number * mean), number * max(size.longest for size in of_kinds))
        tokens = self.per_prompt * sum(size.tokens for size in of_kinds)
        return Asked(self.per_prompt * sum(size.count for size in of_kinds), tokens, tokens)

    def tokens(self, constitution: Constitution, engine: TokenBudget) -> int:
        """Tokens to keep free in the window of `engine` for such a question and its answer, the prompt not counted."""
        answer = max(self.max_tokens, self.options(engine) if self.options is not None else 0)
        return answer + (self.overhead(constitution, engine) if self.overhead is not None else 0)


REPLY = "reply"
"""The name of the questions that are prompts and nothing else; every dry run measures these."""


@dataclass(frozen=True, slots=True)
class TrainingSizes:
    """What is known before a run of the texts that it will learn from."""

    prompts: Mapping[PromptKind, Size]
    reply: float
    """Mean tokens of a reply."""
    human: int
    """People's comparisons."""


@dataclass(frozen=True, slots=True)
class TrainingTokens:
    """Tokens that a stage learns from, once for each epoch, and those that it only reads while it does so."""

    learned: float
    read: float = 0.0
    networks: int = 1
    """Networks that learn from them."""
