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

from solon.config.settings import SamplingParams
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
class Completion:
    """A text, stripped of surrounding white space, with its tokens and their log-probabilities.

    `token_ids` are the sampled ids as the model wrote them, the end token included when there was one; `logprobs` are
    their natural log-probabilities under the sampling temperature, or None where an engine cannot tell. `thinking` is
    what a reasoning model wrote to itself before the text (`solon.engines.thinking`).
    """

    text: str
    finish: Finish
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    thinking: str = ""


class Choosing(StrEnum):
    """How an engine can tell which of several options a model takes."""

    LOGPROBS = "log-probs"
    """By `choose`: the log-probability of every option."""
    VOTES = "votes"
    """Only by texts: whoever asks draws several and counts what they name."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """How options continue a prompt in an engine's own tokens.

    `options` holds each option's tokens, from the first place where any of them departs from the bare prompt; `clean`
    tells that this place is the prompt's end, so that no option merges with the prompt's last token.
    """

    clean: bool
    options: tuple[tuple[int, ...], ...]

    @property
    def comparable(self) -> bool:
        """Whether the options' log-probabilities compare: clean, all different, and as many tokens of each."""
        lengths = {len(tokens) for tokens in self.options}
        return self.clean and len(lengths) == 1 and 0 not in lengths and len(set(self.options)) == len(self.options)


class Engine(Protocol):
    """A model that can be asked."""

    name: str
    """What the manifest records: a model folder's name and hash, or an address."""
    window: int
    """Prompt and completion tokens together."""
    dtype: str
    """The numbers that the model computes in, such as `float32`; empty where an engine cannot tell."""
    rendering: Rendering
    choosing: Choosing
    """With `VOTES`, `choose` and `continuation` raise EngineError."""
    remarks: Sequence[str]
    """Lines for the console about how this engine will ask, such as how many prompts fit into memory together."""

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """One completion per prompt, in order; each ends before the first of the `stop` strings.

        Temperature 0 is greedy. Raises EngineError when a prompt leaves no room in the window.
        """
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

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """How the options continue the prompt's opening, in tokens; nothing is asked of the model."""
        ...
