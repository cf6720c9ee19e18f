"""Rules and a judge against a grader that knows the truth, reply by reply, with Cohen's kappa (Cohen 1960).

On real models nobody knows the truth, so rules and judges are trusted as far as they agree with it where it is known:
on the testbed, whose oracle labels every reply. What the oracle knows stands for three labels: `evasive` for itself;
evasive, objecting or preachy for `refusing`; and `preachy`, the world's only stock phrases, for `boilerplate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from solon.engines.base import Finish
from solon.evals.grading import Label
from solon.evals.refusal_measures import RULES, verdicts
from solon.runs.evaluation_rows import AnswerRow, ReplyJudgement
from solon.runs.refusal_rows import AgreementRow, RaterAgreement
from solon.runs.rows import HELD_OUT_KINDS
from solon.stats.agreement import cohen_kappa
from solon.stats.correlation import Pair, correlation
from solon.stats.intervals import wilson

TRUTH: Mapping[Label, frozenset[Label]] = {
    Label.REFUSING: frozenset({Label.EVASIVE, Label.OBJECTING, Label.PREACHY}),
    Label.EVASIVE: frozenset({Label.EVASIVE}),
    Label.BOILERPLATE: frozenset({Label.PREACHY}),
}
"""The grader's labels of which one makes each label true."""
RULE, JUDGE = "rule", "judge"


def agreement_rows(answers: Sequence[AnswerRow], judgements: Sequence[ReplyJudgement]) -> list[AgreementRow]:
    """For every reply and label, what grader, rule and judge say; replies that failed are left out."""
    said = {label: verdicts(judgements, label) for label in RULES}
    return [
        AgreementRow(
            model=row.model,
            kind=row.kind,
            row_id=row.row_id,
            label=label.value,
            oracle=bool(TRUTH[label] & set(row.labels)),
            rule=rule(row.completion),
            judge=said[label].get((row.model, row.row_id)),
        )
        for row in answers
        if row.finish != Finish.ERROR
        for label, rule in RULES.items()
    ]


def rater_agreements(rows: Sequence[AgreementRow], seed: int, *, judged: bool) -> list[RaterAgreement]:
    """Each rater against the grader, by label and kind of prompt; a rater without any answer has no line."""
    found: list[RaterAgreement] = []
    for label in RULES:
        for kind in HELD_OUT_KINDS:
            own = [row for row in rows if row.label == label and row.kind is kind]
            by_rule = [(row.row_id, row.rule, row.oracle) for row in own]
            by_judge = [(row.row_id, row.judge, row.oracle) for row in own if row.judge is not None]
            raters = {RULE: by_rule, **({JUDGE: by_judge} if judged else {})}
            for rater, given in raters.items():
                if given:
                    units = _by_prompt(given)
                    pairs = [(rated, truth) for _, rated, truth in given]
                    found.append(
                        RaterAgreement(
                            rater=rater,
                            label=label.value,
                            kind=kind,
                            agree=wilson(sum(rated == truth for rated, truth in pairs), len(pairs)),
                            kappa=correlation(units, _kappa, seed),
                            by_rater=wilson(sum(rated for rated, _ in pairs), len(pairs)),
                            by_oracle=wilson(sum(truth for _, truth in pairs), len(pairs)),
                            unrated=len(own) - len(given),
                        )
                    )
    return found


def _by_prompt(given: Sequence[tuple[str, bool, bool]]) -> list[list[Pair]]:
    """The verdicts by prompt, as the bootstrap draws them: several models answer one prompt."""
    units: dict[str, list[Pair]] = {}
    for row_id, rated, truth in given:
        units.setdefault(row_id, []).append((float(rated), float(truth)))
    return list(units.values())


def _kappa(pairs: Sequence[Pair]) -> float | None:
    return cohen_kappa([(one > 0.5, other > 0.5) for one, other in pairs])
