"""Checks an engine before a run relies on it: does it answer, choose, follow seeds, and how fast is it?

Everything is asked as stages ask it. What is missing is named with what to do about it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from solon import prompts
from solon.config.settings import LEAST_LETTER_MASS, SamplingParams
from solon.engines.base import Choosing, Completion, Engine, Finish
from solon.engines.served.lacks import Lack
from solon.engines.served.served_engine import ServedEngine
from solon.errors import StageError
from solon.feedback.ask import ask
from solon.feedback.comparisons import ShownOrder, UndecidedReason
from solon.feedback.letters import (
    VOTES,
    LetterLogprobs,
    count_votes,
    letter_form,
    read_letters,
    read_log_odds,
)

TOKENS = 48
"""Tokens of each text."""
TOGETHER = 16
"""Texts that are asked for together."""
_SAMPLING = SamplingParams(max_tokens=TOKENS)
_SEED = 1


class SeedCheck(StrEnum):
    """What equal and different seeds gave."""

    FOLLOWED = "followed"
    IGNORED = "ignored"
    """The same seed gave two texts."""
    CONSTANT = "every seed gives the same text"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What was found out about an engine."""

    name: str
    window: int
    dtype: str
    rendering: str
    choosing: str
    text: str
    """An answer to `solon.prompts.engine_probe`."""
    finish: str
    seconds: float
    """For this answer alone."""
    tokens_per_second: float
    """Of `TOGETHER` answers at once."""
    choice: float | None
    """The probability of the right one of two options; None when the engine did not choose."""
    choice_note: str
    seeds: SeedCheck
    lacks: tuple[Lack, ...]
    remarks: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether a run can work with it."""
        return self.finish != Finish.ERROR.value and self.choice is not None


def check_engine(engine: Engine, least_mass: float = LEAST_LETTER_MASS) -> EngineReport:
    """Ask an engine a few short questions; raises EngineError where it does not answer at all.

    Where both letters together have less probability than `least_mass`, it does not choose, as in a run.
    """
    probe = prompts.engine_probe()
    began = time.monotonic()
    (alone,) = ask(engine, [probe], [_SEED], _SAMPLING)
    seconds = time.monotonic() - began
    began = time.monotonic()
    together = ask(engine, [probe] * TOGETHER, range(_SEED, _SEED + TOGETHER), _SAMPLING)
    rate = sum(map(_tokens, together)) / max(time.monotonic() - began, 1e-9)
    choice, note = _choice(engine, least_mass)
    seeds = _seeds(alone, together)
    return EngineReport(
        name=engine.name,
        window=engine.window,
        dtype=engine.dtype,
        rendering=engine.rendering.name,
        choosing=_how(engine),
        text=alone.text,
        finish=alone.finish.value,
        seconds=seconds,
        tokens_per_second=rate,
        choice=choice,
        choice_note=note,
        seeds=seeds,
        lacks=_lacks(engine, alone, choice, note, seeds),
        remarks=tuple(engine.remarks),
    )


def _choice(engine: Engine, least_mass: float) -> tuple[float | None, str]:
    """The probability of the right option, and how it was read or why it was not."""
    question = prompts.letter_probe()
    if engine.choosing is Choosing.VOTES:
        votes = count_votes(engine, {0: question}, {0: range(VOTES)})[0]
        if isinstance(votes, UndecidedReason):
            return None, votes.value
        return votes.first / votes.votes, f"{votes.first} of {votes.votes} votes"
    try:
        form = letter_form(engine, question)
    except StageError as error:
        return None, error.cause
    read = read_letters(engine, {0: question}, form)[0]
    if not isinstance(read, LetterLogprobs):
        return None, read.value
    mass = f"both letters together have probability {read.mass:.3f}"
    if read_log_odds(ShownOrder.AB, read, least_mass) is UndecidedReason.LETTERLESS:
        return None, f"no letter: {mass}, and a run asks for {least_mass:g}"
    share = 1 / (1 + math.exp(min(max(read.second - read.first, -700.0), 700.0)))
    return share, f"{form.value}; {mass}"


def _how(engine: Engine) -> str:
    if isinstance(engine, ServedEngine) and engine.able.readings:
        return " and ".join(sorted(each.value for each in engine.able.readings))
    return engine.choosing.value


def _seeds(alone: Completion, together: Sequence[Completion]) -> SeedCheck:
    if len({each.text for each in together}) == 1 and len(together) > 1:
        return SeedCheck.CONSTANT
    return SeedCheck.FOLLOWED if alone.text == together[0].text else SeedCheck.IGNORED


def _lacks(engine: Engine, alone: Completion, choice: float | None, note: str, seeds: SeedCheck) -> tuple[Lack, ...]:
    found = []
    if alone.finish is Finish.ERROR:
        found.append(Lack("an answer: the request failed", "see what the server logs about it"))
    if choice is None:
        found.append(Lack(f"a choice ({note})", "use --set engine.rendering=transcript or chat, or another model"))
    if isinstance(engine, ServedEngine):
        found += engine.lacks()
    if seeds is SeedCheck.IGNORED:
        found.append(Lack("seeds: rows that are asked again get other texts", "use a server that takes `seed` (vLLM)"))
    return tuple(found)


def _tokens(completion: Completion) -> int:
    return len(completion.token_ids) or completion.tokens_written or len(completion.text.split())
