"""The parts of a trace that the rows of one prompt give, in the order of the work.

A part names what it is made of by address, so that the trace of one row follows from the parts of its prompt
(`trace_parts.behind`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from solon.reporting.tracing import traced_labels, traced_models, traced_texts
from solon.reporting.tracing.trace_parts import TracePart
from solon.reporting.tracing.traced_prompt import TracedPrompt
from solon.stages import plan

MAKERS: Mapping[str, Callable[[TracedPrompt, str], Iterator[TracePart]]] = {
    plan.PROMPTS: traced_texts.prompts,
    plan.RESPONSES: traced_texts.replies,
    plan.CRITIQUE_REVISION: traced_texts.revisions,
    plan.SL_CAI: traced_texts.supervised,
    plan.RESPONSE_PAIRS: traced_labels.pairs,
    plan.AI_FEEDBACK: traced_labels.labels,
    plan.PREFERENCE_MODEL: traced_labels.preferences,
    plan.HELD_OUT_MODEL: traced_labels.preferences,
    plan.RL_CAI: traced_models.samples_of_policy,
    plan.RLHF: traced_models.samples_of_policy,
    plan.MEASURE: traced_models.answers,
}
"""What makes the parts of a stage's rows, by the name of the stage in the first round."""


def parts_of(at: TracedPrompt) -> list[TracePart]:
    """The parts of all rows of a prompt, those of earlier stages first; each stands after what it is made of."""
    found: dict[str, TracePart] = {}
    for name in at.tables.names():
        for part in MAKERS[plan.out_of_round(name)](at, name):
            found.setdefault(part.address, part)
    return list(found.values())
