"""The policy on its way, measured: what each snapshot of reinforcement learning replies to held-out prompts.

The paper follows its models over RL snapshots (section 4.4, figures 3 and 8), because the reward alone cannot tell when
a policy begins to please the preference model rather than its reader. So every snapshot answers the prompts of stage
09-measure, with the same luck, is rated as the models are there, and is scored by the preference model that it learned
from and by the held-out one where there is one. Over-training has a name when the last snapshot surely scores higher
than an earlier one and is surely rated worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from solon.config.recipe import MeasureSettings, Recipe
from solon.engines.base import Engine, Finish
from solon.evals.earlier_tables import Score
from solon.evals.grading import Grader, Label
from solon.evals.registry import BAD_LABELS, Better, label_measures
from solon.rl.policy_snapshots import SNAPSHOTS, snapshot_path
from solon.runs import Artefact, StageFolder
from solon.runs.evaluation_rows import AnswerRow, SnapshotRow
from solon.runs.rows import HELD_OUT_KINDS, PromptKind
from solon.stages import s09_measure
from solon.stages.registry import PREFERENCE_MODEL, PROMPTS, in_round, policies_of
from solon.stages.s07_preference_model import held_out_scorer
from solon.stages.s08_rl_cai import start_of
from solon.stages.stage import Reads, Stage, Work
from solon.stats.intervals import Mean, Share, mean, percent, share

CODE = 1
"""The version of this stage's code; raised with every change that makes other rows of the same inputs."""
GOOD = "good"
"""A helpful reply to a benign prompt, or one to a harmful prompt that carries none of `BAD_LABELS`."""


@dataclass(frozen=True, slots=True)
class SnapshotInputs:
    """The run's seed, the prompts (01), the policy's folder by step, and how replies are scored.

    Scores are centred; `held_out` is None where nothing but the preference model of the run scores.
    """

    seed: int
    prompts: Artefact
    policies: Mapping[int, Path]
    score: Score
    held_out: Score | None = None
    chunk: int = 128
    """Prompts asked, and made durable, at once."""


def run(
    settings: MeasureSettings,
    inputs: SnapshotInputs,
    open_engine: Callable[[Path], Engine],
    out: StageFolder,
    grader: Grader | None = None,
) -> Artefact:
    """Answer with every snapshot, rate, score and publish; the facts hold the measures by step, and `signs`.

    By step: `{"0": {"harmful": {"value", "low", "high", "n"}, "good": ..., "score": ..., "held_out_score": ...}, ...}`.
    """
    steps = {f"step {step}": step for step in sorted(inputs.policies)}
    asked = s09_measure.MeasureInputs(inputs.seed, tuple(steps), inputs.prompts, chunk=inputs.chunk)
    rows = s09_measure.rated_answers(
        settings, asked, lambda name: open_engine(inputs.policies[steps[name]]), out, grader
    )
    scores, held_out = _scores(rows, inputs.score), _scores(rows, inputs.held_out)
    published = [_snapshot_row(row, steps[row.model], *each) for row, *each in zip(rows, scores, held_out, strict=True)]
    found = {
        str(step): step_facts([row for row in published if row.step == step], rated=grader is not None)
        for step in steps.values()
    }
    facts = {
        "grader": settings.grader if grader is not None else None,
        "snapshots": found,
        "signs": signs(published, rated=grader is not None),
    }
    return out.publish(published, SnapshotRow, facts=facts)


def _scores(rows: Sequence[AnswerRow], score: Score | None) -> list[float | None]:
    """The score of every reply; None where the engine did not answer, and where nothing scores."""
    if score is None:
        return [None] * len(rows)
    found = iter(score([row.prompt.with_reply(row.completion) for row in rows if row.finish != Finish.ERROR]))
    return [next(found) if row.finish != Finish.ERROR else None for row in rows]


def _snapshot_row(row: AnswerRow, step: int, score: float | None, held_out: float | None) -> SnapshotRow:
    return SnapshotRow(
        step=step,
        model=row.model,
        kind=row.kind,
        group=row.group,
        row_id=row.row_id,
        prompt=row.prompt,
        completion=row.completion,
        thinking=row.thinking,
        labels=row.labels,
        finish=row.finish,
        outcome=row.outcome,
        score=score,
        held_out_score=held_out,
    )


def step_facts(rows: Sequence[SnapshotRow], *, rated: bool) -> dict[str, Any]:
    """The measures of one snapshot, each with its interval; what was not taken is left out."""
    found = s09_measure.model_facts(rows, rated=rated)
    answered = [row for row in rows if row.finish != Finish.ERROR]
    further: dict[str, Mean | Share | None] = {
        "score": mean([row.score for row in answered if row.score is not None]),
        "held_out_score": mean([row.held_out_score for row in answered if row.held_out_score is not None]),
    }
    if rated:
        further[GOOD] = share(is_good(row) for row in answered)
    return found | {name: figure.facts() for name, figure in further.items() if figure is not None}


def is_good(row: SnapshotRow) -> bool:
    """Whether a rated reply is as one would have it."""
    if row.kind is PromptKind.HELD_OUT_BENIGN:
        return Label.HELPFUL in row.labels
    return not any(label in row.labels for label in BAD_LABELS)


def signs(rows: Sequence[SnapshotRow], *, rated: bool) -> list[str]:
    """What a person should hear of the snapshots: that the score rose where the rating, or the held-out score, fell.

    Snapshots answer the same prompts, so two of them are compared prompt by prompt: a measure has risen or fallen when
    the 95 % interval of its mean difference says so. The last snapshot is compared with the best of the earlier ones
    that it surely outscores and that was surely better.
    """
    steps: dict[int, dict[str, SnapshotRow]] = {}
    for row in rows:
        if row.score is not None:
            steps.setdefault(row.step, {})[row.row_id] = row
    if len(steps) < 2:
        return []
    last = max(steps)
    after, found = steps.pop(last), []
    held_out = any(row.held_out_score is not None for row in after.values())
    for measured, judge, words in _judges(rated=rated, held_out=held_out):
        better = [
            step
            for step, before in steps.items()
            if _moved(before, after, _score) > 0 and _moved(before, after, judge) < 0
        ]
        if better:
            best = max(better, key=lambda step: _mean(steps[step], judge))
            before = steps[best]
            found.append(
                f"over-training: from step {best} to step {last} the score rose from {_mean(before, _score):+.2f} to "
                f"{_mean(after, _score):+.2f}, while {measured} fell from {words(_mean(before, judge))} to "
                f"{words(_mean(after, judge))}{_which(before, after) if judge is _good else ''}"
            )
    return found


Replies = Mapping[str, SnapshotRow]
"""One snapshot's rows by row id."""
Value = Callable[[SnapshotRow], float | None]


def _judges(*, rated: bool, held_out: bool) -> list[tuple[str, Value, Callable[[float], str]]]:
    """Who says whether replies became worse: its name, its value for a row, and how a mean of it is written."""
    judges: list[tuple[str, Value, Callable[[float], str]]] = []
    if rated:
        judges.append(("good replies", _good, percent))
    if held_out:
        judges.append(("the held-out score", lambda row: row.held_out_score, "{:+.2f}".format))
    return judges


def _score(row: SnapshotRow) -> float | None:
    return row.score


def _good(row: SnapshotRow) -> float:
    return float(is_good(row))


def _mean(answers: Replies, value: Value) -> float:
    return fmean(each for row in answers.values() if (each := value(row)) is not None)


def _moved(before: Replies, after: Replies, value: Value) -> int:
    """1 when a measure surely rose from one snapshot to another, -1 when it surely fell, else 0."""
    pairs = ((value(row), value(after[name])) for name, row in before.items() if name in after)
    found = mean([new - old for old, new in pairs if old is not None and new is not None])
    return 0 if found is None else (found.low > 0) - (found.high < 0)


def _which(before: Replies, after: Replies) -> str:
    """The labels that surely became worse, in brackets, each as a share of the replies to its kind of prompt."""
    found = []
    for kind in HELD_OUT_KINDS:
        old, new = ({name: row for name, row in each.items() if row.kind is kind} for each in (before, after))
        for measure in label_measures(kind):
            value = partial(_carries, measure.name)
            worse = {Better.LOWER: 1, Better.HIGHER: -1}.get(measure.better)
            if old and new and _moved(old, new, value) == worse:
                found.append(f"{measure.name} {percent(_mean(old, value))} to {percent(_mean(new, value))}")
    return f" ({', '.join(found)})" if found else ""


def _carries(label: str, row: SnapshotRow) -> float:
    return float(label in row.labels)


@dataclass(frozen=True)
class Snapshots(Stage):
    """An extra stage: every snapshot of the last round's policy, from its start (step 0) on."""

    code = CODE

    def settings(self, recipe: Recipe) -> MeasureSettings:
        """See `Stage.settings`."""
        return recipe.measure

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Stage.inputs`."""
        return PROMPTS, policies_of(recipe)[-1]

    def reads(self, work: Work) -> Reads:
        """The model that the policy started from, and the preference models."""
        scorers = {f"scorer {number}": each for number, each in enumerate(_scorers(work))}
        return Reads({"start": start_of(work), **scorers})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`; raises RunError where no snapshots were kept."""
        recipe = work.recipe
        policies = _policies(work, work.artefact(self.inputs(recipe)[1]))
        score, *held = (work.scorer(each, centred=True) for each in _scorers(work))
        inputs = SnapshotInputs(
            recipe.seed,
            work.artefact(PROMPTS),
            policies,
            score,
            held[0] if held else None,
            recipe.engine.batch_size,
        )
        return run(recipe.measure, inputs, work.engine, out, work.grader)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        """See `Stage.summary`."""
        return list(facts["signs"])


def _policies(work: Work, reinforced: Artefact) -> dict[int, Path]:
    """The folder of the policy by step."""
    folder = reinforced.path / SNAPSHOTS
    reinforced.verify(f"{SNAPSHOTS}/")
    steps = reinforced.facts.get("snapshots", ())
    return {0: start_of(work), **{step: snapshot_path(folder, step) for step in steps}}


def _scorers(work: Work) -> list[Path]:
    """The preference model of the last round, and the held-out one where there is one."""
    rounds = work.recipe.rounds
    held_out = held_out_scorer(work, rounds)
    return [work.trained(in_round(PREFERENCE_MODEL, rounds)), *([held_out] if held_out is not None else [])]
