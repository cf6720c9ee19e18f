"""The interface of every engine: the two questions that a stage can ask a model.

`generate` asks for text and `choose` for the log-probabilities of given options; stages use this protocol and no other.
A call is a pure function of its prompts, seeds and sampling parameters: the seed of a row decides its text, whichever
rows share its batch, up to rounding. Stages ask in fixed chunks, and each chunk is saved as a unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from solon.config.settings import SamplingParams
from solon.conversation import Prompt, Rendering
from solon.errors import EngineError
from solon.http.request_flow import RequestFlow
from solon.http.spending import Ledger


class Finish(StrEnum):
    """Why a completion ended."""

    END = "end"
    """The model wrote its end token."""
    STOP = "stop"
    """The text reached a stop string, which is cut off."""
    LENGTH = "length"
    """The token limit was reached first: the text is cut off."""
    ERROR = "error"
    """The engine did not answer; there is no text."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A text, stripped of surrounding white space, with its tokens and their log-probabilities.

    `token_ids` are the sampled ids, with the end token when there was one. `logprobs` are their natural
    log-probabilities at the sampling temperature, or None where the engine does not know them. `thinking` is what a
    reasoning model wrote to itself before the text (`solon.engines.thinking`).
    """

    text: str
    finish: Finish
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    thinking: str = ""
    tokens_written: int | None = None
    """How many tokens the completion took, where an engine knows that without their ids."""


class Choosing(StrEnum):
    """How to find out which of several options a model chooses."""

    LOGPROBS = "log-probs"
    """By `choose`: the log-probability of every option."""
    VOTES = "votes"
    """Only by texts: the caller samples several and counts the options they name."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """How options continue a prompt in an engine's own tokens.

    `options` holds each option's tokens, from the first place where any of them differs from the bare prompt. `clean`
    is true when this place is the end of the prompt, so no option merges with the prompt's last token.
    """

    clean: bool
    options: tuple[tuple[int, ...], ...]

    @property
    def comparable(self) -> bool:
        """Whether the options' log-probabilities compare: clean, all different, and of equal length."""
        lengths = {len(tokens) for tokens in self.options}
        return self.clean and len(lengths) == 1 and 0 not in lengths and len(set(self.options)) == len(self.options)


class Engine(Protocol):
    """A model that answers prompts."""

    name: str
    """What the manifest records: a model folder's name and hash, or an address."""
    window: int
    """Prompt and completion tokens together."""
    dtype: str
    """The type that the model computes in, such as `float32`; empty if unknown."""
    rendering: Rendering
    choosing: Choosing
    """With `VOTES`, `choose` and `continuation` raise EngineError."""
    remarks: Sequence[str]
    """Lines for the console, such as how many prompts fit into memory together."""

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """One completion per prompt, in order; each ends before the first of the `stop` strings.

        Temperature 0 is greedy. Raises EngineError when a prompt fills the window.
        """
        ...

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Per prompt the log-probability of each option as the next words after the prompt's opening.

        The numbers are raw (they do not sum to one over the options); a stage normalises them. NaN means that the
        engine does not know an option's probability.
        """
        ...

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the rendered prompt."""
        ...

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """How the options continue the prompt's opening, in tokens; the model is not run."""
        ...


class TokenCounting(Protocol):
    """Counts tokens as a model does, without its weights."""

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        ...

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """See `Engine.continuation`."""
        ...


class TokenBudget(TokenCounting, Protocol):
    """Says how much of a model's window prompts take, without its weights; every engine does too."""

    window: int
    """See `Engine.window`."""
    choosing: Choosing
    """See `Engine.choosing`."""


@runtime_checkable
class Countable(Protocol):
    """An engine whose way of counting can be sent to another process."""

    def counter(self) -> TokenCounting:
        """What counts as the engine does; it can be pickled."""
        ...


@runtime_checkable
class CountsTogether(Protocol):
    """An engine that counts several prompts in less time than one after the other."""

    def count_many(self, prompts: Sequence[Prompt]) -> list[int]:
        """`Engine.count_tokens` of each prompt, in order."""
        ...


@runtime_checkable
class Metered(Protocol):
    """An engine that spends requests, tokens and money."""

    def spend_from(self, ledger: Ledger) -> None:
        """Count everything, also what was spent so far, in a ledger that several engines may share."""
        ...


@runtime_checkable
class Remote(Protocol):
    """An engine that asks servers: several threads may ask it, and its answers come one after the other.

    `generated` and `chosen` give what `generate` and `choose` return, each answer when it is there, with the number of
    its prompt: each time all that are new.
    """

    def join(self, flow: RequestFlow) -> None:
        """Count requests in a flow that several engines may share."""
        ...

    def generated(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> Iterator[Sequence[tuple[int, Completion]]]:
        """The completions as they arrive."""
        ...

    def chosen(
        self, prompts: Sequence[Prompt], options: Sequence[str]
    ) -> Iterator[Sequence[tuple[int, tuple[float, ...]]]]:
        """The log-probabilities as they arrive."""
        ...


def count_many(engine: TokenCounting, prompts: Sequence[Prompt]) -> list[int]:
    """Tokens of each rendered prompt, in order, counted together where the engine can; raises as `count_tokens`."""
    if isinstance(engine, CountsTogether):
        return engine.count_many(prompts)
    return [engine.count_tokens(prompt) for prompt in prompts]


def window_filled(size: int, window: int, place: str) -> EngineError:
    """The error for a prompt that leaves no room for its answer."""
    return EngineError(
        f"the prompt has {size} tokens and fills the window of {window}",
        place=place,
        remedy="Use --set prompts.too_long=drop, fewer worked examples, or a model with a longer window",
    )
