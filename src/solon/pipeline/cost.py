"""How many calls a run makes, of how many tokens, and how long they take: arithmetic on a recipe and a few measures.

Each stage says which questions it asks and from how many tokens it learns. Calls are counted as if every text passed
its checks, so their number is an upper bound; the bound on tokens takes every text of a model at its limit, the
estimate takes the lengths that a dry run saw. Time is tokens over measured speed. Worked examples count as tokens of
every prompt, because a server bills them, but the local engine reads them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from solon.config.model_spec import ModelSpec
from solon.config.recipe import Recipe
from solon.config.served_model import OPENAI
from solon.runs.rows import PromptKind
from solon.stages.plan import stages_of
from solon.stages.questions import REPLY, QuestionKind, Size, TrainingSizes, TrainingTokens

LEARNING_COST = 3
"""A token that is learnt takes as long as so many that are read: the forward pass once, the backward pass twice."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Mean lengths that a dry run saw of one kind of question, in tokens."""

    overhead: float
    """What a question holds on top of the prompt that it is about, worked examples included."""
    shared: float
    """Worked examples by themselves."""
    completion: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of one model, at the recipe's batch size."""

    reading: float
    writing: float


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate and an upper bound."""

    estimate: int
    bound: int


@dataclass(frozen=True, slots=True)
class Calls:
    """One kind of call of one stage."""

    stage: str
    what: str
    calls: int
    prompt: Range
    completion: Range
    seconds: float | None
    """None where the speed of the model that answers is not known."""
    price: float = 0.0
    """What a server asks for it by the recipe's prices."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What one stage learns from: tokens, counted once per epoch, and the time that takes."""

    stage: str
    tokens: int
    seconds: float | None
    """None where the speed of the models that learn is not known."""


@dataclass(frozen=True, slots=True)
class CostInputs:
    """All that the arithmetic needs to know apart from the recipe; by the names of kinds of questions."""

    sizes: Mapping[PromptKind, Size]
    overhead: Mapping[str, int]
    """The most that a question holds on top of its prompt (`QuestionKind.overhead`)."""
    seen: Mapping[str, Seen]
    speeds: Mapping[str, Speed]
    """Of the model that answers."""
    known_answers: Mapping[str, int]
    """Questions with known answers that a critic and a judge are measured on."""
    human_comparisons: int
    unknown: frozenset[str] = frozenset()
    """Kinds of questions to models whose speed is not known."""
    training: Speed | None = None
    """Of the models that learn; that of replies when None."""
    trainers: int = 1
    """GPUs that train together; each is as fast as the one that asks."""


def calls_of(recipe: Recipe, measured: CostInputs) -> list[Calls]:
    """Every kind of call of a whole run, in the order of the stages."""
    every = (
        _priced(recipe, each, _calls(stage.name, each, measured))
        for stage in stages_of(recipe)
        for each in stage.questions(recipe)
    )
    return [each for each in every if each.calls]


def _priced(recipe: Recipe, kind: QuestionKind, calls: Calls) -> Calls:
    """With what a server asks for the questions that it answers itself."""
    prices = recipe.engine.server
    if ModelSpec.parse(kind.model).scheme != OPENAI:
        return calls
    price = calls.prompt.estimate * prices.prompt_price + calls.completion.estimate * prices.completion_price
    return replace(calls, price=kind.own_share * price / 1e6)


def _calls(stage: str, kind: QuestionKind, measured: CostInputs) -> Calls:
    asked, known = kind.asked(measured.sizes), measured.known_answers.get(kind.name, 0)
    more = round(known * measured.sizes[PromptKind.RED_TEAM].mean)
    calls, limit = asked.questions + known, kind.max_tokens
    overhead = measured.overhead.get(kind.name, 0)
    seen = measured.seen.get(kind.name) or Seen(overhead, 0.0, limit)
    prompt = Range(round(asked.tokens + more + calls * seen.overhead), asked.bound + more + calls * overhead)
    completion = Range(round(calls * min(seen.completion, limit)), calls * limit)
    # A kind that no dry run asked is as fast as replies, unless its model has no known speed.
    speed = measured.speeds.get(kind.name, None if kind.name in measured.unknown else measured.speeds.get(REPLY))
    seconds = None
    if speed is not None:
        seconds = (prompt.estimate - calls * seen.shared) / speed.reading + completion.estimate / speed.writing
    return Calls(stage, kind.what, calls, prompt, completion, seconds)


def learning_of(recipe: Recipe, measured: CostInputs) -> list[Learning]:
    """What the trained models learn from, roughly: every prompt with a reply of the length that was seen."""
    sizes = TrainingSizes(measured.sizes, measured.seen[REPLY].completion, measured.human_comparisons)
    speed = measured.training or measured.speeds.get(REPLY)
    learned = ((stage.name, stage.learns(recipe, sizes)) for stage in stages_of(recipe))
    return [
        Learning(name, round(found.learned), _seconds(found, speed, measured.trainers))
        for name, found in learned
        if found is not None
    ]


def _seconds(found: TrainingTokens, speed: Speed | None, trainers: int) -> float | None:
    if speed is None:
        return None
    learned = LEARNING_COST * found.learned * found.networks
    return (learned + found.read) / (speed.reading * trainers)
