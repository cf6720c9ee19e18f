"""Measures every snapshot of a policy on held-out prompts.

The paper follows its models over RL snapshots (section 4.4, figures 3 and 8), because the reward does not show when a
policy begins to please the preference model rather than its reader. So every snapshot answers the prompts of stage
09-measure with the same seeds. It is graded as the models are there, and scored by the preference model that it learned
from and by the held-out one, if any. Over-training means: the last snapshot scores significantly higher than an earlier
one, and is graded significantly worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from solon.config.recipe import MeasureSettings, Recipe
from solon.engines.base import Engine, Finish
from solon.evals.earlier_tables import Score
from solon.evals.grading import Grader
from solon.evals.over_training import signs, step_facts
from solon.rl.policy_snapshots import SNAPSHOTS, snapshot_path
from solon.runs import Artefact, StageFolder
from solon.runs.evaluation_rows import AnswerRow, SnapshotRow
from solon.stages import s09_measure
from solon.stages.plan import PREFERENCE_MODEL, PROMPTS, in_round, policies_of
from solon.stages.s07_preference_model import held_out_scorer
from solon.stages.s08_rl_cai import start_of
from solon.stages.stage import Stage, StageDependencies, Work


@dataclass(frozen=True, slots=True)
class SnapshotInputs:
    """The run's seed, the prompts (01), the policy's folder by step, and how replies are scored.

    `score` and `held_out` load what scores, after the replies and one after the other. Scores are centred. `held_out`
    is None where nothing but the preference model of the run scores.
    """

    seed: int
    prompts: Artefact
    policies: Mapping[int, Path]
    score: Callable[[], Score]
    held_out: Callable[[], Score] | None = None
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


def _scores(rows: Sequence[AnswerRow], load: Callable[[], Score] | None) -> list[float | None]:
    """The score of every reply; None where the engine did not answer, and where nothing scores."""
    if load is None:
        return [None] * len(rows)
    found = iter(load()([row.prompt.with_reply(row.completion) for row in rows if row.finish != Finish.ERROR]))
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


@dataclass(frozen=True)
class Snapshots(Stage):
    """An extra stage: every snapshot of the last round's policy, from its start (step 0) on."""

    section = "measure"

    def inputs(self, recipe: Recipe) -> tuple[str, ...]:
        return PROMPTS, policies_of(recipe)[-1]

    def reads(self, work: Work) -> StageDependencies:
        """The model that the policy started from, and the preference models."""
        scorers = {f"scorer {number}": each for number, each in enumerate(_scorers(work))}
        return StageDependencies({"start": start_of(work), **scorers})

    def run(self, work: Work, out: StageFolder) -> Artefact:
        """See `Stage.run`; raises RunError where no snapshots were kept."""
        recipe = work.recipe
        policies = _policies(work, work.artefact(self.inputs(recipe)[1]))
        score, *held = (partial(work.scorer, each, centred=True) for each in _scorers(work))
        inputs = SnapshotInputs(
            recipe.seed, work.artefact(PROMPTS), policies, score, held[0] if held else None, recipe.engine.batch_size
        )
        return run(recipe.measure, inputs, work.engine, out, work.grader)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
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
