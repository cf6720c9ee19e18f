"""Compares models of one or several runs on the same held-out prompts.

All models of a run answer the same prompts, and so do the models of runs with the same held-out prompts. So differences
between two models are paired by prompt (`solon.stats.paired`), and leave out prompts that one of the two did not
answer. Measures come from the grader's labels; a run without a grader has none. Models whose replies were labelled by
different graders, judges or questions do not compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from solon.config.located_yaml import suggestion
from solon.config.recipe import TESTBED_GRADER
from solon.engines.base import Finish
from solon.errors import RunError
from solon.evals.judged_answers import JUDGEMENTS, Answered, answered_labels
from solon.evals.measures import label_measures
from solon.runs import Artefact, RunDirectory
from solon.runs.evaluation_rows import AnswerRow, ReplyJudgement
from solon.runs.rows import PromptKind
from solon.stages.plan import MEASURE
from solon.stages.reply_judging import JUDGE_KEY, QUESTIONS_KEY
from solon.stats.intervals import Share, share
from solon.stats.paired import PairedDifference, paired_difference

MEASURES: Mapping[str, PromptKind] = {
    measure.name: kind
    for kind in (PromptKind.HELD_OUT_HARMFUL, PromptKind.HELD_OUT_BENIGN)
    for measure in label_measures(kind)
}
"""Every measure, and the kind of prompts that it is measured on."""
Verdicts = dict[str, dict[str, bool]]
"""By measure, then by the id of the prompt: whether the reply has the label."""


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Who labelled the replies of a run. Labels of two sources do not compare."""

    words: str
    """Such as `the judge assistant@12ab with the questions 'replies'`."""
    judge: str = ""
    """The digest of the judging model; empty for a grader that is no model."""
    questions: str = ""
    """The digest of the judge's questions."""

    def apart_from(self, other: LabelSource) -> tuple[str, str]:
        """The words of both, with digests where their names are the same."""
        if self.words != other.words:
            return self.words, other.words
        one, two = (f"{each.words} (model {each.judge}, questions {each.questions})" for each in (self, other))
        return one, two


@dataclass(frozen=True, slots=True)
class ModelDifference:
    """The difference of two models in one measure, on the same prompts."""

    measure: str
    first: str
    second: str
    difference: PairedDifference


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The measures of every model with their intervals, and the paired differences."""

    measures: Mapping[str, Mapping[str, Share]]
    """By model, then by measure."""
    differences: tuple[ModelDifference, ...]

    def difference(self, measure: str, first: str, second: str) -> PairedDifference:
        """The second model's share minus the first's; raises KeyError when there is no such comparison."""
        for each in self.differences:
            if (each.measure, each.first, each.second) == (measure, first, second):
                return each.difference
        raise KeyError((measure, first, second))


def compare_models(
    runs: Mapping[str, RunDirectory], between: Sequence[tuple[str, str]] | None = None
) -> ModelComparison:
    """Compare the models of runs; `between` names the pairs, every pair in order when None.

    With one run a model has its own name, with several `RUN: MODEL`, where RUN is the key in `runs`. Raises
    RunError for a run that has no measures, for an unknown model, for two models that share no prompt, and for two
    whose replies were not labelled by one and the same grader, or by one judge with the same questions.
    """
    verdicts: dict[str, Verdicts] = {}
    sources: dict[str, LabelSource] = {}
    for name, run in runs.items():
        source = label_source(_measured(run))
        for model, found in verdicts_of(run).items():
            full = model if len(runs) == 1 else f"{name}: {model}"
            verdicts[full], sources[full] = found, source
    pairs = list(combinations(verdicts, 2)) if between is None else list(between)
    for model in (model for pair in pairs for model in pair):
        if model not in verdicts:
            place = ", ".join(str(run.path) for run in runs.values())
            raise RunError(f"no model '{model}' was measured", place=place, remedy=suggestion(model, verdicts))
    for first, second in pairs:
        _refuse_other_source(first, second, sources)
    return ModelComparison(
        {model: dict(_shares(found)) for model, found in verdicts.items()},
        tuple(
            ModelDifference(measure, first, second, difference)
            for first, second in pairs
            for measure, difference in _differences(verdicts, first, second)
        ),
    )


def label_source(measured: Artefact) -> LabelSource:
    """Who labelled the replies of a run that has measured its models with a grader or a judge."""
    grader, judge = str(measured.facts["grader"]), measured.facts.get("judge")
    if not isinstance(judge, Mapping):
        return LabelSource("the testbed's oracle" if grader == TESTBED_GRADER else f"the grader '{grader}'")
    key = measured.manifest.key
    words = f"the judge {judge['name']} with the questions '{judge['questions']}'"
    return LabelSource(words, str(key.get(JUDGE_KEY, "")), str(key.get(QUESTIONS_KEY, "")))


def _refuse_other_source(first: str, second: str, sources: Mapping[str, LabelSource]) -> None:
    """Raise RunError where the replies of two models were labelled by different ones."""
    if sources[first] == sources[second]:
        return
    one, two = sources[first].apart_from(sources[second])
    raise RunError(
        f"the replies of '{first}' were judged by {one}, and those of '{second}' by {two}: their labels do not compare",
        place="compare",
        remedy="Measure both with one grader: solon run NEW --reuse RUN --set measure.grader=GRADER",
    )


def _measured(run: RunDirectory) -> Artefact:
    """The measured replies of a run; RunError for a run that has measured none, or has no labels of them."""
    measured = run.finished(MEASURE)
    if measured is None:
        raise RunError(
            "the run has not measured its models yet",
            place=str(run.path),
            remedy=f"Continue with: solon run {run.path}",
        )
    if not measured.facts.get("grader"):
        raise RunError(
            "the run has no grader, so no reply was judged",
            place=str(run.path),
            remedy="Start a run with --set measure.grader=judge, or measure.grader=testbed for the testbed's prompts",
        )
    return measured


def verdicts_of(run: RunDirectory) -> dict[str, Verdicts]:
    """The labels of each model's replies, by measure and prompt; RunError for a run that has measured none.

    They are the grader's, or a judge's where it gave an answer.
    """
    measured = _measured(run)
    found: dict[str, Verdicts] = {}
    answered: dict[str, Answered] = {}
    if JUDGEMENTS in measured.manifest.files:
        by_model: dict[str, list[ReplyJudgement]] = {}
        for each in measured.rows(ReplyJudgement, file=JUDGEMENTS):
            by_model.setdefault(each.model, []).append(each)
        answered = {model: answered_labels(rows) for model, rows in by_model.items()}
    for row in measured.rows(AnswerRow):
        _note(found.setdefault(row.model, {}), row, answered.get(row.model))
    return found


def _note(verdicts: Verdicts, row: AnswerRow, answered: Answered | None) -> None:
    """Note the labels of a reply; of those that a judge was to give, the ones that it gave an answer about."""
    if row.finish == Finish.ERROR:
        return
    for measure, kind in MEASURES.items():
        if row.kind is kind and (answered is None or measure in answered.get((kind, row.row_id), ())):
            verdicts.setdefault(measure, {})[row.row_id] = measure in row.labels


def _shares(verdicts: Verdicts) -> Iterable[tuple[str, Share]]:
    for measure in MEASURES:
        if (found := share(verdicts.get(measure, {}).values())) is not None:
            yield measure, found


def _differences(verdicts: Mapping[str, Verdicts], first: str, second: str) -> Iterable[tuple[str, PairedDifference]]:
    one, other = verdicts[first], verdicts[second]
    found = False
    for measure in MEASURES:
        before, after = one.get(measure, {}), other.get(measure, {})
        difference = paired_difference((before[row_id], after[row_id]) for row_id in before if row_id in after)
        if difference is not None:
            found = True
            yield measure, difference
    if not found:
        raise RunError(
            f"'{first}' and '{second}' answered no prompt in common",
            place="compare",
            remedy="Compare models of runs with the same held-out prompts",
        )
