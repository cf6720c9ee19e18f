"""Putting prompts to an engine as every stage does: sampling, stops, and the check that a prompt fits the window.

A prompt that leaves too little of the window is not asked: its completion is empty and cut off (`Finish.LENGTH`), so
that the row is kept as truncated and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from solon.config.recipe import SamplingParams
from solon.conversation import Conversation, Prompt, Role, Turn
from solon.engines.base import Completion, Engine, Finish, TokenCounting, count_many
from solon.prompts import reply

TOO_LONG = Completion("", Finish.LENGTH)
"""The completion of a prompt that is too long to be asked."""
STUB = Conversation((Turn(Role.HUMAN, "Hello?"),))
"""A short prompt, to count the tokens that a question holds beyond its prompt."""


def ask(
    engine: Engine, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stops: Sequence[str] = ()
) -> list[Completion]:
    """One completion per prompt, in order, each drawn from its own seed; `stops` end it besides the rendering's own."""
    stop = (*engine.rendering.stops(), *stops)
    fitting = [index for index, fits in enumerate(fit_window(engine, prompts, sampling.max_tokens)) if fits]
    completions = [TOO_LONG] * len(prompts)
    if fitting:
        asked, drawn = [prompts[index] for index in fitting], [seeds[index] for index in fitting]
        for index, completion in zip(fitting, engine.generate(asked, drawn, sampling, stop), strict=True):
            completions[index] = completion
    return completions


def fits_window(engine: Engine, prompt: Prompt, tokens: int) -> bool:
    """Whether `tokens` more tokens fit into the window after the prompt."""
    return engine.count_tokens(prompt) + tokens <= engine.window


def fit_window(engine: Engine, prompts: Sequence[Prompt], tokens: int) -> list[bool]:
    """`fits_window` of each prompt, in order; all are counted together."""
    return [count + tokens <= engine.window for count in count_many(engine, prompts)]


def bare_tokens(engine: TokenCounting) -> int:
    """The tokens of `STUB` when it is asked by itself."""
    return engine.count_tokens(reply(STUB))
