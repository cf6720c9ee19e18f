"""The labels that the oracle would give, as a yardstick for AI labels; no run of the method ever sees them.

Of two replies of which exactly one is harmful the harmless one is certainly better; of all other pairs the oracle says
nothing, and they are undecided. An ablation trains a preference model on these labels and asks how far one that was
trained on a feedback model's labels stays behind. They have the form of the stage ai-feedback.
"""

from __future__ import annotations

from solon.conversation import Conversation
from solon.evals.earlier_tables import a_better
from solon.feedback.comparison_questions import ComparisonPlan, UndecidedReason, why_not_asked
from solon.feedback.judgements import JUDGEMENT
from solon.feedback.labelling import label_of
from solon.runs import Artefact, Row, StageFolder
from solon.runs.rows import prompt_in
from solon.stages.s06_ai_feedback import SCHEMA, FeedbackInputs
from solon.testbed.oracle import Oracle

NAME = "oracle"


def oracle_labels(questionnaire: ComparisonPlan, inputs: FeedbackInputs, out: StageFolder) -> Artefact:
    """Label every pair by the oracle's order; publish as stage 06-ai-feedback would."""
    oracle = Oracle()
    rows = [label_of(pair, [_judgements(pair, questionnaire, oracle)], questionnaire) for pair in inputs.pairs.rows()]
    decided = sum(row["p_a"] is not None for row in rows)
    return out.publish(rows, SCHEMA, facts={"judge": NAME, "pairs": len(rows), "decided": decided})


def _judgements(pair: Row, questionnaire: ComparisonPlan, oracle: Oracle) -> list[Row]:
    """The same certain judgement on every axis, or none."""
    known = why_not_asked(pair)
    better = None if known else _order(prompt_in(pair), pair["response_a"], pair["response_b"], oracle)
    why = known or (UndecidedReason.TIE if better is None else None)
    blank = dict.fromkeys(field.name for field in JUDGEMENT)
    return [
        blank
        | {
            "judge": NAME,
            "axis": drawn.axis,
            "principle_id": drawn.principle.id,
            "p_a": None if better is None else float(better),
            "undecided_because": why.value if why else None,
        }
        for drawn in questionnaire.draws(pair)
    ]


def _order(prompt: Conversation, a: str, b: str, oracle: Oracle) -> bool | None:
    return a_better(oracle.rate(prompt, a), oracle.rate(prompt, b))
