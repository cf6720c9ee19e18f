"""Labels by the oracle, as a reference for AI labels; the stages of a run never use them.

If exactly one of two replies is harmful, the harmless one is certainly better; all other pairs are undecided. An
ablation trains a preference model on these labels and compares it with one trained on a feedback model's labels. They
have the form of the stage ai-feedback.
"""

from __future__ import annotations

from solon.conversation import Conversation
from solon.evals.earlier_tables import a_better
from solon.feedback.comparisons import ComparisonPlan, PlannedPair, UndecidedReason
from solon.feedback.soft_labels import label_of
from solon.runs import Artefact, StageFolder
from solon.runs.rows import Judgement, LabelRow, PairRow
from solon.stages.s06_ai_feedback import FeedbackInputs
from solon.testbed.oracle import Oracle

NAME = "oracle"


def oracle_labels(plan: ComparisonPlan, inputs: FeedbackInputs, out: StageFolder) -> Artefact:
    """Label every pair by the oracle's order; publish as stage 06-ai-feedback would."""
    oracle = Oracle()
    planned = map(plan.planned, inputs.pairs.rows(PairRow))
    rows = [label_of(each, [_judgements(each, oracle)], plan) for each in planned]
    decided = sum(row.p_a is not None for row in rows)
    return out.publish(rows, LabelRow, facts={"judge": NAME, "pairs": len(rows), "decided": decided})


def _judgements(planned: PlannedPair, oracle: Oracle) -> list[Judgement]:
    """The same certain judgement on every axis, or none."""
    pair, known = planned.pair, planned.undecided
    better = None if known else _order(pair.prompt, pair.response_a, pair.response_b, oracle)
    why = known or (UndecidedReason.TIE if better is None else None)
    return [
        Judgement(
            judge=NAME,
            axis=drawn.axis,
            principle_id=drawn.principle.id,
            p_a=None if better is None else float(better),
            undecided_because=why.value if why else None,
        )
        for drawn in planned.draws
    ]


def _order(prompt: Conversation, a: str, b: str, oracle: Oracle) -> bool | None:
    return a_better(oracle.rate(prompt, a), oracle.rate(prompt, b))
