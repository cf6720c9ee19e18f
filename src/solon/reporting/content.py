"""The content of the report: reads a run directory, returns plain values and finished plots for the template.

Every sentence comes from a figure with its interval and claims only what the interval supports. An unfinished stage or
a missing figure leaves its part of the page out. This module measures nothing: numbers come from
`solon.reporting.results` and from the stages' tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from markupsafe import Markup

from solon.config.recipe import Algorithm, Method, Recipe
from solon.constitution.constitution import Constitution
from solon.evals.measures import Measure, Unit
from solon.evals.measures import measures as all_measures
from solon.reporting import charts, samples
from solon.reporting.attack_section import AttackPart, attack_parts
from solon.reporting.dot_rows import DotGroup, DotRow, dot_rows
from solon.reporting.drawn_principles import DrawnPrinciple, drawn_for_preference, drawn_for_revision
from solon.reporting.judged_section import ComparedModels, compared_models, judged_by, reply_judge_sentences
from solon.reporting.label_section import LabelQuality, quality_of
from solon.reporting.policy import PolicyFigure, policy_figures
from solon.reporting.preference_lines import PreferenceLine, preference_lines
from solon.reporting.principle_links import ReachLines, principle_reaches
from solon.reporting.results import results
from solon.reporting.sample_traces import with_traces
from solon.reporting.sentences import Figures, judge_check_details, judge_check_sentences, judge_sentences
from solon.reporting.share_figures import by_group
from solon.reporting.tracing.stage_records import record_of
from solon.reporting.tracing.trace_parts import StageRecord
from solon.reporting.verdict import FirstScreen, first_screen, note_of
from solon.runs import Artefact, RunDirectory
from solon.runs.rows import LabelRow, RevisionRow
from solon.runs.training_rows import DpoStepRow, PreferenceStepRow, RlStepRow, TrainingStepRow
from solon.stages import plan as names


@dataclass(frozen=True, slots=True)
class StageLine:
    """One finished stage."""

    number: int
    name: str
    rows: int
    seconds: float
    outcomes: tuple[tuple[str, int], ...]
    record: StageRecord


@dataclass(frozen=True, slots=True)
class Content:
    """The whole page."""

    name: str
    constitution: Constitution | None
    """None for RLHF, which uses no constitution."""
    seed: int
    models: tuple[tuple[str, str], ...]
    first: FirstScreen
    rated: Markup | None
    form: Markup | None
    judged_by: str
    """`, by the judge NAME` where a model judged the replies, to go with every share."""
    replies_judged: tuple[str, ...]
    """Sentences about that judge."""
    compared: ComparedModels | None
    trade_off: Markup | None
    by_revision: Markup | None
    by_group: Markup | None
    policy: tuple[PolicyFigure, ...]
    curves: tuple[tuple[str, tuple[tuple[charts.Curve, Markup], ...]], ...]
    attacks: tuple[AttackPart, ...]
    histogram: Markup | None
    reliability: Markup | None
    critic: tuple[str, ...]
    judge: tuple[str, ...]
    quality: LabelQuality | None
    preference: tuple[PreferenceLine, ...]
    stages: tuple[StageLine, ...]
    plugins: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """The facts of each plug-in's stage, as (what, value)."""
    missing: tuple[str, ...]
    revision_principles: tuple[DrawnPrinciple, ...]
    preference_principles: tuple[DrawnPrinciple, ...]
    reaches: Mapping[tuple[str, str], ReachLines]
    """What each principle changed, by its list and its id."""
    shelves: tuple[samples.Shelf, ...]
    results: Mapping[str, Any]
    recipe: str

    def samples_by_principle(self) -> dict[str, list[str]]:
        """The anchors of the samples that drew each principle, by the principle's anchor."""
        found: dict[str, list[str]] = {reach.anchor: [] for reach in self.reaches.values()}
        for sample in (sample for shelf in self.shelves for sample in shelf.samples):
            for _, anchor in sample.trace.principles if sample.trace else ():
                found.setdefault(anchor, []).append(sample.anchor)
        return found


def content_of(run: RunDirectory) -> Content:
    """Read a run directory, finished or not."""
    figures = results(run)
    stages = {artefact.name: artefact for artefact in run.artefacts(verified=True)}
    rated = samples.ratings(stages.get(names.MEASURE))
    labelled = [(name, row) for name, stage in _label_stages(stages) for row in stage.rows(LabelRow)]
    feedback = [row for _, row in labelled]
    revisions = stages[names.CRITIQUE_REVISION].rows(RevisionRow) if names.CRITIQUE_REVISION in stages else []
    models, recipe, preference = figures["models"], run.recipe, figures.get("preference_model", {})
    reaches = principle_reaches(run, stages)
    return Content(
        name=recipe.name,
        constitution=run.constitution if recipe.method is Method.CAI else None,
        seed=recipe.seed,
        models=tuple((part, name) for part, name in recipe.models.model_dump().items() if name is not None),
        first=first_screen(figures, recipe),
        rated=measure_dots(models, [each for each in all_measures() if each.graded]),
        form=measure_dots(models, [each for each in all_measures() if not each.graded]),
        judged_by=judged_by(figures),
        replies_judged=tuple(reply_judge_sentences(figures)),
        compared=compared_models(figures),
        trade_off=charts.trade_off(models, None if recipe.method is Method.CAI else ("pretrained", names.RLHF)),
        by_revision=charts.by_revision(figures.get("revisions", {})),
        by_group=by_group(figures.get("groups", {})),
        policy=tuple(policy_figures(figures, _policy_steps(stages, recipe))),
        curves=tuple(_curves(stages, recipe)),
        attacks=attack_parts(stages),
        histogram=charts.histogram([row.p_a for row in feedback if row.p_a is not None]),
        reliability=charts.reliability(figures.get("labels", {}).get("calibration", [])),
        critic=tuple(_critic_sentences(figures.get("judge_check", {}).get("critic"))),
        judge=tuple(judge_sentences(figures)),
        quality=quality_of(figures),
        preference=tuple(preference_lines(preference)),
        stages=tuple(_stage_lines(figures["stages"], names.names_of(recipe), stages)),
        plugins=tuple((name, tuple(_listed(facts))) for name, facts in figures.get("plugins", {}).items()),
        missing=tuple(figures["unfinished"]),
        revision_principles=drawn_for_revision(run.constitution, revisions, rated.revisions),
        preference_principles=drawn_for_preference(run.constitution, feedback),
        reaches=reaches,
        shelves=with_traces(
            tuple(_shelves(stages, run.constitution, rated)),
            stages,
            recipe,
            revisions,
            labelled,
            {key: reach.anchor for key, reach in reaches.items()},
        ),
        results=figures,
        recipe=(run.path / "recipe.yaml").read_text(encoding="utf-8", errors="replace"),
    )


def _label_stages(stages: Mapping[str, Artefact]) -> list[tuple[str, Artefact]]:
    """The labels of all rounds that are finished."""
    return [(name, stage) for name, stage in stages.items() if names.out_of_round(name) == names.AI_FEEDBACK]


def _critic_sentences(critic: Figures | None) -> Iterator[str]:
    """How often the critic is right, and its other measures."""
    if critic is not None:
        yield from judge_check_sentences({"critic": critic})
        yield from judge_check_details({"critic": critic})


def measure_dots(models: Mapping[str, Mapping[str, Figures]], columns: Sequence[Measure]) -> Markup | None:
    """A group of rows for each measure that at least one model has, with a row for each model; None without any."""
    kept = [column for column in columns if any(column.name in measures for measures in models.values())]
    return dot_rows(
        [
            DotGroup(
                column.name.replace("_", " "),
                tuple(_row(column, model, of, place) for place, (model, of) in enumerate(models.items())),
                note_of(column),
                f"label-{column.name}" if column.graded else "",
            )
            for column in kept
        ]
    )


def _row(measure: Measure, model: str, of: Mapping[str, Figures], place: int) -> DotRow:
    figure = of.get(measure.name)
    words = measure.shown(figure) if figure is not None and measure.unit is Unit.NUMBER else None
    return DotRow(model, figure, charts.tone(model, place), words)


class HasStep(Protocol):
    """A row with the number of a training step."""

    @property
    def step(self) -> int:
        """Counted from 1."""
        ...


S = TypeVar("S", bound=HasStep)


@dataclass(frozen=True, slots=True)
class CurveOf(Generic[S]):
    """A curve over a stage's steps: its title, the value of a step, and the meaning of the numbers."""

    title: str
    value: Callable[[S], float | None]
    note: str


_SUPERVISED: tuple[CurveOf[TrainingStepRow], ...] = (
    CurveOf("SL-CAI", lambda row: row.loss, "loss per token, in nats"),
    CurveOf("SL-CAI", lambda row: row.held_out_loss, "held-out loss per token"),
)
_PREFERENCES: tuple[CurveOf[PreferenceStepRow], ...] = (
    CurveOf("Preference model", lambda row: row.loss, "loss per pair"),
    CurveOf("Preference model", lambda row: row.held_out_loss, "held-out loss per pair"),
)
_REINFORCED: tuple[CurveOf[RlStepRow], ...] = (
    CurveOf("Score", lambda row: row.score, "of the preference model"),
    CurveOf("KL", lambda row: row.kl, "to the model it started from, in nats"),
    CurveOf("Length", lambda row: row.length, "of replies, in tokens"),
    CurveOf("Entropy", lambda row: row.entropy, "of the policy, in nats"),
    CurveOf("Held-out score", lambda row: row.held_out_score, "of a preference model that does not train the policy"),
    CurveOf("Most common opening", lambda row: row.common_opening, "share of replies with the same first five words"),
)
_DIRECT: tuple[CurveOf[DpoStepRow], ...] = (
    CurveOf("Labelled pairs", lambda row: row.margin, "mean margin of the implied reward"),
)
PlottedCurve = tuple[charts.Curve, Markup]


def _curves(stages: Mapping[str, Artefact], recipe: Recipe) -> Iterator[tuple[str, tuple[PlottedCurve, ...]]]:
    """The training curves by heading; unfinished stages are left out."""
    sections: list[tuple[str, list[PlottedCurve]]] = []
    for number, policy in enumerate(names.policies_of(recipe), start=1):
        title = f"Reinforcement learning{_round(number)}"
        if recipe.rl.algorithm is Algorithm.DPO:
            sections.append((title, _plotted(stages.get(policy), DpoStepRow, _DIRECT)))
        else:
            sections.append((title, _plotted(stages.get(policy), RlStepRow, _REINFORCED)))
    supervised = _plotted(stages.get(names.SL_CAI), TrainingStepRow, _SUPERVISED)
    for number in range(1, recipe.rounds + 1):
        curves = [replace(each, title=f"{each.title}{_round(number)}") for each in _PREFERENCES]
        supervised += _plotted(stages.get(names.in_round(names.PREFERENCE_MODEL, number)), PreferenceStepRow, curves)
    sections.append(("Supervised training", supervised))
    yield from ((title, tuple(plotted)) for title, plotted in sections if plotted)


def _round(number: int) -> str:
    return f", round {number}" if number > 1 else ""


def _plotted(stage: Artefact | None, row: type[S], curves: Sequence[CurveOf[S]]) -> list[PlottedCurve]:
    rows = stage.rows(row) if stage is not None else []
    filled = [charts.Curve(each.title, tuple(_points(rows, each.value)), each.note) for each in curves]
    return [(curve, picture) for curve in filled if (picture := charts.trend(curve)) is not None]


def _points(rows: Sequence[S], value: Callable[[S], float | None]) -> Iterator[tuple[float, float]]:
    for row in rows:
        number = value(row)
        if number is not None and math.isfinite(number):
            yield float(row.step), float(number)


def _policy_steps(stages: Mapping[str, Artefact], recipe: Recipe) -> list[RlStepRow]:
    """The steps of the last policy; empty when it is unfinished, or trained by DPO."""
    policy = stages.get(names.policies_of(recipe)[-1])
    return [] if policy is None or recipe.rl.algorithm is Algorithm.DPO else policy.rows(RlStepRow)


def _listed(facts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every value among the nested facts of a plug-in's stage."""
    for key, value in facts.items():
        here = (*path, str(key).replace("_", " "))
        if isinstance(value, Mapping):
            yield from _listed(value, here)
        else:
            yield ", ".join(here), f"{value:.4g}" if isinstance(value, float) else str(value)


def _stage_lines(
    stages: Mapping[str, Any], order: Sequence[str], artefacts: Mapping[str, Artefact]
) -> Iterator[StageLine]:
    for position, (name, facts) in enumerate(stages.items(), start=1):
        if name in artefacts:
            number, outcomes = order.index(name) + 1 if name in order else position, tuple(facts["outcomes"].items())
            yield StageLine(number, name, facts["rows"], facts["seconds"], outcomes, record_of(artefacts[name]))


def _shelves(
    stages: Mapping[str, Artefact], constitution: Constitution, rated: samples.Ratings
) -> Iterator[samples.Shelf]:
    shelves = []
    if names.RESPONSES in stages and names.CRITIQUE_REVISION in stages:
        both = stages[names.RESPONSES], stages[names.CRITIQUE_REVISION]
        shelves.append(samples.revision_shelf(*both, constitution, rated))
    if labels := [stage for _, stage in _label_stages(stages)]:
        shelves.append(samples.pair_shelf(labels, constitution, rated))
    if names.MEASURE in stages:
        shelves.append(samples.answer_shelf(stages[names.MEASURE]))
    yield from (shelf for shelf in shelves if shelf is not None)
