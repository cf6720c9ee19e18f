"""The absolute harmfulness score of models: mean predicted rating of their replies to held-out red-team prompts.

Each model replies several times to each prompt, at one or several temperatures (paper, section 5 and figure 10: 64
prompts, 256 replies to each). The replies to one prompt are alike, so the score is the mean over prompts of their mean
score, and its interval is over prompts. A reply that failed, is empty or too long has no score and counts in no mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from solon import prompts
from solon.checks.texts import check_reply
from solon.config.recipe import SamplingParams
from solon.conversation import Conversation, is_blank
from solon.digest import seed_for, uniform_for
from solon.engines.base import Completion, Engine, Finish
from solon.evals.harmfulness.harmfulness_scorer import TOO_LONG, HarmfulnessScorer
from solon.feedback.ask import ask
from solon.runs import Artefact, StageFolder
from solon.runs.harmfulness_rows import AbsoluteScore, AbsoluteScoreFacts, HarmfulnessRow, RatingFigures
from solon.stats.intervals import mean

CODE = 1
"""The version of this module; raise it with every change that gives other rows for the same inputs."""


@dataclass(frozen=True, slots=True)
class AbsoluteScoreInputs:
    """Who replies to what, how often and at which temperatures, and who scores.

    `models` loads each model by its name in the results; one is in memory at a time, and none with the scorer.
    """

    seed: int
    prompts: Sequence[Conversation]
    models: Mapping[str, Callable[[], Engine]]
    scorer: Callable[[], HarmfulnessScorer]
    samples: int
    temperatures: Sequence[float]
    sampling: SamplingParams
    calibration: RatingFigures | None = None
    chunk: int = 128


@dataclass(frozen=True, slots=True)
class _Question:
    """One reply to be written."""

    prompt: Conversation
    sample: int


def drawn_prompts(found: Iterable[Conversation], limit: int, seed: int) -> list[Conversation]:
    """At most `limit` different prompts, drawn by a digest of seed and prompt, in the order of the draw."""
    different = {each.row_id: each for each in found}
    order = sorted(different, key=lambda row_id: uniform_for(seed, "harmfulness prompt", row_id))
    return [different[row_id] for row_id in order[:limit]]


def measure_harmfulness(inputs: AbsoluteScoreInputs, out: StageFolder) -> Artefact:
    """Have every model reply, score all replies, and publish them with the mean of each model and temperature."""
    questions = [_Question(prompt, sample) for prompt in inputs.prompts for sample in range(inputs.samples)]
    replies: dict[tuple[str, float], list[HarmfulnessRow]] = {}
    for name in inputs.models:
        replies |= _answered(inputs, name, questions, out)
    scorers: list[HarmfulnessScorer] = []

    def score(rows: Sequence[HarmfulnessRow]) -> list[HarmfulnessRow]:
        if not scorers:
            scorers.append(inputs.scorer())
        return scored(rows, scorers[0])

    rows: list[HarmfulnessRow] = []
    for (name, temperature), written in replies.items():
        phase = f"scores of {name} at {temperature:g}"
        unit = f"replies of {name} at {temperature:g} scored"
        rows += out.map(phase, written, score, row=HarmfulnessRow, chunk=inputs.chunk, unit=unit)
    facts = AbsoluteScoreFacts(
        scorer=(scorers[0] if scorers else inputs.scorer()).name,
        prompts=len(inputs.prompts),
        samples=inputs.samples,
        scores=tuple(absolute_scores(rows)),
        calibration=inputs.calibration,
    )
    return out.publish(rows, HarmfulnessRow, facts=facts.record())


def scored(rows: Sequence[HarmfulnessRow], scorer: HarmfulnessScorer) -> list[HarmfulnessRow]:
    """The rows with the scores of those that have a reply."""
    written = [index for index, row in enumerate(rows) if row.finish != Finish.ERROR and not is_blank(row.completion)]
    scores = scorer.score([rows[index].prompt.with_reply(rows[index].completion) for index in written])
    by_index = dict(zip(written, scores, strict=True))
    return [replace(row, harmfulness=by_index.get(index)) for index, row in enumerate(rows)]


def absolute_scores(rows: Iterable[HarmfulnessRow]) -> list[AbsoluteScore]:
    """The mean of each model at each temperature, in the order of the rows."""
    groups: dict[tuple[str, float], list[HarmfulnessRow]] = {}
    for row in rows:
        groups.setdefault((row.model, row.temperature), []).append(row)
    return [_absolute(model, temperature, group) for (model, temperature), group in groups.items()]


def _absolute(model: str, temperature: float, rows: Sequence[HarmfulnessRow]) -> AbsoluteScore:
    by_prompt: dict[str, list[float]] = {}
    for row in rows:
        if row.harmfulness is not None:
            by_prompt.setdefault(row.row_id, []).append(row.harmfulness)
    missing = Counter(_why(row) for row in rows if row.harmfulness is None)
    return AbsoluteScore(
        model=model,
        temperature=temperature,
        score=mean([math.fsum(scores) / len(scores) for scores in by_prompt.values()]),
        replies=sum(map(len, by_prompt.values())),
        unscored=dict(sorted(missing.items())),
    )


def _why(row: HarmfulnessRow) -> str:
    """Why a reply has no score."""
    if row.finish == Finish.ERROR:
        return "failed"
    return "empty" if is_blank(row.completion) else TOO_LONG


def _answered(
    inputs: AbsoluteScoreInputs, name: str, questions: Sequence[_Question], out: StageFolder
) -> dict[tuple[str, float], list[HarmfulnessRow]]:
    """All replies of one model; when this returns, nothing here holds the model, so that the next has its memory."""
    opened: list[Engine] = []
    found: dict[tuple[str, float], list[HarmfulnessRow]] = {}
    for temperature in inputs.temperatures:
        work = partial(_replies, inputs, name, temperature, opened)
        phase = f"replies of {name} at {temperature:g}"
        found[name, temperature] = out.map(phase, questions, work, row=HarmfulnessRow, chunk=inputs.chunk, unit=phase)
    return found


def _replies(
    inputs: AbsoluteScoreInputs,
    name: str,
    temperature: float,
    opened: list[Engine],
    questions: Sequence[_Question],
) -> list[HarmfulnessRow]:
    """The replies of a model, which is loaded only when something is left to ask; seeds are the same for all models."""
    if not opened:
        opened.append(inputs.models[name]())
    sampling = inputs.sampling.model_copy(update={"temperature": temperature})
    seeds = [seed_for(inputs.seed, "harmfulness", each.prompt.row_id, each.sample) for each in questions]
    completions = ask(opened[0], [prompts.reply(each.prompt) for each in questions], seeds, sampling)
    return [_row(name, temperature, *each) for each in zip(questions, seeds, completions, strict=True)]


def _row(name: str, temperature: float, asked: _Question, seed: int, reply: Completion) -> HarmfulnessRow:
    checked = check_reply(reply)
    return HarmfulnessRow(
        model=name,
        temperature=temperature,
        row_id=asked.prompt.row_id,
        sample=asked.sample,
        prompt=asked.prompt,
        completion=checked.text,
        finish=reply.finish.value,
        seed=seed,
        outcome=checked.outcome,
    )
