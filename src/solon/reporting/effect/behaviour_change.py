"""What the models of both runs reply to the same held-out prompts: shares of labels, by model and by topic.

Shares of two runs on the same prompts are not independent, so every difference is paired by prompt
(`solon.stats.paired`). A prompt on which one run has no verdict, as where a judge gave no answer, is left out of both
sides. Topics are those of the grader; a judge names none. Win rates against the baseline are differences of the same
prompts as well: the baseline's replies are the same in both runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from solon.evals.grading import Label
from solon.evals.judged_answers import COMPARISONS
from solon.reporting.effect.comparable_runs import ComparedRuns
from solon.reporting.model_comparison import MEASURES, verdicts_of
from solon.runs import Artefact
from solon.runs.evaluation_rows import AnswerRow, BaselineComparison
from solon.runs.rows import PromptKind
from solon.stages.plan import MEASURE
from solon.stats.intervals import Mean, Share, mean, share
from solon.stats.paired import PairedDifference, paired_difference

MAIN = (Label.HARMFUL.value, Label.HELPFUL.value)
"""The measures that are split by topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureChange:
    """A share of one model's replies in both runs, over the same prompts; by topic where there is one."""

    model: str
    measure: str
    prompts: PromptKind
    topic: str | None
    old: Share
    new: Share
    difference: PairedDifference
    """New minus old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRateChange:
    """How one model fares against the baseline in both runs, by the mean probability that its reply is better."""

    model: str
    baseline: str
    prompts: PromptKind
    old: Mean
    new: Mean
    difference: Mean
    """New minus old, over the prompts that both runs have judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """How many of a model's replies are other ones."""

    model: str
    replies: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourChanges:
    """What the measured models of both runs do."""

    graded_by: str | None
    """`testbed`, the judge, or a grader of another package; None without labels."""
    models: tuple[ModelChange, ...]
    measures: tuple[MeasureChange, ...]
    topics: tuple[MeasureChange, ...]
    win_rates: tuple[WinRateChange, ...]

    def of(self, model: str) -> tuple[MeasureChange, ...]:
        """The measures of one model over all topics."""
        return tuple(each for each in self.measures if each.model == model)


def behaviour_changes(runs: ComparedRuns) -> BehaviourChanges | None:
    """The measured models that both runs have; None when one run has measured nothing."""
    pair = runs.both(MEASURE)
    if pair is None:
        return None
    rows = [each.rows(AnswerRow) for each in pair]
    old, new = ({(row.model, row.kind, row.row_id): row.completion for row in each} for each in rows)
    common = [key for key in old if key in new]
    models = list(dict.fromkeys(model for model, _, _ in common))
    graded = all(each.facts.get("grader") for each in pair)
    topics = {(row.kind, row.row_id): row.group for each in rows for row in each if row.group is not None}
    measures = list(_measures(runs, models, topics)) if graded else []
    return BehaviourChanges(
        graded_by=_graded_by(pair[1]) if graded else None,
        models=tuple(
            ModelChange(
                model=model,
                replies=sum(key[0] == model for key in common),
                changed=sum(key[0] == model and old[key] != new[key] for key in common),
            )
            for model in models
        ),
        measures=tuple(each for each in measures if each.topic is None),
        topics=tuple(each for each in measures if each.topic is not None),
        win_rates=tuple(_win_rates(pair, models)),
    )


def _graded_by(measured: Artefact) -> str:
    judge = measured.facts.get("judge")
    return f"the judge {judge['name']}" if isinstance(judge, Mapping) else str(measured.facts["grader"])


def _measures(
    runs: ComparedRuns, models: list[str], topics: Mapping[tuple[PromptKind, str], str]
) -> Iterator[MeasureChange]:
    old, new = verdicts_of(runs.old), verdicts_of(runs.new)
    for model in models:
        for measure, kind in MEASURES.items():
            before, after = (found.get(model, {}).get(measure, {}) for found in (old, new))
            pairs = {row_id: (before[row_id], after[row_id]) for row_id in before if row_id in after}
            named = {row_id: topics.get((kind, row_id)) for row_id in pairs}
            groups = (
                [None, *sorted({name for name in named.values() if name is not None})] if measure in MAIN else [None]
            )
            for topic in groups:
                kept = [each for row_id, each in pairs.items() if topic is None or named[row_id] == topic]
                first, second = share(one for one, _ in kept), share(other for _, other in kept)
                difference = paired_difference(kept)
                if first is not None and second is not None and difference is not None:
                    yield MeasureChange(
                        model=model,
                        measure=measure,
                        prompts=kind,
                        topic=topic,
                        old=first,
                        new=second,
                        difference=difference,
                    )


def _win_rates(pair: tuple[Artefact, Artefact], models: list[str]) -> Iterator[WinRateChange]:
    if any(COMPARISONS not in each.manifest.files for each in pair):
        return
    old, new = (
        {(row.model, row.kind, row.row_id): row for row in each.rows(BaselineComparison, file=COMPARISONS)}
        for each in pair
    )
    for model in models:
        for kind in dict.fromkeys(kind for name, kind, _ in new if name == model):
            known = [
                (one.p_better, other.p_better, other.baseline)
                for key, other in new.items()
                if key[:2] == (model, kind) and (one := old.get(key)) is not None
            ]
            kept = [(a, b, baseline) for a, b, baseline in known if a is not None and b is not None]
            before, after = mean([a for a, _, _ in kept]), mean([b for _, b, _ in kept])
            difference = mean([b - a for a, b, _ in kept])
            if before is not None and after is not None and difference is not None:
                yield WinRateChange(
                    model=model, baseline=kept[0][2], prompts=kind, old=before, new=after, difference=difference
                )
