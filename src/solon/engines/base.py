"""The two questions that can be put to a model, whoever runs it.

`generate` asks for text and `choose` for the log-probabilities of given options; every stage is written against this
protocol alone. A call is a pure function of its prompts, seeds and sampling: the seed of a row decides its text,
whichever rows share its batch, up to the rounding of the arithmetic. Stages therefore ask in fixed chunks, and a chunk
is the unit that is made durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from solon.conversation import Prompt, Rendering


class Finish(StrEnum):
    """Why a completion ended."""

    END = "end"
    """The model wrote its end token."""
    STOP = "stop"
    """The text met a stop string, which is cut off."""
    LENGTH = "length"
    """The token limit was reached first: the text is cut off."""
    ERROR = "error"
    """The engine did not answer; there is no text."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens: temperature 0 is greedy; `top_p` 1 leaves the distribution whole (the paper's way)."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A text, stripped of surrounding white space, with its tokens and their log-probabilities.

    `token_ids` are the sampled ids as the model wrote them, the end token included when there was one; `logprobs` are
    their natural log-probabilities under the sampling temperature, or None where an engine cannot tell.
    """

    text: str
    finish: Finish
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None


class Engine(Protocol):
    """A model that can be asked."""

    name: str
    """What the manifest records: a model folder's name and hash, or an address."""
    window: int
    """Prompt and completion tokens together."""
    rendering: Rendering

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order. Raises EngineError when a prompt leaves no room in the window."""
        ...

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Per prompt the log-probability of each option as the next words after the prompt's opening.

        The numbers are raw (they do not sum to one over the options); a stage normalises them. NaN stands for an
        option whose probability the engine could not tell.
        """
        ...

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the rendered prompt."""
        ...
