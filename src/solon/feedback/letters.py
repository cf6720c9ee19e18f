"""Reading a judge's letter: by its log-probability where the engine has it, else by counting what it writes.

Tokenizers cut "(A)" in different places, so before anything is asked, `letter_form` finds one form of the answer in
which both letters continue the question by as many tokens and leave the question's own tokens as they are; only then do
their log-probabilities compare. Where there is none, the run stops there. An engine without log-probabilities is
asked for texts, which are read strictly: what is not plainly one letter is no vote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from solon import prompts
from solon.config.settings import LEAST_LETTER_MASS, SamplingParams
from solon.conversation import LABELS, Prompt, Role, Turn
from solon.digest import seed_for
from solon.engines.base import Choosing, Completion, Continuation, Engine, Finish, TokenBudget
from solon.errors import StageError
from solon.feedback.ask import ask, fit_window
from solon.feedback.comparisons import ShownOrder, UndecidedReason
from solon.prompts import LetterForm

VOTE_TOKENS = 8
"""What a written letter may take, with brackets and an end."""
PRIOR_VOTES = 0.5
"""Votes that each letter has before any is counted."""
VOTES = 8
"""Votes on a question where no recipe says how many."""
_AT_VOTE = SamplingParams(max_tokens=VOTE_TOKENS, temperature=1.0, top_p=1.0)
"""At temperature 1, where the share of votes estimates the letter's probability."""
_SINGLE = re.compile(r"\(?([AB])(?:\)|[.:]|\)[.:])?")
_ANSWERED = re.compile(rf"(?:\A|\n\s*){LABELS[Role.ANSWER]}\b[^\n]*\s*\Z")
_BRACKETED = re.compile(r"\(([A-Z])\)")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class LetterLogprobs(NamedTuple):
    """The log-probabilities of the letters A and B after one question."""

    first: float
    second: float

    @property
    def mass(self) -> float:
        """P(A) + P(B): how much of the answer is a letter at all."""
        return math.exp(self.first) + math.exp(self.second)


class Reasoned(NamedTuple):
    """What a judge wrote before its letter; `thinking` is what a reasoning model wrote to itself before that."""

    text: str
    thinking: str = ""


class Votes(NamedTuple):
    """How many of the texts that name a letter name A."""

    first: int
    votes: int


def letter_tokens(engine: TokenBudget) -> int:
    """Tokens that an answer needs in the window."""
    return 1 if engine.choosing is Choosing.LOGPROBS else VOTE_TOKENS


def letter_form(engine: Engine, asked: Prompt | None = None, among: Sequence[str] = prompts.LETTERS) -> LetterForm:
    """The first form in which all letters are one token each after the question, or else as many tokens each.

    How a tokenizer cuts the end of a question does not depend on what it is about, so a short one of our own is taken
    where none is given. Raises StageError that names what was tried when no form lets the letters compare.
    """
    if engine.choosing is Choosing.VOTES:
        return LetterForm.WITH_BRACKET
    question = asked or Prompt((Turn(Role.QUESTION, "Which is better?\nOptions:\n(A) x\n(B) y"),), Role.ANSWER, "(")
    tried: dict[LetterForm, Continuation] = {}
    for form in LetterForm:
        options = prompts.letter_options(form, engine.rendering, among)
        tried[form] = engine.continuation(prompts.in_form(question, form), options)
    fair = [form for form, found in tried.items() if found.comparable]
    single = [form for form in fair if len(tried[form].options[0]) == 1]
    if not fair:
        why = "; ".join(f"{form.value}: {_incomparable(found)}" for form, found in tried.items())
        raise StageError(
            f"the tokenizer gives the letters {' and '.join(among)} no comparable tokens after a question ({why})",
            place=engine.name,
            remedy="Use --set engine.rendering=transcript or chat, or another feedback model",
        )
    return (single or fair)[0]


def _incomparable(found: Continuation) -> str:
    if len(set(found.options)) < len(found.options):
        return "the same tokens for two of them"
    lengths = " and ".join(str(len(tokens)) for tokens in found.options)
    return f"{lengths} tokens{'' if found.clean else ', merged with the end of the question'}"


def read_letters(
    engine: Engine, questions: Mapping[K, Prompt], form: LetterForm
) -> dict[K, LetterLogprobs | UndecidedReason]:
    """The letters' log-probabilities after each question, or why there are none; one call of the engine for all."""
    fits = fit_window(engine, list(questions.values()), 1)
    fitting = {key: prompt for (key, prompt), fitted in zip(questions.items(), fits, strict=True) if fitted}
    answers: dict[K, LetterLogprobs | UndecidedReason] = dict.fromkeys(questions, UndecidedReason.TOO_LONG)
    if fitting:
        asked = [prompts.in_form(prompt, form) for prompt in fitting.values()]
        letters = engine.choose(asked, prompts.letter_options(form, engine.rendering))
        for key, pair in zip(fitting, letters, strict=True):
            answers[key] = LetterLogprobs(*pair) if all(map(math.isfinite, pair)) else UndecidedReason.NO_LOGPROB
    return answers


def count_votes(
    engine: Engine, questions: Mapping[K, Prompt], seeds: Mapping[K, Sequence[int]]
) -> dict[K, Votes | UndecidedReason]:
    """What the texts drawn after each question vote for, one text for each of its seeds; one call for all."""
    drawn = [(key, seed) for key in questions for seed in seeds[key]]
    asked = {key: prompts.in_form(prompt, LetterForm.WITH_BRACKET) for key, prompt in questions.items()}
    fits = fit_window(engine, list(asked.values()), VOTE_TOKENS)
    too_long = {key: UndecidedReason.TOO_LONG for key, fitted in zip(asked, fits, strict=True) if not fitted}
    named: dict[K, list[str]] = {key: [] for key in questions}
    for (key, _), text in zip(
        drawn, ask(engine, [asked[key] for key, _ in drawn], [seed for _, seed in drawn], _AT_VOTE), strict=True
    ):
        letter = None if text.finish is Finish.ERROR else letter_in(text.text)
        named[key] += [letter] if letter else []
    return {
        key: too_long.get(key) or (Votes(letters.count("A"), len(letters)) if letters else UndecidedReason.NO_VOTE)
        for key, letters in named.items()
    }


def letter_in(text: str) -> str | None:
    """The letter that an answer names: just "A", "(A)" or "A.", or one in brackets at the start and no other after it.

    "A reply is better" names none: its A is an article.
    """
    answer = text.strip()
    if single := _SINGLE.fullmatch(answer):
        return single[1]
    named = _BRACKETED.findall(answer)
    opens = _BRACKETED.match(answer)
    return opens[1] if opens and opens[1] in prompts.LETTERS and len(set(named)) == 1 else None


def think(
    engine: Engine, questions: Mapping[K, Prompt], seeds: Mapping[K, int], sampling: SamplingParams
) -> dict[K, Reasoned]:
    """What the judge writes before its letter, per question; empty where it wrote nothing or did not come to an end."""
    written = ask(engine, list(questions.values()), [seeds[key] for key in questions], sampling)
    return {
        key: Reasoned(reasoning_in(completion), completion.thinking)
        for key, completion in zip(questions, written, strict=True)
    }


def refuse_unreasoned(answers: dict[K, T], reasoned: Collection[K]) -> dict[K, T | UndecidedReason]:
    """The answers, without those to questions that have no reasoning.

    A question that is longer than the window was not asked at all, so that it keeps its own reason.
    """
    return {
        key: answer if key in reasoned or answer is UndecidedReason.TOO_LONG else UndecidedReason.UNREASONED
        for key, answer in answers.items()
    }


def reasoning_in(completion: Completion) -> str:
    """The reasoning without the label and the answer that a judge may write with it; empty where it was cut off.

    The letter is asked for after the reasoning, so what a judge says of it there would be said twice.
    """
    if completion.finish not in (Finish.END, Finish.STOP):
        return ""
    text = completion.text.removeprefix(f"{LABELS[Role.REASONING]}:").strip()
    return _ANSWERED.sub("", text).strip()


def ask_letters(
    engine: Engine,
    questions: Mapping[tuple[int, ShownOrder], Prompt],
    seed: int = 0,
    least_mass: float = LEAST_LETTER_MASS,
) -> dict[tuple[int, ShownOrder], float | UndecidedReason]:
    """Per question the log-odds that reply A is better, or why there is none; one call of the engine for all.

    For measures outside the stage: the letter's form is found anew, and where the engine has no log-probabilities each
    question is answered `VOTES` times, by seeds that depend on its text. `least_mass` is that of `read_log_odds`.
    """
    answers: dict[tuple[int, ShownOrder], float | UndecidedReason] = {}
    if engine.choosing is Choosing.VOTES:
        texts = {key: "".join(engine.rendering.render(prompt)) for key, prompt in questions.items()}
        seeds = {key: [seed_for(seed, "vote", text, number) for number in range(VOTES)] for key, text in texts.items()}
        for key, votes in count_votes(engine, questions, seeds).items():
            answers[key] = votes if isinstance(votes, UndecidedReason) else seen_from_a(key[1], votes_log_odds(*votes))
        return answers
    form = letter_form(engine, next(iter(questions.values()), None))
    for key, read in read_letters(engine, questions, form).items():
        answers[key] = read if isinstance(read, UndecidedReason) else read_log_odds(key[1], read, least_mass)
    return answers


def read_log_odds(order: ShownOrder, read: LetterLogprobs, least_mass: float) -> float | UndecidedReason:
    """Log-odds that reply A is better; none where both letters together have less than the probability `least_mass`.

    A model that answers otherwise than by a letter has a preference between the letters by chance.
    """
    return UndecidedReason.LETTERLESS if read.mass < least_mass else log_odds(order, *read)


def log_odds(order: ShownOrder, first: float, second: float) -> float | UndecidedReason:
    """Log-odds that reply A is better, from the log-probabilities of the letters (A) and (B) in one order.

    Normalising over the two letters leaves their difference as it is: log p/(1-p) = log P(letter A) - log P(letter B).
    """
    if not (math.isfinite(first) and math.isfinite(second)):
        return UndecidedReason.NO_LOGPROB
    if first == second:
        return UndecidedReason.TIE
    return float(first - second if order is ShownOrder.AB else second - first)


def seen_from_a(order: ShownOrder, letter_a: float) -> float:
    """Log-odds that reply A is better, from those of the letter A in one order."""
    return letter_a if order is ShownOrder.AB else -letter_a


def votes_log_odds(for_it: int, votes: int) -> float:
    """The log-odds behind `for_it` of `votes` votes: (k + 1/2) / (n + 1), the estimate of Krichevsky and Trofimov.

    The share itself would make unanimous votes certain, with infinite log-odds that no other order or judge could
    balance. Half a vote for each letter beforehand (Jeffreys' prior) keeps the log-loss on the next vote within a
    constant of the best for every true share, also near 0 and 1, and it treats the two letters alike. Raises ValueError
    when nobody voted.
    """
    if not 0 <= for_it <= votes or votes == 0:
        raise ValueError(f"{for_it} of {votes} votes give no estimate")
    return math.log(for_it + PRIOR_VOTES) - math.log(votes - for_it + PRIOR_VOTES)
