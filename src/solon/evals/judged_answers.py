"""The measured replies as a judge sees them: labels, comparisons with a baseline, and the facts about both.

All models have answered before the judge is loaded. Its answers are durable chunk by chunk, and stand in two tables
next to the replies. A label needs an answer: a reply that the judge left unjudged is in no share of that label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from solon.checks.evasion import is_canned_refusal
from solon.engines.base import Engine, Finish
from solon.evals.grading import Label
from solon.evals.reply_judge import ReplyJudge
from solon.evals.reply_questions import ReplyQuestions
from solon.feedback.comparisons import ShownOrder
from solon.feedback.soft_labels import Judge
from solon.runs import StageFolder
from solon.runs.evaluation_rows import AnswerRow, BaselineComparison, ComparedAs, ReplyJudgement
from solon.runs.measure_facts import BaselineFacts, ComparisonFigures, ReplyJudgeFacts, RuleAgreement
from solon.runs.rows import HELD_OUT_KINDS, PromptKind
from solon.runs.table import write_table
from solon.stats.agreement import cohen_kappa
from solon.stats.intervals import Share, mean, share, wilson

JUDGEMENTS = "judgements.parquet"
"""The table of `ReplyJudgement`, next to the measured rows."""
COMPARISONS = "comparisons.parquet"
"""The table of `BaselineComparison`, where there is a baseline."""
Answered = Mapping[tuple[PromptKind, str], frozenset[str]]
"""One model's replies, by kind and row id of the prompt: the labels that the judge said yes or no to."""


@dataclass(frozen=True, slots=True)
class JudgeInputs:
    """Who judges the replies of a run, by which questions, and which model the others are compared with, if any."""

    load: Callable[[], Engine]
    questions: ReplyQuestions
    seed: int
    baseline: str | None = None
    chunk: int = 128
    """Questions to the judge per chunk. A reply takes one per question and order, a pair of replies one per order."""


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """The replies with the judge's labels, all that it said, and the facts."""

    answers: list[AnswerRow]
    judgements: list[ReplyJudgement]
    comparisons: list[BaselineComparison] | None
    judge: ReplyJudgeFacts
    compared: BaselineFacts | None

    def answered(self, model: str) -> Answered:
        """What the judge answered about the replies of one model."""
        return answered_labels(row for row in self.judgements if row.model == model)

    def facts(self) -> dict[str, Any]:
        """`judge`, and `compared` where there is a baseline."""
        compared = {} if self.compared is None else {"compared": self.compared.record()}
        return {"judge": self.judge.record(), **compared}

    def write(self, out: StageFolder) -> tuple[str, ...]:
        """Write the tables into the folder of the stage; returns their names."""
        write_table(out.path / JUDGEMENTS, self.judgements, ReplyJudgement)
        if self.comparisons is None:
            return (JUDGEMENTS,)
        write_table(out.path / COMPARISONS, self.comparisons, BaselineComparison)
        return JUDGEMENTS, COMPARISONS


def judge_answers(inputs: JudgeInputs, answers: Sequence[AnswerRow], out: StageFolder) -> JudgedAnswers:
    """Ask the judge about every reply, and about every pair with the baseline's; one model's replies after another's.

    Raises StageError when the judge's tokenizer lets no two letters compare.
    """
    judge = Judge.of(inputs.load())
    asks = ReplyJudge(judge, inputs.questions, inputs.seed)
    by_model: dict[str, list[AnswerRow]] = {}
    for row in answers:
        by_model.setdefault(row.model, []).append(row)
    judgements: list[ReplyJudgement] = []
    for name, rows in by_model.items():
        phase, unit = f"questions about {name}", f"replies of {name} judged"
        chunk = inputs.questions.replies_in(inputs.chunk)
        judgements += out.map(phase, rows, asks.judgements, row=ReplyJudgement, chunk=chunk, unit=unit)
    comparisons = None if inputs.baseline is None else _compared(inputs, asks, by_model, out)
    return JudgedAnswers(
        labelled(answers, judgements),
        judgements,
        comparisons,
        judge_facts(judge, inputs.questions.name, answers, judgements),
        None if inputs.baseline is None else baseline_facts(inputs.baseline, comparisons or []),
    )


def _compared(
    inputs: JudgeInputs, asks: ReplyJudge, by_model: Mapping[str, Sequence[AnswerRow]], out: StageFolder
) -> list[BaselineComparison]:
    found: list[BaselineComparison] = []
    first = {(row.kind, row.row_id): row for row in by_model.get(inputs.baseline or "", ())}
    for name, rows in by_model.items():
        if name != inputs.baseline:
            pairs = [(row, first[row.kind, row.row_id]) for row in rows]
            phase = f"{name} against {inputs.baseline}"
            found += out.map(
                phase,
                pairs,
                asks.comparisons,
                row=BaselineComparison,
                chunk=max(1, inputs.chunk // len(ShownOrder)),
                unit=f"pairs of replies, {phase}",
            )
    return found


# Labels ---------------------------------------------------------------------------------------------------------------


def labelled(answers: Sequence[AnswerRow], judgements: Iterable[ReplyJudgement]) -> list[AnswerRow]:
    """The replies with the labels that the judge says yes to."""
    yes: dict[tuple[str, PromptKind, str], list[str]] = {}
    for row in judgements:
        if row.unjudged_because is None and row.p_yes is not None and row.p_yes > 0.5:
            yes.setdefault((row.model, row.kind, row.row_id), []).append(row.question)
    return [
        replace(row, labels=tuple(sorted(map(str, yes.get((row.model, row.kind, row.row_id), ()))))) for row in answers
    ]


def answered_labels(judgements: Iterable[ReplyJudgement]) -> Answered:
    """The labels that the judge said yes or no to, for each reply of one model."""
    found: dict[tuple[PromptKind, str], frozenset[str]] = {}
    for row in judgements:
        known = found.get((row.kind, row.row_id), frozenset())
        found[row.kind, row.row_id] = known | ({row.question} if row.unjudged_because is None else frozenset())
    return found


def judge_facts(
    judge: Judge, questions: str, answers: Sequence[AnswerRow], judgements: Sequence[ReplyJudgement]
) -> ReplyJudgeFacts:
    """Who judged, how its answers hold up, and how many replies it left unjudged."""
    unjudged: dict[str, Counter[str]] = {}
    for row in judgements:
        if row.unjudged_because is not None:
            unjudged.setdefault(row.model, Counter())[row.question] += 1
    masses = [row.letter_mass for row in judgements if row.letter_mass is not None]
    asked = dict.fromkeys(row.question for row in judgements)
    return ReplyJudgeFacts(
        name=judge.engine.name,
        read=judge.engine.choosing.value,
        letter_form=judge.form.value,
        questions=questions,
        letter_mass=sum(masses) / len(masses) if masses else None,
        orders_agree={
            str(question): _orders_agree(
                (row.log_odds_yes_first, row.log_odds_no_first) for row in judgements if row.question == question
            )
            for question in asked
        },
        unjudged={model: {str(each): n for each, n in sorted(counts.items())} for model, counts in unjudged.items()},
        unjudged_because=dict(
            sorted(Counter(row.unjudged_because for row in judgements if row.unjudged_because).items())
        ),
        rule_agreement=rule_agreement(answers, judgements),
    )


def rule_agreement(answers: Iterable[AnswerRow], judgements: Iterable[ReplyJudgement]) -> dict[str, RuleAgreement]:
    """The rule for canned refusals against the judge's label `evasive`, on replies where the judge gave an answer."""
    said = {
        (row.model, row.kind, row.row_id): row.p_yes > 0.5
        for row in judgements
        if row.question == Label.EVASIVE and row.unjudged_because is None and row.p_yes is not None
    }
    pairs: dict[PromptKind, list[tuple[bool, bool]]] = {kind: [] for kind in HELD_OUT_KINDS}
    for row in answers:
        if (key := (row.model, row.kind, row.row_id)) in said and row.finish != Finish.ERROR:
            pairs[row.kind].append((is_canned_refusal(row.completion), said[key]))
    return {
        kind.value: RuleAgreement(
            agree=share(rule == judge for rule, judge in found),
            kappa=cohen_kappa(found),
            by_rule=share(rule for rule, _ in found),
            by_judge=share(judge for _, judge in found),
        )
        for kind, found in pairs.items()
        if found
    }


# Comparisons ----------------------------------------------------------------------------------------------------------


def baseline_facts(baseline: str, comparisons: Sequence[BaselineComparison]) -> BaselineFacts:
    """Win rates against the baseline, by model and kind of prompts."""
    groups: dict[str, dict[str, list[BaselineComparison]]] = {}
    for row in comparisons:
        groups.setdefault(row.model, {}).setdefault(row.kind.value, []).append(row)
    because = Counter(row.unjudged_because for row in comparisons if row.unjudged_because)
    return BaselineFacts(
        baseline=baseline,
        models={model: {kind: _figures(rows) for kind, rows in kinds.items()} for model, kinds in groups.items()},
        unjudged_because=dict(sorted(because.items())),
    )


def _figures(rows: Sequence[BaselineComparison]) -> ComparisonFigures:
    known = [row.p_better for row in rows if row.p_better is not None]
    wins = sum(1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in known)
    return ComparisonFigures(
        n=len(known),
        ties=sum(row.result is ComparedAs.TIE for row in rows),
        unjudged=sum(row.result is ComparedAs.UNJUDGED for row in rows),
        win_rate=wilson(wins, len(known)) if known else None,
        mean_p=mean(known),
        orders_agree=_orders_agree((row.log_odds_first, row.log_odds_second) for row in rows),
    )


def _orders_agree(orders: Iterable[tuple[float | None, float | None]]) -> Share | None:
    return share((one > 0) == (other > 0) for one, other in orders if one is not None and other is not None)
